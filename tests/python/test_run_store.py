"""Runs that outlive their compute (`run_store=` with a path): two clusters that share nothing but the store."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import roundhouse as rh
import run_subjects as subjects
from daemons import kill_daemon
from patience import wait_until

PATIENCE = 60.0


@pytest.fixture
def other() -> Iterator[rh.Cluster]:
    """Another cluster than `box`, for one test."""
    with rh.compute("run-store-other") as cluster:
        yield cluster
    cluster.teardown_and_delete()


@pytest.fixture
def gone() -> Iterator[rh.Cluster]:
    """One that a test kills."""
    with rh.compute("run-store-gone") as cluster:
        yield cluster
    cluster.teardown_and_delete()


def kill_node(cluster: rh.Cluster) -> None:
    """Without a chance to say anything."""
    os.kill(cluster.status()["keeper_pid"], signal.SIGKILL)
    wait_until(lambda: not cluster.is_up(), PATIENCE, "the node's end")


def make_old(store: Path) -> None:
    """As if nobody had told of anything in the store for two minutes."""
    for path in store.rglob("*"):
        if path.suffix in (".alive", ".claim"):
            times = path.stat()
            os.utime(path, (times.st_atime - 120, times.st_mtime - 120))


def ran(folder: Path) -> list[str]:
    ledger = folder / "ledger"
    return ledger.read_text().splitlines() if ledger.exists() else []


def test_the_result_outlives_the_node(box: rh.Cluster, gone: rh.Cluster, tmp_path: Path) -> None:
    """Logs, history and replay too; and another cluster that is asked for it answers without running it."""
    store = tmp_path / "store"
    counted = rh.function(subjects.count_lines).to(gone)
    asked: dict[str, Any] = {"run_name": "outlives", "run_store": store, "stream_logs": False}
    assert counted.options(**asked)(str(tmp_path), 3) == 3
    assert gone.get_run("outlives").describe()["store"] == str(store)
    kill_node(gone)
    gone.teardown_and_delete()

    kept = rh.run_store(store).get_run("outlives")
    assert (kept.status, kept.result(), kept.logs()) == ("succeeded", 3, "line 0\nline 1\nline 2\n")
    assert (kept.logs(7), kept.logs().next) == ("line 1\nline 2\n", 21)
    assert [run["name"] for run in rh.run_store(f"file://{store}").runs()] == ["outlives"]
    elsewhere = rh.function(subjects.count_lines).to(box)
    assert elsewhere.options(**asked)(str(tmp_path), 3) == 3
    assert ran(tmp_path) == ["0", "1", "2"]
    brought = box.get_run("outlives")
    assert (brought.result(), brought.logs()) == (3, "line 0\nline 1\nline 2\n")
    assert brought.attempts[0]["origin"]["cluster"] == "run-store-gone"
    with pytest.raises(rh.RunConflict, match="other arguments"):
        elsewhere.options(**asked)(str(tmp_path), 4)
    assert kept.replay() == 3
    assert ran(tmp_path) == ["0", "1", "2"] * 2
    assert brought.replay() == 3
    kept.forget()
    assert rh.run_store(store).runs() == []
    with pytest.raises(rh.NotFound, match="outlives"):
        rh.run_store(store).get_run("outlives")


def test_what_a_run_raised_outlives_the_node(box: rh.Cluster, gone: rh.Cluster, tmp_path: Path) -> None:
    store = tmp_path / "store"
    fails = rh.function(subjects.fails_once).to(gone).options(run_name="raises", run_store=store)
    with pytest.raises(LookupError, match="not this time"):
        fails(str(tmp_path))
    with pytest.raises(rh.WorkerDied):
        rh.function(subjects.dies).to(gone).options(run_name="dies", run_store=store)()
    kill_node(gone)
    with pytest.raises(LookupError, match="not this time"):
        rh.run_store(store).get_run("raises").result()
    with pytest.raises(rh.WorkerDied) as died:
        rh.run_store(store).get_run("dies").result()
    assert died.value.exit_code == 7
    # A new attempt, whose number says what was before.
    again = rh.function(subjects.fails_once).to(box).options(run_name="raises", run_store=store)
    assert again(str(tmp_path)) == "the second time"
    states = [(each["number"], each["state"]) for each in rh.run_store(store).get_run("raises").attempts]
    assert states == [(1, "failed"), (2, "succeeded")]
    with pytest.raises(LookupError, match="not this time"):
        box.get_run("raises").result(attempt=1)


def test_what_was_killed_is_lost_and_begins_anew(box: rh.Cluster, gone: rh.Cluster, tmp_path: Path) -> None:
    store = tmp_path / "store"
    asked: dict[str, Any] = {"run_name": "lost", "run_store": store, "stream_logs": False}
    told = rh.function(subjects.until_told).to(gone).options(**asked)
    told.submit(str(tmp_path))
    subjects.wait_for(str(tmp_path / "begun"))
    kept = rh.run_store(store).get_run("lost")
    assert kept.status == "running"
    with pytest.raises(rh.CallTimeout, match="run-store-gone"):
        kept.result()
    kill_node(gone)
    elsewhere = rh.function(subjects.until_told).to(box).options(**asked)
    with pytest.raises(rh.RunConflict, match="run-store-gone") as conflict:
        elsewhere(str(tmp_path))
    assert (conflict.value.differs, conflict.value.cluster) == ("another cluster", "run-store-gone")
    make_old(store)
    assert kept.status == "lost"
    with pytest.raises(rh.NodeLost, match="run-store-gone"):
        kept.result()
    (tmp_path / "go").touch()
    assert elsewhere(str(tmp_path)) == f"done in {tmp_path}"
    assert ran(tmp_path) == ["began"] * 2
    for run in (kept, box.get_run("lost")):
        assert [each["state"] for each in run.attempts] == ["lost", "succeeded"]
        with pytest.raises(rh.NodeLost, match="attempt 1"):
            run.result(attempt=1)


def test_the_same_node_goes_on_with_the_history(gone: rh.Cluster, tmp_path: Path) -> None:
    """Its own claim is in nobody's way when it comes up again."""
    store = tmp_path / "store"
    asked: dict[str, Any] = {"run_name": "again", "run_store": store, "stream_logs": False}
    rh.function(subjects.until_told).to(gone).options(**asked).submit(str(tmp_path))
    subjects.wait_for(str(tmp_path / "begun"))
    kill_node(gone)
    gone.up_if_not()
    (tmp_path / "go").touch()
    assert rh.function(subjects.until_told).to(gone).options(**asked)(str(tmp_path)) == f"done in {tmp_path}"
    assert [each["state"] for each in rh.run_store(store).get_run("again").attempts] == ["lost", "succeeded"]


def test_one_that_was_taken_for_lost_is_ended(box: rh.Cluster, other: rh.Cluster, tmp_path: Path) -> None:
    """A cluster that could not tell of its run for too long ends it, and does not change what came after."""
    store = tmp_path / "store"
    asked: dict[str, Any] = {"run_name": "silent", "run_store": store, "stream_logs": False}
    first = rh.function(subjects.until_told).to(other).options(**asked).submit(str(tmp_path))
    subjects.wait_for(str(tmp_path / "begun"))
    second: list[rh.Call[str]] = []

    def taken_over() -> bool:
        make_old(store)
        try:
            second.append(rh.function(subjects.until_told).to(box).options(**asked).submit(str(tmp_path)))
        except rh.RunConflict:  # It was told of just then.
            return False
        return True

    wait_until(taken_over, PATIENCE, "the second attempt")
    with pytest.raises((rh.CallCancelled, rh.RunConflict)):
        first.result(PATIENCE)
    wait_until(lambda: other.get_run("silent").status == "cancelled", PATIENCE, "its end")
    (tmp_path / "go").touch()
    assert second[0].result(PATIENCE) == f"done in {tmp_path}"
    kept = rh.run_store(store).get_run("silent")
    assert [each["state"] for each in kept.attempts] == ["lost", "succeeded"]
    assert [each["origin"]["cluster"] for each in kept.attempts] == [other.name, box.name]


def test_of_two_clusters_at_once_one_runs_it(box: rh.Cluster, other: rh.Cluster, tmp_path: Path) -> None:
    functions = [rh.function(subjects.until_told).to(cluster) for cluster in (box, other)]
    for round in range(5):
        folder = tmp_path / str(round)
        folder.mkdir()
        outcomes = _ask_at_once(functions, {"run_name": f"race-{round}", "run_store": tmp_path / "store"}, folder)
        assert sorted(type(each).__name__ for each in outcomes) == ["RunConflict", "str"]
        assert ran(folder) == ["began"]


def _ask_at_once(functions: list[Any], asked: dict[str, Any], folder: Path) -> list[Any]:
    outcomes: list[Any] = []
    ready = threading.Barrier(len(functions))

    def ask(function: Any) -> None:
        ready.wait(PATIENCE)
        try:
            outcomes.append(function.options(**asked, stream_logs=False)(str(folder)))
        except rh.RoundhouseError as error:
            outcomes.append(error)
            (folder / "go").touch()

    threads = [threading.Thread(target=ask, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    return outcomes


def test_it_is_kept_while_daemons_die(gone: rh.Cluster, tmp_path: Path) -> None:
    told = rh.function(subjects.until_told).to(gone)
    call = told.options(run_name="daemon", run_store=tmp_path / "store", stream_logs=False).submit(str(tmp_path))
    subjects.wait_for(str(tmp_path / "begun"))
    kill_daemon(gone)
    (tmp_path / "go").touch()
    assert call.result(PATIENCE) == f"done in {tmp_path}"
    kept = rh.run_store(tmp_path / "store").get_run("daemon")
    assert (kept.result(), ran(tmp_path)) == (f"done in {tmp_path}", ["began"])
    assert kept.logs() == gone.get_run("daemon").logs()
    assert "first line" in kept.logs()
    assert "last line" in kept.logs()


def test_whoever_asks_again_has_it_kept_again(box: rh.Cluster, tmp_path: Path) -> None:
    """Where the worker that keeps it was killed."""
    told = rh.function(subjects.until_told).to(box)
    asked = told.options(run_name="keeping-dies", run_store=tmp_path / "store", stream_logs=False)
    asked.submit(str(tmp_path))
    subjects.wait_for(str(tmp_path / "begun"))
    keeper = box._ask("describe", {"name": "roundhouse-run-stores"})["pid"]
    os.kill(keeper, signal.SIGKILL)
    wait_until(lambda: box.get_run("keeping-dies.store-1").done(), PATIENCE, "its end")
    again = asked.submit(str(tmp_path))
    (tmp_path / "go").touch()
    assert again.result(PATIENCE) == f"done in {tmp_path}"
    assert rh.run_store(tmp_path / "store").get_run("keeping-dies").result() == f"done in {tmp_path}"
    assert ran(tmp_path) == ["began"]
    assert [each["state"] for each in box.get_run("keeping-dies.store-1").attempts] == ["failed", "succeeded"]


@pytest.mark.parametrize("kind", ["claim", "begun", "end", "result", "arguments", "output"])
def test_damage_is_found(box: rh.Cluster, other: rh.Cluster, tmp_path: Path, kind: str) -> None:
    store = tmp_path / "store"
    counted = rh.function(subjects.count_lines).to(other)
    for name in ("sound", "flipped"):
        counted.options(run_name=name, run_store=store, stream_logs=False)(str(tmp_path), 3)
    before = len(ran(tmp_path))
    (folder,) = (path for path in store.iterdir() if b'"flipped"' in (path / "1.claim").read_bytes())
    (damaged,) = (path for path in folder.iterdir() if path.name.startswith(f"1.{kind}"))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    elsewhere = rh.function(subjects.count_lines).to(box)
    with pytest.raises(rh.RecordDamaged) as error:
        elsewhere.options(run_name="flipped", run_store=store)(str(tmp_path), 3)
    assert error.value.path.startswith(f"{folder.name}/1.{kind}")
    # Half of it, as a file system may leave it that kept no promise.
    damaged.write_bytes(content[: len(content) // 2])
    kept = rh.RunStore(str(store))
    with pytest.raises(rh.RecordDamaged):
        _all_of(kept, "flipped")
    assert kept.get_run("sound").result() == 3
    states = {run["state"] for run in kept.runs()}
    assert states == ({"succeeded", "damaged"} if kind in ("claim", "end") else {"succeeded"})
    assert len(ran(tmp_path)) == before


def _all_of(store: rh.RunStore, name: str) -> None:
    run: Any = store.get_run(name)
    run.result()
    run.logs()
    run.replay()


def test_where_nothing_can_be_written_nothing_runs(box: rh.Cluster, tmp_path: Path) -> None:
    noted = rh.function(subjects.noted).to(box)
    (tmp_path / "file").touch()
    with pytest.raises(rh.HostError, match="Not a directory"):
        noted.options(run_name="nowhere", run_store=tmp_path / "file" / "store")(str(tmp_path / "ledger"), 3)
    with pytest.raises(rh.NotFound):
        box.get_run("nowhere")
    for place in ("relative", "~/runs", "gs://bucket", "s3://", "", 7, tmp_path.name):
        with pytest.raises(rh.WrongArguments, match="run_store"):
            noted.options(run_name="nowhere", run_store=place)
    with pytest.raises(rh.WrongArguments, match="run_name"):
        noted.options(run_store=tmp_path)
    assert not (tmp_path / "ledger").exists()


def test_a_large_result(box: rh.Cluster, other: rh.Cluster, tmp_path: Path) -> None:
    size = 100_000_000
    asked: dict[str, Any] = {"run_name": "large", "run_store": tmp_path / "store"}
    assert len(rh.function(subjects.much).to(other).options(**asked)(size)) == size
    assert rh.function(subjects.much).to(box).options(**asked)(size) == b"\xa5" * size
    assert rh.run_store(tmp_path / "store").get_run("large").result() == b"\xa5" * size


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "run-store", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a full disk needs the right to mount one")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_is_waited_for(box: rh.Cluster, small_disk: Path) -> None:
    """An end that does not fit is tried again; nobody is told of it before it is stored."""
    much = rh.function(subjects.much).to(box)
    call = much.options(run_name="full", run_store=small_disk / "store").submit(8_000_000)
    keeping = box.get_run("full.store-1")
    wait_until(lambda: "No space left" in keeping.logs(), PATIENCE, "the full disk")
    assert not call.done()
    assert rh.run_store(small_disk / "store").get_run("full").status == "running"
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert call.result(PATIENCE) == subjects.much(8_000_000)
    assert rh.run_store(small_disk / "store").get_run("full").result() == subjects.much(8_000_000)


def test_a_beginning_that_does_not_fit(box: rh.Cluster, small_disk: Path, tmp_path: Path) -> None:
    """It is not acknowledged; asked for again, it is kept after all, and has run once."""
    ledger, content = str(tmp_path / "ledger"), bytes(8_000_000)
    weigh = rh.function(subjects.weigh).to(box).options(run_name="heavy", run_store=small_disk / "store")
    with pytest.raises(rh.HostError, match="No space left") as error:
        weigh(ledger, content)
    assert "goes on" in error.value.__notes__[-1]
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert weigh(ledger, content)[0] == len(content)
    assert rh.run_store(small_disk / "store").get_run("heavy").result()[0] == len(content)
    assert len(ran(tmp_path)) == 1
