"""Programs that end while something is still under way: at once, with their own exit code, and without a word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Script = Callable[..., CompletedProcess[str]]

# Each program gets its own service, and knows from a file that the call has begun there.
PRELUDE = """
import asyncio, pathlib, sys, threading, time
import roundhouse as rh

box, me, begun, release = rh.compute("shared"), sys.argv[1], pathlib.Path("begun"), pathlib.Path("release")

def wait_for(path):
    until = time.monotonic() + 15
    while not path.exists():
        assert time.monotonic() < until, f"{path} did not come"
        time.sleep(0.005)

def waits():
    begun.touch()
    wait_for(release)
    return "released"

def yields():
    begun.touch()
    while True:
        yield 1
        time.sleep(0.005)

async def ayields():
    begun.touch()
    while True:
        yield 1
        await asyncio.sleep(0.005)

def takes(items):
    for item in items:
        begun.touch()

async def atakes(items):
    async for item in items:
        begun.touch()

def sends(f):
    return rh.function(f).to(box, name=me)

"""

LEAVES = {
    "a daemon thread that waits": """
remote = sends(waits)
threading.Thread(target=remote, daemon=True).start()
""",
    "several daemon threads that wait": """
remote = sends(waits)
for _ in range(4):
    threading.Thread(target=remote, daemon=True).start()
    threading.Thread(target=remote.submit().result, daemon=True).start()
""",
    "a call that nobody waits for": """
call = sends(waits).submit()
""",
    "a call with somebody to tell": """
call = sends(waits).submit()
call.add_done_callback(print)
""",
    "an event loop that is run to its end": """
async def main():
    task = asyncio.create_task(waiting())
    await asyncio.to_thread(wait_for, begun)
async def waiting():
    await sends(waits).submit()
asyncio.run(main())
""",
    "an event loop in a daemon thread": """
async def main():
    await asyncio.gather(*(remote.submit() for _ in range(3)))
remote = sends(waits)
threading.Thread(target=asyncio.run, args=(main(),), daemon=True).start()
""",
    "an open stream": """
stream = sends(yields)()
assert next(stream) == 1
""",
    "a stream in the middle of a loop": """
loop = iter(sends(yields)())
assert next(loop) == 1
""",
    "a stream that a daemon thread reads": """
stream = sends(yields)()
threading.Thread(target=list, args=(stream,), daemon=True).start()
""",
    "an open async stream": """
async def main():
    global stream
    stream = sends(ayields)()
    async for item in stream:
        return
asyncio.run(main())
""",
    "a generator argument": """
call = sends(takes).submit(yields())
""",
    "a generator argument of a daemon thread's call": """
remote = sends(takes)
threading.Thread(target=remote, args=(yields(),), daemon=True).start()
""",
    "an async generator argument": """
call = sends(atakes).submit(ayields())
""",
    "an async generator argument on an event loop": """
async def main():
    global call
    call = sends(atakes).submit(ayields())
    await asyncio.to_thread(wait_for, begun)
asyncio.run(main())
""",
    "a map in a daemon thread": """
def slow(n):
    return waits()
remote = sends(slow)
threading.Thread(target=remote.map, args=(range(10),), daemon=True).start()
""",
}


@pytest.mark.parametrize("what", LEAVES)
def test_what_is_under_way_does_not_keep_a_program(script: Script, tmp_path: Path, what: str) -> None:
    name = what.replace(" ", "-").replace("'", "")
    assert script(PRELUDE + LEAVES[what] + "wait_for(begun)\nprint('leaving')\n", name).stdout == "leaving\n"


def test_its_exit_code_is_its_own(script: Script) -> None:
    source = PRELUDE + LEAVES["several daemon threads that wait"] + "wait_for(begun)\nsys.exit(3)\n"
    assert script(source, "coded", code=3).stdout == ""


def test_its_last_words_are_its_own(script: Script) -> None:
    source = PRELUDE + LEAVES["a generator argument"] + "wait_for(begun)\nraise SystemExit('the end')\n"
    assert script(source, "worded", code=1).stdout == "the end\n"
    source = PRELUDE + LEAVES["an open stream"] + "raise KeyError('the end')\n"
    output = script(source, "raising", code=1).stdout
    assert output.count("Traceback") == 1
    assert output.endswith("\nKeyError: 'the end'\n")


def test_a_thread_that_python_waits_for_gets_its_result(script: Script) -> None:
    source = (
        PRELUDE
        + """
def work():
    call = remote.submit()
    threading.main_thread().join()
    release.touch()
    print(call.result(15))
    print(remote())
remote = sends(waits)
threading.Thread(target=work).start()
wait_for(begun)
print("leaving")
"""
    )
    assert script(source, "waited-for").stdout == "leaving\nreleased\nreleased\n"


def test_calls_from_exit_handlers(script: Script) -> None:
    """They work in those of a program that imported Roundhouse before; in others they fail, and nothing hangs."""
    source = """
import atexit, sys
def last():
    try:
        print("last:", remote([1]))
    except rh.RoundhouseError as error:
        print("last:", type(error).__name__)
atexit.register(last)
import roundhouse as rh
remote = rh.function(len).to(rh.compute("shared"), name="at-exit")
atexit.register(lambda: print("first:", remote([1, 2])))
"""
    first, last = script(source).stdout.splitlines()
    assert first == "first: 2"
    assert last in ("last: 1", "last: NodeLost")


def test_what_is_dropped_last_of_all(script: Script) -> None:
    """Streams, calls and clusters that are still there when Python takes its modules apart."""
    source = (
        PRELUDE
        + """
class Keeps:
    def __init__(self, *kept): self.kept = kept
    def __del__(self): del self.kept
stream = sends(yields)()
next(stream)
sys.kept = Keeps(stream, rh.function(waits).to(box, name="kept").submit(), box)
sys.kept.itself = sys.kept
print("leaving")
"""
    )
    assert script(source, "dropped").stdout == "leaving\n"
