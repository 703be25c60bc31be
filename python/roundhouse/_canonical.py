"""The canonical encoding of arguments, by which a run knows whether it is asked for with the same ones.

Equal values of equal types have equal bytes, in every process and on every machine. Where a value has no such encoding
(most objects of classes), the arguments are not compared."""

from __future__ import annotations

import sys
from _blake2 import blake2b
from struct import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Kept in journals: another encoding gets another name, and digests of different names are not compared.
_SCHEME = "py1"
_SHOWN = 200


class NotCanonical(Exception):
    """A value has no canonical encoding."""


def digest_of(args: tuple[Any, ...], kwargs: dict[str, Any], signature: Any = None) -> str:
    """A digest of a call's arguments; "" where they cannot be compared. With its signature, f(1, 2) is f(1, b=2)."""
    named: Any = (list(args), dict(kwargs))
    if signature is not None:
        try:
            named = dict(signature.bind(*args, **kwargs).arguments)
        except TypeError:
            pass  # The call will say so.
    try:
        encoded = encode(named)
    except (NotCanonical, RecursionError):
        return ""
    return f"{_SCHEME}:{blake2b(encoded, digest_size=16).hexdigest()}"


def shown(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """The arguments as a person would like to see them, cut short."""
    import reprlib

    pieces = [reprlib.repr(value) for value in args]
    pieces += [f"{name}={reprlib.repr(value)}" for name, value in kwargs.items()]
    text = ", ".join(pieces)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def encode(value: Any) -> bytes:
    kind = type(value)
    write = _WRITERS.get(kind)
    if write is not None:
        return write(value)
    return _encode_known(kind, value)


def _text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"s%d:" % len(data) + data


def _bytes(value: Any) -> bytes:
    data = bytes(value)
    return b"b%d:" % len(data) + data


def _float(value: float) -> bytes:
    return b"f" + (b"nan" if value != value else pack(">d", value))


def _sequence(mark: bytes) -> Callable[[Any], bytes]:
    return lambda value: mark + b"%d:" % len(value) + b"".join(map(encode, value))


def _dict(value: dict[Any, Any]) -> bytes:
    items = sorted((encode(key), encode(item)) for key, item in value.items())
    return b"d%d:" % len(items) + b"".join(key + item for key, item in items)


def _set(value: Any) -> bytes:
    items = sorted(map(encode, value))
    return b"e%d:" % len(items) + b"".join(items)


_WRITERS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _: b"N",
    bool: lambda value: b"T" if value else b"F",
    int: lambda value: b"i%d;" % value,
    float: _float,
    complex: lambda value: b"c" + _float(value.real) + _float(value.imag),
    str: _text,
    bytes: _bytes,
    bytearray: _bytes,
    list: _sequence(b"l"),
    tuple: _sequence(b"t"),
    dict: _dict,
    set: _set,
    frozenset: _set,
}


def _name(kind: type) -> bytes:
    # The program's own module has another name in processes that multiprocessing spawns.
    module = "__main__" if kind.__module__ == "__mp_main__" else kind.__module__
    return _text(f"{module}.{kind.__qualname__}")


def _encode_known(kind: type, value: Any) -> bytes:
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        if kind is numpy.ndarray and not value.dtype.hasobject:
            return b"a" + _text(value.dtype.str) + encode(value.shape) + _bytes(value.tobytes())
        if isinstance(value, numpy.generic) and not value.dtype.hasobject:
            return b"A" + _text(value.dtype.str) + _bytes(value.tobytes())
    datetime = sys.modules.get("datetime")
    if datetime is not None and kind in (datetime.datetime, datetime.date, datetime.time):
        return b"w" + _name(kind) + _text(value.isoformat())
    if datetime is not None and kind is datetime.timedelta:
        return b"W" + encode((value.days, value.seconds, value.microseconds))
    enum = sys.modules.get("enum")
    if enum is not None and isinstance(value, enum.Enum):
        return b"m" + _name(kind) + _text(value.name)
    if "__dataclass_fields__" in kind.__dict__:
        fields = kind.__dataclass_fields__  # type: ignore[attr-defined]
        return b"D" + _name(kind) + _dict({name: getattr(value, name) for name in fields if hasattr(value, name)})
    if kind.__module__.startswith("pathlib") and hasattr(value, "__fspath__"):
        return b"p" + _text(value.__fspath__())
    raise NotCanonical(kind.__qualname__)
