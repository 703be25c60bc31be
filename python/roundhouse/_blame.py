"""Which part of a value cannot travel: pickle says only that something, somewhere, could not be pickled."""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from roundhouse import _serialize
from roundhouse.exceptions import NotSerializable

_DEPTH_MAX = 12
_CHILDREN_MAX = 1000

_ADVICE: dict[str, str] = {
    "_thread.lock": "make the lock where it is used: in the function, or in the constructor of the remote class",
    "_thread.RLock": "make the lock where it is used: in the function, or in the constructor of the remote class",
    "_io.TextIOWrapper": "pass the file's path, or what it contains",
    "_io.BufferedReader": "pass the file's path, or what it contains",
    "_io.BufferedWriter": "pass the file's path, or what it contains",
    "builtins.generator": "pass a list of its items",
    "builtins.coroutine": "pass the function and its arguments, and await it there",
    "socket.socket": "pass the address, and connect there",
    "sqlite3.Connection": "pass the file's path, and connect there",
}


def not_serializable(what: str, value: Any, error: BaseException) -> NotSerializable:
    """The exception to raise when `value`, which the message calls `what`, could not be pickled."""
    path, culprit, reason = _find(what, value, error)
    if isinstance(reason, NotSerializable):  # Something of ours, which says itself what to do.
        return NotSerializable(f"cannot send {path}: {reason.message}", path=path)
    return _describe(path, culprit, reason)


def call_not_serializable(
    args: Sequence[Any], kwargs: dict[str, Any], names: Sequence[str], error: BaseException
) -> NotSerializable:
    """The same for a call; `names` are those of its positional parameters, where they are known."""
    for position, value in enumerate(args):
        name = repr(names[position]) if position < len(names) else str(position + 1)
        reason = _failure(value)
        if reason is not None:
            return not_serializable(f"argument {name}", value, reason)
    for key, value in kwargs.items():
        reason = _failure(value)
        if reason is not None:
            return not_serializable(f"argument {key!r}", value, reason)
    return NotSerializable(f"the arguments cannot be pickled together: {_words(error)}", path="arguments")


def _describe(path: str, culprit: Any, reason: BaseException) -> NotSerializable:
    kind = f"{type(culprit).__module__}.{type(culprit).__qualname__}"
    advice = _ADVICE.get(
        kind, "make it where it is used, or tell pickle how to copy it with __getstate__ or __reduce__ in its class"
    )
    kind = kind.removeprefix("builtins.")
    return NotSerializable(f"cannot send {path} of type {kind}: {_words(reason)}. Try: {advice}", path=path, type=kind)


def _words(error: BaseException) -> str:
    return str(error).strip().rstrip(".") or type(error).__name__


def _failure(value: Any) -> BaseException | None:
    try:
        _serialize.dumps(value)
    except Exception as error:
        return error
    return None


def _find(path: str, value: Any, error: BaseException) -> tuple[str, Any, BaseException]:
    seen: set[int] = set()
    for _ in range(_DEPTH_MAX):
        seen.add(id(value))
        if isinstance(error, NotSerializable) and not isinstance(value, (dict, list, tuple, set, frozenset)):
            break
        for child_path, child in _children(path, value):
            if id(child) in seen:
                continue
            reason = _failure(child)
            if reason is not None:
                path, value, error = child_path, child, reason
                break
        else:
            break
    return path, value, error


def _children(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What the value is made of, as far as pickle would look, each with the expression that reaches it."""
    if isinstance(value, dict):
        for key, item in list(value.items())[:_CHILDREN_MAX]:
            yield f"{path}[{key!r}]", item
            yield f"key {key!r} of {path}", key
    elif isinstance(value, (list, tuple)):
        for position, item in enumerate(value[:_CHILDREN_MAX]):
            yield f"{path}[{position}]", item
    elif isinstance(value, (set, frozenset)):
        for item in list(value)[:_CHILDREN_MAX]:
            yield f"an element of {path}", item
    elif isinstance(value, functools.partial):
        yield f"{path}.func", value.func
        yield f"{path}.args", value.args
        yield f"{path}.keywords", value.keywords
    elif isinstance(value, types.MethodType):
        yield f"{path}.__self__", value.__self__
    elif isinstance(value, types.FunctionType):
        yield from _function_children(path, value)
    elif isinstance(value, type):
        for name, item in vars(value).items():
            if name not in ("__dict__", "__weakref__", "__doc__"):
                yield f"{path}.{name}", item.__func__ if isinstance(item, (staticmethod, classmethod)) else item
    elif not isinstance(value, types.ModuleType):
        for name, item in _attributes(value):
            yield f"{path}.{name}", item


def _function_children(path: str, function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    by_value = function.__module__ in ("__main__", "__mp_main__") or "<" in function.__qualname__
    if function.__module__ in sys.modules and not by_value:
        return  # Travels by reference: nothing of it is looked at.
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield f"variable {name!r} that {path} uses", cell.cell_contents
        except ValueError:
            continue
    for name in _names_in(function.__code__):
        if name in function.__globals__:
            yield f"global {name!r} that {path} uses", function.__globals__[name]
    for position, item in enumerate(function.__defaults__ or ()):
        yield f"default {position + 1} of {path}", item


def _names_in(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_in(constant)


def _attributes(value: Any) -> list[tuple[str, Any]]:
    get_state: Callable[[Any], Any] | None = getattr(type(value), "__getstate__", None)
    if get_state is not None and get_state is not getattr(object, "__getstate__", None):
        try:
            state = get_state(value)
        except Exception:
            return []
        return list(state.items()) if isinstance(state, dict) else [("__getstate__()", state)]
    found = list(getattr(value, "__dict__", {}).items())
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name):
                found.append((name, getattr(value, name)))
    return found
