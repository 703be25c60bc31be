"""The kernel's out-of-memory killer, in a worker and in a process that one started.

The memory is taken from a cgroup that the trial makes around the worker: the kill is the kernel's, whatever the engine
enforces by itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import roundhouse as rh

from . import subjects
from .calls import DEADLINE_SECONDS
from .processes import happens
from .trial import NotPossible, Trial

_LIMIT_BYTES = 96 << 20
_EATEN_BYTES = 256 << 20
_HIERARCHIES = (
    # Folder, its limit's file, the file that counts kills, and how the line of the count begins.
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.oom_control", "oom_kill "),
    (Path("/sys/fs/cgroup"), "memory.max", "memory.events", "oom_kill "),
)


def child_out_of_memory(trial: Trial) -> None:
    _run_out(trial, deep=False)


def grandchild_out_of_memory(trial: Trial) -> None:
    """The worker itself lives on, and its child ends with 0."""
    _run_out(trial, deep=True)


class _Group:
    def __init__(self, folder: Path, limit_file: str, count_file: str, count_line: str) -> None:
        self.folder, self.count_file, self.count_line = folder, folder / count_file, count_line
        folder.mkdir()
        (folder / limit_file).write_text(str(_LIMIT_BYTES))

    def take(self, pid: int) -> None:
        (self.folder / "cgroup.procs").write_text(str(pid))

    def kills(self) -> int:
        lines = self.count_file.read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(self.count_line))

    def processes(self) -> list[int]:
        return [int(pid) for pid in (self.folder / "cgroup.procs").read_text().split()]


@contextmanager
def _group(trial: Trial) -> Iterator[_Group]:
    for root, *files in _HIERARCHIES:
        if not (root / files[0]).exists() and not (root / "cgroup.controllers").exists():
            continue
        if not os.access(root, os.W_OK):
            continue
        group = _Group(root / f"roundhouse-faults-{os.getpid()}-{trial.number}", *files)
        try:
            yield group
        finally:
            # What is still in there must go before it does.
            for pid in group.processes():
                (root / "cgroup.procs").write_text(str(pid))
            group.folder.rmdir()
        return
    raise NotPossible("no cgroup can be made here that limits memory")


def _run_out(trial: Trial, deep: bool) -> None:
    box = trial.lane.box
    eat = rh.function(subjects.eat).to(box, name="eat", replace=True)
    with _group(trial) as group:
        pid = int(box._ask("describe", {"name": "eat"})["pid"])
        group.take(pid)
        neighbours = trial.ask_some(2)
        name = trial.name_call()
        started = time.monotonic()
        trial.caller().write_down(name, lambda: _token(eat, trial, name, deep))
        kills = group.kills()
        trial.note("eaten", kills=kills, worker=pid, seconds=time.monotonic() - started)
        if kills:
            trial.fired(kernel_kills=kills, limit_bytes=_LIMIT_BYTES, worker=pid, in_grandchild=deep)
        else:
            trial.missed("the kernel killed nothing")
        trial.wait_for(neighbours.has_settled, "the end of the neighbours' calls", 20)
        # Those that were told nothing of it, because they are others.
        trial.check(
            happens(lambda: _is_there(eat, trial), 15), "the function that ran out of memory can be called again"
        )


def _token(eat: object, trial: Trial, name: str, deep: bool) -> str:
    token, _ = eat.options(timeout=DEADLINE_SECONDS)(trial.folder, name, _EATEN_BYTES, deep)  # type: ignore[attr-defined]
    return str(token)


def _is_there(eat: object, trial: Trial) -> bool:
    name = trial.name_call()
    try:
        eat.options(timeout=DEADLINE_SECONDS)(trial.folder, name, 1, False, 0.0)  # type: ignore[attr-defined]
    except rh.RoundhouseError:
        return False
    return True
