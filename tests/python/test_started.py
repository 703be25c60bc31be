"""Every failure of a call says whether its code had begun, and is right: the code's own ledger knows."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import failing_subjects as subjects
import pytest
import roundhouse as rh
from patience import wait_until


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    return str(tmp_path / "ledger")


def rows(ledger: str) -> list[str]:
    path = Path(ledger)
    return path.read_text().splitlines() if path.exists() else []


def ended(call: rh.Call[Any]) -> rh.RoundhouseError:
    error = call.exception(timeout=30)
    assert isinstance(error, rh.RoundhouseError), error
    return error


@pytest.fixture
def node(request: pytest.FixtureRequest) -> Iterator[rh.Cluster]:
    """A cluster that the test may kill."""
    name = f"started-{abs(hash(request.node.name)) % 10**8}"
    cluster = rh.compute(name).up_if_not()
    yield cluster
    cluster.teardown()


def test_killed_without_a_word(box: rh.Cluster, ledger: str) -> None:
    with pytest.raises(rh.WorkerDied) as caught:
        rh.function(subjects.die).to(box)(ledger)
    assert (caught.value.started, rows(ledger)) == ("yes", ["begun"])


def test_what_waited_in_a_worker_that_died_had_not_begun(box: rh.Cluster, ledger: str) -> None:
    hold = rh.function(subjects.hold).to(box, max_concurrency=1)
    pid = hold(ledger + ".pid", 0)
    calls = [hold.submit(ledger) for _ in range(4)]
    wait_until(lambda: rows(ledger), what="the first call")
    box.ping()  # behind all of them: none comes so late that it waits for the next worker
    os.kill(pid, signal.SIGKILL)
    assert [ended(call).started for call in calls] == ["yes", "no", "no", "no"]
    assert rows(ledger) == ["hold"]


def test_what_waited_for_pythons_lock_had_not_begun(box: rh.Cluster, ledger: str) -> None:
    hold = rh.function(subjects.hold_python).to(box, process="held-process", name="held")
    take = rh.function(subjects.take).to(box, process="held-process", name="waits")
    pid = rh.function(subjects.nothing).to(box, process="held-process")()
    first = hold.submit(ledger)
    wait_until(lambda: rows(ledger), what="the call that holds the lock")
    second = take.submit(ledger, b"x")
    box.ping()  # the node has it: the ping came behind it
    os.kill(pid, signal.SIGKILL)
    assert (ended(first).started, ended(second).started) == ("yes", "no")
    assert rows(ledger) == ["hold"]


def test_a_long_call_is_remembered_over_many_short_ones(box: rh.Cluster, ledger: str) -> None:
    hold = rh.function(subjects.hold).to(box, process="long", name="long-hold")
    nothing = rh.function(subjects.nothing).to(box, process="long", name="long-nothing")
    long = hold.submit(ledger)
    wait_until(lambda: rows(ledger), what="the long call")
    for _ in range(10):
        rh.gather(*[nothing.submit() for _ in range(900)])
    os.kill(nothing(), signal.SIGKILL)
    assert ended(long).started == "yes"


@pytest.mark.parametrize("how", ["cancel", "timeout"])
def test_stopped_before_and_after_it_began(box: rh.Cluster, ledger: str, how: str) -> None:
    hold = rh.function(subjects.hold).to(box, name=f"stop-{how}", max_concurrency=1)
    if how == "timeout":
        hold = hold.options(timeout=0.5)
    running = hold.submit(ledger, 60.0)
    wait_until(lambda: rows(ledger), what="the first call")
    waiting = hold.options(timeout=0.2).submit(ledger, 60.0) if how == "timeout" else hold.submit(ledger, 60.0)
    if how == "cancel":
        waiting.cancel()
        assert ended(waiting).started == "no"
        running.cancel()
    kind = rh.CallTimeout if how == "timeout" else rh.CallCancelled
    for call, started in ((waiting, "no"), (running, "yes")):
        error = ended(call)
        assert isinstance(error, kind)
        assert error.started == started
    assert rows(ledger) == ["hold"]


def test_refused_is_not_begun(box: rh.Cluster, ledger: str) -> None:
    hold = rh.function(subjects.hold).to(box, name="refuses", max_concurrency=1, max_queue=1)
    running = hold.submit(ledger, 60.0)
    wait_until(lambda: rows(ledger), what="the first call")
    waiting = hold.submit(ledger, 60.0)
    with pytest.raises(rh.LimitExceeded) as full:
        hold(ledger)
    with pytest.raises(rh.WrongArguments) as wrong:
        rh.function(subjects.take).to(box)(1, 2, 3, 4)
    with pytest.raises(rh.NotFound) as unknown:
        box.call("no-such-service", "call")
    assert [error.value.started for error in (full, wrong, unknown)] == ["no", "no", "no"]
    for call in (waiting, running):
        call.cancel()
        call.exception(timeout=30)
    assert rows(ledger) == ["hold"]


def test_an_error_of_ours_from_inside_tells_of_this_call(box: rh.Cluster, ledger: str) -> None:
    """Its facts are those of the call that was made there."""
    with pytest.raises(rh.NodeLost) as caught:
        rh.function(subjects.fail_before).to(box)(ledger, 2, "ours")
    assert (caught.value.started, caught.value.facts["started"]) == ("yes", "no")


def test_a_result_that_cannot_travel_has_run(box: rh.Cluster) -> None:
    with pytest.raises(rh.NotSerializable) as caught:
        rh.function(threading.Lock).to(box, name="lock")()
    assert caught.value.started == "yes"


def kill_node(node: rh.Cluster) -> None:
    status = node.status()
    for pid in (status["keeper_pid"], status["pid"]):
        os.kill(pid, signal.SIGKILL)


def test_a_node_that_goes_under_calls(node: rh.Cluster, ledger: str) -> None:
    talks = rh.function(subjects.talk_and_hold).to(node, name="talks").submit(ledger)
    silent = rh.function(subjects.hold).to(node, name="silent").submit(ledger)
    wait_until(lambda: len(rows(ledger)) == 2 and talks.logs, what="both calls")
    kill_node(node)
    lost = [ended(talks), ended(silent)]
    assert [type(error) for error in lost] == [rh.NodeLost, rh.NodeLost]
    # Of the silent one nobody is left who knows; that it began must not be denied.
    assert [error.started for error in lost] == ["yes", "unknown"]


def test_a_call_that_is_not_whole_cannot_have_begun(node: rh.Cluster, ledger: str) -> None:
    take = rh.function(subjects.take).to(node)
    status = node.status()
    os.kill(status["pid"], signal.SIGSTOP)  # it takes nothing any more
    errors: list[BaseException] = []

    def send() -> None:
        try:
            take(ledger, bytes(64 << 20))
        except BaseException as error:
            errors.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    for pid in (status["keeper_pid"], status["pid"]):
        os.kill(pid, signal.SIGKILL)
    sender.join(timeout=60)
    assert not sender.is_alive()
    assert isinstance(errors[0], rh.NodeLost)
    assert (errors[0].started, rows(ledger)) == ("no", [])
