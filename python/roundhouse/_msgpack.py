"""MessagePack, for services in other languages: one value, and arrays as parts of their own.

An array is ext type 1 holding [dtype, shape, index of its part]; the dtype is NumPy's spelling ("<f4")."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import msgpack

from roundhouse.exceptions import NotSerializable

_ARRAY = 1


def encode(value: Any) -> list[Any]:
    """The parts of a value. Raises NotSerializable for what MessagePack has no form for."""
    buffers: list[Any] = []

    def other(item: Any) -> Any:
        numpy = sys.modules.get("numpy")
        if numpy is not None:
            if isinstance(item, numpy.ndarray) and item.dtype.kind in "biufc":
                array = numpy.ascontiguousarray(item)
                buffers.append(memoryview(array.reshape(-1)).cast("B") if array.size else b"")
                head = [array.dtype.str, list(array.shape), len(buffers)]
                return msgpack.ExtType(_ARRAY, msgpack.packb(head))
            if isinstance(item, numpy.generic):
                return item.item()
        if isinstance(item, (set, frozenset)):
            return list(item)
        kind = f"{type(item).__module__}.{type(item).__qualname__}"
        raise NotSerializable(
            f"a {kind} cannot be sent to a service in another language. "
            "Try: numbers, text, bytes, lists, dicts and NumPy arrays",
            type=kind,
        )

    try:
        packed = msgpack.packb(value, default=other)
    except (OverflowError, ValueError, TypeError) as error:
        if isinstance(error, NotSerializable):
            raise
        raise NotSerializable(f"cannot be sent to a service in another language: {error}") from None
    return [packed, *buffers]


def decode(parts: Sequence[Any]) -> Any:
    """The value; arrays share memory with their parts, and are memoryviews where NumPy is not installed."""

    def extension(code: int, content: bytes) -> Any:
        if code != _ARRAY:
            return msgpack.ExtType(code, content)
        dtype, shape, index = msgpack.unpackb(content)
        part = parts[index]
        try:
            import numpy
        except ImportError:
            return memoryview(part)
        return numpy.frombuffer(part, dtype=dtype).reshape(shape)

    return msgpack.unpackb(parts[0], ext_hook=extension, strict_map_key=False)
