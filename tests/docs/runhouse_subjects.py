"""What the tests of the migration page send: a module that can be imported, as most code of a Runhouse user is."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import roundhouse as rh


def add(a: float, b: float = 0) -> float:
    return a + b


def pid() -> int:
    return os.getpid()


def nothing() -> None:
    return None


def variable(name: str) -> str | None:
    return os.environ.get(name)


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def note_and_nap(ledger: str, seconds: float) -> None:
    with open(ledger, "a") as file:
        file.write("begun\n")
    time.sleep(seconds)


async def slowly(n: int) -> int:
    await asyncio.sleep(0.01)
    return n


def a_coroutine(n: int) -> Any:
    return slowly(n)


def up_to(n: int) -> Iterator[int]:
    for i in range(n):
        print("yielding", i)
        yield i


async def up_to_slowly(n: int) -> AsyncIterator[int]:
    for i in range(n):
        await asyncio.sleep(0)
        yield i


def echo() -> Iterator[Any]:
    said = None
    while True:
        try:
            said = yield said
        except ValueError as error:
            said = f"caught {error}"


def speak(text: str) -> None:
    print("out:", text)
    print("err:", text, file=sys.stderr)
    logging.getLogger("subjects").warning("log: %s", text)


def call_it(f: Any, *args: Any) -> Any:
    return f(*args)


def class_of(thing: Any) -> str:
    return type(thing).__name__


def here() -> Any:
    return rh.here if isinstance(rh.here, str) else rh.here.name


def sends_here() -> float:
    return rh.function(add).to("here", name="sent-here")(2, 3)


def imports_what_is_missing() -> None:
    import no_such_module_anywhere  # noqa: F401


class Unpicklable(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class Unrebuildable(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("it does not travel")


class Refused(ValueError):
    def __init__(self, code: int, *, why: str) -> None:
        super().__init__(f"{why} ({code})")
        self.code = code


def refuse(kind: str) -> None:
    if kind == "plain":
        raise Refused(7, why="not today")
    if kind == "unpicklable":
        raise Unpicklable("holds a lock")
    if kind == "unrebuildable":
        raise Unrebuildable("lost for ever")
    os._exit(3)


class Account:
    """A class that knows nothing of Roundhouse."""

    bank = "first"

    def __init__(self, balance: float = 0) -> None:
        self.balance = balance
        self._secret = "private"

    def deposit(self, amount: float) -> float:
        self.balance += amount
        return self.balance

    @property
    def doubled(self) -> float:
        return 2 * self.balance

    @classmethod
    def of_bank(cls) -> str:
        return cls.bank

    @staticmethod
    def fee() -> int:
        return 1

    async def wait(self, n: int) -> int:
        return await slowly(n)

    def history(self, n: int) -> Iterator[float]:
        for i in range(n):
            yield self.balance + i

    def pid(self) -> int:
        return os.getpid()

    def variable(self, name: str) -> str | None:
        return os.environ.get(name)


class Collides:
    """Its methods and parameters have the names that a remote object's own would have."""

    def __init__(self, name: str, process: str = "mine") -> None:
        self.given = (name, process)

    def save(self, name: str, timeout: int) -> tuple[str, int]:
        return name, timeout

    def fetch(self, remote: bool) -> bool:
        return remote

    def status(self) -> str:
        return "the user's"

    def to(self, process: str) -> str:
        return process

    def get_given(self) -> tuple[str, str]:
        return self.given


class Model(rh.Module):
    """As a Runhouse user writes it: constructed here, then sent."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def predict(self, x: float) -> float:
        return self.weight * x

    def train(self, by: float) -> None:
        self.weight += by

    @classmethod
    def kind(cls) -> str:
        return "linear"

    def place(self, local: bool = True) -> int:
        return os.getpid()

    def trace(self, n: int) -> Iterator[float]:
        for _ in range(n):
            yield self.weight
