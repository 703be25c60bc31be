"""What travels of the code that something belongs to: its project, or where there is none the local modules beside it.

The node makes an immutable snapshot of it, and what lies beneath the project's root on our `sys.path` is imported from
there (`_worker/snapshots.py`)."""

from __future__ import annotations

import os
import sys
from functools import partial
from time import monotonic

from roundhouse import _engine
from roundhouse._code_digest import file_of, is_in, is_installed, is_of_environment, is_own

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from roundhouse._link import Link

_PROGRAM = ("__main__", "__mp_main__")
# Before that nobody wonders what is going on.
_SHOWN_AFTER_S = 0.5


def send(link: Link, target: Any, sys_path: list[str]) -> dict[str, Any] | None:
    """Sends what the node lacks of the target's code. What the worker is to be told of it; None where there is none.

    `sys_path` gets those folders that modules were imported from without being on it, as editable installs do."""
    module, file = _origin(target)
    if file is None:
        return None
    root = _engine.project_root(file)
    if root:
        files = []
        real_root = os.path.realpath(root)
        for name, loaded in _loaded():
            if is_in(loaded, root):
                # Whatever a link leads to is not the project's, unless it is found there anyway.
                if os.path.realpath(loaded) == real_root + loaded[len(root) :]:
                    files.append(os.path.relpath(loaded, root))
                folder = _import_folder(name, loaded)
                if folder is not None and folder not in sys_path:
                    sys_path.append(folder)
        return _sent(link, root, files, None)
    folder = _import_folder(module, file) if module not in _PROGRAM else None
    root = folder or (file if os.path.isdir(file) else os.path.dirname(file))
    loose = [os.path.relpath(loaded, root) for name, loaded in _loaded() if _import_folder(name, loaded) == root]
    return _sent(link, root, [], loose) if loose else None


def _origin(target: Any) -> tuple[str, str | None]:
    """The module that it belongs to, and its file; the current folder for what has none, as in a notebook."""
    while isinstance(target, partial):
        target = target.func
    module = getattr(target, "__module__", None)
    if not isinstance(module, str) or not (isinstance(target, type) or hasattr(target, "__qualname__")):
        module = type(target).__module__
    if module in _PROGRAM:
        file = getattr(sys.modules.get("__main__"), "__file__", None)
        try:
            if not file or file.startswith("<"):
                return module, os.getcwd()
            file = os.path.abspath(file)
            # What runs may be pytest or the like, which is nobody's project.
            return module, os.getcwd() if is_installed(file) or is_of_environment(file) else file
        except FileNotFoundError:  # Within a folder that was deleted under us.
            return module, None
    return module, _file_of(module) if is_own(module) else None


def _file_of(name: str) -> str | None:
    file = file_of(sys.modules.get(name))
    return file if file.endswith((".py", ".so")) and os.path.isabs(file) else None


def _loaded() -> Iterator[tuple[str, str]]:
    """The user's own modules that are imported, with their files."""
    for name in list(sys.modules):
        if name not in _PROGRAM and is_own(name):
            file = _file_of(name)
            if file is not None and not is_of_environment(file) and os.path.isfile(file):
                yield name, file


def _import_folder(name: str, file: str) -> str | None:
    """The folder that had to be searched for a module of that name to be this file."""
    steps = name.split(".")
    stem, _, _ = os.path.basename(file).partition(".")
    found = [*os.path.dirname(file).split(os.sep), *([] if stem == "__init__" else [stem])]
    return os.sep.join(found[: -len(steps)]) or os.sep if found[-len(steps) :] == steps else None


def _sent(link: Link, root: str, also: list[str], files: list[str] | None) -> dict[str, Any]:
    progress = _Progress(root)
    try:
        snapshot, _, _, count, sent, left_out, more = link.send_code(root, also, files, progress)
    except BaseException:
        progress.end("")
        raise
    progress.end(f"sent {_files(count)} ({_size(sent)}) of {root}")
    if left_out:
        from warnings import warn

        path, why = left_out[0]
        others = len(left_out) - 1 + more
        warn(
            f"{path} of {root} is not sent: {why}" + (f", and {others} more are not" if others else ""),
            RuntimeWarning,
            stacklevel=5,
        )
    told: dict[str, Any] = {"id": snapshot, "root": root}
    if files is not None:
        told["loose"] = True
    return told


class _Progress:
    """One line that says what is going on, where somebody looks on, once it has taken a moment."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._began = monotonic()
        self._shown = ""

    def __call__(self, sending: bool, files: int, files_all: int, done: int, all_bytes: int) -> None:
        if monotonic() - self._began < _SHOWN_AFTER_S:
            return
        doing = "sending" if sending else "reading"
        self._show(f"{doing} {self._root}: {files} of {_files(files_all)}, {_size(done)} of {_size(all_bytes)}")

    def end(self, text: str) -> None:
        if self._shown:
            self._show(text)
            self._write("\n" if text else "\r")

    def _show(self, text: str) -> None:
        if _is_watched():
            self._write("\r" + text.ljust(len(self._shown)))
            self._shown = text

    @staticmethod
    def _write(text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError):  # A terminal that is gone is no reason to stop.
            pass


def _is_watched() -> bool:
    stream = sys.stderr
    if stream is None:
        return False
    try:
        return stream.isatty() or type(stream).__module__.startswith("ipykernel")
    except (AttributeError, ValueError):
        return False


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count:,} files"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
