"""The end of a program while the engine's threads, and threads that use it, are in the middle of something."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest
import roundhouse as rh

Run = Callable[..., subprocess.CompletedProcess[str]]

# What came back for Python's lock during its finalisation aborted the program, now and then: so each runs often.
ROUNDS = 15

ASYNC_ARGUMENT = """
import asyncio, os, sys
import roundhouse as rh

async def take_all(items):
    async for item in items:
        pass

async def endless():
    number = 0
    while True:
        yield number
        number += 1
        if number % 50 == 0:
            await asyncio.sleep(0)

async def main():
    remote = rh.function(take_all).to(rh.compute(sys.argv[1]), name=f"exit-take-{os.getpid()}")
    consuming = asyncio.ensure_future(remote(endless()))
    await asyncio.sleep(0.05)
    assert not consuming.done(), consuming

asyncio.run(main())
"""

# Each thread of these is a daemon, and is in the engine most of the time.
BUSY_THREADS = """
import itertools, sys, threading, time
import roundhouse as rh

def add(x, y=1):
    return x + y

def take_all(items):
    for item in items:
        pass

def count(n):
    yield from range(n)

def talk(n):
    for i in range(n):
        print(i)

box = rh.compute(sys.argv[1])
adding = rh.function(add).to(box, name="exit-add")
taking = rh.function(take_all).to(box, name="exit-take")
counting = rh.function(count).to(box, name="exit-count")
talking = rh.function(talk).to(box, name="exit-talk")

ran = set()

def forever(what):
    def run():
        while True:
            what()
            ran.add(what)
    return run

def cancel():
    call = adding.submit(1)
    call.cancel()
    try:
        call.result()
    except rh.CallCancelled:
        pass

def stream():
    stream = counting(1000)
    next(stream)
    del stream

jobs = [
    lambda: adding(1), cancel, stream, lambda: taking(iter(range(10_000))), lambda: sum(counting(5000)),
    box.ping, lambda: talking(500), lambda: rh.Cluster.list(), lambda: adding(bytes(400_000), b""),
]
for job in jobs:
    threading.Thread(target=forever(job), daemon=True).start()
deadline = time.monotonic() + 20
while len(ran) < len(jobs):
    assert time.monotonic() < deadline, len(ran)
    time.sleep(0.01)
"""


@pytest.mark.parametrize("source", [ASYNC_ARGUMENT, BUSY_THREADS], ids=["async-argument", "busy-threads"])
def test_a_program_ends_whatever_its_threads_do(box: rh.Cluster, run_script: Run, source: str) -> None:
    for _ in range(ROUNDS):
        done = run_script(source, box.name)
        assert "Fatal Python error" not in done.stderr
        assert "Traceback" not in done.stderr
