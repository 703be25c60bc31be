"""Memory that is limited for real: by what this machine's kernel gives, and by the monitor."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import memory_subjects as subjects
import pytest
import roundhouse as rh
from patience import wait_until

MIB = 1 << 20
LIMIT = 128 * MIB


@pytest.fixture(scope="module", params=["kernel", "monitor"])
def limited(request: pytest.FixtureRequest) -> Iterator[rh.Cluster]:
    """A node whose memory the kernel limits, where it lets us, and one whose memory is watched."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "monitor":
            patch.setenv("ROUNDHOUSE_MEMORY_BY", "monitor")
        box = rh.compute(f"memory-{request.param}").up_if_not()
    try:
        if request.param == "kernel" and by(box) == "monitor":
            pytest.skip(f"no cgroup may be made here: {why_watched(box)}")
        yield box
    finally:
        box.teardown()


def why_watched(box: rh.Cluster) -> str:
    log = (Path(box.status()["state_folder"]) / "daemon.log").read_text()
    return "; ".join(re.findall(r"memory is watched, (.*)", log))


def by(box: rh.Cluster) -> str:
    return str(box.status()["resources"]["memory_enforced_by"])


def test_what_limits_it_is_told(limited: rh.Cluster) -> None:
    resources = limited.status()["resources"]
    assert resources["memory_enforced"] is True
    assert resources["memory_enforced_by"] in ("cgroup2", "cgroup1", "monitor")


def test_a_worker_that_takes_too_much_is_ended_and_its_neighbour_lives(limited: rh.Cluster) -> None:
    neighbour = rh.cls(subjects.Shelf).to(limited, name="Neighbour", memory=LIMIT)()
    greedy = rh.function(subjects.take).to(limited, name="greedy", memory=LIMIT)
    before = greedy(1)
    with pytest.raises(rh.OutOfMemory) as caught:
        greedy(400)
    error = caught.value
    assert isinstance(error, MemoryError)
    assert isinstance(error, rh.WorkerDied)
    assert (error.signal, error.exit_code) == (signal.SIGKILL, None)
    assert error.limit == LIMIT
    assert error.enforced_by == by(limited)
    # The monitor sees it a little late, the kernel counts pages of files too.
    assert error.peak is not None
    assert 0.8 * LIMIT < error.peak < 4 * LIMIT
    assert error.growth is not None
    assert error.growth_s is not None
    assert 0.4 * LIMIT < error.growth <= error.peak
    assert 0 < error.growth_s < 60
    assert error.suggested_memory is not None
    assert error.suggested_memory % (64 * MIB) == 0
    assert 1.5 * LIMIT <= error.suggested_memory <= 2 * error.peak + 64 * MIB
    assert "taking 400" in error.stderr_tail
    assert error.uptime_s is not None
    assert error.uptime_s > 0
    assert "128 MiB" in str(error)
    # Nobody else hears of it, and another worker takes its place.
    assert neighbour.count() == 1
    assert greedy(1) != before


def test_what_is_suggested_leads_to_enough(limited: rh.Cluster) -> None:
    tried = [64 * MIB]
    while len(tried) < 6:
        error = rh.function(subjects.take).to(limited, name="grows", memory=tried[-1]).submit(200).exception(timeout=60)
        if error is None:
            break
        assert isinstance(error, rh.OutOfMemory)
        tried.append(error.suggested_memory or 0)
    assert tried == sorted(tried)
    # The monitor may miss what goes beyond a limit for some milliseconds only.
    least = 200 * MIB if by(limited) != "monitor" else 64 * MIB
    assert least < tried[-1] <= 1024 * MIB


def test_a_child_that_is_killed_leaves_the_worker_alone(
    limited: rh.Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf = rh.cls(subjects.Shelf).to(limited, name="ShelfWithChild", memory=LIMIT)()
    assert shelf.child_takes(400, "go on") == "went on after -9"
    told = capsys.readouterr().err
    assert "was killed for its memory" in told
    assert "128 MiB" in told
    # An exception then is what the kill has led to.
    with pytest.raises(rh.OutOfMemory, match="the child ended with -9") as caught:
        shelf.child_takes(400, "raise")
    error = caught.value
    assert (error.signal, error.exit_code, error.limit, error.started) == (None, None, LIMIT, "yes")
    assert error.enforced_by == by(limited)
    assert error.facts["type"].endswith("RuntimeError")
    # It is the same object still, and other failures are its own.
    assert shelf.count() == 1
    assert "killed for its memory" not in capsys.readouterr().err
    with pytest.raises(AttributeError):
        shelf.no_such_method()  # type: ignore[attr-defined]


def test_a_child_is_killed_and_the_worker_exits_with_0(limited: rh.Cluster) -> None:
    remote = rh.function(subjects.child_takes).to(limited, name="leaves", memory=LIMIT)
    with pytest.raises(rh.OutOfMemory) as caught:
        remote(400, "exit")
    assert (caught.value.exit_code, caught.value.signal) == (0, None)
    assert caught.value.limit == LIMIT
    assert "exited with code 0" in str(caught.value)


def test_what_happened_between_calls_is_told_to_the_next(
    limited: rh.Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = limited
    process = box.create_process("between", compute={"memory": LIMIT})
    later = rh.function(subjects.child_takes_later).to(box, process=process, name="later")
    nothing = rh.function(subjects.nothing).to(box, process=process, name="nothing")
    later(400, str(tmp_path / "gone"))
    wait_until((tmp_path / "gone").exists, what="the end of the child")
    capsys.readouterr()
    assert nothing() == "done"
    assert "was killed for its memory" in capsys.readouterr().err
    assert nothing() == "done"
    assert capsys.readouterr().err == ""
    # And what fails now fails for itself.
    with pytest.raises(ValueError, match="other reason"):
        nothing(fail=True)


def test_a_kill_by_hand_is_no_lack_of_memory(limited: rh.Cluster) -> None:
    remote = rh.function(subjects.be_killed).to(limited, memory=LIMIT)
    with pytest.raises(rh.WorkerDied) as caught:
        remote()
    assert type(caught.value) is rh.WorkerDied
    assert caught.value.signal == signal.SIGKILL
    assert caught.value.peak is not None
    assert caught.value.peak > MIB


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL])
def test_a_crash_says_where_in_python(limited: rh.Cluster, number: signal.Signals) -> None:
    with pytest.raises(rh.WorkerDied) as caught:
        rh.function(subjects.be_killed).to(limited, name=f"crash-{number.name}")(number)
    error = caught.value
    assert error.signal == number
    assert error.backtrace.startswith("Fatal Python error: ")
    assert "memory_subjects.py" in error.backtrace
    assert "in be_killed" in error.backtrace
    assert "in be_killed" in str(error)


def test_the_status_says_how_much_each_has(limited: rh.Cluster) -> None:
    remote = rh.function(subjects.take).to(limited, name="watched", memory=LIMIT)
    pid = remote(50)
    (row,) = [row for row in limited.status()["workers"] if row["pid"] == pid]
    assert row["memory"] == LIMIT
    assert 50 * MIB < row["memory_used"] < LIMIT


def test_a_worker_that_cannot_even_start_says_why(limited: rh.Cluster) -> None:
    def send_and_wait() -> None:
        # The monitor may see it only once it has started.
        rh.function(subjects.take).to(limited, name="tiny", memory=2 * MIB)(4000)

    with pytest.raises(rh.OutOfMemory) as caught:
        send_and_wait()
    assert caught.value.limit == 2 * MIB


@pytest.mark.parametrize("how", ["kernel", "monitor"])
def test_all_workers_together(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "monitor":
        monkeypatch.setenv("ROUNDHOUSE_MEMORY_BY", "monitor")
    with rh.compute(f"capped-{how}", memory="256MiB") as box:
        if how == "kernel" and by(box) == "monitor":
            pytest.skip("no cgroup may be made here")
        small = rh.function(subjects.take).to(box, name="small")
        there = small(20)
        large = rh.function(subjects.take).to(box, name="large")
        with pytest.raises(rh.OutOfMemory, match="256 MiB together") as caught:
            large(500)
        assert caught.value.limit == 256 * MIB
        assert caught.value.facts["limit_of"] == "node"
        assert small(1) == there


def cgroups_of(box: rh.Cluster) -> list[Path]:
    record = Path(box.status()["state_folder"]) / "cgroup"
    return [Path(record.read_text())] if record.exists() else []


def test_nothing_is_left_in_the_cgroups() -> None:
    with rh.compute("leaves-no-cgroup") as box:
        folders = cgroups_of(box)
        if not folders:
            pytest.skip("no cgroup may be made here")
        (folder,) = folders
        remote = rh.function(subjects.take).to(box, memory=LIMIT)
        remote(1)
        assert len(list(folder.glob("worker-*"))) == 1
        with pytest.raises(rh.OutOfMemory):
            remote(400)
        remote(1)
        wait_until(lambda: len(list(folder.glob("worker-*"))) == 1, what="the end of the dead worker's cgroup")
        box.delete("take")
        wait_until(lambda: not list(folder.glob("worker-*")), what="the end of the deleted worker's cgroup")
    wait_until(lambda: not folder.exists(), what="the end of the node's cgroup")


def test_the_next_node_removes_what_a_killed_keeper_left() -> None:
    box = rh.compute("keeper-killed").up_if_not()
    try:
        folders = cgroups_of(box)
        if not folders:
            pytest.skip("no cgroup may be made here")
        rh.function(subjects.take).to(box, memory=LIMIT)(1)
        os.kill(box.status()["keeper_pid"], signal.SIGKILL)
        wait_until(lambda: not box.is_up(), what="the end of the node")
        assert folders[0].exists()
        box.up_if_not()
        assert not folders[0].exists()
        assert cgroups_of(box) != folders
        # So does whoever ends it.
        (folder,) = cgroups_of(box)
        os.kill(box.status()["keeper_pid"], signal.SIGKILL)
        wait_until(lambda: not box.is_up(), what="the end of the node")
        box.teardown()
        assert not folder.exists()
    finally:
        box.teardown()


def test_a_node_that_a_worker_starts_is_not_in_the_workers_cgroup() -> None:
    nested = rh.compute("nested-in-memory")
    try:
        with rh.compute("around-nested") as box:
            folders = cgroups_of(box)
            if not folders:
                pytest.skip("no cgroup may be made here")
            keeper = rh.function(subjects.start_cluster).to(box, memory=LIMIT)(nested.name)
            assert "worker-" not in Path(f"/proc/{keeper}/cgroup").read_text()
            assert nested.is_up()
        wait_until(lambda: not folders[0].exists(), what="the end of the node's cgroup")
        assert nested.is_up()
    finally:
        nested.teardown()


def test_a_node_that_limits_nothing_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROUNDHOUSE_MEMORY_BY", "nobody")
    with rh.compute("unlimited") as box:
        resources = box.status()["resources"]
        assert (resources["memory_enforced"], resources["memory_enforced_by"]) == (False, None)
        assert rh.function(subjects.take).to(box, memory=64 * MIB)(100)


def test_version_2_is_used_where_the_kernel_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROUNDHOUSE_MEMORY_BY", "cgroup2")
    with rh.compute("second-version") as box:
        if by(box) != "cgroup2":
            pytest.skip(f"no cgroup of version 2 here: {why_watched(box)}")
        with pytest.raises(rh.OutOfMemory) as caught:
            rh.function(subjects.take).to(box, memory=LIMIT)(400)
        assert caught.value.enforced_by == "cgroup2"
