"""Processes that the benchmarks start, and what /proc tells of them. Every wait has a deadline, every end is by pid."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


class Trouble(Exception):
    """A program did not do what was asked; its own words are in the message."""


def affinity(core: int | None) -> Any:
    """For `preexec_fn`: binds the child, and so all that it starts, to one core."""
    if core is None:
        return None
    return lambda: os.sched_setaffinity(0, {core})


def run_program(
    argv: Sequence[str], core: int | None, env: Mapping[str, str] | None = None, timeout: float = 120
) -> str:
    """Its stdout; Trouble when it fails or takes longer."""
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=words, env=env, preexec_fn=affinity(core)
        )
        try:
            out, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise Trouble(f"{_called(argv)} did not end within {timeout:.0f} s") from None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode != 0:
            raise Trouble(f"{_called(argv)} ended with {process.returncode}{_last_words(words)}")
        return out.decode()


class Program:
    """A program that answers each line on its stdin by one JSON line on its stdout, and ends with its stdin."""

    def __init__(self, argv: Sequence[str], core: int | None, env: Mapping[str, str]) -> None:
        self._called = _called(argv)
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end()
        self._rest = b""
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._words, env=env, preexec_fn=affinity(core)
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, line: str, timeout: float = 60) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Trouble(f"{self._called} has ended{_last_words(self._words)}") from None
        return self.answer(timeout)

    def answer(self, timeout: float = 60) -> dict[str, Any]:
        assert self._process.stdout is not None
        deadline = time.monotonic() + timeout
        while b"\n" not in self._rest:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise Trouble(f"{self._called} gave no answer within {timeout:.0f} s{_last_words(self._words)}")
            more = os.read(self._process.stdout.fileno(), 65536)
            if not more:
                raise Trouble(f"{self._called} has ended{_last_words(self._words)}")
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Trouble(f"{self._called}: {answer['error']}")
        return answer

    def end(self, timeout: float = 30) -> None:
        """Closes its stdin, waits, and kills it if that was not enough. May be called again."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                pass
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._words.close()


def _called(argv: Sequence[str]) -> str:
    return " ".join(os.path.basename(word) for word in argv[:3])


def _last_words(words: Any) -> str:
    words.seek(0)
    lines = words.read().decode(errors="replace").strip().splitlines()
    return ": " + " | ".join(lines[-4:]) if lines else ""


def cpu_ns(pids: Iterable[int]) -> int:
    """Processor time that these processes have used so far. schedstat counts nanoseconds; stat, ticks of 10 ms."""
    return sum(_cpu_ns(pid) for pid in pids)


def _cpu_ns(pid: int) -> int:
    total = 0
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                total += int(file.read().split()[0])
        return total
    except FileNotFoundError:
        return cpu_ticks(pid) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def cpu_ticks(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def pss_bytes(pid: int) -> int:
    """Its memory, what it shares being counted in proportion."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    raise Trouble(f"/proc/{pid}/smaps_rollup names no Pss")


def load_average() -> float:
    return os.getloadavg()[0]


def end_by_pid(pids: Iterable[int], timeout: float = 5) -> list[int]:
    """SIGTERM, then SIGKILL. Returns those that were there at all."""
    there = [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
    for kind in (signal.SIGTERM, signal.SIGKILL):
        for pid in there:
            try:
                os.kill(pid, kind)
            except ProcessLookupError:
                pass
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and any(os.path.exists(f"/proc/{pid}") for pid in there):
            time.sleep(0.02)
    return there
