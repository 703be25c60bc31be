"""What calls that fail do, and the ledger in which each writes that it has begun."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path


def enter(ledger: str, word: str = "begun") -> int:
    """Writes one line that outlives this process and the machine; says how many there are."""
    with open(ledger, "a") as file:
        file.write(word + "\n")
        file.flush()
        os.fsync(file.fileno())
    return len(Path(ledger).read_text().splitlines())


def hold(ledger: str, seconds: float = 60.0) -> int:
    enter(ledger, "hold")
    time.sleep(seconds)
    return os.getpid()


def hold_python(ledger: str, seconds: float = 60.0) -> None:
    """Keeps Python's own lock, as a careless extension module does."""
    enter(ledger, "hold")
    ctypes.PyDLL(None).sleep(ctypes.c_uint(int(seconds)))


def talk_and_hold(ledger: str) -> None:
    enter(ledger, "hold")
    print("here", flush=True)
    time.sleep(60)


def nothing() -> int:
    return os.getpid()


def die(ledger: str) -> None:
    enter(ledger)
    os.kill(os.getpid(), signal.SIGKILL)


def die_before(ledger: str, tries: int) -> int:
    """Ends its process, until it is tried so often."""
    count = enter(ledger)
    if count < tries:
        os.kill(os.getpid(), signal.SIGKILL)
    return count


def take(ledger: str, value: bytes) -> int:
    enter(ledger)
    return len(value)


class Flaky(Exception):
    pass


def fail_before(ledger: str, tries: int, kind: str = "flaky") -> int:
    count = enter(ledger)
    if count < tries:
        if kind == "ours":
            import roundhouse as rh

            raise rh.NodeLost("the node that this one called", started="no")
        raise Flaky(f"try {count}") if kind == "flaky" else OSError(f"try {count}")
    return count


async def fail_before_async(ledger: str, tries: int) -> int:
    return fail_before(ledger, tries)


def grow(ledger: str, items: list[int]) -> list[int]:
    if enter(ledger) < 2:
        raise Flaky
    return items


def count_up(n: int) -> Iterator[int]:
    yield from range(n)


class Worked:
    def __init__(self, ledger: str = "", tries: int = 0) -> None:
        self.made_at = fail_before(ledger, tries) if ledger else 0

    def fail_before(self, ledger: str, tries: int) -> int:
        return fail_before(ledger, tries)

    def die(self, ledger: str) -> None:
        die(ledger)
