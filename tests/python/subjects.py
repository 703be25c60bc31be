"""Importable code that the tests send: it travels by reference, with the caller's sys.path."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Any


def add(a: int, b: int = 1) -> int:
    """The sum."""
    return a + b


def echo(*args: Any, **kwargs: Any) -> Any:
    return (args, kwargs)


def identity(value: Any) -> Any:
    return value


def pid() -> int:
    return os.getpid()


async def add_later(a: int, b: int) -> int:
    import asyncio

    await asyncio.sleep(0.01)
    return a + b


async def sleep_async(seconds: float) -> str:
    import asyncio

    await asyncio.sleep(seconds)
    return "slept"


def counting(n: int) -> Any:
    yield from range(n)


class CustomError(Exception):
    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{code} because {reason}")
        self.code = code
        self.reason = reason


class Unpicklable(ValueError):
    def __reduce__(self) -> Any:
        raise TypeError("cannot be pickled")


def fail(kind: str) -> None:
    if kind == "custom":
        raise CustomError(7, reason="asked to")
    if kind == "cause":
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error
    if kind == "note":
        error = ValueError("noted")
        error.__notes__ = ["seen on Monday"]  # type: ignore[attr-defined]
        raise error
    if kind == "unpicklable":
        raise Unpicklable("holds a lock")
    if kind == "attribute":
        error = ValueError("has a lock")
        error.lock = threading.Lock()  # type: ignore[attr-defined]
        raise error
    if kind == "type":
        raise TypeError("from inside")
    if kind == "exit":
        raise SystemExit(3)
    if kind == "cancelled":
        import roundhouse as rh

        raise rh.NotFound("the user's own use of our exception", place="there")
    raise OSError(2, "No such file", kind)


def talk(steps: int, pause: float) -> str:
    for step in range(steps):
        print("out", step)
        print("err", step, file=sys.stderr)
        time.sleep(pause)
    return "done"


def print_without_newline() -> None:
    sys.stdout.write("no newline at the end")


def print_bytes() -> None:
    sys.stdout.buffer.write("über\n".encode())
    assert sys.stdout.fileno() == 1
    assert sys.stdout.encoding == "utf-8"
    assert not sys.stdout.isatty()
    print(os.path.basename(sys.stdout.name))


def progress() -> None:
    from tqdm import tqdm

    for _ in tqdm(range(3), desc="steps"):
        pass


def print_much(lines: int) -> None:
    for number in range(lines):
        print(f"line {number}: " + "x" * 80)


def spin(seconds: float) -> str:
    """Pure Python that never lets go of its own accord."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return "spun"


def clean_up(path: str) -> None:
    try:
        while True:
            time.sleep(0.005)
    finally:
        with open(path, "w") as file:
            file.write("cleaned up")


def stubborn(seconds: float) -> None:
    time.sleep(seconds)


def die(how: str) -> None:
    print("last words", file=sys.stderr)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "exit":
        os._exit(3)
    if how == "segfault":
        import ctypes

        ctypes.string_at(0)
    if how == "later":
        time.sleep(60)


def fork_and_return() -> str:
    """The child comes back out of the call, as a careless program would have it."""
    child = os.fork()
    if child == 0:
        print("from the child")
        return "child"
    _, status = os.waitpid(child, 0)
    return f"parent {os.waitstatus_to_exitcode(status)}"


def detach_child() -> int:
    """A process that leaves its session and its parent, as a server that daemonises itself does."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        grandchild = os.fork()
        if grandchild:
            os.write(write, str(grandchild).encode())
            os._exit(0)
        os.close(read)
        os.close(write)
        time.sleep(600)
        os._exit(0)
    os.close(write)
    os.wait()
    return int(os.read(read, 32))


class Counter:
    """Counts."""

    def __init__(self, start: int = 0) -> None:
        if start < 0:
            raise ValueError("cannot start below zero")
        print("counting from", start)
        self.value = start
        self.release = threading.Event()
        self.inside = 0
        self.lock = threading.Lock()

    def add(self, n: int = 1) -> int:
        """Adds n, and returns the value."""
        with self.lock:
            self.value += n
            return self.value

    def get(self) -> int:
        return self.value

    def wait(self) -> int:
        """Stays inside until somebody calls let_go; returns how many were inside at once."""
        with self.lock:
            self.inside += 1
        self.release.wait(30)
        return self.inside

    def count_inside(self) -> int:
        return self.inside

    def let_go(self) -> None:
        self.release.set()

    def spin(self, seconds: float) -> str:
        return spin(seconds)

    def die(self) -> None:
        die("kill")

    @property
    def doubled(self) -> int:
        return 2 * self.value

    @staticmethod
    def fixed() -> str:
        return "static"

    @classmethod
    def named(cls) -> str:
        return cls.__name__

    def __call__(self, x: int) -> int:
        return x + self.value

    def _private(self) -> None:
        pass


class Colliding:
    """Every method has a name that a library would like for itself."""

    def __init__(self, name: str = "default", cluster: str = "mine") -> None:
        self.stored = name

    def delete(self) -> str:
        return "user's delete"

    def submit(self) -> str:
        return "user's submit"

    def name(self) -> str:
        return self.stored

    def service(self) -> str:
        return "user's service"

    def cluster(self) -> str:
        return "user's cluster"


def write_line(number: int) -> None:
    os.write(1, b"line %d\n" % number)


class Holder:
    def __init__(self) -> None:
        self.noted = 0
        self.barrier = threading.Barrier(4)

    def meet(self) -> None:
        self.barrier.wait(20)

    def hold(self, mark: str, seconds: float) -> None:
        import ctypes

        # One call from beginning to end: between two of them Python's lock could change hands.
        ctypes.PyDLL(None).system(f"touch '{mark}' && sleep {seconds}".encode())

    def note(self) -> None:
        self.noted += 1

    def notes(self) -> int:
        return self.noted


class Shared:
    """Several call it at once, one of them into C code that lets go of Python's lock."""

    def __init__(self) -> None:
        self.total = 0
        self.ended = [0, 0]  # of crunch: its C code, and what stands behind it

    def identity(self) -> tuple[int, int]:
        return os.getpid(), id(self)

    def count(self, upto: int, pause: float) -> int:
        for _ in range(upto):
            self.total += 1
            time.sleep(pause)
        return self.total

    def total_now(self) -> int:
        return self.total

    def crunch(self, seconds: float) -> None:
        import hashlib

        begin = time.monotonic()
        hashlib.pbkdf2_hmac("sha256", b"key", b"salt", 200_000)
        rounds = round(200_000 * seconds / (time.monotonic() - begin))
        try:
            hashlib.pbkdf2_hmac("sha256", b"key", b"salt", rounds)
            self.ended[1] += 1
        finally:
            self.ended[0] += 1

    def crunches(self) -> tuple[int, int]:
        return self.ended[0], self.ended[1]
