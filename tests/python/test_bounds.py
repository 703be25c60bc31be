"""What passes through the daemon never grows it beyond its windows, however much and however slow its reader."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import roundhouse as rh

# A few windows of each stream that is open (src/base/limits.h), and what the allocator keeps.
BOUND_BYTES = 64 * 1024 * 1024
MANY = 1_000_000
LARGE_BYTES = 600_000_000


def count(upto: int) -> Iterator[int]:
    yield from range(upto)


def zeros(size: int) -> bytes:
    return bytes(size)


def print_lines(lines: int) -> int:
    for number in range(lines):
        print("line", number, "of", lines)
    return lines


class Grown:
    """How much more memory than at first a process has had meanwhile."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        Path(f"/proc/{pid}/clear_refs").write_text("5")
        self.before = self._bytes("VmRSS")

    def _bytes(self, field: str) -> int:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        (line,) = (line for line in lines if line.startswith(field + ":"))
        return int(line.split()[1]) * 1024

    def bytes(self) -> int:
        return self._bytes("VmHWM") - self.before


@pytest.fixture
def daemon(box: rh.Cluster) -> Grown:
    return Grown(box.status()["pid"])


def test_a_million_items(box: rh.Cluster, daemon: Grown) -> None:
    total = 0
    for number in rh.function(count).to(box)(MANY):
        total += number
        if number == 10_000:
            time.sleep(0.5)  # Its producer stops meanwhile.
    assert total == MANY * (MANY - 1) // 2
    assert daemon.bytes() < BOUND_BYTES


def test_a_large_result(box: rh.Cluster, daemon: Grown) -> None:
    assert len(rh.function(zeros).to(box)(LARGE_BYTES)) == LARGE_BYTES
    assert daemon.bytes() < BOUND_BYTES


def test_a_large_argument(box: rh.Cluster, daemon: Grown) -> None:
    assert rh.function(len).to(box, name="length")(bytes(LARGE_BYTES)) == LARGE_BYTES
    assert daemon.bytes() < BOUND_BYTES


def test_much_output_that_nobody_takes_yet(box: rh.Cluster, daemon: Grown) -> None:
    call = rh.function(print_lines).to(box).options(stream_logs=False).submit(300_000)
    assert call.result(timeout=60) == 300_000
    assert daemon.bytes() < BOUND_BYTES
