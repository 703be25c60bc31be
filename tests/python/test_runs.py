"""Runs: each row of what happens when one is asked for again by its name, and what they outlive."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
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
def node(request: pytest.FixtureRequest) -> Iterator[rh.Cluster]:
    """A cluster of the test's own, whose daemon it may kill."""
    with rh.compute(f"runs-{request.node.name.replace('_', '-')[:40]}") as cluster:
        yield cluster


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def until(run: rh.Run, state: str) -> None:
    end = time.monotonic() + PATIENCE
    while run.status != state:
        assert time.monotonic() < end, run.describe()
        time.sleep(0.01)


# --- Runhouse's names ------------------------------------------------------------------------------------------------


def test_run_get_and_get_or_call(box: rh.Cluster, tmp_path: Path) -> None:
    noted = rh.function(subjects.noted).to(box)
    ledger = str(tmp_path / "ledger")
    key = noted.run(ledger, 3)
    assert key.startswith("noted-")
    assert noted.get(key) == 9
    assert box.get_run(key).status == "succeeded"
    assert noted.options(run_name="named-run").run(ledger, 4) == "named-run"
    for _ in range(2):
        assert noted.get_or_call("named-run", True, ledger, 4) == 16
    assert lines_of(tmp_path / "ledger") == ["ran 3", "ran 4"]
    told = rh.function(subjects.until_told).to(box)
    key = told.run(str(tmp_path))
    subjects.wait_for(str(tmp_path / "begun"))
    (tmp_path / "go").touch()
    assert told.get(key) == f"done in {tmp_path}"


# --- asked for again -----------------------------------------------------------------------------------------------


def test_one_that_succeeded_gives_its_stored_result(box: rh.Cluster, tmp_path: Path) -> None:
    noted = rh.function(subjects.noted).to(box)
    ledger = str(tmp_path / "ledger")
    assert noted.options(run_name="stored")(ledger, 3) == 9
    assert noted.options(run_name="stored")(ledger, 3) == 9
    # By keyword it is the same.
    assert noted.options(run_name="stored")(ledger, x=3) == 9
    assert noted(ledger, 3, run_name="stored") == 9  # type: ignore[call-arg]
    assert lines_of(tmp_path / "ledger") == ["ran 3"]
    run = box.get_run("stored")
    assert (run.status, run.result(), len(run.attempts)) == ("succeeded", 9, 1)
    (attempt,) = run.attempts
    assert attempt["queued_s"] <= attempt["started_s"] <= attempt["ended_s"]
    assert attempt["code"]
    assert attempt["arguments_digest"]


def test_one_that_runs_is_attached_to(box: rh.Cluster, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    told = rh.function(subjects.until_told).to(box)
    first = told.options(run_name="attached").submit(str(tmp_path))
    subjects.wait_for(str(tmp_path / "begun"))
    second = told.options(run_name="attached").submit(str(tmp_path))
    assert isinstance(second, rh.Call)
    assert box.get_run("attached").status == "running"
    with pytest.raises(rh.CallTimeout) as caught:
        box.get_run("attached").result(timeout=0.05)
    assert caught.value.still_running is True
    with pytest.raises(rh.CallTimeout):
        box.get_run("attached").result(timeout=0)
    (tmp_path / "go").touch()
    assert first.result(PATIENCE) == second.result(PATIENCE) == f"done in {tmp_path}"
    assert lines_of(tmp_path / "ledger") == ["began"]
    # Both saw all of it, whenever they came.
    assert first.logs == second.logs
    assert sorted(first.logs.splitlines()) == ["a warning", "first line", "last line"]
    assert capfd.readouterr().out.count("first line") == 2


def test_one_that_failed_is_tried_again(box: rh.Cluster, tmp_path: Path) -> None:
    fails_once = rh.function(subjects.fails_once).to(box)
    with pytest.raises(LookupError, match="not this time"):
        fails_once.options(run_name="failing")(str(tmp_path))
    run = box.get_run("failing")
    assert run.status == "failed"
    with pytest.raises(LookupError, match="not this time") as caught:
        run.result()
    assert "fails_once" in str(caught.value.__cause__)
    assert fails_once.options(run_name="failing")(str(tmp_path)) == "the second time"
    assert [attempt["state"] for attempt in run.attempts] == ["failed", "succeeded"]
    assert run.attempts[0]["raised"]["type"] == "builtins.LookupError"
    with pytest.raises(LookupError):
        run.result(attempt=1)
    assert run.result() == "the second time"
    with pytest.raises(rh.NotFound, match="attempt 3"):
        run.result(attempt=3)
    assert lines_of(tmp_path / "ledger") == ["ran", "ran"]


def test_one_that_was_cancelled_is_tried_again(box: rh.Cluster, tmp_path: Path) -> None:
    told = rh.function(subjects.until_told).to(box)
    call = told.options(run_name="cancelled").submit(str(tmp_path))
    subjects.wait_for(str(tmp_path / "begun"))
    assert call.cancel() is True
    with pytest.raises(rh.CallCancelled):
        call.result(PATIENCE)
    run = box.get_run("cancelled")
    assert run.status == "cancelled"
    assert run.cancel() is False
    (tmp_path / "go").touch()
    assert told.options(run_name="cancelled")(str(tmp_path)) == f"done in {tmp_path}"
    assert [attempt["state"] for attempt in run.attempts] == ["cancelled", "succeeded"]


def test_with_other_arguments_it_is_a_conflict(box: rh.Cluster, tmp_path: Path) -> None:
    noted = rh.function(subjects.noted).to(box)
    ledger = str(tmp_path / "ledger")
    assert noted.options(run_name="arguments")(ledger, 2) == 4
    with pytest.raises(rh.RunConflict, match="other arguments") as caught:
        noted.options(run_name="arguments")(ledger, 5)
    assert (caught.value.run, caught.value.differs, caught.value.attempt) == ("arguments", "other arguments", 1)
    assert "2)" in caught.value.old
    assert "5)" in caught.value.new
    assert caught.value.started == "no"
    assert noted.options(run_name="arguments", replace=True)(ledger, 5) == 25
    assert noted.options(run_name="arguments")(ledger, 5) == 25
    assert lines_of(tmp_path / "ledger") == ["ran 2", "ran 5"]
    assert [attempt["number"] for attempt in box.get_run("arguments").attempts] == [1, 2]


def test_another_callable_is_a_conflict(box: rh.Cluster) -> None:
    assert rh.function(subjects.much).to(box).options(run_name="callable")(1) == b"\xa5"
    with pytest.raises(rh.RunConflict, match="another callable") as caught:
        rh.function(subjects.takes_any).to(box).options(run_name="callable")(1)
    assert (caught.value.old, caught.value.new) == ("much.call", "takes_any.call")


def test_with_other_code_it_is_a_conflict(box: rh.Cluster) -> None:
    def made(source: str) -> Any:
        space: dict[str, Any] = {"__name__": "__main__"}
        exec(source, space)
        return rh.function(space["f"]).to(box, name="versioned")

    one = made("def f(x):\n    return x + 1")
    assert one.options(run_name="code")(1) == 2
    # The same code somewhere else is the same code.
    assert made("\n\n# moved\ndef f(x):\n    return x + 1").options(run_name="code")(1) == 2
    two = made("def f(x):\n    return x + 2")
    with pytest.raises(rh.RunConflict, match="other code") as caught:
        two.options(run_name="code")(1)
    assert caught.value.differs == "other code"
    assert caught.value.old != caught.value.new
    assert two.options(run_name="code", accept_old_code=True)(1) == 2
    assert two.options(run_name="code", replace=True)(1) == 3


def test_arguments_without_a_canonical_encoding_are_not_compared(box: rh.Cluster) -> None:
    takes_any = rh.function(subjects.takes_any).to(box)
    assert takes_any.options(run_name="opaque")(subjects.Counter()) == "Counter"
    assert takes_any.options(run_name="opaque")(subjects.Counter()) == "Counter"
    assert box.get_run("opaque").attempts[0]["arguments_digest"] is None


def test_replacing_one_that_runs_ends_it_first(box: rh.Cluster, tmp_path: Path) -> None:
    told = rh.function(subjects.until_told).to(box)
    first = told.options(run_name="replaced").submit(str(tmp_path))
    subjects.wait_for(str(tmp_path / "begun"))
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "go").touch()
    again = str(tmp_path / "again")
    assert told.options(run_name="replaced", replace=True)(again) == f"done in {again}"
    with pytest.raises(rh.CallCancelled):
        first.result(PATIENCE)
    assert [attempt["state"] for attempt in box.get_run("replaced").attempts] == ["cancelled", "succeeded"]


def test_many_who_ask_at_once_make_one_attempt(box: rh.Cluster, tmp_path: Path) -> None:
    noted = rh.function(subjects.noted).to(box)
    ledger = str(tmp_path / "ledger")
    results: list[Any] = []

    def ask() -> None:
        results.append(noted.options(run_name="crowd")(ledger, 7))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert results == [49] * 16
    assert lines_of(tmp_path / "ledger") == ["ran 7"]


# --- what they outlive -----------------------------------------------------------------------------------------------

_CLIENT = """
import sys
import roundhouse as rh, run_subjects
box = rh.Cluster(sys.argv[1])
rh.function(run_subjects.until_told).to(box).options(run_name="outlives")(sys.argv[2])
"""


def test_it_survives_its_client(box: rh.Cluster, tmp_path: Path) -> None:
    here = str(Path(__file__).parent)
    client = subprocess.Popen(
        [sys.executable, "-c", _CLIENT, box.name, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([here, *sys.path])},
        stdout=subprocess.DEVNULL,
    )
    subjects.wait_for(str(tmp_path / "begun"))
    client.send_signal(signal.SIGKILL)
    assert client.wait(PATIENCE) == -signal.SIGKILL
    run = box.get_run("outlives")
    assert run.status == "running"
    assert "first line\n" in run.logs()
    (tmp_path / "go").touch()
    # In a process that never heard of it.
    script = (
        "import sys, roundhouse as rh\n"
        "run = rh.Cluster(sys.argv[1]).get_run('outlives')\n"
        "print(run.result(timeout=60))\n"
        "print(run.logs(), end='')\n"
    )
    there = subprocess.run(
        [sys.executable, "-c", script, box.name],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    told, *printed = there.stdout.splitlines()
    assert told == f"done in {tmp_path}"
    assert sorted(printed) == ["a warning", "first line", "last line"]
    assert lines_of(tmp_path / "ledger") == ["began"]


def test_the_same_program_again_attaches(box: rh.Cluster, tmp_path: Path) -> None:
    """It sends its code again, which is the same: a run that goes on is no reason to refuse it."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    source = _CLIENT.replace("outlives", "again").replace("rh.function(", "print(rh.function(").rstrip() + ")"
    program = [sys.executable, "-c", source, box.name, str(tmp_path)]
    first = subprocess.Popen(program, env=env, stdout=subprocess.DEVNULL)
    subjects.wait_for(str(tmp_path / "begun"))
    first.kill()
    first.wait(PATIENCE)
    second = subprocess.Popen(program, env=env, stdout=subprocess.PIPE, text=True)
    assert second.stdout is not None
    assert second.stdout.readline() == "first line\n"
    # A call that is no run is one.
    other = rh.function(subjects.until_told).to(box)
    (tmp_path / "plain").mkdir()
    call = other.submit(str(tmp_path / "plain"))
    subjects.wait_for(str(tmp_path / "plain" / "begun"))
    with pytest.raises(rh.NameTaken):
        rh.function(subjects.until_told).to(box)
    (tmp_path / "plain" / "go").touch()
    call.result(PATIENCE)
    (tmp_path / "go").touch()
    out, _ = second.communicate(timeout=PATIENCE)
    assert out.splitlines()[-1] == f"done in {tmp_path}"
    assert lines_of(tmp_path / "ledger") == ["began"]


def test_it_outlives_the_daemon(node: rh.Cluster, tmp_path: Path) -> None:
    """Whoever looks on goes on looking on; nothing that is printed is lost or comes twice, and the code runs once."""
    counts = rh.function(subjects.count_until_told).to(node)
    seen: list[str] = []
    attached = counts.options(run_name="goes-on", stream_logs=False).submit(str(tmp_path))
    run = node.get_run("goes-on")
    reader = threading.Thread(target=lambda: seen.extend(run.stream()))
    reader.start()
    for _ in range(2):
        before = lines_of(tmp_path / "ledger")
        wait_until(lambda before=before: len(lines_of(tmp_path / "ledger")) > len(before) + 200, what="its lines")  # type: ignore[misc]
        kill_daemon(node)
    (tmp_path / "go").touch()
    upto = attached.result(PATIENCE)
    assert upto > 400
    reader.join(PATIENCE)
    assert not reader.is_alive()
    expected = "".join(f"line {number}\n" for number in range(upto))
    assert run.logs() == expected
    assert "".join(seen) == expected
    assert [attempt["state"] for attempt in run.attempts] == ["succeeded"]
    assert lines_of(tmp_path / "ledger") == [str(number) for number in range(upto)]


def test_what_its_files_had_comes_once_as_well(node: rh.Cluster, tmp_path: Path) -> None:
    """What C code and children print, and a deadline that goes on counting."""
    told = rh.function(subjects.shell_until_told).to(node)
    told.options(run_name="files", stream_logs=False).submit(str(tmp_path))
    run = node.get_run("files")
    wait_until(lambda: "from a child" in run.logs(), what="its output")
    kill_daemon(node)
    (tmp_path / "go").touch()
    assert run.result(PATIENCE) == "done"
    assert sorted(run.logs().splitlines()) == ["from a child", "from python", "the end"]
    late = rh.function(subjects.until_told).to(node)
    (tmp_path / "late").mkdir()
    late.options(run_name="late", timeout=2, stream_logs=False).submit(str(tmp_path / "late"))
    subjects.wait_for(str(tmp_path / "late" / "begun"))
    kill_daemon(node)
    with pytest.raises(rh.CallTimeout):
        node.get_run("late").result(PATIENCE)


def test_it_can_be_cancelled_after_the_daemon_died(node: rh.Cluster, tmp_path: Path) -> None:
    told = rh.function(subjects.until_told).to(node)
    told.options(run_name="stops", stream_logs=False).submit(str(tmp_path))
    subjects.wait_for(str(tmp_path / "begun"))
    kill_daemon(node)
    run = node.get_run("stops")
    assert run.cancel()
    with pytest.raises(rh.CallCancelled):
        run.result(PATIENCE)
    assert run.status == "cancelled"


def test_one_that_waits_in_its_worker_goes_on_waiting(node: rh.Cluster, tmp_path: Path) -> None:
    held = rh.function(subjects.until_told).to(node, max_concurrency=1, max_queue=10)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        held.options(run_name=name, stream_logs=False).submit(str(tmp_path / name))
    subjects.wait_for(str(tmp_path / "first" / "begun"))
    kill_daemon(node)
    for name in ("first", "second"):
        (tmp_path / name / "go").touch()
        assert node.get_run(name).result(PATIENCE) == f"done in {tmp_path / name}"
        assert lines_of(tmp_path / name / "ledger") == ["began"]


def test_one_that_its_worker_has_not_seen_whole_is_run_by_the_next_daemon(node: rh.Cluster, tmp_path: Path) -> None:
    """It was acknowledged, and so its arguments are stored; its worker, which stands still, had only some of them."""
    weigh = rh.function(subjects.weigh).to(node)
    worker = weigh(str(tmp_path / "ledger"), b"")[1]
    os.kill(worker, signal.SIGSTOP)
    try:
        weigh.options(run_name="heavy").submit(str(tmp_path / "ledger"), bytes(30_000_000))
        os.kill(node.status()["pid"], signal.SIGKILL)
    finally:
        os.kill(worker, signal.SIGCONT)
    run = node.get_run("heavy")
    assert run.result(PATIENCE) == (30_000_000, worker)
    assert lines_of(tmp_path / "ledger") == ["weighed 0", "weighed 30000000"]
    assert [attempt["state"] for attempt in run.attempts] == ["succeeded"]


def test_one_that_was_lost_with_its_node_is_tried_again(node: rh.Cluster, tmp_path: Path) -> None:
    told = rh.function(subjects.until_told).to(node)
    call = told.options(run_name="lost").submit(str(tmp_path))
    # So that it is known to have begun.
    wait_until(lambda: "first line" in node.get_run("lost").logs(), what="its first line")
    os.kill(node.status()["keeper_pid"], signal.SIGKILL)
    with pytest.raises(rh.NodeLost):
        call.result(PATIENCE)
    node.up_if_not()
    run = node.get_run("lost")
    assert run.status == "lost"
    with pytest.raises(rh.NodeLost, match="attempt 1 of the run") as caught:
        run.result()
    assert caught.value.started == "yes"
    assert run.attempts[0]["ended_s"] is not None
    assert "first line\n" in run.logs()
    (tmp_path / "go").touch()
    again = rh.function(subjects.until_told).to(node)
    assert again.options(run_name="lost")(str(tmp_path)) == f"done in {tmp_path}"
    assert [attempt["state"] for attempt in run.attempts] == ["lost", "succeeded"]
    assert lines_of(tmp_path / "ledger") == ["began", "began"]


def test_a_result_survives_the_daemon(node: rh.Cluster, tmp_path: Path) -> None:
    much = rh.function(subjects.much).to(node)
    sizes = {"small": 10, "large": 3_000_000, "none": 0}
    for name, size in sizes.items():
        assert much.options(run_name=name)(size) == b"\xa5" * size
    kill_daemon(node)
    for name, size in sizes.items():
        assert node.get_run(name).result() == b"\xa5" * size
    assert [run["name"] for run in node.runs()] == ["none", "large", "small"]
    assert [run["name"] for run in node.runs(limit=1)] == ["none"]


def test_a_flipped_bit_is_found_and_the_others_are_whole(node: rh.Cluster) -> None:
    much = rh.function(subjects.much).to(node)
    for name, size in (("row", 100), ("file", 1_000_000), ("other", 7)):
        much.options(run_name=name)(size)
    folder = Path(node.status()["state_folder"])
    with sqlite3.connect(folder / "runs.db", timeout=30) as journal:
        (run_id,) = journal.execute("SELECT id FROM runs WHERE name = 'row'").fetchone()
        (value,) = journal.execute("SELECT bytes FROM bodies WHERE run = ? AND kind = 2", (run_id,)).fetchone()
        flipped = bytes([value[0], value[1] ^ 0x10, *value[2:]])
        journal.execute("UPDATE bodies SET bytes = ? WHERE run = ? AND kind = 2", (flipped, run_id))
        (file,) = journal.execute("SELECT file FROM bodies WHERE file <> ''").fetchone()
    stored = folder / "runs" / file
    content = bytearray(stored.read_bytes())
    content[500_000] ^= 1
    stored.write_bytes(content)
    for name in ("row", "file"):
        with pytest.raises(rh.RecordDamaged, match="the result of attempt 1") as caught:
            node.get_run(name).result()
        assert caught.value.run == name
        with pytest.raises(rh.RecordDamaged):
            much.options(run_name=name)({"row": 100, "file": 1_000_000}[name])
    assert node.get_run("other").result() == b"\xa5" * 7
    with sqlite3.connect(folder / "runs.db", timeout=30) as journal:
        journal.execute("UPDATE runs SET service = 'another' WHERE name = 'row'")
    with pytest.raises(rh.RecordDamaged):
        node.get_run("row")
    listed = {run["name"]: run["state"] for run in node.runs()}
    assert listed == {"row": "damaged", "file": "succeeded", "other": "succeeded"}
    rh.Run(node, "row").forget()
    assert much.options(run_name="row")(3) == b"\xa5" * 3


def test_an_end_that_cannot_be_stored_is_no_result(node: rh.Cluster) -> None:
    much = rh.function(subjects.much).to(node)
    in_the_way = Path(node.status()["state_folder"]) / "runs"
    in_the_way.write_text("a file, where large results would go")
    with pytest.raises(rh.RoundhouseError, match="could not be stored") as caught:
        much.options(run_name="large")(1_000_000)
    assert caught.value.started == "yes"
    # That it failed, and why, is small enough.
    run = node.get_run("large")
    until(run, "failed")
    end = time.monotonic() + PATIENCE
    while run.attempts[0]["ended_s"] is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    with pytest.raises(rh.RoundhouseError, match="could not be stored"):
        run.result()
    in_the_way.unlink()
    assert len(much.options(run_name="large")(1_000_000)) == 1_000_000
    assert [attempt["state"] for attempt in run.attempts] == ["failed", "succeeded"]


# --- what can be done with them --------------------------------------------------------------------------------------


def test_logs_by_offset(box: rh.Cluster, capfd: pytest.CaptureFixture[str]) -> None:
    prints = rh.function(subjects.prints_much).to(box)
    lines = 20_000
    assert prints.options(run_name="prints")(lines) == lines
    whole = "".join(f"line {number:06}\n" for number in range(lines))
    assert capfd.readouterr().out == whole
    run = box.get_run("prints")
    logs = run.logs()
    assert logs == whole
    assert logs.next == len(whole)
    assert run.logs(offset=12 * 1000) == whole[12 * 1000 :]
    assert run.logs(offset=12 * 1000 + 5) == whole[12 * 1000 + 5 :]
    assert run.logs(offset=logs.next) == ""
    assert "".join(run.stream()) == whole
    # Asked for again it only gives its result.
    assert prints.options(run_name="prints")(lines) == lines
    assert capfd.readouterr().out == ""


def test_streaming_follows_a_run(box: rh.Cluster, tmp_path: Path) -> None:
    told = rh.function(subjects.until_told).to(box)
    told.options(run_name="followed", stream_logs=False).submit(str(tmp_path))
    pieces = box.get_run("followed").stream()
    seen = ""
    while "a warning\n" not in seen or "first line\n" not in seen:
        seen += next(pieces)
    assert box.get_run("followed").status == "running"
    (tmp_path / "go").touch()
    seen += "".join(pieces)
    assert sorted(seen.splitlines()) == ["a warning", "first line", "last line"]


def test_a_worker_that_dies_fails_the_run(box: rh.Cluster) -> None:
    dies = rh.function(subjects.dies).to(box)
    with pytest.raises(rh.WorkerDied) as caught:
        dies.options(run_name="dies")()
    assert caught.value.exit_code == 7
    run = box.get_run("dies")
    assert run.status == "failed"
    assert run.attempts[0]["error"]["code"] == "worker_died"
    with pytest.raises(rh.WorkerDied) as stored:
        run.result()
    assert (stored.value.exit_code, stored.value.run, stored.value.attempt) == (7, "dies", 1)


def test_the_runs_timeout_is_its_own(box: rh.Cluster, tmp_path: Path) -> None:
    told = rh.function(subjects.until_told).to(box)
    with pytest.raises(rh.CallTimeout):
        told.options(run_name="late", timeout=0.3)(str(tmp_path))
    assert box.get_run("late").status == "failed"


def test_methods_and_coroutines(box: rh.Cluster) -> None:
    import asyncio

    counter = rh.cls(subjects.Counter).to(box)()
    assert counter.add.options(run_name="method")(3) == 3
    assert counter.add.options(run_name="method")(3) == 3
    assert counter.add(1) == 4

    async def both() -> int:
        return await counter.slowly.options(run_name="coroutine")(1) + await counter.slowly.options(
            run_name="coroutine"
        ).submit(1)

    assert asyncio.run(both()) == 4


def test_what_cannot_be_a_run(box: rh.Cluster) -> None:
    with pytest.raises(rh.Unsupported, match="generator"):
        rh.function(subjects.counted).to(box).options(run_name="generator")(3)
    with pytest.raises(rh.Unsupported, match="generator"):
        rh.function(subjects.takes_any).to(box).options(run_name="generator")(x for x in "abc")
    with pytest.raises(rh.WrongArguments, match="run_name"):
        rh.function(subjects.much).options(run_store="/tmp/x")
    with pytest.raises(rh.InvalidName):
        rh.function(subjects.much).to(box).options(run_name="not/a/name")(1)
    with pytest.raises(rh.NotFound, match="generator"):
        box.get_run("generator")


def test_forgetting(box: rh.Cluster, tmp_path: Path) -> None:
    told = rh.function(subjects.until_told).to(box)
    call = told.options(run_name="forgotten").submit(str(tmp_path))
    run = box.get_run("forgotten")
    with pytest.raises(rh.NameTaken, match="is running"):
        run.forget()
    (tmp_path / "go").touch()
    call.result(PATIENCE)
    until(run, "succeeded")
    run.forget()
    with pytest.raises(rh.NotFound):
        run.describe()
    with pytest.raises(rh.NotFound):
        run.forget()
