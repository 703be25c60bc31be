"""Services that are many, or that call each other, while what carries them dies."""

from __future__ import annotations

import os
import shutil
import signal

import roundhouse as rh

from . import calls, subjects
from .processes import happens, state_of
from .trial import Trial

COUNT = 100
_GROUPS = 4


def hundred_services(trial: Trial) -> None:
    """A hundred live objects, and a daemon that is upgraded or dies: each answers as the object that it was."""
    box = trial.lane.box
    names = _make(box)
    before = _identities(names, box)
    trial.check(len(before) == COUNT, f"{COUNT} services answer before anything happens")
    daemon = trial.lane.daemon_pid()
    caller = trial.caller()
    for name in trial.random.sample(names, 8):
        caller.ask("method", trial.name_call(), trial.random.uniform(0.05, 0.4), name)
    trial.await_one_under_way()
    trial.note("services before", answered=len(before), of=COUNT)
    if trial.random.random() < 0.5:
        trial.kill((daemon, "daemon"))
    else:
        _upgrade(trial, daemon)
    trial.settle()
    trial.lane.status()
    after = _identities(names, box)
    changed = [name for name in names if after.get(name) != before[name]]
    trial.check(not changed, f"services that do not answer as the object that they were: {changed}")
    _remove(box)


def _upgrade(trial: Trial, daemon: int) -> None:
    """To the same daemon in another place, as another installation has it."""
    program = str(trial.lane.status()["program"])
    elsewhere = trial.lane.folder / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    other = elsewhere / "roundhoused"
    if program == str(other):
        other = elsewhere / "roundhoused-again"
    shutil.copy2(program, other)
    at_work = [row["call"] for row in trial.under_way()]
    now = trial.lane.upgrade(str(other))
    trial.check(now != daemon, "another daemon has come")
    trial.fired(upgraded_to=str(other), daemons=[daemon, now], calls_under_way=at_work)


def _make(box: rh.Cluster) -> list[str]:
    desk = rh.cls(subjects.Desk).to(box, name="HundredDesks", replace=True)
    names = [f"desk-{number}" for number in range(COUNT)]
    for number, name in enumerate(names):
        desk.options(name=name, replace=True, process=f"desks-{number % _GROUPS}")()
    return names


def _identities(names: list[str], box: rh.Cluster) -> dict[str, str]:
    """Of those that answer; the others must say why not, in a typed error."""
    found = {}
    for name in names:
        try:
            found[name] = box.get(name, remote=True).identity.options(timeout=10)()
        except rh.RoundhouseError:
            continue
    return found


def _remove(box: rh.Cluster) -> None:
    """What is still there of them; they would be in the way of every trial that comes."""
    for number in range(_GROUPS):
        try:
            box.kill_process(f"desks-{number}")
        except rh.RoundhouseError:
            pass
    try:
        box.delete("HundredDesks")
    except rh.RoundhouseError:
        pass


def mutual_calls(trial: Trial) -> None:
    """Services that wait for each other, deeply, and a worker or the daemon that dies in the middle of it."""
    caller = trial.caller()
    for _ in range(3):
        first, second = trial.random.sample(calls.DESKS, 2)
        caller.ask("bounce", trial.name_call(), 0.2, first, desks=[second, first], depth=trial.random.randint(2, 5))
    happens(lambda: len(trial.under_way()) >= 4 or trial.have_settled(), 10)
    at_work = trial.under_way()
    if len(at_work) < 2:
        return trial.missed("no calls were within each other")
    daemon_dies = trial.random.random() < 0.5
    worker = trial.random.choice(at_work)["pid"]
    trial.kill((trial.lane.daemon_pid(), "daemon") if daemon_dies else (worker, "worker"))
    return trial.settle()


def worker_stopped(trial: Trial) -> None:
    """A worker that does not move for a while: its calls take longer, or their deadlines are kept by others."""
    trial.ask_some(3)
    at_work = trial.await_one_under_way()
    if not at_work:
        return trial.missed("all calls had ended")
    pid = trial.random.choice(at_work)["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        stopped = happens(lambda: _is_stopped(pid), 5)
        trial.ask_some(3, seconds=0.1)
        happens(lambda: False, trial.random.uniform(0.3, 1.5))
    finally:
        os.kill(pid, signal.SIGCONT)
    if stopped:
        trial.fired(pid=pid, state="T")
    return trial.settle()


def daemon_stopped(trial: Trial) -> None:
    """A daemon that does not move for a while: whoever waits for it goes on when it does."""
    daemon = trial.lane.daemon_pid()
    trial.ask_some(3)
    trial.await_one_under_way()
    os.kill(daemon, signal.SIGSTOP)
    try:
        stopped = happens(lambda: _is_stopped(daemon), 5)
        trial.ask_some(2, kinds=("call", "large", "method", "items"), seconds=0.1)
        happens(lambda: False, trial.random.uniform(0.3, 1.5))
        waiting = not trial.have_settled()
    finally:
        os.kill(daemon, signal.SIGCONT)
    if stopped and waiting:
        trial.fired(pid=daemon, state="T")
    return trial.settle()


def _is_stopped(pid: int) -> bool:
    return state_of(pid) == "T"
