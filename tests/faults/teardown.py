"""Ending a cluster while something on it has seen to it that nobody finds it."""

from __future__ import annotations

import os
from pathlib import Path

import roundhouse as rh

from . import subjects
from .processes import is_alive, processes_under
from .trial import Trial


def detached_child(trial: Trial) -> None:
    """A process that forked twice and has a session of its own is gone when the cluster is."""
    name = f"leaver-{trial.number}"
    box = rh.compute(name).up_if_not()
    try:
        detach = rh.function(subjects.detach).to(box)
        children = [detach.options(timeout=10)() for _ in range(trial.random.randint(1, 3))]
        how = {pid: _session_and_parent(pid) for pid in children}
        # A call under way at the teardown is told of it.
        caller = trial.caller(_Elsewhere(box))
        rh.function(subjects.work).to(box)
        trial.ask_some(2, caller, ("call", "submit"), seconds=2.0)
        at_work = trial.await_one_under_way()
        detached = all(is_alive(pid) and how[pid][0] != os.getsid(0) for pid in children)
    finally:
        box.teardown()
    left = [pid for pid in children if is_alive(pid)]
    trial.settle()
    trial.check(not left, f"processes that had detached themselves outlived the teardown: {left}")
    remaining = processes_under(box.state_folder)
    trial.check(not remaining, f"processes outlived the teardown: {remaining}")
    if detached:
        trial.fired(detached=how, gone_after_teardown=True, calls_under_way=len(at_work))
    box.teardown_and_delete()


class _Elsewhere:
    def __init__(self, box: rh.Cluster) -> None:
        self.box = box

    def reach(self, name: str) -> object:
        return self.box.get(name, remote=True)


def _session_and_parent(pid: int) -> tuple[int, int]:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[3]), int(fields[1])
