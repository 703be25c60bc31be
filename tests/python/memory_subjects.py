"""What takes memory, and what starts that: sent by test_memory.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

_kept: list[Any] = []

# What a child of a worker runs to take more than it may, in steps that a monitor can see.
GREEDY = (
    "import sys, time\n"
    "kept = []\n"
    "for _ in range(int(sys.argv[1])):\n"
    "    kept.append(bytearray(b'x' * (1 << 20)))\n"
    "    time.sleep(0.001)\n"
)


def take(mib: int) -> int:
    """Really takes so much, step by step."""
    print("taking", mib, file=sys.stderr, flush=True)
    for _ in range(mib):
        _kept.append(bytearray(b"x" * (1 << 20)))
        time.sleep(0.0005)
    return os.getpid()


def be_killed(number: int = signal.SIGKILL) -> None:
    # In this very thread, as a crash is.
    signal.raise_signal(number)
    time.sleep(30)


def child_takes(mib: int, then: str) -> str:
    """A child does, and is killed for it; this worker goes on, raises or leaves."""
    done = subprocess.run([sys.executable, "-c", GREEDY, str(mib)], check=False)
    if then == "raise":
        raise RuntimeError(f"the child ended with {done.returncode}")
    if then == "exit":
        os._exit(0)
    return f"went on after {done.returncode}"


def child_takes_later(mib: int, gone: str) -> None:
    """A child does, when nobody calls."""

    def wait() -> None:
        time.sleep(0.2)
        subprocess.run([sys.executable, "-c", GREEDY, str(mib)], check=False)
        with open(gone, "w", encoding="utf-8") as file:
            file.write("gone")

    threading.Thread(target=wait, daemon=True).start()


def nothing(fail: bool = False) -> str:
    if fail:
        raise ValueError("for some other reason")
    return "done"


def start_cluster(name: str) -> int:
    """One that outlives this worker; the pid of its keeper."""
    import roundhouse as rh

    return int(rh.compute(name).up_if_not().status()["keeper_pid"])


class Shelf:
    """An object that must outlive what its children do."""

    def __init__(self) -> None:
        self.things = ["first"]

    def child_takes(self, mib: int, then: str) -> str:
        return child_takes(mib, then)

    def count(self) -> int:
        return len(self.things)
