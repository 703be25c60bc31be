"""The work that figures and their raw baselines share, so that both sides of a ratio run the same code."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

IN_FLIGHT = 1000
THREADS = 16
RUN_CALLERS = 64
WORKERS = 2


def count_up(count: int) -> Iterator[int]:
    """Small ints: a stream of them costs what its items cost, whatever is in them."""
    for number in range(count):
        yield number & 127


def burn(turns: int) -> tuple[int, int, int, int]:
    """Computes in pure Python. The result, and who computed it from when to when, by the host's monotonic clock."""
    began = time.monotonic_ns()
    total = 0
    for number in range(turns):
        total += number * number & 255
    return total, os.getpid(), began, time.monotonic_ns()


def in_threads(work: Callable[[Any], None], each: Iterable[Any]) -> None:
    """Runs it for each at once, in a thread of its own; what one of them raises is raised."""
    failed: list[Exception] = []

    def one(what: Any) -> None:
        try:
            work(what)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=one, args=(what,)) for what in each]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def at_once(told: list[tuple[int, int, int, int]], wanted: int) -> dict[str, float]:
    """Who ran what `burn` tells, and for how much of the whole time `wanted` processes were at it at once."""
    pids = sorted({pid for _, pid, _, _ in told})
    steps = sorted([(began, 1) for _, _, began, _ in told] + [(ended, -1) for _, _, _, ended in told])
    running, both, before = 0, 0, steps[0][0]
    for at, step in steps:
        if running >= wanted:
            both += at - before
        running, before = running + step, at
    if len(pids) != wanted or not both:
        raise RuntimeError(f"{len(pids)} processes did it, at once for {both / 1e6:.1f} ms, and not {wanted} at once")
    share = both / (steps[-1][0] - steps[0][0])
    return {"at_once": 100 * share, **{f"pid_{number}": pid for number, pid in enumerate(pids, 1)}}
