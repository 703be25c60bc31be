"""Code that the other side cannot import, made to travel by value (cloudpickle), and to come home as itself.

A class that is defined in a script arrives in the worker as a copy. When an instance of the copy (an exception, a
result) comes back, its class must be the script's own, or `except MyError` would not catch it. cloudpickle gives each
class an id, which finds the original in the process that it left; for another run of the same script, which has other
ids, each class and function carries its origin: the script's path and the qualified name there. Either way the original
is used as it stands; cloudpickle alone would overwrite its methods with copies."""

from __future__ import annotations

import io
import os
import sys
import types
import weakref
from contextlib import contextmanager
from contextvars import ContextVar

import cloudpickle.cloudpickle as cloudpickle

from roundhouse import _lines, _raised

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

# Where the copies in this process came from.
_origins: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()
# True while what a node has stored is read: then nothing of ours takes its place.
_copying: ContextVar[bool] = ContextVar("roundhouse-copying", default=False)
# Copies that still wait for their content, by id(); they are alive, because somebody is unpickling them.
_unfilled: set[int] = set()
_nameless = f"{os.getpid()}-{os.urandom(8).hex()}"


def is_copy(obj: Any) -> bool:
    """True for a class or function that came here by value."""
    return obj in _origins


def _home() -> str:
    """What tells this program's `__main__` from others: its file, or nothing but itself for a notebook or `-c`."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if not file or file.startswith("<"):  # Of any program on stdin it is "<stdin>".
        return _nameless
    try:
        return str(os.path.abspath(file))
    except FileNotFoundError:  # Within a folder that was deleted under us.
        return _nameless


@contextmanager
def copying() -> Iterator[None]:
    """Code that is read meanwhile is what was stored, whatever this program has under its name today."""
    token = _copying.set(True)
    try:
        yield
    finally:
        _copying.reset(token)


def _at_home(origin: str, name: str, kind: type) -> Any:
    """The object of that name in our own `__main__`, if that is where it came from."""
    if _copying.get() or origin != _home() or "<" in name:
        return None
    found: Any = sys.modules.get("__main__")
    for piece in name.split("."):
        found = getattr(found, piece, None)
    return found if isinstance(found, kind) else None


def revive_class(make: Callable[..., type], args: tuple[Any, ...], class_id: str, origin: str, name: str) -> type:
    known = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.get(class_id) or _at_home(origin, name, type)
    if known is not None:
        cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.setdefault(class_id, known)
        return known  # type: ignore[no-any-return]
    made = make(*args)
    _origins[made] = origin
    _unfilled.add(id(made))
    return made


def fill_class(made: type, state: Any) -> None:
    if id(made) in _unfilled:
        cloudpickle._class_setstate(made, state)
        _unfilled.discard(id(made))


def revive_function(
    make: Callable[..., Any], args: tuple[Any, ...], origin: str, name: str, lines: _lines.Lines
) -> Any:
    known = _at_home(origin, name, types.FunctionType)
    if known is not None:
        return known
    made = make(*args)
    made.__code__ = _lines.restored(made.__code__, lines)
    _origins[made] = origin
    _unfilled.add(id(made))
    return made


def fill_function(made: Any, state: Any) -> None:
    if id(made) in _unfilled:
        cloudpickle._function_setstate(made, state)
        _unfilled.discard(id(made))


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    # As _raised.reduce takes them.
    alone = False
    bare = False

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, BaseException):
            return _raised.reduce(obj, alone=self.alone, bare=self.bare)
        if isinstance(obj, io.TextIOWrapper) and obj not in (sys.stdout, sys.stderr):
            # cloudpickle would send what is in the file, as another type, without a word.
            raise TypeError(f"cannot pickle the open file {getattr(obj, 'name', '?')!r}")
        reduced = self._reduce_of_program(obj) or super().reducer_override(obj)
        if type(reduced) is not tuple or len(reduced) != 6:
            return reduced
        make, args, state = reduced[:3]
        origin = _origins.get(obj) or _home()
        if isinstance(obj, type):
            class_id = cloudpickle._get_or_create_tracker_id(obj)
            return revive_class, (make, args, class_id, origin, obj.__qualname__), state, None, None, fill_class
        lines = _lines.of(obj.__code__)
        return revive_function, (make, args, origin, obj.__qualname__, lines), state, None, None, fill_function

    def _reduce_of_program(self, obj: Any) -> Any:
        """By value, for what the program's module defines in a process that multiprocessing spawned; else None.

        cloudpickle would have that imported. It is not told so with `register_pickle_by_value`, because other libraries
        use it here as well, between such processes, where those names can be imported."""
        kind = type(obj)
        is_class = issubclass(kind, type)
        # Other objects are not asked for a module: theirs may be a proxy's, or fail.
        if not (is_class or kind is types.FunctionType or kind.__name__ == "TypeVar"):
            return None
        if getattr(obj, "__module__", None) != "__mp_main__":
            return None
        if is_class:
            return cloudpickle._dynamic_class_reduce(obj)
        if kind is types.FunctionType:
            return self._dynamic_function_reduce(obj)
        return cloudpickle._make_typevar, cloudpickle._decompose_typevar(obj)


def dumps(value: Any, protocol: int = 5, buffer_callback: Callable[[Any], Any] | None = None) -> bytes:
    with io.BytesIO() as file:
        Pickler(file, protocol=protocol, buffer_callback=buffer_callback).dump(value)
        return file.getvalue()
