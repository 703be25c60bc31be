"""`.options(retries=)`: what is made again and what is not, by the ledger of the code that ran."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import failing_subjects as subjects
import pytest
import roundhouse as rh
from patience import wait_until
from roundhouse import _retries
from roundhouse._options import DEFAULT


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    return str(tmp_path / "ledger")


def rows(ledger: str) -> int:
    path = Path(ledger)
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture(scope="module")
def flaky(box: rh.Cluster) -> Any:
    return rh.function(subjects.fail_before).to(box)


def test_what_had_begun_is_not_made_again(box: rh.Cluster, ledger: str) -> None:
    dies = rh.function(subjects.die).to(box).options(retries=3, backoff=0.01)
    with pytest.raises(rh.WorkerDied) as caught:
        dies(ledger)
    assert (rows(ledger), caught.value.started) == (1, "yes")
    assert not hasattr(caught.value, "__notes__")


def test_unless_the_user_says_that_it_may(box: rh.Cluster, ledger: str) -> None:
    dies = rh.function(subjects.die_before).to(box, name="dies-twice")
    assert dies.options(retries=3, backoff=0.01, idempotent=True)(ledger, 3) == 3
    assert rows(ledger) == 3


def test_the_last_error_speaks_for_all_tries(box: rh.Cluster, ledger: str) -> None:
    dies = rh.function(subjects.die).to(box, name="dies-always")
    with pytest.raises(rh.WorkerDied) as caught:
        dies.options(retries=1, backoff=0.01, idempotent=True)(ledger)
    assert caught.value.__notes__ == ["(the last of 2 tries)"]  # type: ignore[attr-defined]
    assert (rows(ledger), caught.value.started) == (2, "yes")


def test_what_never_began_is_made_again(box: rh.Cluster, ledger: str) -> None:
    """Its place in the queue was taken, and then free; and the worker in which it waited died."""
    hold = rh.function(subjects.hold).to(box, name="narrow", max_concurrency=1, max_queue=1)
    first, second = hold.submit(ledger, 0.5), hold.submit(ledger, 0)
    wait_until(lambda: rows(ledger), what="the first call")
    with pytest.raises(rh.LimitExceeded):
        hold(ledger, 0)
    pid = hold.options(retries=10, backoff=0.1)(ledger, 0)
    assert rh.gather(first, second) == [pid, pid]
    assert rows(ledger) == 3
    held = hold.submit(ledger)
    wait_until(lambda: rows(ledger) == 4, what="the call in front")
    waits = hold.options(retries=1, backoff=0.01).submit(ledger, 0)
    waits.ping()
    os.kill(pid, signal.SIGKILL)
    assert waits.result(timeout=30) != pid
    assert isinstance(held.exception(timeout=30), rh.WorkerDied)
    assert rows(ledger) == 5


def test_the_users_exceptions_only_where_they_are_named(flaky: Any, ledger: str) -> None:
    with pytest.raises(subjects.Flaky):
        flaky.options(retries=3, backoff=0.01, idempotent=True)(ledger, 3)
    assert rows(ledger) == 1
    named = flaky.options(retries=3, backoff=0.01, retry_on=subjects.Flaky)
    assert named(ledger, 3) == 3
    with pytest.raises(OSError, match="try 4"):
        named(ledger, 9, "other")
    assert flaky.options(retries=3, backoff=0.01, retry_on=(ValueError, subjects.Flaky))(ledger, 6) == 6
    with pytest.raises(subjects.Flaky, match="try 8") as caught:
        flaky.options(retries=1, backoff=0.01, retry_on=subjects.Flaky)(ledger, 99)
    assert caught.value.__notes__ == ["(the last of 2 tries)"]  # type: ignore[attr-defined]


def test_an_error_of_ours_that_the_code_let_out_is_the_users(flaky: Any, ledger: str) -> None:
    """It says `started="no"`, of another call."""
    with pytest.raises(rh.NodeLost):
        flaky.options(retries=3, backoff=0.01)(ledger, 2, "ours")
    assert rows(ledger) == 1


def test_the_timeout_is_for_all_of_it(flaky: Any, ledger: str) -> None:
    began = time.monotonic()
    with pytest.raises(subjects.Flaky):
        flaky.options(retries=1000, backoff=0.1, retry_on=Exception, timeout=1)(ledger, 10**6)
    assert 0.2 < time.monotonic() - began < 1.5
    assert 2 <= rows(ledger) < 30
    # A pause that would last longer is not begun.
    began = time.monotonic()
    with pytest.raises(subjects.Flaky):
        flaky.options(retries=3, backoff=30, retry_on=Exception, timeout=10)(ledger, 10**6)
    assert time.monotonic() - began < 5


def test_a_call_can_be_cancelled_between_two_tries(flaky: Any, ledger: str) -> None:
    told: list[Any] = []
    call = flaky.options(retries=3, backoff=60, retry_on=Exception).submit(ledger, 2)
    call.add_done_callback(told.append)
    wait_until(lambda: rows(ledger) and call._engine_call._timer is not None, what="the first failure")
    assert not call.done()
    assert call.status == "running"
    with pytest.raises(rh.CallTimeout):
        call.result(timeout=0.01)
    assert call.ping() > 0
    assert call.cancel()
    error = call.exception(timeout=5)
    assert isinstance(error, rh.CallCancelled)
    assert (error.started, error.still_running, call.status, told) == ("yes", False, "cancelled", [call])
    assert rows(ledger) == 1


def test_a_try_that_runs_can_be_cancelled(box: rh.Cluster, ledger: str) -> None:
    call = rh.function(subjects.hold).to(box, name="held").options(retries=3, retry_on=ValueError).submit(ledger)
    wait_until(lambda: rows(ledger), what="the call")
    call.cancel()
    assert isinstance(call.exception(timeout=30), rh.CallCancelled)
    assert rows(ledger) == 1


def test_every_try_has_the_same_arguments(box: rh.Cluster, ledger: str) -> None:
    items = [1, 2]
    call = rh.function(subjects.grow).to(box).options(retries=1, backoff=0.1, retry_on=Exception).submit(ledger, items)
    items.append(3)
    assert call.result(timeout=30) == [1, 2]


def test_async(box: rh.Cluster, ledger: str) -> None:
    flaky = rh.function(subjects.fail_before_async).to(box)
    flaky = flaky.options(retries=3, backoff=0.01, retry_on=subjects.Flaky)

    async def both() -> tuple[int, int]:
        return await flaky(ledger, 3), await flaky.submit(ledger, 5)

    assert asyncio.run(both()) == (3, 5)


def test_methods_constructors_map_and_what_stays_there(box: rh.Cluster, ledger: str, tmp_path: Path) -> None:
    Worked = rh.cls(subjects.Worked).to(box)
    again = {"retries": 3, "backoff": 0.01, "retry_on": subjects.Flaky}
    worked = Worked.options(name="worked", **again)(ledger, 3)
    assert (worked.remote.made_at, rows(ledger)) == (3, 3)
    assert worked.fail_before.options(**again)(ledger, 5) == 5
    kept = worked.fail_before.options(remote=True, name="kept", **again)(ledger, 7)
    assert kept.fetch() == 7
    ledgers = [str(tmp_path / str(number)) for number in range(5)]
    assert worked.fail_before.options(**again).map(ledgers, [2] * 5) == [2] * 5


def test_an_instance_that_is_gone_is_not_asked_again(box: rh.Cluster, ledger: str) -> None:
    worked = rh.cls(subjects.Worked).to(box, name="mortal")()
    with pytest.raises(rh.WorkerDied):
        worked.die(ledger)
    began = time.monotonic()
    with pytest.raises(rh.WorkerDied, match="deploy it again"):
        worked.fail_before.options(retries=5, backoff=5, idempotent=True)(ledger, 1)
    assert time.monotonic() - began < 2
    assert rows(ledger) == 1


def test_a_pool_tries_another_replica(box: rh.Cluster, ledger: str) -> None:
    pool = rh.function(subjects.fail_before).to(box, name="pooled").distribute("pool", num_replicas=2)
    assert pool.options(retries=3, backoff=0.01, retry_on=subjects.Flaky)(ledger, 3) == 3
    with pytest.raises(subjects.Flaky):
        pool(ledger, 9)


def test_where_it_makes_no_sense_it_says_so(box: rh.Cluster, ledger: str) -> None:
    counting = rh.function(subjects.count_up).to(box)
    with pytest.raises(rh.Unsupported, match="cannot take back"):
        counting.options(retries=1)(3)
    assert list(counting.options(retries=0)(3)) == [0, 1, 2]
    with pytest.raises(rh.Unsupported, match="pass a list"):
        rh.function(subjects.grow).to(box).options(retries=1)(ledger, (x for x in [1]))
    for wrong in ({"retries": -1}, {"retries": 1.5}, {"retries": True}, {"retries": 1, "backoff": -1}):
        with pytest.raises(ValueError, match=r"retries=|backoff="):
            DEFAULT.merged(wrong)
    for wrong in ("flaky", KeyboardInterrupt, (ValueError, 3)):
        with pytest.raises(ValueError, match="retry_on="):
            DEFAULT.merged({"retries": 1, "retry_on": wrong})
    with pytest.raises(rh.WrongArguments, match="retries=3"):
        DEFAULT.merged({"idempotent": True})
    assert DEFAULT.merged({"retries": 2}).merged({"idempotent": True}).idempotent


def tries(**options: Any) -> _retries.Tries:
    return _retries.Tries(DEFAULT.merged({"retries": 100, **options}))


def test_which_failures_may_be_followed() -> None:
    out = rh.OutOfMemory("killed", started="yes")
    died = rh.WorkerDied("killed", started="unknown")
    assert tries().pause_after(died, raised=False) is None
    assert tries(idempotent=True).pause_after(died, raised=False) is not None
    # It would only run out again, unless somebody knows better.
    assert tries(idempotent=True).pause_after(out, raised=False) is None
    assert tries(retry_on=rh.OutOfMemory).pause_after(out, raised=False) is not None
    assert tries().pause_after(rh.OutOfMemory("a neighbour", started="no"), raised=False) is not None
    for never in (rh.CallTimeout("late", started="no"), rh.NotFound("which", started="no"), rh.CallCancelled("by you")):
        assert tries(idempotent=True).pause_after(never, raised=False) is None


def test_the_pauses_grow_differ_and_end() -> None:
    lost = rh.NodeLost("gone", started="no")
    runs = []
    for _ in range(20):
        one = tries(backoff=0.5)
        runs.append([one.pause_after(lost, raised=False) or 0.0 for _ in range(12)])
    for number, pauses in enumerate(zip(*runs, strict=True)):
        longest = min(0.5 * 2**number, 60.0)
        assert all(longest / 2 <= pause <= longest for pause in pauses)
        assert len(set(pauses)) > 1


def test_a_try_that_never_began_does_not_undo_one_that_did() -> None:
    one = tries(idempotent=True)
    one.pause_after(rh.WorkerDied("killed", started="yes"), raised=False)
    full = rh.LimitExceeded("full", started="no")
    one.pause_after(full, raised=False)
    one.told(full)
    assert (full.started, full.facts["started"]) == ("yes", "yes")


def test_a_run_is_tried_again_as_another_attempt(box: rh.Cluster, flaky: Any, ledger: str) -> None:
    tried = flaky.options(run_name="tried", retries=3, backoff=0.01, retry_on=subjects.Flaky)
    assert tried(ledger, 3) == 3
    assert [attempt["state"] for attempt in box.get_run("tried").attempts] == ["failed", "failed", "succeeded"]
    # It has succeeded: nothing is tried.
    assert tried(ledger, 3) == 3
    assert rows(ledger) == 3
    # What the caller did wrong is said at once.
    with pytest.raises(rh.RunConflict):
        tried.submit(ledger, 4)


def test_a_run_that_lost_its_worker_only_where_the_user_allows_it(box: rh.Cluster, ledger: str) -> None:
    dies = rh.function(subjects.die_before).to(box, name="run-dies")
    with pytest.raises(rh.WorkerDied):
        dies.options(run_name="dies-once", retries=3, backoff=0.01)(ledger, 3)
    assert rows(ledger) == 1
    assert dies.options(run_name="dies-once", retries=3, backoff=0.01, idempotent=True)(ledger, 3) == 3
    assert len(box.get_run("dies-once").attempts) == 3


def test_whoever_leaves_a_run_between_two_tries_leaves_it_failed(box: rh.Cluster, flaky: Any, ledger: str) -> None:
    call = flaky.options(run_name="left", retries=3, backoff=60, retry_on=Exception).submit(ledger, 2)
    wait_until(lambda: rows(ledger) and call._engine_call._timer is not None, what="the first failure")
    assert call.cancel()
    assert isinstance(call.exception(timeout=5), rh.CallCancelled)
    assert box.get_run("left").status == "failed"
