"""What the tests of runs send. Importable, so that the processes that tests start send the same."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PATIENCE = 60.0


def note(ledger: str, line: str) -> None:
    """Adds a line to a file, on the disk before it returns: what has run can be counted there."""
    file = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(file, (line + "\n").encode())
    os.fsync(file)
    os.close(file)


def noted(ledger: str, x: int = 0) -> int:
    note(ledger, f"ran {x}")
    return x * x


def wait_for(path: str) -> None:
    end = time.monotonic() + PATIENCE
    while not os.path.exists(path):
        if time.monotonic() > end:
            raise TimeoutError(path)
        time.sleep(0.01)


def until_told(folder: str) -> str:
    """Prints, waits for the file `go`, prints again."""
    note(f"{folder}/ledger", "began")
    print("first line", flush=True)
    print("a warning", file=sys.stderr, flush=True)
    Path(f"{folder}/begun").touch()
    wait_for(f"{folder}/go")
    print("last line", flush=True)
    return f"done in {folder}"


def count_lines(folder: str, upto: int) -> int:
    for number in range(upto):
        print(f"line {number}")
        note(f"{folder}/ledger", str(number))
    return upto


def count_until_told(folder: str) -> int:
    """However fast the disk is, it still runs when something is to happen to it."""
    number = 0
    while not os.path.exists(f"{folder}/go"):
        print(f"line {number}")
        note(f"{folder}/ledger", str(number))
        number += 1
    return number


def shell_until_told(folder: str) -> str:
    subprocess.run(["echo", "from a child"], check=True)
    print("from python")
    wait_for(f"{folder}/go")
    os.write(1, b"the end\n")
    return "done"


def weigh(ledger: str, content: bytes) -> tuple[int, int]:
    note(ledger, f"weighed {len(content)}")
    return len(content), os.getpid()


def fails_once(folder: str) -> str:
    note(f"{folder}/ledger", "ran")
    mark = Path(f"{folder}/failed-before")
    if not mark.exists():
        mark.touch()
        raise LookupError("not this time")
    return "the second time"


def much(size: int) -> bytes:
    return b"\xa5" * size


def prints_much(lines: int) -> int:
    for number in range(lines):
        print(f"line {number:06}")
    return lines


def takes_any(value: object) -> str:
    return type(value).__name__


def counted(n: int):  # type: ignore[no-untyped-def]
    yield from range(n)


def dies() -> None:
    os._exit(7)


class Counter:
    def __init__(self) -> None:
        self.count = 0

    def add(self, n: int) -> int:
        self.count += n
        return self.count

    async def slowly(self, n: int) -> int:
        return n + 1


class Tally:
    def __init__(self) -> None:
        self.total = 0

    def add(self, number: int) -> int:
        self.total += number
        return self.total

    def steadily(self, upto: int) -> Iterator[int]:
        for number in range(upto):
            time.sleep(0.002)
            yield number
