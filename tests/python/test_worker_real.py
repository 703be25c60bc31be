"""Streams and coroutines in real workers, through the engine; what users see of them is tested where they call them."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
import roundhouse as rh
from patience import wait_until
from roundhouse import _engine, _json, _raised, _serialize

PICKLE = _serialize.PICKLE


def start(box: rh.Cluster, service: str, method: str, *args: Any, **options: Any) -> _engine.Call:
    return box._link.client().start(service, method, PICKLE, _serialize.dumps((args, {})), observed=False, **options)


def result(call: _engine.Call) -> Any:
    assert call.wait(30)
    kind, encoding, parts, raised = call.take()
    if kind:
        raise _raised.decode(parts, raised)
    return _serialize.decode(encoding, parts)


def items(call: _engine.Call, most: int | None = None) -> list[Any]:
    taken: list[Any] = []
    while most is None or len(taken) < most:
        batch = call.next_items(10)
        if batch is None:
            return taken
        assert batch, "no item came within 10 s"
        for encoding, parts, alone in batch:
            taken += (
                [_serialize.decode(encoding, [part]) for part in parts]
                if alone
                else [_serialize.decode(encoding, parts)]
            )
    return taken


def numbers(n: int, path: str = "") -> Any:
    try:
        for number in range(n):
            yield number
        return "all"
    finally:
        if path:
            Path(path).write_text(f"closed at {number}")


async def numbers_later(n: int, path: str = "") -> Any:
    import asyncio

    try:
        for number in range(n):
            yield number
    finally:
        await asyncio.sleep(0.01)
        if path:
            Path(path).write_text(f"closed at {number}")


KINDS = [numbers, numbers_later]


@pytest.mark.parametrize("function", KINDS)
@pytest.mark.parametrize("prefetch", [1, 16, 1024])
def test_items_arrive_in_order(box: rh.Cluster, function: Any, prefetch: int) -> None:
    name = f"{function.__name__}-{prefetch}"
    rh.function(function).to(box, name=name)
    call = start(box, name, "call", 3000, prefetch=prefetch)
    assert items(call) == list(range(3000))
    assert result(call) == ("all" if function is numbers else None)


@pytest.mark.parametrize("function", KINDS)
def test_large_items_arrive(box: rh.Cluster, function: Any) -> None:
    def blocks(n: int) -> Any:
        for number in range(n):
            yield bytes([number]) * 3_000_000

    async def blocks_later(n: int) -> Any:
        for number in range(n):
            yield bytes([number]) * 3_000_000

    name = f"blocks-{function.__name__}"
    rh.function(blocks if function is numbers else blocks_later).to(box, name=name)
    got = items(start(box, name, "call", 8, prefetch=4))
    assert [(block[0], len(block)) for block in got] == [(number, 3_000_000) for number in range(8)]


@pytest.mark.parametrize("function", KINDS)
@pytest.mark.parametrize("prefetch", [0, 4])
def test_a_dropped_stream_runs_its_finally(box: rh.Cluster, tmp_path: Path, function: Any, prefetch: int) -> None:
    name = f"dropped-{function.__name__}-{prefetch}"
    rh.function(function).to(box, name=name)
    closed = tmp_path / "closed"
    call = start(box, name, "call", 10_000_000, str(closed), prefetch=prefetch)
    if prefetch == 0:
        call.ask()
    items(call, 1)
    call.abandon()
    wait_until(lambda: closed.exists() and closed.read_text().startswith("closed at"))
    # It had not run ahead of what was asked for.
    assert int(closed.read_text().split()[-1]) <= 2 * prefetch + 1


@pytest.mark.parametrize("function", KINDS)
def test_a_stream_that_nobody_takes_stands_still(box: rh.Cluster, function: Any) -> None:
    class Counter:
        def __init__(self) -> None:
            self.count = 0

        def run(self) -> Any:
            while True:
                self.count += 1
                yield self.count

        async def run_later(self) -> Any:
            while True:
                self.count += 1
                yield self.count

        def get(self) -> int:
            return self.count

    name = f"counter-{function.__name__}"
    rh.cls(Counter).to(box, name=f"class-{name}")(name=name)
    call = start(box, name, "run" if function is numbers else "run_later", prefetch=8)
    items(call, 1)
    wait_until(lambda: result(start(box, name, "get")) >= 8)
    seen = result(start(box, name, "get"))
    for _ in range(20):
        assert result(start(box, name, "get")) <= max(seen, 24)
    call.abandon()


class Together:
    def __init__(self) -> None:
        import asyncio

        self.all_here = asyncio.Event()
        self.inside = 0

    async def meet(self, how_many: int) -> int:
        self.inside += 1
        if self.inside == how_many:
            self.all_here.set()
        await self.all_here.wait()
        return self.inside

    async def block(self, path: str) -> str:
        Path(path + ".begun").touch()
        while not Path(path).exists():
            time.sleep(0.01)
        return "done"

    async def wait(self) -> None:
        import asyncio

        await asyncio.sleep(600)

    def threads(self) -> int:
        return threading.active_count()


@pytest.fixture
def together(box: rh.Cluster) -> str:
    rh.cls(Together).to(box)(name="together")
    return "together"


def test_thousands_of_coroutines_wait_without_threads(box: rh.Cluster, together: str) -> None:
    calls = [start(box, together, "meet", 2000) for _ in range(1999)]
    wait_until(lambda: result(start(box, together, "threads")) < 20)
    calls.append(start(box, together, "meet", 2000))
    assert {result(call) for call in calls} == {2000}


def test_a_blocked_loop_blocks_nothing_else(box: rh.Cluster, together: str, tmp_path: Path) -> None:
    path = tmp_path / "go-on"
    blocked = start(box, together, "block", str(path))
    wait_until(Path(f"{path}.begun").exists)
    waiting = start(box, together, "wait")
    assert result(start(box, together, "threads")) > 0
    assert blocked.ping(10) < 10
    waiting.cancel()
    path.touch()
    assert result(blocked) == "done"
    with pytest.raises(_engine.EngineError) as caught:
        result(waiting)
    assert caught.value.code == _engine.codes["cancelled"]


def test_cancelled_coroutines_end(box: rh.Cluster, together: str) -> None:
    calls = [start(box, together, "wait") for _ in range(200)]
    for call in calls:
        call.cancel()
    for call in calls:
        with pytest.raises(_engine.EngineError) as caught:
            result(call)
        assert caught.value.code == _engine.codes["cancelled"]


def test_a_deadline_cancels_a_coroutine(box: rh.Cluster, together: str) -> None:
    with pytest.raises(_engine.EngineError) as caught:
        result(start(box, together, "wait", timeout=0.1))
    assert caught.value.code == _engine.codes["timeout"]


def test_a_child_that_a_coroutine_forks_ends_by_itself(box: rh.Cluster) -> None:
    async def fork() -> Any:
        import os

        child = os.fork()
        if child == 0:
            return "child"
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    rh.function(fork).to(box)
    assert result(start(box, "fork", "call")) == 0


def test_the_deployers_logging_is_the_workers(box: rh.Cluster) -> None:
    def complain() -> str:
        import logging

        logging.getLogger("mine").info("a record")
        return logging.getLevelName(logging.getLogger().level)

    from roundhouse._worker import logs

    def configured() -> str:
        logs.configure(20)
        return complain()

    rh.function(configured).to(box)
    heard: list[tuple[int, bytes]] = []
    client = box._link.client()
    body = _serialize.dumps(((), {}))
    kind, encoding, parts, _ = client.call("configured", "call", PICKLE, body, lambda *told: heard.append(told))
    assert (kind, _serialize.decode(encoding, parts)) == (0, "INFO")
    assert heard == [(2, b"INFO:mine:a record\n")]


def test_a_worker_has_a_method_for_the_nodes_own_calls_only(box: rh.Cluster) -> None:
    with pytest.raises(_engine.EngineError):
        box._link.client().call("_worker", "run", _serialize.JSON, [_json.encode({"kind": "bash", "commands": ["id"]})])
