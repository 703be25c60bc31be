"""The kernel's out-of-memory killer, in a worker and in a process that one started.

Where the engine enforces what a worker was promised, it is the engine's limit that is passed. Otherwise the trial makes
a cgroup around the worker, and a kill in it is any other SIGKILL to the engine.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import roundhouse as rh

from . import ledger, subjects
from .calls import DEADLINE_SECONDS
from .processes import happens, is_alive
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
    enforcer = trial.lane.status()["resources"].get("memory_enforced_by", "nobody")
    if enforcer == "nobody":
        with _group(trial) as group:
            eat = rh.function(subjects.eat).to(trial.lane.box, name="eat", replace=True)
            group.take(_worker_of(trial))
            _eat(trial, eat, deep)
            trial.note("the kernel's count", kills=group.kills())
    else:
        eat = rh.function(subjects.eat).to(trial.lane.box, name="eat", replace=True, memory=_LIMIT_BYTES)
        told = _eat(trial, eat, deep)
        trial.check(told == "OutOfMemory", f"what {enforcer} enforces is told as OutOfMemory, not as {told}")
    # Unlimited again, for whoever comes next.
    trial.lane.box.delete("eat")


def _worker_of(trial: Trial) -> int:
    return int(trial.lane.box._ask("describe", {"name": "eat"})["pid"])


def _eat(trial: Trial, eat: Any, deep: bool) -> str:
    """What the caller was told of it. Code that outlives its grandchild may return, and then it is told on stderr."""
    worker = _worker_of(trial)
    neighbours = trial.ask_some(2)
    name = trial.name_call()
    asked = eat.options(timeout=DEADLINE_SECONDS)
    printed: list[str] = []

    def ask() -> str:
        pending = asked.submit(trial.folder, name, _EATEN_BYTES, deep)
        try:
            return str(pending.result()[0])
        finally:
            printed.append(pending.logs)

    trial.caller().write_down(name, ask)
    told = next(row for row in ledger.read(trial.folder, ledger.CALLER, "told") if row["call"] == name)
    trial.note("told", outcome=told["outcome"], message=told.get("message", "")[:200], printed=printed[0][-200:])
    if deep:
        ended = subjects.grandchild_end(trial.folder)
        if ended == 128 + signal.SIGKILL:
            trial.fired(limit_bytes=_LIMIT_BYTES, worker=worker, grandchild_ended_with=ended)
        else:
            trial.missed(f"the grandchild ended with {ended}")
    elif happens(lambda: not is_alive(worker), 5):
        trial.fired(limit_bytes=_LIMIT_BYTES, worker=worker, gone=True)
    else:
        trial.missed("the worker lives")
    trial.wait_for(neighbours.has_settled, "the end of the neighbours' calls", 20)
    trial.wait_for(lambda: _answers(trial, asked), "the next call of a function that ran out of memory")
    return "OutOfMemory" if deep and "memory" in "".join(printed) else str(told["outcome"])


def _answers(trial: Trial, asked: Any) -> bool:
    try:
        asked(trial.folder, trial.name_call(), 1, False, 0.0)
    except rh.RoundhouseError:
        return False
    return True
