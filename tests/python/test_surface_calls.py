"""Calls as a user makes them: options, Runhouse's keywords, Call's methods, asyncio."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import roundhouse as rh
import surface_subjects as subjects
from patience import wait_until


@pytest.fixture(scope="module")
def add(box: rh.Cluster) -> rh.Function[..., int]:
    return rh.function(subjects.add).to(box)


@pytest.fixture(scope="module")
def wait_for(box: rh.Cluster) -> rh.Function[..., str]:
    return rh.function(subjects.wait_for).to(box)


def test_a_deadline_ends_a_call(box: rh.Cluster) -> None:
    burn = rh.function(subjects.burn).to(box)
    with pytest.raises(rh.CallTimeout) as caught:
        burn.options(timeout=0.1)(30)
    assert caught.value.still_running is False
    with pytest.raises(TimeoutError):
        burn.options(timeout=0.1).submit(30).result()
    assert burn.options(timeout=30)(0.0)[0] > 0


def test_kill_ends_what_cannot_be_interrupted(box: rh.Cluster) -> None:
    nap = rh.function(subjects.nap).to(box, name="nap-killed")
    before = nap(0)
    with pytest.raises(rh.CallTimeout) as caught:
        nap.options(timeout=0.1, kill=True)(60)
    assert caught.value.still_running is False
    assert nap(0) != before


def test_options_are_checked(add: rh.Function[..., int]) -> None:
    with pytest.raises(rh.WrongArguments, match="Did you mean 'timeout'"):
        add.options(timout=3)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="number of seconds"):
        add.options(timeout="3")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="prefetch="):
        add.options(prefetch=-1)
    with pytest.raises(ValueError, match="run_name="):
        add.options(run_name=3)  # type: ignore[call-overload]
    with pytest.raises(rh.WrongArguments, match="run_store"):
        add.options(run_name="kept", run_store="here")
    with pytest.raises(rh.WrongArguments, match="run_name='each' names one call"):
        add.options(run_name="each").map([1, 2])


def test_runhouse_keywords(box: rh.Cluster, add: rh.Function[..., int], capfd: pytest.CaptureFixture[str]) -> None:
    say = rh.function(subjects.say).to(box)
    assert say("heard") == "heard"
    assert capfd.readouterr().out == "heard\n"
    assert say("unheard", stream_logs=False, save=True) == "unheard"  # type: ignore[call-arg]
    assert functools.partial(say, stream_logs=False)("unheard") == "unheard"
    assert say.options(stream_logs=False).submit("unheard").result() == "unheard"
    assert capfd.readouterr() == ("", "")
    call = add(1, run_async=True)
    assert isinstance(call, rh.Call)
    assert call.result() == 2
    # Unsent they mean nothing, and are no mistake.
    assert rh.function(subjects.add)(1, run_async=True, stream_logs=False) == 2  # type: ignore[call-arg]


def test_the_users_keywords_are_the_users(box: rh.Cluster) -> None:
    theirs = rh.function(subjects.takes_ours).to(box)
    assert theirs(stream_logs="a", run_name="b") == ("a", "b")
    assert theirs.options(stream_logs=False)(stream_logs="c") == ("c", "mine")
    every = rh.function(subjects.takes_any).to(box)
    given = {"stream_logs": 1, "run_name": 2, "remote": 3, "run_async": 4, "save": 5, "timeout": 6}
    assert every(**given) == given
    add = rh.function(subjects.add).to(box)
    with pytest.raises(rh.WrongArguments, match="timeout"):
        add(1, timeout=3)  # type: ignore[call-arg]


def test_a_value_that_stays_there(box: rh.Cluster, add: rh.Function[..., int]) -> None:
    kept = add(20, 22, remote=True)
    assert kept.fetch() == 42
    assert rh.handle(kept).service["kind"] == "object"
    assert add.remote(1, 2).fetch() == 3
    assert add.options(remote=True, name="kept-sum")(1, 1).fetch() == 2
    assert box.get("kept-sum", remote=True).fetch() == 2
    assert add(3, 3, remote=True, run_name="kept-run").name == "kept-run"
    shelf = rh.function(subjects.Shelf.filled).to(box, name="filled").remote(3)
    assert shelf.count == 3
    assert shelf.put(4) == 4


def test_a_call_is_a_future(wait_for: rh.Function[..., str], add: rh.Function[..., int], tmp_path: Path) -> None:
    go = tmp_path / "go"
    call = wait_for.submit(str(go))
    told: list[Any] = []
    call.add_done_callback(told.append)
    assert (call.done(), call.running(), call.cancelled(), call.status) == (False, True, False, "running")
    with pytest.raises(rh.CallTimeout, match="goes on"):
        call.result(timeout=0.01)
    assert not told
    go.touch()
    assert call.result(timeout=10) == "there"
    wait_until(lambda: told == [call], what="the callback")
    call.add_done_callback(told.append)
    assert told == [call, call]
    assert (call.done(), call.running(), call.exception(), call.status) == (True, False, None, "done")
    assert call.cancel() is False
    failed = add.submit("a", 1)
    assert isinstance(failed.exception(timeout=10), TypeError)
    assert failed.status == "failed"
    assert call.id != failed.id
    assert call.id in repr(call)
    assert "wait_for.call" in call._repr_html_()


def test_a_call_remembers_what_it_printed(box: rh.Cluster) -> None:
    say = rh.function(subjects.say).to(box)
    call = say.submit("one", 3)
    call.result(timeout=10)
    assert sorted(call.logs.splitlines()) == ["aside", "one", "one", "one"]
    long = say.submit("x" * 1023, 1000)
    long.result(timeout=30)
    assert 200_000 < len(long.logs) <= 256 * 1024


def test_cancel(wait_for: rh.Function[..., str], tmp_path: Path) -> None:
    call = wait_for.submit(str(tmp_path / "never"))
    assert call.cancel() is True
    with pytest.raises(rh.CallCancelled):
        call.result(timeout=10)
    assert (call.cancelled(), call.status) == (True, "cancelled")


def test_cancel_by_killing(box: rh.Cluster) -> None:
    say = rh.function(subjects.say_and_nap).to(box, name="nap-cancelled")
    before = say(0)
    call = say.submit(60)
    wait_until(lambda: call.logs, what="the call's beginning")
    call.cancel(kill=True)
    with pytest.raises(rh.RoundhouseError):
        call.result(timeout=20)
    assert say(0) != before


def test_gather(add: rh.Function[..., int]) -> None:
    assert rh.gather(*[add.submit(n) for n in range(20)]) == list(range(1, 21))
    assert rh.gather() == []
    with pytest.raises(TypeError):
        rh.gather(add.submit(1), add.submit("a"))
    one, two = rh.gather(add.submit(1), add.submit("a"), return_exceptions=True)
    assert one == 2
    assert isinstance(two, TypeError)


def test_as_completed(wait_for: rh.Function[..., str], add: rh.Function[..., int], tmp_path: Path) -> None:
    go = tmp_path / "go"
    slow, fast = wait_for.submit(str(go)), add.submit(1)
    done = rh.as_completed([slow, fast], timeout=20)
    assert next(done) is fast
    go.touch()
    assert next(done) is slow
    assert next(done, None) is None
    with pytest.raises(rh.CallTimeout, match="1 of 1"):
        list(rh.as_completed([never := wait_for.submit(str(tmp_path / "never"))], timeout=0.05))
    never.cancel()


def test_async_functions_are_awaited(box: rh.Cluster, add: rh.Function[..., int]) -> None:
    later = rh.function(subjects.add_later).to(box)

    async def main() -> None:
        assert await later(1, 2) == 3
        task = asyncio.create_task(later(3, 4))
        assert await task == 7
        assert await asyncio.gather(*[later(n, 1) for n in range(50)]) == list(range(1, 51))
        assert await add.submit(1, 1) == 2
        assert await rh.gather(add.submit(1), later(1, 1)) == [2, 2]
        assert await later(1, 2, run_async=True) == 3  # type: ignore[call-arg]
        assert later(1, 2, run_async=False) == 3  # type: ignore[call-arg]
        assert await add(1, run_async=True) == 2
        with pytest.raises(TypeError):
            await add.submit("a")
        assert (await later(1, 2, remote=True)).fetch() == 3  # type: ignore[call-arg]

    asyncio.run(main())
    # And without a loop.
    assert later.submit(1, 2).result(timeout=10) == 3
    assert rh.gather(later(1, 1), add.submit(2)) == [2, 3]


def test_cancelling_a_task_cancels_its_call(box: rh.Cluster, tmp_path: Path) -> None:
    path = tmp_path / "mark"
    later = rh.function(subjects.sleep_later).to(box)

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(later(60, str(path)), 0.3)

    asyncio.run(main())
    wait_until(path.exists, what="the clean-up of the cancelled coroutine")


def test_several_loops_in_several_threads(box: rh.Cluster) -> None:
    later = rh.function(subjects.add_later).to(box)
    results: list[list[int]] = []

    async def main() -> None:
        results.append(await asyncio.gather(*[later(n, n) for n in range(30)]))

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [[2 * n for n in range(30)]] * 4


def test_many_results_wake_a_loop_once(add: rh.Function[..., int]) -> None:
    woken = 0

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        plain = loop.call_soon_threadsafe

        def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal woken
            woken += 1
            return plain(*args, **kwargs)

        loop.call_soon_threadsafe = counted  # type: ignore[method-assign]
        calls = [add.submit(n) for n in range(500)]
        tasks = [asyncio.ensure_future(call) for call in calls]
        await asyncio.sleep(0)  # Everyone waits now.
        # The loop is busy meanwhile: whatever arrives shares one wake-up.
        time.sleep(0.3)
        return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == list(range(1, 501))
    assert woken < 100


@pytest.mark.parametrize("how", ["lambda", "partial", "closure"])
def test_code_of_every_kind(box: rh.Cluster, how: str) -> None:
    factor = 3
    made: dict[str, Callable[..., int]] = {
        "lambda": lambda x: x * 3,
        "partial": functools.partial(subjects.add, 4),
        "closure": lambda x: x * factor,
    }
    assert rh.function(made[how]).to(box, name=f"made-{how}")(2) == 6


def test_a_decorated_importable_function(box: rh.Cluster) -> None:
    remote = subjects.decorated.to(box)
    assert remote(4) == 8
    assert subjects.decorated(4) == 8


def test_where_it_is_sent(box: rh.Cluster) -> None:
    one = rh.function(subjects.nap).to(box, process="shared", name="nap-one")
    two = rh.function(subjects.nap).to(box, process={"name": "shared"}, name="nap-two")
    assert one(0) == two(0)
    assert (one.process, one.name, one.system) == ("shared", "nap-one", box)
    with pytest.raises(rh.WrongArguments, match="process="):
        rh.function(subjects.nap).to(box, process="shared", cpus=1)
    with pytest.raises(rh.WrongArguments, match="workers="):
        rh.cls(subjects.Shelf).to(box, workers=2)
    with pytest.raises(TypeError, match="process="):
        rh.function(subjects.nap).to(box, process=3)  # type: ignore[arg-type]
    with pytest.raises(rh.Unsupported, match="not been sent"):
        rh.function(subjects.nap).submit(0)


def test_memory_is_recorded_and_says_nothing(box: rh.Cluster) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        remote = rh.function(subjects.add).to(box, name="add-capped", memory="64MiB")
    assert rh.handle(remote).service["resources"]["memory"] == 64 << 20
    assert remote(1) == 2


@pytest.mark.parametrize(("text", "size"), [("1GiB", 1 << 30), ("1.5 GB", 1_500_000_000), ("512m", 512_000_000),
                                            (4096, 4096), ("100", 100), ("2KiB", 2048)])  # fmt: skip
def test_sizes(text: Any, size: int) -> None:
    from roundhouse._options import bytes_of

    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["much", "1 XB", "-1GB", 0, -5, ""])
def test_no_sizes(box: rh.Cluster, text: Any) -> None:
    with pytest.raises(ValueError, match="memory="):
        rh.function(subjects.add).to(box, memory=text)
    with pytest.raises(TypeError, match="memory="):
        rh.function(subjects.add).to(box, memory=1.5)  # type: ignore[arg-type]


def test_get_or_to(box: rh.Cluster) -> None:
    first = rh.function(subjects.nap).get_or_to(box, name="nap-found")
    second = rh.function(subjects.nap).get_or_to(box, name="nap-found")
    assert first(0) == second(0)
    # The name that is given wins over its own.
    assert rh.function(subjects.nap, name="other").get_or_to(box, name="nap-found")(0) == first(0)
    rh.cls(subjects.Shelf).to(box, name="a-class")
    with pytest.raises(rh.NameTaken, match="a-class"):
        rh.function(subjects.nap).get_or_to(box, name="a-class")


def test_a_bounded_service(box: rh.Cluster, tmp_path: Path) -> None:
    go = tmp_path / "go"
    bounded = rh.function(subjects.wait_for).to(box, name="bounded", max_concurrency=1, max_queue=1)
    calls = [bounded.submit(str(go)) for _ in range(2)]
    wait_until(lambda: isinstance(_refused(bounded, str(go)), rh.LimitExceeded), what="a refusal")
    go.touch()
    assert rh.gather(*calls) == ["there", "there"]


def _refused(bounded: rh.Function[..., str], path: str) -> BaseException | None:
    call = bounded.submit(path, 0)
    try:
        return call.exception(timeout=0.2)
    except rh.CallTimeout:
        call.cancel()
        return None
