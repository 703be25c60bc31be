from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
import roundhouse as rh
import subjects
from patience import wait_until


def test_cancel_is_an_exception_in_the_code(box: rh.Cluster, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    call = rh.function(subjects.clean_up).to(box).submit(str(mark))
    time.sleep(0.1)
    assert call.cancel()
    with pytest.raises(rh.CallCancelled):
        call.result(timeout=10)
    assert mark.read_text() == "cleaned up"
    assert call.cancelled()
    assert not call.cancel()


def test_a_cancel_never_hits_the_next_call(box: rh.Cluster) -> None:
    remote = rh.function(subjects.spin).to(box, name="spin-cancelled")
    for round_number in range(60):
        call = remote.submit(0.001 * (round_number % 4))
        time.sleep(0.0005 * (round_number % 5))
        call.cancel()
        assert remote(0) == "spun"
        assert call.exception(timeout=10) is None or isinstance(call.exception(), rh.CallCancelled)


def test_a_call_that_is_cancelled_while_it_waits_to_begin(box: rh.Cluster, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    holder = rh.cls(subjects.Holder).to(box)()
    assert rh.gather(*(holder.meet.submit() for _ in range(4))) == [None] * 4
    # It never lets go of Python's lock, so that the next call has a thread, of those that met, but cannot begin.
    hold = holder.hold.submit(str(mark), 0.9)
    wait_until(mark.exists, what="the call that holds")
    call = holder.note.submit()
    call.cancel()
    with pytest.raises(rh.CallCancelled) as caught:
        call.result(timeout=10)
    assert caught.value.started == "no"
    hold.result(timeout=10)
    assert holder.notes() == 0


def test_a_coroutine_is_cancelled_where_it_waits(box: rh.Cluster) -> None:
    call = rh.function(subjects.sleep_async).to(box).submit(30)
    time.sleep(0.2)
    started = time.monotonic()
    call.cancel()
    with pytest.raises(rh.CallCancelled):
        call.result(timeout=10)
    assert time.monotonic() - started < 5


def test_pings_and_cancels_are_not_stuck_behind_busy_python(box: rh.Cluster) -> None:
    remote = rh.cls(subjects.Counter).to(box, name="busy-class")
    counter = remote()
    call = counter.spin.submit(30)  # type: ignore[attr-defined]
    time.sleep(0.1)
    times = [call.ping(timeout=5) for _ in range(20)]
    assert sorted(times)[10] < 0.05
    assert box.ping() < 0.5
    assert counter.get() == 0  # another caller's call to the same object
    call.cancel()
    with pytest.raises(rh.CallCancelled):
        call.result(timeout=10)


def test_one_callers_cancel_leaves_the_others_alone(box: rh.Cluster) -> None:
    remote = rh.function(subjects.spin).to(box, name="spin-shared")
    keep, drop = remote.submit(0.5), remote.submit(30)
    time.sleep(0.1)
    drop.cancel()
    with pytest.raises(rh.CallCancelled):
        drop.result(timeout=10)
    assert keep.result(timeout=10) == "spun"


def test_ctrl_c_cancels_the_call(box: rh.Cluster, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    remote = rh.function(subjects.clean_up).to(box, name="interrupted")
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        remote(str(mark))
    wait_until(mark.exists, what="the clean-up of the interrupted call")
    assert rh.function(subjects.add).to(box)(1) == 2


def test_ctrl_c_reaches_a_wait_for_a_result(box: rh.Cluster) -> None:
    call = rh.function(subjects.stubborn).to(box).submit(1.5)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        call.result()
    assert call.result(timeout=10) is None


def test_a_deadline_ends_what_can_be_ended(box: rh.Cluster) -> None:
    from roundhouse import _engine, _serialize

    rh.function(subjects.spin).to(box, name="spin-deadline")
    client = box._link.client()
    with pytest.raises(_engine.EngineError) as caught:
        client.call("spin-deadline", "call", 1, _serialize.dumps(((30.0,), {})), None, 0.2)
    assert caught.value.code == _engine.codes["timeout"]
    assert caught.value.facts.get("still_running", "False") == "False"


def test_a_deadline_lets_go_of_what_cannot_be_ended(box: rh.Cluster) -> None:
    from roundhouse import _engine, _serialize

    # A neighbour in the same worker, for whose sake that is not ended.
    neighbour = rh.function(subjects.stubborn).to(box, name="stubborn-deadline").submit(4.0)
    client = box._link.client()
    started = time.monotonic()
    with pytest.raises(_engine.EngineError) as caught:
        client.call("stubborn-deadline", "call", 1, _serialize.dumps(((6.0,), {})), None, 0.1)
    assert time.monotonic() - started < 5
    assert caught.value.code == _engine.codes["timeout"]
    assert caught.value.facts["still_running"] == "True"
    assert neighbour.result(timeout=20) is None


def test_a_deadline_in_c_code_leaves_the_object_and_its_other_callers_alone(box: rh.Cluster) -> None:
    shared = rh.cls(subjects.Shared).to(box)()
    before = shared.identity()
    neighbour = shared.count.submit(400, 0.01)
    with pytest.raises(rh.CallTimeout) as caught:
        # Without Python's lock, and deaf to everything until it is done.
        shared.crunch.options(timeout=0.2)(6.0)
    assert caught.value.still_running
    assert caught.value.started == "yes"
    # While that goes on, others come and go, and nothing of the object is lost.
    assert not neighbour.done()
    assert shared.count(5, 0) >= 5
    assert neighbour.result(timeout=20) >= 400
    assert shared.total_now() == 405
    assert shared.identity() == before
    # What could not be stopped has been told to stop: it went no further than its C code.
    wait_until(lambda: shared.crunches() == (1, 0), 20, "the end of the C code")
