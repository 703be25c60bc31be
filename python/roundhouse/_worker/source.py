"""A service from the text of a Python file: where that comes from there may be no Python (protocol/node.md, `load`)."""

from __future__ import annotations

import linecache
import os
import sys
import types
from typing import Any

from roundhouse._worker.answers import Refused

_LISTED_MAX = 20


def load(source: dict[str, Any], text: bytes, kind: str | None) -> tuple[str, Any]:
    """Runs the file as a module; the kind and the value of what it calls `callable`.

    A syntax error, and whatever its top level raises, is the user's exception."""
    file, name = source["file"], source.get("callable") or ""
    if not isinstance(file, str) or not isinstance(name, str):
        raise Refused("bad_arguments", 'a source is {"file": path, "callable": name}, and the file\'s text')
    module = _run(file, text)
    found: Any = module
    for step in name.split(".") if name else ():
        try:
            found = getattr(found, step)
        except AttributeError:
            raise Refused("bad_arguments", _nothing_called(name, file, module), {"name": name}) from None
    if not name:
        raise Refused("bad_arguments", f"say which function or class of {file} to deploy: {_has(module)}")
    if hasattr(found, "_service") and hasattr(found, "__wrapped__"):
        # What rh.function or rh.cls as a decorator made of it.
        found = found.__wrapped__
    is_what = "class" if isinstance(found, type) else "function" if callable(found) else "object"
    wanted = kind or is_what
    if (wanted == "class") != (is_what == "class") or (wanted == "function" and is_what != "function"):
        raise Refused("bad_arguments", f"{name!r} of {file} is {_a(is_what)}, not {_a(wanted)}", {"name": name})
    if kind is None and is_what == "object":
        raise Refused(
            "bad_arguments", f"{name!r} of {file} is a {type(found).__qualname__}, neither a function nor a class"
        )
    return wanted, found


def _run(file: str, text: bytes) -> types.ModuleType:
    name = module_name(file)
    module = types.ModuleType(name)
    module.__file__ = file
    source = _decoded(text)
    # So that tracebacks show the lines, wherever the file is.
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    code = compile(text, file, "exec", dont_inherit=True)
    folder = os.path.dirname(file)
    if os.path.isabs(folder) and os.path.isdir(folder) and folder not in sys.path:
        # As `python file.py` would find what stands beside it.
        sys.path.insert(0, folder)
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        exec(code, module.__dict__)
    except BaseException:
        if before is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = before
        raise
    return module


def module_name(file: str) -> str:
    """The file's stem; another one where that would hide a module that code counts on."""
    stem = os.path.basename(file).removesuffix(".py") or "source"
    there = sys.modules.get(stem)
    foreign = there is not None and getattr(there, "__file__", None) != file and not _was_source(there)
    taken = stem in sys.stdlib_module_names or stem in ("__main__", "roundhouse") or foreign
    return f"{stem}_file" if taken else stem


def _was_source(module: types.ModuleType) -> bool:
    """Whether it came from a text before, rather than by an import."""
    return getattr(module, "__spec__", None) is None and getattr(module, "__file__", None) in linecache.cache


def _decoded(text: bytes) -> str:
    from importlib.util import decode_source

    try:
        return decode_source(bytes(text))
    except (SyntaxError, UnicodeDecodeError):
        return bytes(text).decode("utf-8", "replace")


def _nothing_called(name: str, file: str, module: types.ModuleType) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, _names(module), 1)
    return f"{file} has no {name!r}: {_has(module)}" + (f". Did you mean {close[0]!r}?" if close else "")


def _names(module: types.ModuleType) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and callable(value) and getattr(value, "__module__", None) == module.__name__
    ]


def _has(module: types.ModuleType) -> str:
    names = _names(module)
    if not names:
        return "it has no function and no class"
    return "it has " + ", ".join(names[:_LISTED_MAX]) + (", ..." if len(names) > _LISTED_MAX else "")


def _a(kind: str) -> str:
    return f"an {kind}" if kind[:1] in "aeiou" else f"a {kind}"
