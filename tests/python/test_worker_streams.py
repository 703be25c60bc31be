"""Generators and generator arguments in the worker's Python part, without an engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import roundhouse as rh
from bare_worker import FAILED, RAISED, Worker, fresh_worker, value
from patience import wait_until
from roundhouse import _engine, _raised, _serialize
from roundhouse._context import current_call

worker = pytest.fixture(fresh_worker)


def cancelled(answer: Any) -> bool:
    return answer[0] == FAILED and answer[4][0] == _engine.codes["cancelled"]


def counting(n: int) -> Iterator[int]:
    yield from range(n)
    return "done"


async def counting_later(n: int) -> AsyncIterator[int]:
    for number in range(n):
        await asyncio.sleep(0)
        yield number


KINDS = [counting, counting_later]


@pytest.mark.parametrize("function", KINDS)
def test_items_in_order_and_then_the_result(worker: Worker, function: Any) -> None:
    worker.load("counting", "function", function)
    stream = worker.host.stream(worker.calls + 1)
    answer = worker.wait(worker.begin("counting", "call", 1000, prefetch=1024))
    assert value(answer) == ("done" if function is counting else None)
    assert stream.items == list(range(1000))


@pytest.mark.parametrize("function", KINDS)
def test_a_generator_runs_no_further_than_it_was_asked(worker: Worker, function: Any) -> None:
    begun = []

    def watched(n: int) -> Iterator[int]:
        for number in range(n):
            begun.append(number)
            yield number

    async def watched_later(n: int) -> AsyncIterator[int]:
        for number in range(n):
            begun.append(number)
            yield number

    # Not copies: the list is looked at here.
    worker.load("counting", "function", function)
    worker.runner._services["counting"].target = watched if function is counting else watched_later
    stream = worker.host.stream(worker.calls + 1, room=0)
    id = worker.begin("counting", "call", 3)
    wait_until(lambda: stream.wants_room)
    assert begun == []
    for step in range(3):
        worker.host.give_room(id, 1)
        wait_until(lambda: stream.wants_room)
        assert (begun, stream.items) == ([*range(step + 1)], [*range(step + 1)])
    worker.host.give_room(id, 1)
    worker.wait(id)


@pytest.mark.parametrize("function", KINDS)
def test_a_dropped_stream_is_closed_and_not_disturbed(worker: Worker, function: Any) -> None:
    said = []

    def endless(_: int) -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            said.append(worker.runner.cancel(id))
            said.append("closed")

    async def endless_later(_: int) -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            said.append(worker.runner.cancel(id))
            await asyncio.sleep(0.02)
            said.append("closed")

    worker.load("endless", "function", function)
    worker.runner._services["endless"].target = endless if function is counting else endless_later
    stream = worker.host.stream(worker.calls + 1, room=5)
    id = worker.calls + 1
    assert worker.begin("endless", "call", 1) == id
    wait_until(lambda: stream.wants_room)
    worker.host.hang_up(id)
    assert cancelled(worker.wait(id))
    # A cancel while it cleans up is heard of, and does not interrupt it.
    assert said == [True, "closed"]


def test_a_cancelled_async_stream_cleans_up(worker: Worker) -> None:
    said = []

    async def waiting(_: int) -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.sleep(60)
        finally:
            said.append("closed")

    worker.load("waiting", "function", counting_later)
    worker.runner._services["waiting"].target = waiting
    stream = worker.host.stream(worker.calls + 1)
    id = worker.begin("waiting", "call", 1)
    wait_until(lambda: stream.items)
    assert worker.runner.cancel(id)
    assert cancelled(worker.wait(id))
    assert said == ["closed"]


def test_what_is_sent_and_thrown_arrives(worker: Worker) -> None:
    def echo() -> Iterator[Any]:
        got: Any = "begun"
        while True:
            try:
                got = yield got
            except KeyError as error:
                got = f"caught {error}"
            if got == "stop":
                return "stopped"

    async def echo_later() -> AsyncIterator[Any]:
        got: Any = "begun"
        while True:
            try:
                got = yield got
            except KeyError as error:
                got = f"caught {error}"
            if got == "stop":
                return

    for function, end in ((echo, "stopped"), (echo_later, None)):
        assert worker.load("echo", "function", function)["methods"]["call"]["sends"]
        stream = worker.host.stream(worker.calls + 1, room=0)
        id = worker.begin("echo", "call")
        for step, entry in enumerate((None, 0, 1, None, 0)):
            wait_until(lambda stream=stream: stream.wants_room)  # type: ignore[misc]
            if entry == 0:
                worker.host.give_input(
                    id, 0, (0, _serialize.PICKLE, _serialize.dumps("sent" if step < 4 else "stop"), None)
                )
            elif entry == 1:
                worker.host.give_input(id, 0, (1, _serialize.PICKLE, _raised.encode(KeyError("k")), None))
            worker.host.give_room(id, 1)
        assert value(worker.wait(id)) == end
        assert stream.items == ["begun", "sent", "caught 'k'", None]


@pytest.mark.parametrize("function", KINDS)
def test_a_generator_that_fails_has_sent_what_came_before(worker: Worker, function: Any) -> None:
    def failing(n: int) -> Iterator[int]:
        yield n
        raise KeyError(n)

    async def failing_later(n: int) -> AsyncIterator[int]:
        yield n
        raise SystemExit(n)

    worker.load("failing", "function", failing if function is counting else failing_later)
    stream = worker.host.stream(worker.calls + 1)
    kind, _, parts, raised, _ = worker.wait(worker.begin("failing", "call", 3))
    assert kind == RAISED
    assert isinstance(_raised.decode(parts, raised), KeyError if function is counting else SystemExit)
    assert stream.items == [3]


def test_an_item_that_cannot_travel_is_named(worker: Worker) -> None:
    def locks() -> Iterator[Any]:
        yield threading.Lock()

    worker.load("locks", "function", locks)
    worker.host.stream(worker.calls + 1)
    kind, _, _, _, error = worker.wait(worker.begin("locks", "call"))
    assert (kind, error[0]) == (FAILED, _engine.codes["not_serializable"])
    assert "an item of locks of type _thread.lock" in error[1]


def test_a_returned_generator_is_refused_with_advice(worker: Worker) -> None:
    worker.load("lazily", "function", lambda: (n for n in range(3)))
    kind, _, _, _, error = worker.call("lazily", "call")
    assert (kind, error[0]) == (FAILED, _engine.codes["unsupported"])
    assert "yield from" in error[1]


def test_large_items_travel_beside_their_pickle(worker: Worker) -> None:
    import numpy

    def arrays() -> Iterator[Any]:
        for number in range(3):
            yield numpy.full(10_000, number)

    worker.load("arrays", "function", arrays)
    stream = worker.host.stream(worker.calls + 1)
    value(worker.wait(worker.begin("arrays", "call")))
    assert [array.sum() for array in stream.items] == [0, 10_000, 20_000]


# Generator arguments.


class Argument:
    """Pickles to what the caller's side puts in a generator's place."""

    def __init__(self, source: int, is_async: bool) -> None:
        self.how = (source, is_async)

    def __reduce__(self) -> Any:
        from roundhouse._worker import inputs

        return inputs.make, self.how


def entries(*values: Any, error: BaseException | None = None) -> list[Any]:
    given: list[Any] = [(0, _serialize.PICKLE, _serialize.dumps(value), None) for value in values]
    if error is not None:
        given.append((1, _serialize.PICKLE, _raised.encode(error), None))
    return [*given, (2, _serialize.EMPTY, [], None)]


def total(numbers: Iterator[int]) -> int:
    return sum(numbers)


async def total_later(numbers: AsyncIterator[int]) -> int:
    found = 0
    async for number in numbers:
        found += number
    return found


@pytest.mark.parametrize(("function", "is_async"), [(total, False), (total_later, True)])
def test_an_argument_yields_what_the_caller_sends(worker: Worker, function: Any, is_async: bool) -> None:
    worker.load("total", "function", function)
    worker.host.stream(worker.calls + 1)
    id = worker.begin("total", "call", Argument(1, is_async))
    for entry in entries(1, 2, 3):
        worker.host.give_input(id, 1, entry)
    assert value(worker.wait(id)) == 6
    worker.host.stream(worker.calls + 1)
    id = worker.begin("total", "call", Argument(1, is_async))
    worker.host.give_input(id, 1, *entries(1, error=KeyError("there")))
    kind, _, parts, raised, _ = worker.wait(id)
    assert kind == RAISED
    assert isinstance(_raised.decode(parts, raised), KeyError)


def test_a_wait_that_is_given_up_loses_nothing(worker: Worker) -> None:
    async def patient(numbers: AsyncIterator[int]) -> list[int]:
        got = []
        while True:
            try:
                got.append(await asyncio.wait_for(anext(numbers), 0.01))
            except asyncio.TimeoutError:
                continue
            except StopAsyncIteration:
                return got

    worker.load("patient", "function", patient)
    stream = worker.host.stream(worker.calls + 1)
    id = worker.begin("patient", "call", Argument(1, True))
    for entry in entries(1, 2, 3):
        wait_until(lambda: 1 in stream.inputs and not stream.inputs[1])
        worker.host.give_input(id, 1, entry)
    assert value(worker.wait(id)) == [1, 2, 3]


def test_many_arguments_are_waited_for_at_once(worker: Worker) -> None:
    worker.load("total", "function", total_later)
    ids = []
    for _ in range(100):
        worker.host.stream(worker.calls + 1)
        ids.append(worker.begin("total", "call", Argument(1, True)))
    # The last one first: none waits for another.
    for id in reversed(ids):
        worker.host.give_input(id, 1, *entries(id, 1))
        assert value(worker.wait(id)) == id + 1


def test_an_argument_that_is_not_read_to_its_end_is_dropped(worker: Worker) -> None:
    def first(numbers: Iterator[int]) -> int:
        found = next(numbers)
        numbers.close()  # type: ignore[attr-defined]
        assert next(numbers, None) is None
        return found

    worker.load("first", "function", first)
    stream = worker.host.stream(worker.calls + 1)
    id = worker.begin("first", "call", Argument(2, False))
    worker.host.give_input(id, 2, *entries(7, 8))
    assert value(worker.wait(id)) == 7
    assert stream.dropped == [2]


def test_an_argument_that_nobody_holds_is_dropped(worker: Worker) -> None:
    let_go = threading.Event()

    def ignore(numbers: Any) -> None:
        del numbers
        let_go.wait(10)

    worker.load("ignore", "function", total)
    worker.runner._services["ignore"].target = ignore
    stream = worker.host.stream(worker.calls + 1)
    id = worker.begin("ignore", "call", Argument(1, False))
    let_go.set()
    value(worker.wait(id))
    assert stream.dropped in ([], [1])  # The arguments' tuple may keep it until the call is over.


@pytest.mark.parametrize(("function", "is_async"), [(total, False), (total_later, True)])
def test_a_cancelled_call_reads_no_more(worker: Worker, function: Any, is_async: bool) -> None:
    worker.load("total", "function", function)
    stream = worker.host.stream(worker.calls + 1)
    id = worker.begin("total", "call", Argument(1, is_async))
    wait_until(lambda: 1 in stream.inputs)
    worker.runner.cancel(id)
    worker.host.hang_up(id)
    assert cancelled(worker.wait(id))


def test_an_argument_outside_its_call_says_so(worker: Worker) -> None:
    kept: list[Any] = []

    def keep(numbers: Any) -> None:
        kept.append(numbers)

    worker.load("keep", "function", total)
    worker.runner._services["keep"].target = keep
    worker.host.stream(worker.calls + 1)
    id = worker.begin("keep", "call", Argument(1, False))
    value(worker.wait(id))
    worker.host.hang_up(id)
    with pytest.raises(ValueError, match="is over"):
        next(kept[0])
    current_call.set(None)
    with pytest.raises(TypeError, match="by the worker"):
        _serialize.loads(_serialize.dumps(Argument(1, False)))


def test_the_users_own_cancel_is_an_exception(worker: Worker) -> None:
    def give_up() -> None:
        raise rh.CallCancelled("mine")

    worker.load("give_up", "function", give_up)
    kind, _, parts, raised, _ = worker.call("give_up", "call")
    assert kind == RAISED
    assert isinstance(_raised.decode(parts, raised), rh.CallCancelled)
