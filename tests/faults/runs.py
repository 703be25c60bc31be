"""Runs: whatever dies after one was acknowledged, somebody can be told of its end, and it runs once for each attempt.

A run's name is its call's name in the ledgers.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import roundhouse as rh

from . import calls, clients, disk, ledger, oracle
from .processes import happens, processes_under
from .trial import NotPossible, Trial

_END_SECONDS = 20.0
_OVER = ("succeeded", "failed", "lost", "cancelled")


def _need_runs() -> None:
    if not hasattr(rh, "Run"):
        raise NotPossible("this engine has no runs")


def run_outlives_node(trial: Trial) -> None:
    """Acknowledged, and then daemon, worker, keeper or all of the node is killed."""
    _need_runs()
    names = [trial.name_call() for _ in range(3)]
    arguments = {name: (trial.folder, name, trial.random.uniform(0.05, 0.5), name) for name in names}
    for name in names:
        start(trial, name, arguments[name][2])
    at_work = trial.await_one_under_way()
    if not at_work:
        return trial.missed("all runs had ended")
    victims = {
        "daemon": [trial.lane.daemon_pid()],
        "worker": [at_work[0]["pid"]],
        "keeper": [trial.lane.keeper_pid()],
        "node": processes_under(trial.lane.box.state_folder),
    }
    whose = trial.random.choice(list(victims))
    trial.kill(*((pid, f"{whose} {pid}") for pid in victims[whose]))
    all_end(trial, names)
    # Asked for again by name: what succeeded is the same, and what was lost is tried anew.
    before = {name: trial.lane.box.get_run(name).status for name in names}
    trial.note("states", **before)
    for name in names:
        ask_again(trial, name, arguments[name])
    return None


def run_outlives_client(trial: Trial) -> None:
    """Whoever started it is killed; another process is told how it ended."""
    _need_runs()
    with clients.started(trial, 3, 0.8, ("run",)) as process:

        def acknowledged() -> list[str]:
            return [row["call"] for row in ledger.read(trial.folder, ledger.CALLER, "acknowledged")]

        happens(lambda: (acknowledged() and trial.under_way()) or process.poll() is not None, 20)
        trial.kill((process.pid, "client"))
        ledger.write(trial.folder, ledger.CALLER, "gone", caller=process.pid)
    all_end(trial, acknowledged())


def run_on_full_disk(trial: Trial) -> None:
    """Its result cannot be stored: that is told, typed, and once there is room it can be asked for again."""
    _need_runs()
    name = trial.name_call()
    start(trial, name, 0.3)
    with disk.filled(trial):
        happens(lambda: ledger.read(trial.folder, ledger.CODE, "ended"), 5)
        # Another is not acknowledged, or it is and then it ends as well.
        other = trial.name_call()
        start(trial, other, 0.05)
    names = [row["call"] for row in ledger.read(trial.folder, ledger.CALLER, "acknowledged")]
    all_end(trial, names)
    for each, seconds in ((name, 0.3), (other, 0.05)):
        if each in names:
            ask_again(trial, each, (trial.folder, each, seconds, each))


def record_damaged(trial: Trial) -> None:
    """A bit of one stored result is flipped: that one is said to be damaged, and the others can be read."""
    _need_runs()
    box = trial.lane.box
    names = [trial.name_call() for _ in range(3)]
    for name in names:
        start(trial, name, 0.01)
    all_end(trial, names)
    tokens = {row["call"]: row["token"] for row in ledger.read(trial.folder, ledger.CODE, "ended")}
    victim = trial.random.choice(names)
    box.teardown()
    flipped = _flip(Path(box.state_folder), tokens[victim].encode(), trial.random)
    trial.lane.make_ready()
    if not flipped:
        return trial.missed("its token is nowhere in the state folder")
    trial.fired(flipped=flipped)
    for name in names:
        try:
            token = box.get_run(name).result(timeout=10)[0]
            trial.check(name != victim, f"a damaged record was read as if it were whole: {token}")
            trial.check(token == tokens[name], "another record than the damaged one has another value now")
        except rh.RecordDamaged as error:
            trial.check(name == victim, f"a record that nobody touched is said to be damaged: {error}")
    return None


# --- what they have in common ---


def start(trial: Trial, name: str, seconds: float, *more: Any) -> None:
    """Writes down that it was acknowledged, or what was told instead."""
    handle = trial.lane.reach(calls.FUNCTION).options(run_name=name, stream_logs=False)
    try:
        handle.submit(trial.folder, name, seconds, name, *more)
    except (rh.RoundhouseError, OSError) as error:
        trial.note("not acknowledged", run=name, error=repr(error)[:200])
        return
    ledger.write(trial.folder, ledger.CALLER, "acknowledged", call=name)


def all_end(trial: Trial, names: list[str]) -> None:
    trial.lane.make_ready()
    for name in names:
        trial.caller().write_down(name, lambda name=name: token_of(trial, name), _END_SECONDS)  # type: ignore[misc]


def token_of(trial: Trial, name: str) -> str:
    run = trial.lane.box.get_run(name)
    happens(lambda: run.status in _OVER, _END_SECONDS)
    return str(run.result(timeout=1.0)[0])


def _again(trial: Trial, name: str, arguments: tuple[Any, ...]) -> str:
    """What succeeded before is not run another time. Where an end cannot be stored, the node says so until it is."""
    told = [row for row in ledger.read(trial.folder, ledger.CALLER, "told") if row["call"] == name][-1]
    handle = trial.lane.reach(calls.FUNCTION).options(run_name=name, stream_logs=False)
    end = time.monotonic() + _END_SECONDS - 5
    while True:
        try:
            token = str(handle(*arguments)[0])
            break
        except rh.RoundhouseError as error:
            if "could not be stored" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.1)
    if told["outcome"] == oracle.SUCCESS and token != told["token"]:
        raise calls.WrongValue("another execution than the one that had succeeded")
    return token


def ask_again(trial: Trial, name: str, arguments: tuple[Any, ...]) -> None:
    trial.caller().write_down(name, lambda: _again(trial, name, arguments), _END_SECONDS)
    count = len(trial.lane.box.get_run(name).attempts)
    ledger.write(trial.folder, ledger.CALLER, "attempts", call=name, count=count)


def _flip(folder: Path, pattern: bytes, chance: random.Random) -> list[str]:
    """One bit of each place where it stands; which those are."""
    flipped = []
    for path in (path for path in folder.rglob("*") if path.is_file()):
        content = bytearray(path.read_bytes())
        at = content.find(pattern)
        while at >= 0:
            content[at + chance.randrange(len(pattern))] ^= 1 << chance.randrange(3)
            flipped.append(f"{path.name}+{at}")
            at = content.find(pattern, at + 1)
        if flipped and flipped[-1].startswith(path.name):
            path.write_bytes(content)
    return flipped
