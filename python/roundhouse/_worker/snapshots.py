"""Code that was synced: imported from its snapshot, which never changes, and told of as it is called at home."""

from __future__ import annotations

import os
import sys

from roundhouse._code_digest import file_of, is_in, is_of_environment, is_own

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# By their paths here: where each was at home.
_roots: dict[str, str] = {}
# Where we ourselves run. What has synced us as a part of its project still gets these.
_OURS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_CAUSES_MAX = 32


def enter(snapshot: dict[str, Any], sys_path: list[str]) -> None:
    """From now on what lies beneath the snapshot's root on that path is imported from the snapshot.

    What was imported from another snapshot of that root is imported anew when it is asked for. What lives here keeps
    what it has."""
    path, root = snapshot["path"], snapshot["root"]
    new = []
    for entry in sys_path:
        here = _here(entry, path, root)
        if here != entry:
            new.append(here)
        if here == entry or snapshot.get("loose"):
            # Of loose files only those that were imported at home are in the snapshot.
            new.append(entry)
    others = [other for other, its_root in _roots.items() if its_root != root]
    new += [entry for entry in sys.path if _owner(entry, others) and entry not in new]
    sys.path[:] = new
    _forget_modules(path, root, [entry for entry in new if is_in(entry, path)], others)
    _roots[path] = root


def _here(entry: str, path: str, root: str) -> str:
    if not is_in(entry, root) or entry == _OURS or is_of_environment(entry):
        return entry
    here = path + entry[len(root) :]
    return here if os.path.isdir(here) else entry


def _owner(file: str, paths: list[str]) -> bool:
    return any(is_in(file, path) for path in paths)


def _forget_modules(path: str, root: str, folders: list[str], others: list[str]) -> None:
    """Those that the new code has a newer version of, or another of the same name."""
    before = [root, *(known for known, its_root in _roots.items() if its_root == root and known != path)]
    for name, module in list(sys.modules.items()):
        file = file_of(module)
        if not file or is_in(file, path) or not is_own(name):
            continue
        top = name.partition(".")[0]
        stale = _owner(file, before) and not is_of_environment(file)
        if stale or (_owner(file, others) and _has(folders, top)):
            del sys.modules[name]
    import importlib

    importlib.invalidate_caches()


def _has(folders: list[str], top: str) -> bool:
    return any(os.path.isdir(f"{folder}/{top}") or os.path.isfile(f"{folder}/{top}.py") for folder in folders)


def is_from_one(target: Any) -> bool:
    """Whether a function or class was imported from a snapshot."""
    module = sys.modules.get(getattr(target, "__module__", None) or "")
    return _owner(file_of(module), list(_roots))


def of_here(file: str) -> str:
    """Where a file of the deployer's is here."""
    for path, root in _roots.items():
        if is_in(file, root) and os.path.exists(path + file[len(root) :]):
            return path + file[len(root) :]
    return file


def at_home(text: str) -> str:
    """The same with the names that files have at home."""
    for path, root in _roots.items():
        text = text.replace(path + "/", root + "/")
    return text


def tell_home(error: BaseException) -> None:
    """The files that a failed import names, in it and in what it came from."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen and len(seen) < _CAUSES_MAX:
        seen.add(id(current))
        if isinstance(current, SyntaxError) and isinstance(current.filename, str):
            current.filename = at_home(current.filename)
            message, *place = current.args
            if place and isinstance(place[0], tuple) and place[0] and isinstance(place[0][0], str):
                current.args = (message, (at_home(place[0][0]), *place[0][1:]), *place[1:])
        elif isinstance(current, ImportError):
            current.args = tuple(at_home(arg) if isinstance(arg, str) else arg for arg in current.args)
            current.path = at_home(current.path) if isinstance(current.path, str) else current.path
            current.msg = at_home(current.msg) if isinstance(current.msg, str) else current.msg
        current = current.__cause__ or current.__context__
