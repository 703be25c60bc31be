"""The code that is called. Whatever it does, it first writes a row that says so, and one as the last thing it does."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from . import ledger

# What `work` returns: the execution that it comes from, and what it was given.
Receipt = tuple[str, Any]


@contextmanager
def written_down(folder: str, call: str, attempt: int = 0) -> Iterator[str]:
    """Around one execution; gives its token. There is no row of an end that an exception has prevented."""
    token = secrets.token_hex(8)
    ledger.write(folder, ledger.CODE, "begun", call=call, attempt=attempt, pid=os.getpid(), token=token)
    yield token
    ledger.write(folder, ledger.CODE, "ended", call=call, attempt=attempt, pid=os.getpid(), token=token)


def pause(seconds: float) -> None:
    """In short steps, between which a cancel is noticed."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 0.02))


def work(folder: str, call: str, seconds: float, given: Any = None, fails: bool = False, printed: int = 0) -> Receipt:
    with written_down(folder, call) as token:
        for number in range(printed):
            print(call, number)
            pause(seconds / printed / 2)
        pause(seconds / 2 if printed else seconds)
        if fails:
            raise ValueError(call)
    return token, given


def print_much(folder: str, call: str, seconds: float, lines: int) -> Receipt:
    """Through Python, which goes by the wire, and through descriptor 1, which goes by a file in the state folder."""
    with written_down(folder, call) as token:
        for number in range(lines):
            print(f"{call} {number} {'x' * 80}")
            os.write(1, f"{call} {number} {'y' * 80}\n".encode())
        pause(seconds)
    return token, None


class Desk:
    """Lives on the node, knows how often it was used, and passes work on to other desks."""

    def __init__(self) -> None:
        self.made = secrets.token_hex(8)
        self.uses = 0

    def identity(self) -> str:
        """Another one for every instance that was ever made."""
        return self.made

    def work(self, folder: str, call: str, seconds: float, given: Any = None) -> Receipt:
        with written_down(folder, call) as token:
            self.uses += 1
            pause(seconds)
        return token, given

    async def work_async(self, folder: str, call: str, seconds: float, given: Any = None) -> Receipt:
        with written_down(folder, call) as token:
            await asyncio.sleep(seconds)
        return token, given

    def items(self, folder: str, call: str, seconds: float, count: int) -> Iterator[Receipt]:
        with written_down(folder, call) as token:
            for number in range(count):
                pause(seconds / count)
                yield token, number

    async def items_async(self, folder: str, call: str, seconds: float, count: int) -> AsyncIterator[Receipt]:
        with written_down(folder, call) as token:
            for number in range(count):
                await asyncio.sleep(seconds / count)
                yield token, number

    def bounce(self, folder: str, call: str, seconds: float, depth: int, desks: list[str]) -> Receipt:
        """Calls the first of the desks, which calls the second, and so on around: each waits in a call of its own, and
        at depth 2 and more one of them is called again by what it waits for."""
        from .calls import Caller, NodeServices

        with written_down(folder, call) as token:
            pause(seconds)
            if depth > 0:
                inner = Caller(folder, NodeServices())
                inner.ask_now("bounce", f"{call}.{depth}", seconds, desk=desks[0], depth=depth - 1,
                              desks=[*desks[1:], desks[0]])  # fmt: skip
        return token, None


def identify_all(names: list[str]) -> dict[str, str]:
    import roundhouse as rh

    return {name: rh.here.get(name, remote=True).identity() for name in names}  # type: ignore[union-attr]


_EAT = "b = b'x' * {size}; import time; time.sleep({seconds})"


_GRANDCHILD = "grandchild"


def grandchild_end(folder: str) -> int | None:
    """What the grandchild's parent saw of its end: 128 and a signal, or an exit code."""
    try:
        with open(os.path.join(folder, _GRANDCHILD)) as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def eat(folder: str, call: str, size: int, deep: bool, seconds: float = 5.0) -> Receipt:
    """Takes so much memory: in this process, or in a grandchild whose parent ends as if nothing had been."""
    with written_down(folder, call) as token:
        if deep:
            eating = f'{sys.executable} -c "{_EAT.format(size=size, seconds=seconds)}"'
            command = f"{eating}; echo $? > {os.path.join(folder, _GRANDCHILD)}; exit 0"
            done = subprocess.run(["/bin/sh", "-c", command], check=False)
            return_code = done.returncode
        else:
            eaten = b"x" * size
            pause(seconds)
            return_code = len(eaten)
    return token, return_code


def detach() -> int:
    """Leaves a process that has left its session and its parent, as a server that daemonises itself does."""
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
