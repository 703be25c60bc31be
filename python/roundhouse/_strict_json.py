"""JSON as strangers send it: what is no JSON, or could mean two things, is refused (protocol/http.md).

`_json` reads what the node says, which is trusted; this reads what came over HTTP."""

from __future__ import annotations

import json
from math import isinf
from typing import Any

# src/base/limits.h has the same bound.
DEPTH_MAX = 64


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"JSON has no {name}")


def _finite(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key[:100]!r} stands twice in one object")
            seen.add(key)
    return found


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_float=_finite, parse_constant=_refuse_constant)


def decode(text: bytes | bytearray | memoryview, depth_max: int = DEPTH_MAX) -> Any:
    """The value of one JSON text; ValueError where it is not exactly that."""
    try:
        string = str(text, "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8, at byte {error.start}") from None
    return decode_text(string, depth_max)


def decode_text(string: str, depth_max: int = DEPTH_MAX) -> Any:
    try:
        value = _decoder.decode(string)
    except RecursionError:
        raise ValueError(f"nested deeper than {depth_max} levels") from None
    if string.count("[") + string.count("{") > depth_max and _deeper(value, depth_max):
        raise ValueError(f"nested deeper than {depth_max} levels")
    return value


def _deeper(value: Any, levels: int) -> bool:
    """Whether it has more levels of objects and arrays than that."""
    depth, layer = 0, [value]
    while layer := [each for each in layer if type(each) in (dict, list)]:
        depth += 1
        if depth > levels:
            return True
        layer = [inner for each in layer for inner in (each.values() if type(each) is dict else each)]
    return False
