"""What tells one version of a function or class from another: a digest of what the interpreter would run.

It covers the code itself, what it refers to by name, and what that refers to, as far as it is the user's own. It does
not change when code only moves to another line or file. Code of installed packages counts by its name."""

from __future__ import annotations

import os
import sys
from _blake2 import blake2b
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType

from roundhouse import _canonical

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Kept in journals: another way to compute it gets another name, and digests of different names are not compared.
_SCHEME = f"py1-{sys.version_info.major}.{sys.version_info.minor}"
_STDLIB = os.path.dirname(os.__file__) + os.sep
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_NOT_CODE = frozenset(
    ("__dict__", "__weakref__", "__module__", "__qualname__", "__firstlineno__", "__static_attributes__", "__doc__")
)


_CONSTANTS = (type(None), bool, int, float, complex, str, bytes, frozenset)


def digest_of(target: Any) -> str:
    """The digest of a function or class; "" where there is none, and code is not compared."""
    digest = _Digest()
    try:
        digest.feed(target)
    except Exception:
        # Whatever the user's objects do when they are looked at: the code can be sent all the same.
        return ""
    return f"{_SCHEME}:{digest.hash.hexdigest()}"


def is_own(module_name: str | None) -> bool:
    """Whether a module is the user's: no part of Python, of an installed package, or of ours."""
    module = sys.modules.get(module_name or "")
    if module is None or module_name in ("__main__", "__mp_main__"):
        return module is not None
    file = getattr(module, "__file__", None)
    if not file or module_name == "roundhouse" or str(module_name).startswith("roundhouse."):
        return False
    return not is_installed(file)


def file_of(module: object) -> str:
    """A module's file; empty where it has none."""
    # Not by getattr(), which may ask whatever a module makes of that.
    file = getattr(module, "__dict__", {}).get("__file__")
    return file if isinstance(file, str) else ""


def is_in(file: str, folder: str) -> bool:
    """Whether it is that folder, or beneath it."""
    return file == folder or file.startswith(folder + os.sep)


def is_of_environment(file: str) -> bool:
    """Whether it is in this Python's virtual environment, which may stand beneath a project."""
    return sys.prefix != sys.base_prefix and is_in(file, sys.prefix)


def is_installed(file: str) -> bool:
    """Whether that is a part of Python or of a package that was installed, rather than the user's."""
    return file.startswith((_STDLIB, "<frozen ")) or any(part in file for part in _INSTALLED)


def _wrapped(value: Any) -> Any:
    # Not by getattr(), which may ask whatever a user's object stands for.
    try:
        return object.__getattribute__(value, "__dict__").get("__wrapped__")
    except AttributeError:
        return None


class _Digest:
    def __init__(self) -> None:
        self.hash = blake2b(digest_size=16)
        self._seen: dict[int, int] = {}
        # So that no id is used twice while it counts.
        self._kept: list[Any] = []

    def feed(self, value: Any) -> None:
        if isinstance(value, (FunctionType, type, CodeType)):
            seen = self._seen.get(id(value))
            if seen is not None:
                return self._text(f"seen {seen}")
            self._seen[id(value)] = len(self._seen)
            self._kept.append(value)
        if isinstance(value, CodeType):
            return self._code(value)
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, (staticmethod, classmethod)):
            self._text(type(value).__name__)
            return self.feed(value.__func__)
        if isinstance(value, property):
            self._text("property")
            for part in (value.fget, value.fset, value.fdel):
                self.feed(part)
            return None
        if type(value) is partial:
            self._text("partial")
            self.feed(value.args)
            self.feed(tuple(sorted(value.keywords.items())))
            return self.feed(value.func)
        wrapped = _wrapped(value)
        if wrapped is not None:
            self._text(type(value).__qualname__)
            return self.feed(wrapped)
        return self._plain(value)

    def _text(self, text: str) -> None:
        data = text.encode("utf-8", "surrogatepass")
        self.hash.update(b"%d:" % len(data) + data)

    def _plain(self, value: Any) -> None:
        if type(value) is tuple:
            self._text(f"tuple {len(value)}")
            for item in value:
                self.feed(item)
            return
        if isinstance(value, BuiltinFunctionType):
            self._text(f"{value.__module__}.{value.__qualname__}")
        elif isinstance(value, _CONSTANTS):
            self.hash.update(_canonical.encode(value))
        else:
            # Data, which may change while the code does not: what it is counts, not what is in it.
            self._text(type(value).__qualname__)

    def _code(self, code: CodeType) -> None:
        self._text("code")
        self.hash.update(code.co_code)
        self.hash.update(getattr(code, "co_exceptiontable", b""))
        self._text(repr((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)))
        self._text(repr((code.co_flags, code.co_argcount, code.co_kwonlyargcount, code.co_posonlyargcount)))
        for constant in code.co_consts:
            self.feed(constant)

    def _function(self, function: FunctionType) -> None:
        self._text(f"function {function.__name__}")
        self._code(function.__code__)
        self.feed(function.__defaults__ or ())
        self.feed(tuple(sorted((function.__kwdefaults__ or {}).items())))
        for cell in function.__closure__ or ():
            try:
                self.feed(cell.cell_contents)
            except ValueError:  # Nothing is in it yet.
                self._text("empty")
        if not is_own(function.__module__):
            return
        names = _names_in(function.__code__)
        for name in names:
            if name in function.__globals__:
                self._text(name)
                self._global(function.__globals__[name], names)

    def _global(self, value: Any, names: list[str]) -> None:
        if not isinstance(value, ModuleType):
            if isinstance(value, (FunctionType, type)) and not is_own(value.__module__):
                return self._text(f"{value.__module__}.{value.__qualname__}")
            return self.feed(value)
        self._text(f"module {value.__name__}")
        if is_own(value.__name__):
            # Of a module of the user's own, what the code may take from it.
            for name in names:
                found = vars(value).get(name)
                if isinstance(found, (FunctionType, type)) and is_own(found.__module__):
                    self.feed(found)
        return None

    def _class(self, kind: type) -> None:
        self._text(f"class {kind.__qualname__}")
        if not is_own(kind.__module__):
            return self._text(kind.__module__)
        for base in kind.__bases__:
            self.feed(base)
        for name, value in sorted(vars(kind).items()):
            if name not in _NOT_CODE:
                self._text(name)
                self._global(value, [])
        return None


def _names_in(code: CodeType) -> list[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names.update(_names_in(constant))
    return sorted(names)
