"""Coroutines in the worker's Python part, without an engine."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

import pytest
import subjects
from bare_worker import FAILED, RAISED, Worker, fresh_worker, value
from patience import wait_until
from roundhouse import _engine, _raised, _serialize

worker = pytest.fixture(fresh_worker)


class Shared:
    """Its lock belongs to one event loop."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.inside = 0
        self.most = 0
        self.loops: set[int] = set()

    async def enter(self) -> int:
        async with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.loops.add(id(asyncio.get_running_loop()))
            await asyncio.sleep(0)
            self.inside -= 1
        return self.most

    def seen(self) -> tuple[int, int]:
        return self.most, len(self.loops)


def instance(worker: Worker, kind: type) -> None:
    worker.load(kind.__name__, "class", kind)
    value(worker.own("create", {"class": kind.__name__, "name": "it"}, []))


def test_calls_share_one_loop(worker: Worker) -> None:
    instance(worker, Shared)
    for id in [worker.begin("it", "enter") for _ in range(50)]:
        assert value(worker.wait(id)) == 1
    assert value(worker.call("it", "seen")) == (1, 1)


def test_waiting_calls_hold_no_threads(worker: Worker) -> None:
    worker.load("sleep", "function", subjects.sleep_async)
    body = _serialize.dumps(((60,), {}))
    first = worker.calls + 1
    assert worker.runner.run(first, "sleep", "call", 1, body) is None
    before = threading.active_count()
    ids = range(first + 1, first + 1001)
    for id in ids:
        assert worker.runner.run(id, "sleep", "call", 1, body) is None
    assert threading.active_count() == before
    for id in (first, *ids):
        assert worker.runner.cancel(id)
    for id in (first, *ids):
        kind, _, _, _, error = worker.wait(id)
        assert (kind, error[0]) == (FAILED, _engine.codes["cancelled"])
    assert not worker.runner.cancelling


def test_a_call_that_is_cancelled_before_it_begins(worker: Worker) -> None:
    begun = []

    async def begin() -> None:
        begun.append(1)

    blocked, go_on = threading.Event(), threading.Event()

    async def block() -> None:
        blocked.set()
        go_on.wait(10)

    for name, function in (("begin", begin), ("block", block)):
        worker.load(name, "function", subjects.add_later)
        worker.runner._services[name].target = function
    blocker = worker.begin("block", "call")
    assert blocked.wait(10)
    id = worker.calls + 1
    assert worker.runner.run(id, "begin", "call", 1, _serialize.dumps(((), {}))) is None
    assert worker.runner.cancel(id)
    # The loop stands still; calls that need no loop do not.
    worker.calls = id
    worker.load("add", "function", subjects.add)
    assert value(worker.call("add", "call", 1, 2)) == 3
    go_on.set()
    value(worker.wait(blocker))
    assert worker.wait(id)[0] == FAILED
    assert begun == []


def test_a_returned_awaitable_is_awaited(worker: Worker) -> None:
    class Later:
        def __await__(self) -> Any:
            yield from asyncio.sleep(0).__await__()
            return 5

    worker.load("coroutine", "function", lambda: subjects.add_later(1, 2))
    worker.load("later", "function", Later)
    assert value(worker.call("coroutine", "call")) == 3
    assert value(worker.call("later", "call")) == 5


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
def test_what_a_coroutine_raises(worker: Worker, kind: type[BaseException]) -> None:
    async def fail(kind: type[BaseException]) -> None:
        await asyncio.sleep(0)
        raise kind("asked to")

    worker.load("fail", "function", fail)
    answer, _, parts, raised, _ = worker.call("fail", "call", kind)
    assert answer == RAISED
    assert type(_raised.decode(parts, raised)) is kind
    assert "_worker/loop.py" not in raised[2]


def test_a_task_of_the_users_that_exits_does_not_end_the_loop(
    worker: Worker, capsys: pytest.CaptureFixture[str]
) -> None:
    async def leave() -> None:
        raise SystemExit(3)

    async def start() -> Any:
        return repr(asyncio.ensure_future(leave()))

    worker.load("start", "function", start)
    worker.load("later", "function", subjects.add_later)
    value(worker.call("start", "call"))
    for _ in range(3):
        assert value(worker.call("later", "call", 1, 2)) == 3


def test_each_coroutine_prints_as_its_own_call(worker: Worker) -> None:
    async def speak(name: str) -> None:
        print(name, "begins")
        await asyncio.sleep(0.01)
        await asyncio.to_thread(print, name, "in a thread")
        await asyncio.get_running_loop().run_in_executor(None, print, name, "in a pool")
        print(name, "ends", file=sys.stderr)

    worker.load("speak", "function", speak)
    bodies = {worker.calls + number: _serialize.dumps(((f"<{number}>",), {})) for number in (1, 2, 3)}
    # The streams have to stand for as long as the calls run.
    from roundhouse._worker import output

    with pytest.MonkeyPatch.context() as patch:
        for channel, name in ((output.OUT, "stdout"), (output.ERR, "stderr")):
            patch.setattr(sys, name, output.CallStream(channel, getattr(sys, name)))
        from concurrent.futures import thread

        patch.setattr(thread.ThreadPoolExecutor, "submit", thread.ThreadPoolExecutor.submit)
        output._submit_inheriting(thread)
        for id, body in bodies.items():
            assert worker.runner.run(id, "speak", "call", 1, body) is None
        for id in bodies:
            value(worker.wait(id))
    for number, id in enumerate(bodies, 1):
        heard = [(channel, text.decode()) for of, channel, text in worker.host.heard if of == id]
        assert sorted(heard) == sorted(
            [
                (1, f"<{number}> begins\n"),
                (1, f"<{number}> in a thread\n"),
                (1, f"<{number}> in a pool\n"),
                (2, f"<{number}> ends\n"),
            ]
        )


def test_a_cancel_that_user_code_catches_is_its_own_affair(worker: Worker) -> None:
    async def stubborn() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "went on"
        return "slept"

    worker.load("stubborn", "function", stubborn)
    id = worker.begin("stubborn", "call")
    wait_until(lambda: worker.runner._loop is not None and worker.runner._loop._tasks.get(id))
    assert worker.runner.cancel(id)
    assert value(worker.wait(id)) == "went on"


def test_a_wrong_call_of_a_coroutine(worker: Worker) -> None:
    worker.load("later", "function", subjects.add_later)
    kind, _, _, _, error = worker.call("later", "call", 1)
    assert (kind, error[0]) == (FAILED, _engine.codes["bad_arguments"])
