"""The environments that images are made of: virtual environments of this machine, each known by what went into it.

One is built in the folder where it stays, because such environments cannot be moved, under a lock that dies with its
builder; it is whole when the file `.complete` is in it, and what is found without that is removed. A longer image
begins with a copy of a shorter one."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import time
from contextlib import asynccontextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

# Those that no node uses are collected when they are more, or when nobody has used them for so long.
_KEPT_MAX = 20
_KEPT_SECONDS = 30 * 24 * 3600.0
_LOCK_AGAIN_SECONDS = 0.05
_COMPLETE = ".complete"


def root_of(state_folder: str) -> str:
    """Where environments stand on the machine of the node with that folder: beside all of its clusters."""
    return os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(state_folder))), "environments")


def is_complete(folder: str) -> bool:
    return os.path.exists(os.path.join(folder, _COMPLETE))


def complete(folder: str) -> None:
    """From now on it is one that others take as it is."""
    with open(os.path.join(folder, _COMPLETE), "w", encoding="ascii") as file:
        os.fsync(file.fileno())


def used(folder: str) -> None:
    os.utime(os.path.join(folder, _COMPLETE))


@asynccontextmanager
async def alone_with(folder: str) -> AsyncIterator[None]:
    """Nobody else builds, changes or removes that environment meanwhile: no task, no process."""
    os.makedirs(os.path.dirname(folder), mode=0o700, exist_ok=True)
    path = folder + ".lock"
    told = False
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            if not told:
                print("another process builds this environment: waiting for it")
                told = True
            await asyncio.sleep(_LOCK_AGAIN_SECONDS)
            continue
        if _is_at(file, path):
            break
        # It was removed while we waited, and somebody may hold its successor.
        os.close(file)
    try:
        yield
    finally:
        os.close(file)


def _is_at(file: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def copy_of(shorter: str, folder: str) -> None:
    """Begins an environment with what another has. Its files are links: installers replace files, and do not change
    them. What has the old place in its text, the programs in bin, gets the new one."""
    shutil.copytree(
        shorter, folder, symlinks=True, copy_function=os.link, ignore=lambda _, names: {_COMPLETE} & {*names}
    )
    programs = os.path.join(folder, "bin")
    for entry in [*os.scandir(programs), os.path.join(folder, "pyvenv.cfg")]:
        path = entry if isinstance(entry, str) else entry.path
        if os.path.islink(path) or not os.path.isfile(path):
            continue
        with open(path, "rb") as file:
            text = file.read()
        if shorter.encode() in text and b"\0" not in text:
            mode = os.stat(path).st_mode
            os.unlink(path)
            with open(path, "wb") as file:
                file.write(text.replace(shorter.encode(), folder.encode()))
            os.chmod(path, mode)


def put_above(site: str, below: Iterable[str]) -> None:
    """What is installed where an interpreter with the path `below` looks is found as well, behind what is installed in
    `site`, and is never written to."""
    with open(os.path.join(site, "roundhouse-below.pth"), "w", encoding="utf-8") as file:
        for path in below:
            if os.path.basename(path) in ("site-packages", "dist-packages"):
                file.write(f"import site; site.addsitedir({path!r})\n")


def borrow_pip(folder: str) -> None:
    """`pip` is that of the environment below, and installs into this one."""
    for name in ("pip", "pip3"):
        path = os.path.join(folder, "bin", name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(f'#!/bin/sh\nexec "{folder}/bin/python" -m pip "$@"\n')
        os.chmod(path, 0o755)


def remove(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def collect(root: str, in_use: Iterable[str], kept_max: int = _KEPT_MAX, kept_seconds: float = _KEPT_SECONDS) -> None:
    """Removes the environments under `root` that nobody has used for long, or that are too many; never one that a node
    uses or that is being built."""
    spared = {*in_use}
    oldest_last = []
    for name in {entry.removesuffix(".lock") for entry in os.listdir(root)} - spared:
        folder = os.path.join(root, name)
        try:
            oldest_last.append((os.stat(os.path.join(folder, _COMPLETE)).st_mtime, folder))
        except FileNotFoundError:
            # Being built, or left behind by a builder that was killed.
            oldest_last.append((0.0, folder))
    oldest_last.sort(reverse=True)
    for number, (last_used, folder) in enumerate(oldest_last):
        if number >= kept_max or last_used < time.time() - kept_seconds:
            _collect_one(folder)


def _collect_one(folder: str) -> None:
    path = folder + ".lock"
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_at(file, path):
            remove(folder)
            os.unlink(path)
    except BlockingIOError:
        pass
    finally:
        os.close(file)
