"""Processes, as /proc shows them: who is there, who is gone, what they hold."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path


class Broken(Exception):
    """A trial found something wrong that no ledger shows."""


def wait_for(condition: Callable[[], object], what: str, seconds: float = 15.0) -> None:
    if not happens(condition, seconds):
        raise Broken(f"{what} did not happen within {seconds:g} s")


def happens(condition: Callable[[], object], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.003)
    return True


def state_of(pid: int) -> str:
    """R, S, D, T, Z as ps shows it; empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def is_alive(pid: int) -> bool:
    return state_of(pid) not in ("", "Z", "X")


def kill_and_see(pid: int) -> bool:
    """SIGKILL; False when there was nobody to kill. Returns once the process is gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    wait_for(lambda: not is_alive(pid), f"the death of process {pid}")
    return True


def processes_under(state_folder: str | Path) -> list[int]:
    """Every live process of any node whose state folder is this or lies in it, whoever is its parent by now."""
    mark, root = f"ROUNDHOUSE_NODE={state_folder}".encode(), str(state_folder).encode()
    return [pid for pid in _pids() if _belongs(pid, mark, root) and is_alive(pid)]


def _pids() -> Iterator[int]:
    mine = os.getpid()
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != mine:
            yield int(name)


def _belongs(pid: int, mark: bytes, root: bytes) -> bool:
    try:
        # The keeper and the daemon have it among their arguments.
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        return (b"roundhoused" in command and root in command) or mark in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descriptors(pid: int) -> list[int]:
    return [int(name) for name in os.listdir(f"/proc/{pid}/fd")]
