"""Generators both ways: what a remote one yields, and local ones as arguments."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import roundhouse as rh
import surface_subjects as subjects
from patience import wait_until


@pytest.fixture(scope="module")
def count(box: rh.Cluster) -> rh.Function[..., Any]:
    return rh.function(subjects.count).to(box)


@pytest.fixture(scope="module")
def total(box: rh.Cluster) -> rh.Function[..., int]:
    return rh.function(subjects.total).to(box)


@pytest.mark.parametrize("prefetch", [None, 0, 1, 7, 1024])
def test_items_in_order(count: rh.Function[..., Any], prefetch: int | None) -> None:
    assert list(count.options(prefetch=prefetch)(2000)) == list(range(2000))
    assert list(count.options(prefetch=prefetch)(0)) == []


def test_large_items(box: rh.Cluster) -> None:
    def blocks(n: int, size: int) -> Iterator[bytes]:
        for number in range(n):
            yield bytes([number]) * size

    remote = rh.function(blocks).to(box)
    for number, block in enumerate(remote(20, 300_000)):
        assert block == bytes([number]) * 300_000


def test_next_and_for_share_one_stream(count: rh.Function[..., Any]) -> None:
    stream = count(5)
    assert isinstance(stream, rh.Stream)
    assert rh.GeneratorModule is rh.AsyncGeneratorModule is rh.Stream
    assert next(stream) == 0
    for item in stream:
        assert item == 1
        break
    assert list(stream) == [2, 3, 4]
    with pytest.raises(StopIteration):
        next(stream)


def test_what_the_generator_returns(count: rh.Function[..., Any]) -> None:
    for prefetch in (0, 100):
        stream = count.options(prefetch=prefetch)(1)
        assert next(stream) == 0
        with pytest.raises(StopIteration) as caught:
            next(stream)
        assert caught.value.value == "counted"

        def delegating(prefetch: int) -> Iterator[Any]:
            yield (yield from count.options(prefetch=prefetch)(2))

        assert list(delegating(prefetch)) == [0, 1, "counted"]


def test_an_exception_comes_at_its_item(box: rh.Cluster) -> None:
    stream = rh.function(subjects.fail_after).to(box)(3)
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="after the items") as caught:
        next(stream)
    assert "surface_subjects.py" in str(caught.value.__cause__)
    with pytest.raises(StopIteration):
        next(stream)
    assert list(stream) == []


def test_send_and_throw(box: rh.Cluster) -> None:
    remote = rh.function(subjects.accumulate).to(box)
    assert rh.handle(remote).service["methods"]["call"]["sends"] is True
    stream = remote()
    with pytest.raises(TypeError, match="just-started"):
        stream.send(3)
    stream = remote()
    assert next(stream) == 0
    assert stream.send(3) == 3
    assert stream.send(4) == 7
    assert stream.throw(ValueError("5")) == -5
    with pytest.raises(KeyError, match="out"):
        stream.throw(KeyError("out"))
    with pytest.raises(StopIteration):
        stream.send(1)


def test_sending_to_one_that_runs_ahead(count: rh.Function[..., Any]) -> None:
    stream = count(5)
    assert next(stream) == 0
    with pytest.raises(rh.Unsupported, match="prefetch=0"):
        stream.send(1)
    with pytest.raises(rh.Unsupported, match="prefetch=0"):
        stream.throw(ValueError("x"))
    assert next(stream) == 1


def test_nothing_runs_before_it_is_asked(box: rh.Cluster, capfd: pytest.CaptureFixture[str]) -> None:
    def talking() -> Iterator[int]:
        for number in range(3):
            print("making", number)
            yield number

    stream = rh.function(talking).to(box).options(prefetch=0)()
    assert next(stream) == 0
    assert capfd.readouterr().out == "making 0\n"
    assert next(stream) == 1
    assert capfd.readouterr().out == "making 1\n"
    assert "making 1" in stream.logs


@pytest.mark.parametrize("how", ["close", "break", "del", "cancel"])
def test_the_generator_ends_with_its_stream(box: rh.Cluster, tmp_path: Path, how: str) -> None:
    path = tmp_path / "mark"
    remote = rh.function(subjects.count_until).to(box)
    stream = remote(10**9, str(path))
    assert next(stream) == 0
    if how == "close":
        stream.close()
        assert path.exists()
        assert list(stream) == []
        stream.close()
    elif how == "cancel":
        assert stream.cancel() is True
        with pytest.raises(rh.CallCancelled):
            for _ in stream:
                pass
        assert stream.cancel() is False
    elif how == "break":
        del stream
        path.unlink(missing_ok=True)
        for item in remote(10**9, str(path)):
            if item == 5:
                break
    else:
        del stream
    gc.collect()
    wait_until(path.exists, what="the generator's end")


def test_a_deadline_is_the_streams_too(box: rh.Cluster) -> None:
    def endless() -> Iterator[int]:
        yield from itertools.count()

    with pytest.raises(rh.CallTimeout):
        for _ in rh.function(endless).to(box).options(timeout=0.2)():
            pass


def test_threads_share_a_stream(count: rh.Function[..., Any]) -> None:
    stream = count(5000)
    taken: list[int] = []
    threads = [threading.Thread(target=lambda: taken.extend(stream)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(taken) == list(range(5000))


def test_async_iteration(box: rh.Cluster, count: rh.Function[..., Any]) -> None:
    tick = rh.function(subjects.tick).to(box)
    accumulate = rh.function(subjects.accumulate).to(box)

    async def main() -> None:
        for remote in (tick, count, tick.options(prefetch=0), count.options(prefetch=3)):
            assert [item async for item in remote(500)] == list(range(500))
        stream = accumulate()
        assert await stream.__anext__() == 0
        assert await stream.asend(4) == 4
        assert await stream.athrow(ValueError("6")) == -6
        await stream.aclose()
        assert [item async for item in stream] == []
        many = await asyncio.gather(*[_all(tick(100)) for _ in range(10)])
        assert many == [list(range(100))] * 10
        failing = rh.function(subjects.fail_after).to(box)(2)
        with pytest.raises(KeyError):
            async for _ in failing:
                pass

    asyncio.run(main())
    assert list(tick(5)) == [0, 1, 2, 3, 4]  # And in plain code.


async def _all(stream: AsyncIterator[int]) -> list[int]:
    return [item async for item in stream]


def test_a_stream_of_a_method(box: rh.Cluster) -> None:
    shelf = rh.cls(subjects.Shelf).to(box)(["a", "b"])
    assert list(shelf.each()) == ["a", "b"]
    assert repr(shelf.each()).endswith("open>")
    assert "Shelf" in shelf.each()._repr_html_()  # type: ignore[attr-defined]


def test_generators_as_arguments(total: rh.Function[..., int]) -> None:
    assert total(n for n in range(100)) == 4950
    assert total(subjects.count(3), more=(n for n in range(4))) == 9
    assert total.submit(n for n in range(5)).result(timeout=10) == 10
    assert total(subjects.count(3000)) == sum(range(3000))


def test_a_generator_argument_that_fails(total: rh.Function[..., int]) -> None:
    with pytest.raises(KeyError, match="after the items"):
        total(subjects.fail_after(3))
    with pytest.raises(rh.NotSerializable, match="lock"):
        total(subjects.lock for _ in range(3))  # type: ignore[misc]


def test_a_generator_argument_is_closed_with_the_call(box: rh.Cluster, tmp_path: Path) -> None:
    path = tmp_path / "mark"
    first = rh.function(subjects.first_of).to(box)
    assert first(subjects.count_until(10**9, str(path))) == 0
    wait_until(path.exists, what="the argument's end")


def test_async_generators_as_arguments(box: rh.Cluster) -> None:
    total_later = rh.function(subjects.total_later).to(box)
    threads: list[threading.Thread] = []

    async def here(n: int) -> AsyncIterator[int]:
        for number in range(n):
            threads.append(threading.current_thread())
            await asyncio.sleep(0)
            yield number

    async def main() -> int:
        return await total_later(here(5))

    assert asyncio.run(main()) == 10
    # On the loop of whoever asked.
    assert set(threads) == {threading.current_thread()}
    assert total_later.submit(here(4)).result(timeout=10) == 6


def test_a_stream_is_an_argument(box: rh.Cluster, count: rh.Function[..., Any], total: rh.Function[..., int]) -> None:
    assert total(count(10)) == 45
    squares = rh.function(subjects.squares).to(box)
    # A pipeline of two, here in the middle.
    assert list(squares(squares(count(5)))) == [0, 1, 16, 81, 256]
    with pytest.raises(rh.NotSerializable, match=r"list\(stream\)"):
        total([count(3)])  # type: ignore[list-item]
