"""JSON for requests to the node, without `import json`: that costs a starting worker as much as the interpreter itself,
nearly all of it for regular expressions that the C scanner and encoder never use."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

try:
    import _json
except ImportError:  # An interpreter without the C accelerator.
    import json

    def encode(value: Any) -> bytes:
        return json.dumps(value, separators=(",", ":")).encode()

    def decode(text: bytes | bytearray | memoryview) -> Any:
        return json.loads(bytes(text))

else:

    class _Rules:
        """What `json.JSONDecoder` would be asked."""

        strict = True
        object_hook = None
        object_pairs_hook = None
        parse_float = float
        parse_int = int
        parse_constant = float  # "NaN", "Infinity" and "-Infinity" are what float() calls them too.

    def _refuse(value: Any) -> Any:
        raise TypeError(f"JSON has no {type(value).__name__}: give it numbers, text, lists and dicts")

    _scan = _json.make_scanner(_Rules)  # type: ignore[arg-type]

    def encode(value: Any) -> bytes:
        """The value as one line of UTF-8 JSON."""
        # Markers (the first argument) make a value that contains itself a ValueError instead of a crash.
        write = _json.make_encoder({}, _refuse, _json.encode_basestring_ascii, None, ":", ",", False, False, True)
        if isinstance(value, (str, float)) or not isinstance(value, (dict, list, tuple)):
            # The C encoder starts with containers only.
            return b"".join(piece.encode() for piece in write([value], 0))[1:-1]
        return "".join(write(value, 0)).encode()

    def decode(text: bytes | bytearray | memoryview) -> Any:
        """The value of one JSON text; ValueError where it is not one."""
        string = str(text, "utf-8").strip(" \t\r\n")
        try:
            value, end = _scan(string, 0)
        except (StopIteration, SystemError):
            # The scanner counts on the package for its errors.
            import json

            return json.loads(string)
        if end != len(string):
            raise ValueError(f"not JSON, at character {end}")
        return value
