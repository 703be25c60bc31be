"""Values to body parts and back.

A Python body is one pickle (protocol 5) and the large buffers that it refers to, each a part of its own that is never
copied into the pickle. Plain pickle goes first, because it costs a microsecond; cloudpickle (`_by_value`) takes over
where plain pickle fails, and where a name of `__main__` would travel: the other side has another `__main__`. (In the
processes that multiprocessing spawns, the program's own module is called `__mp_main__`.)"""

from __future__ import annotations

from _pickle import PickleBuffer
from _pickle import dumps as _dumps
from _pickle import loads as _loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

# The encodings of protocol/messages.proto.
EMPTY = 0
PICKLE = 1
JSON = 2
MSGPACK = 3

# A body has at most 4096 parts (src/base/limits.h); smaller buffers then stay inside the pickle.
_PARTS_MAX = 1024
_OWN_PART_BYTES_MIN = 4096
# An array that starts at a multiple of this in the received block needs no copy to be aligned.
_ALIGNMENT = 64


def dumps(value: Any) -> list[Any]:
    """The parts of a value. Raises what pickle raises for what cannot travel; `explain` makes it readable."""
    try:
        buffers: list[Any] = []
        data = _dumps(value, 5, buffer_callback=buffers.append)
        # With `in`, Python 3.11 makes an exception first, and drops it. Both names end like this, so that most values,
        # large ones too, are searched once.
        if data.find(b"main__") < 0 or not names_program(data):
            return [data] if not buffers else parts_of(data, buffers, _dumps, value)
    except Exception:
        # Whatever a __reduce__ raised here, cloudpickle meets again if it matters.
        pass
    from roundhouse import _by_value

    buffers = []
    data = _by_value.dumps(value, 5, buffer_callback=buffers.append)
    return parts_of(data, buffers, _by_value.dumps, value)


def names_program(data: bytes) -> bool:
    """True for a pickle that may name something of the program's own module, whose text is in it as it stands."""
    return b"__main__" in data or b"__mp_main__" in data


def parts_of(data: bytes, buffers: list[Any], dump: Callable[..., bytes], value: Any) -> list[Any]:
    if len(buffers) > _PARTS_MAX:
        buffers = []

        def keep_inside(buffer: PickleBuffer) -> bool:
            if len(buffers) >= _PARTS_MAX or buffer.raw().nbytes < _OWN_PART_BYTES_MIN:
                return True
            buffers.append(buffer)
            return False

        data = dump(value, 5, buffer_callback=keep_inside)
    if buffers:
        # Whatever stands behind a pickle's end is ignored.
        data += bytes(-len(data) % _ALIGNMENT)
    return [data, *buffers]


def loads(parts: Sequence[Any]) -> Any:
    """The value of a PICKLE body."""
    return _loads(parts[0]) if len(parts) == 1 else _loads(parts[0], buffers=parts[1:])


def encode_call(encoding: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """The body of a call in the encoding that its service speaks."""
    if encoding == PICKLE:
        return dumps((args, kwargs))
    return encode(encoding, [list(args), kwargs])


def decode_call(encoding: int, parts: Sequence[Any]) -> tuple[Sequence[Any], dict[str, Any]]:
    """The inverse; ValueError where the body is not [arguments, keyword arguments]."""
    if encoding == EMPTY or not parts:
        return (), {}
    call = decode(encoding, parts)
    if (
        not isinstance(call, (tuple, list))
        or len(call) != 2
        or not isinstance(call[0], (tuple, list))
        or not isinstance(call[1], dict)
    ):
        raise ValueError("the body of a call is [arguments, keyword arguments]")
    return call[0], call[1]


def encode(encoding: int, value: Any) -> list[Any]:
    if encoding == PICKLE:
        return dumps(value)
    if encoding == MSGPACK:
        from roundhouse import _msgpack

        return _msgpack.encode(value)
    from roundhouse import _json

    return [_json.encode(value)]


def decode(encoding: int, parts: Sequence[Any]) -> Any:
    if encoding == EMPTY or not parts:
        return None
    if encoding == PICKLE:
        return loads(parts)
    if encoding == MSGPACK:
        from roundhouse import _msgpack

        return _msgpack.decode(parts)
    from roundhouse import _json

    return _json.decode(parts[0])
