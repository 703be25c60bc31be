"""What the tests call over HTTP."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any


def add(a: int, b: int = 2) -> int:
    print("adding")
    return a + b


def count(n: int, size: int = 0) -> Iterator[Any]:
    for number in range(n):
        yield "x" * size if size else number


def fail(message: str = "no") -> None:
    raise ValueError(message)


def describe(value: Any) -> list[Any]:
    return [type(value).__name__, len(value)]


def total(values: list[int]) -> int:
    return sum(values)


def block(path: str) -> None:
    """Runs until it is cancelled; the file then says so."""
    open(path, "w").close()
    try:
        while True:
            time.sleep(0.01)
    finally:
        os.unlink(path)


class Counter:
    def __init__(self, start: int = 0) -> None:
        self.value = start

    def add(self, by: int = 1) -> int:
        self.value += by
        return self.value
