"""Clients in several processes and threads: multiprocessing, fork itself, concurrent.futures, pytest-xdist."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from e2e.conftest import World

from .conftest import SECONDS

Script = Callable[..., CompletedProcess[str]]

# A counter on the cluster, which tells who called it, and that several did at once.
PRELUDE = """
import multiprocessing, os, sys, threading, time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
import roundhouse as rh

class Counter:
    def __init__(self):
        import threading
        self.lock, self.total, self.callers = threading.Lock(), 0, set()
        self.here = {}
    def add(self, caller, n=1):
        with self.lock:
            self.total += n
            self.callers.add(caller)
            return self.total
    def meet(self, place, parties):
        # Returns to nobody before that many callers are here at once.
        import threading
        with self.lock:
            barrier = self.here.setdefault(place, threading.Barrier(parties))
        barrier.wait(15)
        return place

def square(n):
    return n * n
"""

MULTIPROCESSING = (
    PRELUDE
    + """
def child(counter, square, parties):
    counter.meet("children", parties)
    assert [counter.add(os.getpid()) > 0 for _ in range(20)] == [True] * 20
    assert square(7) == square.submit(7).result() == 49
    assert square.map([1, 2, 3]) == [1, 4, 9]
    sys.exit(7)

def main(method):
    context = multiprocessing.get_context(method)
    box = rh.compute("shared")
    counter = rh.cls(Counter).to(box, replace=True)(name=f"counter-{method}")
    remote = rh.function(square).to(box, name=f"square-{method}")
    assert counter.add(os.getpid()) == 1
    # A thread of the parent is within a call while the children are made.
    waiting = threading.Thread(target=counter.meet, args=("children", 4))
    waiting.start()
    children = [context.Process(target=child, args=(counter, remote, 4)) for _ in range(3)]
    for one in children: one.start()
    pending = remote.submit(9)
    for one in children: one.join(15)
    waiting.join(15)
    assert [one.exitcode for one in children] == [7, 7, 7], children
    assert counter.add(os.getpid()) == 62
    assert counter.remote.callers == {os.getpid(), *(one.pid for one in children)}
    assert pending.result() == 81
    # What a pool's processes call is the remote function itself.
    with context.Pool(2) as pool:
        assert pool.map(remote, range(10), chunksize=1) == [n * n for n in range(10)]
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        assert list(pool.map(remote, range(10))) == [n * n for n in range(10)]
        assert pool.submit(counter.add, "pool").result(15) == 63
    print("fine")

if __name__ == "__main__":
    main(sys.argv[1])
"""
)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(script: Script, method: str) -> None:
    assert script(MULTIPROCESSING, method).stdout == "fine\n"


def test_a_class_of_the_program_comes_to_a_spawned_child(script: Script) -> None:
    """There the program's file is `__mp_main__`, and what was sent from it is the child's own all the same."""
    source = """
import multiprocessing
import roundhouse as rh

class Refused(Exception):
    pass

class Point:
    def __init__(self, x): self.x = x

def moved(point):
    if point.x < 0:
        raise Refused(point.x)
    return Point(point.x + 1)

def child(remote):
    made = remote(Point(1))
    print(type(made) is Point, made.x)
    try:
        remote(Point(-1))
    except Refused as error:
        print("refused", error)

if __name__ == "__main__":
    remote = rh.function(moved).to(rh.compute("shared"), name="moved")
    for method in ("fork", "spawn", "forkserver"):
        one = multiprocessing.get_context(method).Process(target=child, args=(remote,))
        one.start()
        one.join(15)
        assert one.exitcode == 0
"""
    assert script(source).stdout == "True 2\nrefused -1\n" * 3


def test_a_child_sends_and_launches_itself(script: Script) -> None:
    source = (
        PRELUDE
        + """
def child():
    with rh.compute("a-childs-own") as box:
        assert rh.function(square).to(box)(3) == 9
    assert rh.function(square).to("shared", name="childs-square")(3) == 9

if __name__ == "__main__":
    assert rh.function(len).to("shared")("ab") == 2
    for method in ("fork", "spawn", "forkserver"):
        one = multiprocessing.get_context(method).Process(target=child)
        one.start()
        one.join(15)
        assert one.exitcode == 0
    print(rh.compute("shared").get("childs-square", remote=True)(5), rh.compute("a-childs-own").is_up())
"""
    )
    assert script(source).stdout == "25 False\n"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_what_a_child_sent_is_used_by_its_parent(script: Script, method: str) -> None:
    """Classes, instances and exceptions of the program are one and the same in both, whoever sent them."""
    source = """
import dataclasses, enum, multiprocessing, os, pathlib, pickle, sys, typing
import roundhouse as rh

T = typing.TypeVar("T")

class Refused(Exception):
    pass

class Colour(enum.Enum):
    RED = 1

@dataclasses.dataclass
class Point:
    x: int
    colour: Colour = Colour.RED

class Box(typing.Generic[T]):
    def __init__(self, *points: T): self.points = list(points)
    def add(self, point: T) -> list[T]:
        if point.x < 0: raise Refused(point)
        self.points.append(point)
        return self.points
    def through_processes(self, how):
        # A worker's own child gets, and returns, what this program defines.
        import multiprocessing
        with multiprocessing.get_context(how).Pool(1) as pool:
            return pool.map(moved, self.points)

def moved(point: Point) -> Point:
    return dataclasses.replace(point, x=point.x + 1)

def use(box, n):
    # What it got there is an instance of our own classes, also after a pickle that we make of it ourselves.
    points = pickle.loads(pickle.dumps(box.add(Point(n))))
    assert all(type(point) is Point and point.colour is Colour.RED for point in points), points
    assert box.remote.points == points
    moved_there = rh.compute("shared").get(f"moved-{sys.argv[1]}", remote=True)
    assert moved_there(points[0]) == moved(points[0])
    assert moved_there.map(points) == [moved(point) for point in points]
    try:
        box.add(Point(-n))
    except Refused as error:
        assert error.args == (Point(-n),)
    else:
        raise AssertionError
    assert box.through_processes("fork") == box.through_processes("spawn") == [moved(point) for point in points]
    return [point.x for point in points]

def child(method, pipe):
    assert __name__ == ("__main__" if method == "fork" else "__mp_main__")
    rh.function(moved).to("shared", name=f"moved-{method}")
    box = rh.cls(Box).to("shared", name=f"Box-{method}")(Point(1), name=f"box-{method}")
    pipe.send((box, use(box, 2), box.remote.points))
    assert pipe.recv() == "used"
    print(use(box, 4))

if __name__ == "__main__":
    method = sys.argv[1]
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    one = context.Process(target=child, args=(method, theirs))
    one.start()
    # Else the end of the child is not seen here.
    theirs.close()
    assert ours.poll(15)
    box, used, points = ours.recv()
    assert points == [Point(1), Point(2)]
    print(used, use(box, 3))
    sys.stdout.flush()
    # A class that the child sent, constructed here; and one sent from here under the same name as the child's.
    print(use(rh.compute("shared").get(f"Box-{method}", remote=True)(Point(5)), 6))
    sys.stdout.flush()
    ours.send("used")
    one.join(15)
    assert one.exitcode == 0
"""
    expected = "[1, 2] [1, 2, 3]\n[5, 6]\n[1, 2, 3, 4]\n"
    assert script(source, method).stdout == expected


def test_other_libraries_pickle_as_before(script: Script) -> None:
    """cloudpickle is used by others too, who name to the parent what a child has of the program."""
    source = """
import multiprocessing
import cloudpickle
import roundhouse as rh

class Point:
    pass

def child(pipe):
    # By value: Roundhouse's use of cloudpickle comes first.
    assert type(rh.function(lambda point: point).to("shared", name="same")(Point())) is Point
    pipe.send_bytes(cloudpickle.dumps(Point()))

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    one = context.Process(target=child, args=(theirs,))
    one.start()
    theirs.close()
    assert ours.poll(15)
    print(type(cloudpickle.loads(ours.recv_bytes())) is Point)
    one.join(15)
    assert one.exitcode == 0
"""
    assert script(source).stdout == "True\n"


def test_forked_children_that_end_as_programs_do(script: Script) -> None:
    """Not by os._exit: their exit handlers run, with connections whose threads only the parent has."""
    source = (
        PRELUDE
        + """
counter = rh.cls(Counter).to("shared", replace=True)(name="counter-forked")
remote = rh.function(square).to("shared", name="square-forked")
forever = rh.function(time.sleep).to("shared", name="sleep-forked")
threading.Thread(target=forever, args=(60,), daemon=True).start()
pending = remote.submit(6)
stream = rh.function(lambda: (yield from range(3))).to("shared", name="stream-forked")()
assert next(stream) == 0
codes = []
for calls in (0, 1, 5):
    child = os.fork()
    if child == 0:
        for n in range(calls):
            assert remote(n) == n * n
            counter.add("child")
        sys.exit(10 + calls)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(codes, counter.add("parent"), pending.result(), list(stream))
"""
    )
    assert script(source).stdout == "[10, 11, 15] 7 36 [1, 2]\n"


def test_thread_pools(script: Script) -> None:
    source = (
        PRELUDE
        + """
counter = rh.cls(Counter).to("shared", replace=True)(name="counter-threads")
remote = rh.function(square).to("shared", name="square-threads")
with ThreadPoolExecutor(8) as pool:
    assert [each.result() for each in [pool.submit(counter.meet, "here", 8) for _ in range(8)]] == ["here"] * 8
    assert list(pool.map(remote, range(100))) == [n * n for n in range(100)]
    assert max(pool.map(counter.add, range(100))) == 100
import asyncio
async def main():
    # What code that knows nothing of Roundhouse does with a function that blocks.
    loop = asyncio.get_running_loop()
    return await asyncio.gather(asyncio.to_thread(remote, 4), loop.run_in_executor(None, counter.add, "loop", 5))
print(asyncio.run(main()))
# Python waits for a pool's threads, exit handlers or not.
ThreadPoolExecutor(2).submit(lambda: print(remote(time.sleep(0.1) or 11)))
"""
    )
    assert script(source).stdout == "[16, 105]\n121\n"


XDIST_CONFTEST = """
import roundhouse as rh

class Meeting:
    def __init__(self):
        import threading
        self.barrier, self.who = threading.Barrier(2), []
    def meet(self, who):
        self.who.append(who)
        self.barrier.wait(15)
        return len(self.who)
    def met(self):
        return self.who

def pytest_configure(config):
    if not hasattr(config, "workerinput"):  # In the process that starts the workers, once.
        rh.cls(Meeting).to(rh.compute("xdist").up_if_not())(name="meeting")

def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        met = rh.compute("xdist").get("meeting", remote=True).met()
        print("met:", sorted(worker for worker, _ in met), len({pid for _, pid in met}))
        rh.compute("xdist").teardown()
"""
XDIST = """
import os
import pytest
import roundhouse as rh

@pytest.fixture(scope="session", autouse=True)
def meeting(worker_id):
    meeting = rh.compute("xdist").up_if_not().get("meeting", remote=True)
    assert meeting.meet((worker_id, os.getpid())) == 2
    return meeting

@pytest.mark.parametrize("n", [1, 2])
def test_they_share_one(meeting, n):
    assert os.getpid() in [pid for _, pid in meeting.met()]

def test_output_is_captured(meeting, capsys):
    def says(): print("aloud")
    rh.function(says).to("xdist", name=f"says-{os.getpid()}")()
    assert capsys.readouterr().out == "aloud\\n"

@pytest.mark.parametrize("n", range(6))
def test_many(meeting, n):
    assert rh.function(len).get_or_to("xdist", name=f"len-{os.getpid()}")("x" * n) == n
"""


def test_xdist(world: World, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(XDIST_CONFTEST)
    (tmp_path / "test_theirs.py").write_text(XDIST)
    # Without what else is installed beside pytest here, which three processes would load: seven times as much work.
    bare = replace(world, env=world.env | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})
    options = ["-p", "xdist", "-n", "2", "-p", "no:cacheprovider", "-q"]
    done = bare.run(sys.executable, "-m", "pytest", *options, "test_theirs.py", cwd=tmp_path, timeout=SECONDS)
    assert done.returncode == 0, done.stdout
    assert "9 passed" in done.stdout
    assert "met: ['gw0', 'gw1'] 2\n" in done.stdout
