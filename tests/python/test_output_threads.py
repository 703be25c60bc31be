"""What belongs to whom: output of threads, pools, child processes, loggers and warnings, in real workers."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Callable

import pytest
import roundhouse as rh
from roundhouse import _serialize

Run = Callable[..., subprocess.CompletedProcess[str]]


def heard_apart(box: rh.Cluster, name: str, *calls: tuple[object, ...]) -> list[str]:
    """What each of several calls at once prints."""
    heard: list[list[bytes]] = [[] for _ in calls]
    ended = []

    def run(number: int, args: tuple[object, ...]) -> None:
        client = box._link.client()
        kind, *_ = client.call(
            name, "call", 1, _serialize.dumps((args, {})), lambda _, text: heard[number].append(text)
        )
        ended.append(kind)

    threads = [threading.Thread(target=run, args=entry) for entry in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert ended == [0] * len(calls)
    return [b"".join(texts).decode() for texts in heard]


def speak_in_threads(word: str) -> None:
    def nested() -> None:
        thread = threading.Thread(target=print, args=(word, "nested"))
        thread.start()
        thread.join()

    class Own(threading.Thread):
        def run(self) -> None:
            print(word, "own")

    for thread in (threading.Thread(target=nested), Own(), threading.Timer(0, print, (word, "timer"))):
        thread.start()
        thread.join()
        assert "run" not in vars(thread)


def test_threads_print_as_the_call_that_started_them(box: rh.Cluster) -> None:
    rh.function(speak_in_threads).to(box)
    for word, text in zip("abc", heard_apart(box, "speak_in_threads", ("a",), ("b",), ("c",)), strict=True):
        assert text == f"{word} nested\n{word} own\n{word} timer\n"


def speak_in_pool(word: str) -> None:
    import builtins
    from concurrent.futures import ThreadPoolExecutor

    # One pool for all calls, as a library's would be.
    pool = vars(builtins).setdefault("rh_test_pool", ThreadPoolExecutor(1))
    for number in range(20):
        pool.submit(print, word, number).result()
    assert list(pool.map(lambda x: x + 1, [1, 2])) == [2, 3]


def test_what_a_pool_does_belongs_to_who_submitted_it(box: rh.Cluster) -> None:
    rh.function(speak_in_pool).to(box)
    for _ in range(2):
        for word, text in zip("abc", heard_apart(box, "speak_in_pool", ("a",), ("b",), ("c",)), strict=True):
            assert text == "".join(f"{word} {number}\n" for number in range(20))


def test_a_thread_that_outlives_its_call_disturbs_nobody(box: rh.Cluster) -> None:
    class Late:
        def __init__(self) -> None:
            self.go_on = threading.Event()
            self.thread: threading.Thread | None = None

        def leave(self) -> None:
            def later() -> None:
                self.go_on.wait(30)
                print("too late")

            self.thread = threading.Thread(target=later)
            self.thread.start()

        def release(self) -> None:
            self.go_on.set()
            assert self.thread is not None
            self.thread.join(30)
            print("in time")

    rh.cls(Late).to(box)(name="late")
    client = box._link.client()
    heard: list[bytes] = []
    for method in ("leave", "release"):
        outcome = client.call("late", method, 1, _serialize.dumps(((), {})), lambda _, text: heard.append(text))
        assert outcome[0] == 0
    # It went to the worker's own file, whose text a caller may see, but not as part of the call that was running.
    assert heard[-1] == b"in time\n"
    assert b"".join(heard).count(b"too late") <= 1


def children(method: str) -> int:
    import multiprocessing

    context = multiprocessing.get_context(method)
    process = context.Process(target=print, args=("from a child,", method), kwargs={"flush": True})
    process.start()
    process.join()
    return process.exitcode or 0


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_child_processes_print_too(box: rh.Cluster, capsys: pytest.CaptureFixture[str], method: str) -> None:
    assert rh.function(children).to(box, name=f"children-{method}")(method) == 0
    assert f"from a child, {method}\n" in capsys.readouterr().out


POOL = """
import multiprocessing
import roundhouse as rh

class Point:
    def __init__(self, x):
        self.x = x

def double(point):
    return Point(2 * point.x)

def mapped(method):
    with multiprocessing.get_context(method).Pool(2) as pool:
        return [point.x for point in pool.map(double, [Point(1), Point(2)])]

with rh.compute("pools") as box:
    remote = rh.function(mapped).to(box)
    print(remote("spawn"), remote("fork"))
"""


def test_functions_of_a_script_go_on_to_pools_of_processes(run_script: Run) -> None:
    # Without a guard: neither the worker nor its children run the script.
    assert run_script(POOL).stdout == "[2, 4] [2, 4]\n"


def test_bytes_may_cut_characters(box: rh.Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    def write() -> None:
        import sys

        for byte in "grüße\n".encode():
            sys.stdout.buffer.write(bytes([byte]))

    rh.function(write).to(box)()
    assert capsys.readouterr().out == "grüße\n"


def test_warnings_and_records_go_to_stderr(box: rh.Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    def complain() -> None:
        import logging
        import warnings

        warnings.warn("watch out", stacklevel=1)
        logging.getLogger("mine").warning("a record")
        logging.getLogger("mine").info("not shown")

    rh.function(complain).to(box)()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.search(r"UserWarning: watch out\n", shown.err)
    assert "a record\n" in shown.err
    assert "not shown" not in shown.err


def test_exits_reach_the_caller_and_the_worker_lives(box: rh.Cluster) -> None:
    class Leaver:
        def leave(self, how: str) -> None:
            if how == "exit":
                raise SystemExit(3)
            raise KeyboardInterrupt

        async def leave_later(self, how: str) -> None:
            self.leave(how)

        def pid(self) -> int:
            import os

            return os.getpid()

    leaver = rh.cls(Leaver).to(box)()
    pid = leaver.pid()
    for method in (leaver.leave, leaver.leave_later):
        with pytest.raises(SystemExit) as caught:
            method.submit("exit").result()
        assert caught.value.code == 3
        with pytest.raises(KeyboardInterrupt):
            method.submit("interrupt").result()
    assert leaver.pid() == pid
