"""What the tests of the surface send, importable on both sides."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Generator, Iterable, Iterator
from typing import Any

import roundhouse as rh


def add(a: int, b: int = 1) -> int:
    return a + b


async def add_later(a: int, b: int) -> int:
    await asyncio.sleep(0.01)
    return a + b


async def sleep_later(seconds: float, path: str = "") -> str:
    try:
        await asyncio.sleep(seconds)
    finally:
        if path:
            mark(path)
    return "slept"


def nap(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def say_and_nap(seconds: float) -> int:
    print("napping")
    return nap(seconds)


def mark(path: str) -> None:
    with open(path, "w") as file:
        file.write("here")


def wait_for(path: str, seconds: float = 30.0) -> str:
    end = time.monotonic() + seconds
    while not os.path.exists(path):
        if time.monotonic() > end:
            return "never"
        time.sleep(0.002)
    return "there"


def say(text: str, times: int = 1) -> str:
    for _ in range(times):
        print(text)
    print("aside", file=sys.stderr)
    return text


def fail_at(number: int, bad: int) -> int:
    if number == bad:
        raise ValueError(f"item {number}")
    return number


def burn(seconds: float) -> tuple[int, float, float]:
    """Keeps a processor busy; says where and when."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        pass
    return os.getpid(), began, time.monotonic()


def takes_ours(stream_logs: str, run_name: str = "mine", **_: Any) -> tuple[str, str]:
    return stream_logs, run_name


def takes_any(**kwargs: Any) -> dict[str, Any]:
    return kwargs


def count(n: int) -> Generator[int, None, str]:
    yield from range(n)
    return "counted"


def count_until(n: int, path: str) -> Iterator[int]:
    try:
        yield from range(n)
    finally:
        mark(path)


def fail_after(n: int) -> Iterator[int]:
    yield from range(n)
    raise KeyError("after the items")


def accumulate() -> Generator[int, int, str]:
    total = 0
    while True:
        try:
            total += yield total
        except ValueError as error:
            total = -int(str(error))


async def tick(n: int) -> AsyncIterator[int]:
    for number in range(n):
        yield number


def total(numbers: Iterable[int], more: Iterable[int] = ()) -> int:
    return sum(numbers) + sum(more)


def first_of(numbers: Iterator[int]) -> int:
    return next(numbers)


async def total_later(numbers: AsyncIterator[int]) -> int:
    return sum([number async for number in numbers])


def squares(numbers: Iterable[int]) -> Iterator[int]:
    for number in numbers:
        yield number * number


def call_it(function: Any, *args: Any) -> Any:
    return function(*args)


def what_it_is(value: Any) -> str:
    return type(value).__name__


def same_pid(instance: Any) -> bool:
    return bool(instance.pid() == os.getpid())


def submit_and_say(function: Any) -> str:
    call = function.submit("nested")
    print("outer")
    return str(call.result())


class Shelf:
    """Keeps things."""

    limit = 3

    def __init__(self, things: list[Any] | None = None) -> None:
        self.things = things or []
        self.label = "plain"
        self._hidden = 1

    def put(self, thing: Any) -> int:
        self.things.append(thing)
        return len(self.things)

    async def put_later(self, thing: Any) -> int:
        await asyncio.sleep(0)
        return self.put(thing)

    def each(self) -> Iterator[Any]:
        yield from self.things

    def pid(self) -> int:
        return os.getpid()

    @property
    def count(self) -> int:
        return len(self.things)

    @property
    def title(self) -> str:
        return self.label.title()

    @title.setter
    def title(self, text: str) -> None:
        self.label = text.lower()

    @classmethod
    def filled(cls, n: int) -> Shelf:
        return cls(list(range(n)))

    @staticmethod
    def width() -> int:
        return 80


class Taken:
    """Every name that a library would like for itself."""

    def __init__(self, name: str, process: str = "p", timeout: int = 1, remote: bool = False) -> None:
        self.name = name
        self.remote = remote
        self.told = (name, process, timeout, remote)

    def save(self, name: str, timeout: int = 0, remote: str = "", process: str = "") -> str:
        return f"saved {name} {timeout} {remote} {process}"

    def fetch(self) -> str:
        return "the user's fetch"

    def status(self) -> str:
        return "the user's status"

    def to(self, box: str) -> str:
        return f"to {box}"

    def options(self) -> str:
        return "the user's options"

    def tell(self) -> tuple[str, str, int, bool]:
        return self.told


class Model(rh.Module):
    """A module: made here, copied there."""

    def __init__(self, scale: int, name: str | None = None) -> None:
        super().__init__(name=name)
        self.scale = scale

    def predict(self, x: int) -> int:
        return self.scale * x

    def grow(self) -> int:
        self.scale += 1
        return self.scale

    def where(self, local: bool = True) -> int:
        return os.getpid()

    def pid(self) -> int:
        return os.getpid()

    @classmethod
    def kind(cls) -> str:
        return cls.__name__


class NoSuper(rh.Module):
    """Runhouse's users forget `super().__init__()`, and use our names."""

    def __init__(self) -> None:
        self.name = "the user's name"
        self.system = "the user's system"

    def fetch(self) -> str:
        return "the user's fetch"


@rh.function
def decorated(x: int) -> int:
    return decorated_twice(x)


def decorated_twice(x: int) -> int:
    return 2 * x


lock = threading.Lock()
