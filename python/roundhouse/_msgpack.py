"""MessagePack, for services in other languages: one value, and arrays as parts of their own.

An array is ext type 1 holding [dtype, shape, elements]: the index of the part that has them, or the bytes themselves
where they are few. The dtype is NumPy's spelling ("<f4"). Each part of elements has one of zeros before it, so that it
begins where any number may stand (protocol/wire.md)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import msgpack

from roundhouse.exceptions import NotSerializable

_ARRAY = 1
_INLINE_BYTES_MAX = 1024
_ALIGNMENT = 64


def encode(value: Any) -> list[Any]:
    """The parts of a value. Raises NotSerializable for what MessagePack has no form for."""
    buffers: list[Any] = []

    def other(item: Any) -> Any:
        numpy = sys.modules.get("numpy")
        if numpy is not None:
            if isinstance(item, numpy.ndarray) and item.dtype.kind in "biufc":
                return _array(numpy, item, buffers)
            if isinstance(item, numpy.generic):
                return item.item()
        if isinstance(item, (set, frozenset)):
            return list(item)
        fields = getattr(type(item), "__dataclass_fields__", None)
        if fields is not None:
            return {name: getattr(item, name) for name in fields}
        datetime = sys.modules.get("datetime")
        if datetime is not None and isinstance(item, datetime.timedelta):
            return item.total_seconds()
        kind = f"{type(item).__module__}.{type(item).__qualname__}"
        raise NotSerializable(
            f"a {kind} cannot be sent to a service in another language. "
            "Try: numbers, text, bytes, lists, dicts, dataclasses and NumPy arrays",
            type=kind,
        )

    try:
        packed = msgpack.packb(value, default=other)
    except (OverflowError, ValueError, TypeError) as error:
        if isinstance(error, NotSerializable):
            raise
        raise NotSerializable(f"cannot be sent to a service in another language: {error}") from None
    parts: list[Any] = [packed]
    at = len(packed)
    for buffer in buffers:
        padding = bytes(-at % _ALIGNMENT)
        parts += (padding, buffer)
        at += len(padding) + len(buffer)
    return parts


def _array(numpy: Any, item: Any, buffers: list[Any]) -> Any:
    # Masked arrays and matrices are sent as the plain arrays that they hold.
    array = numpy.asarray(item, order="C")
    if array.dtype.str[0] == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    if array.nbytes <= _INLINE_BYTES_MAX:
        elements: Any = array.tobytes()
    else:
        buffers.append(memoryview(array.reshape(-1)).cast("B"))
        elements = 2 * len(buffers)
    return msgpack.ExtType(_ARRAY, msgpack.packb([array.dtype.str, list(array.shape), elements]))


def decode(parts: Sequence[Any]) -> Any:
    """The value; arrays share memory with their parts, and are memoryviews where NumPy is not installed."""

    def extension(code: int, content: bytes) -> Any:
        if code != _ARRAY:
            return msgpack.ExtType(code, content)
        dtype, shape, elements = msgpack.unpackb(content)
        part = bytearray(elements) if isinstance(elements, bytes) else parts[elements]
        try:
            import numpy
        except ImportError:
            return _view(part, dtype, shape)
        return numpy.frombuffer(part, dtype=dtype).reshape(shape)

    return msgpack.unpackb(parts[0], ext_hook=extension, strict_map_key=False)


# The letters of `struct` for the dtypes that it has.
_LETTERS = {
    "b1": "?",
    "i1": "b",
    "u1": "B",
    "i2": "h",
    "u2": "H",
    "i4": "i",
    "u4": "I",
    "i8": "q",
    "u8": "Q",
    "f4": "f",
    "f8": "d",
}


def _view(part: Any, dtype: str, shape: list[int]) -> memoryview:
    view = memoryview(part).cast("B")
    letter = _LETTERS.get(dtype[1:])
    if letter is None or not shape or not view.nbytes:
        return view
    return view.cast(letter, shape)  # type: ignore[call-overload,no-any-return]
