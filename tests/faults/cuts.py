"""Connections that are cut or stall, anywhere, by a relay between the caller and the node."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import roundhouse as rh

from . import calls
from .plans import TO_CLIENT, TO_NODE
from .relay import RelayProcess
from .trial import Trial

# Relays' sockets: paths that no two trials of a process share, because connections are kept by path.
_numbers = itertools.count()
_CALLS = ("call", "submit", "large", "print", "method", "async", "items", "items_async", "bounce")


class _Through:
    """The services of the lane's cluster, reached by the relay."""

    def __init__(self, trial: Trial, path: str) -> None:
        box = trial.lane.box
        self.box = rh.Cluster._at(box.name, box.state_folder, path)

    def reach(self, name: str) -> Any:
        # Asked for anew by every call, so that it also happens to questions about the node.
        return self.box.get(name, remote=True)


@contextmanager
def _relayed(trial: Trial, plan: dict[str, Any]) -> Iterator[tuple[RelayProcess, calls.Caller]]:
    folder = tempfile.mkdtemp(prefix="rh-relay-")
    path = os.path.join(folder, f"{next(_numbers)}.sock")
    relay = RelayProcess(trial.lane.box._socket_path, path, plan)
    through = _Through(trial, path)
    try:
        yield relay, trial.caller(through)
        trial.settle()
    finally:
        through.box.disconnect()
        relay.close()
        shutil.rmtree(folder)


def _run(trial: Trial, plan: dict[str, Any], kinds: tuple[str, ...], count: int) -> None:
    with _relayed(trial, plan) as (relay, caller):
        # It alone takes more frames than any plan waits for, in both directions.
        caller.ask("large", trial.name_call(), 0.1)
        trial.ask_some(count, caller, kinds, seconds=0.1)
        trial.settle()
        # And the connection that comes after it.
        trial.ask_some(1, caller, kinds, seconds=0.05)
        trial.settle()
        came = relay.ask()
        if came["cut"]:
            trial.fired(**came["cut"])
        else:
            trial.missed(f"only {came['frames']} frames came")


def response_dropped(trial: Trial) -> None:
    # Some of the results are of questions about the services, which are asked first.
    _run(trial, {"where": "response", "folder": trial.folder, "skip": trial.random.randrange(3)}, _CALLS, 3)


def cut_at_boundary(trial: Trial) -> None:
    # From the HELLO on.
    plan = {"where": "boundary", "direction": _direction(trial), "index": trial.random.randrange(12)}
    _run(trial, plan, _CALLS, trial.random.randint(1, 4))


def cut_inside_chunk(trial: Trial) -> None:
    plan = {"where": "chunk", "direction": _direction(trial), "share": trial.random.random(),
            "skip": trial.random.randrange(8)}  # fmt: skip
    _run(trial, plan, ("large",), trial.random.randint(0, 1))


def _direction(trial: Trial) -> str:
    return trial.random.choice((TO_NODE, TO_CLIENT))


def _longest_standstill(seconds: float) -> float:
    """Watches for so long how well Python's threads get to run here."""
    end = time.monotonic() + seconds
    longest, last = 0.0, time.monotonic()
    while (now := time.monotonic()) < end:
        longest, last = max(longest, now - last), now
        time.sleep(0.01)
    return max(longest, now - last)


def connection_stalls(trial: Trial) -> None:
    """Nothing passes for a while, as on a laptop between two networks; then everything does."""
    with _relayed(trial, {"where": "nowhere"}) as (relay, caller):
        trial.ask_some(4, caller, seconds=0.3)
        at_work = trial.await_one_under_way()
        seconds = trial.random.uniform(0.3, 1.5)
        before = relay.ask(stall_seconds=seconds)["frames"]
        trial.ask_some(2, caller, seconds=0.1)
        trial.note("this process stood still", seconds=_longest_standstill(seconds / 2))
        after = relay.ask()["frames"]
        waiting = caller.waiting()
        if at_work and before == after and waiting:
            trial.fired(stalled_seconds=seconds, frames=after, waiting=waiting)
        else:
            trial.missed("nobody waited for what was held up")
        trial.settle()
