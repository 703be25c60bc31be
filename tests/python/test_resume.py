"""What outlives its connection and its daemon: calls, their output and items, and everything that lives in workers."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import roundhouse as rh
from patience import wait_until


class Ledger:
    """What user code has really done: a line for each execution, on disk before it goes on."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> list[str]:
        return self.path.read_text().split() if self.path.exists() else []


def note(path: str, row: str) -> None:
    with open(path, "a") as ledger:
        ledger.write(row + "\n")
        ledger.flush()
        os.fsync(ledger.fileno())


def wait_for(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.005)


def work(ledger: str, row: str, gate: str) -> str:
    note(ledger, row)
    print("began", row)
    wait_for(gate)
    print("ends", row)
    return f"done {row}"


def quick(ledger: str, row: int) -> int:
    note(ledger, str(row))
    return row


def count(upto: int, gate: str) -> Iterator[int]:
    for number in range(upto):
        if number == upto // 2:
            wait_for(gate)
        yield number


def large(gate: str, megabytes: int) -> bytes:
    wait_for(gate)
    return bytes(range(256)) * 4096 * megabytes


def shout(gate: str, lines: int) -> int:
    for line in range(lines):
        os.write(1, f"line {line}\n".encode())
        if line == lines // 2:
            wait_for(gate)
    return lines


def slow_chatter(lines: int, pause: float) -> int:
    for line in range(lines):
        print("said", line)
        time.sleep(pause)
    return lines


class Keeper:
    def __init__(self) -> None:
        self.values: list[int] = []

    def add(self, value: int) -> int:
        self.values.append(value)
        return len(self.values)

    def pid(self) -> int:
        return os.getpid()


def kill_daemon(box: rh.Cluster) -> int:
    pid = box.status()["pid"]
    os.kill(pid, signal.SIGKILL)
    return int(pid)


def cut_connections(box: rh.Cluster) -> int:
    """Breaks every connection of this process to that node, as a network would; how many."""
    path = str(box._link.socket_path)
    cut = 0
    for entry in os.listdir("/proc/self/fd"):
        if not _is_socket(entry):
            continue
        copy = os.dup(int(entry))
        try:
            found = socket.socket(fileno=copy)
        except OSError:
            os.close(copy)
            continue
        with found, contextlib.suppress(OSError):
            if found.family == socket.AF_UNIX and found.getpeername() == path:
                found.shutdown(socket.SHUT_RDWR)
                cut += 1
    return cut


def _is_socket(descriptor: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:")
    except OSError:
        return False  # it was that of the folder itself


@pytest.fixture
def crate(request: pytest.FixtureRequest) -> Iterator[rh.Cluster]:
    with rh.compute(re.sub(r"\W+", "-", request.node.name)[:40].strip("-")) as cluster:
        yield cluster


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


def pids_of(status: dict[str, Any]) -> dict[str, int]:
    return {row["name"]: row["pid"] for row in status["services"]}


Break = Callable[[rh.Cluster], int]
both_breaks = pytest.mark.parametrize("broken", [kill_daemon, cut_connections], ids=["daemon", "connection"])


@both_breaks
def test_a_call_goes_on(
    crate: rh.Cluster, ledger: Ledger, tmp_path: Path, broken: Break, capsys: pytest.CaptureFixture[str]
) -> None:
    remote = rh.function(work).to(crate)
    gate = tmp_path / "gate"
    call = remote.submit(str(ledger.path), "one", str(gate))
    wait_until(lambda: ledger.rows() == ["one"])
    wait_until(lambda: "began one" in call.logs)
    assert broken(crate) > 0
    gate.touch()
    assert call.result(timeout=30) == "done one"
    assert ledger.rows() == ["one"]
    assert call.logs == "began one\nends one\n"
    assert remote(str(ledger.path), "two", str(gate)) == "done two"
    assert ledger.rows() == ["one", "two"]


@both_breaks
def test_what_a_thread_waits_for_comes(crate: rh.Cluster, ledger: Ledger, tmp_path: Path, broken: Break) -> None:
    remote = rh.function(work).to(crate)
    gate = tmp_path / "gate"
    got: list[str] = []
    thread = threading.Thread(target=lambda: got.append(remote(str(ledger.path), "one", str(gate))))
    thread.start()
    wait_until(lambda: ledger.rows() == ["one"])
    assert broken(crate) > 0
    time.sleep(0.2)
    gate.touch()
    thread.join(timeout=30)
    assert got == ["done one"]


@both_breaks
def test_calls_in_flight_run_once_each(crate: rh.Cluster, ledger: Ledger, broken: Break) -> None:
    remote = rh.function(quick).to(crate)
    calls = []
    for number in range(400):
        calls.append(remote.submit(str(ledger.path), number))
        if number == 200:
            assert broken(crate) > 0
    assert [call.result(timeout=60) for call in calls] == list(range(400))
    rows = ledger.rows()
    assert len(rows) == 400
    assert sorted(map(int, rows)) == list(range(400))


@both_breaks
def test_items_come_once_and_in_order(crate: rh.Cluster, tmp_path: Path, broken: Break) -> None:
    gate = tmp_path / "gate"
    stream = rh.function(count).to(crate)(20_000, str(gate))
    got = [next(stream) for _ in range(5)]
    assert broken(crate) > 0
    gate.touch()
    got.extend(stream)
    assert got == list(range(20_000))


@both_breaks
def test_a_large_result_is_whole(crate: rh.Cluster, tmp_path: Path, broken: Break) -> None:
    gate = tmp_path / "gate"
    call = rh.function(large).to(crate).submit(str(gate), 16)
    gate.touch()
    time.sleep(0.02)  # somewhere on its way, or before, or behind: it must not matter
    assert broken(crate) > 0
    assert call.result(timeout=60) == bytes(range(256)) * 4096 * 16


@both_breaks
def test_what_is_printed_has_no_gap_and_no_duplicate(crate: rh.Cluster, broken: Break) -> None:
    call = rh.function(slow_chatter).to(crate).submit(300, 0.002)
    for _ in range(3):
        time.sleep(0.1)
        broken(crate)
    assert call.result(timeout=60) == 300
    assert call.logs == "".join(f"said {line}\n" for line in range(300))


@both_breaks
def test_what_c_code_prints_goes_on(crate: rh.Cluster, tmp_path: Path, broken: Break) -> None:
    gate = tmp_path / "gate"
    call = rh.function(shout).to(crate).submit(str(gate), 40)
    wait_until(lambda: "line 20\n" in call.logs)
    assert broken(crate) > 0
    gate.touch()
    assert call.result(timeout=30) == 40
    assert call.logs == "".join(f"line {line}\n" for line in range(40))


def test_everything_lives_on_under_the_next_daemon(crate: rh.Cluster, tmp_path: Path) -> None:
    instance = rh.cls(Keeper).to(crate)(name="kept")
    assert instance.add(1) == 1
    pid = instance.pid()
    crate.put("value", {"a": [1, 2]})
    crate.create_process("proc", env_vars={"MINE": "1"})
    in_process = rh.function(os.getenv).to(crate, process="proc", name="env")
    two = rh.function(os.getpid).to(crate, workers=2, name="two")
    pids = {two() for _ in range(20)}
    rh.handle(instance).rename("renamed")
    before = crate.status()
    assert kill_daemon(crate) == before["pid"]
    assert instance.add(2) == 2
    assert instance.pid() == pid
    assert crate.get("value") == {"a": [1, 2]}
    assert in_process("MINE") == "1"
    assert {two() for _ in range(20)} <= pids
    after = crate.status()
    assert after["pid"] != before["pid"]
    assert pids_of(after) == pids_of(before)
    assert "proc" in crate.list_processes()
    # What is new can still be made, and a class still makes instances.
    assert rh.cls(Keeper).to(crate, name="Other")().add(1) == 1
    script = f"import roundhouse as rh; print(rh.compute({crate.name!r}).get('value'))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == "{'a': [1, 2]}", done.stderr


def test_a_function_gets_another_worker_after_a_restart_too(crate: rh.Cluster) -> None:
    remote = rh.function(os.getpid).to(crate, name="who")
    first = remote()
    kill_daemon(crate)
    assert remote() == first
    os.kill(first, signal.SIGKILL)
    # A call before the node knows of the death would die with it.
    wait_until(lambda: first not in [worker["pid"] for worker in crate.status()["workers"]])
    assert remote() != first


def test_a_deadline_holds_over_a_restart(crate: rh.Cluster, ledger: Ledger, tmp_path: Path) -> None:
    call = rh.function(work).to(crate).options(timeout=2.0).submit(str(ledger.path), "one", str(tmp_path / "never"))
    wait_until(lambda: ledger.rows() == ["one"])
    kill_daemon(crate)
    began = time.monotonic()
    error = call.exception(timeout=30)
    assert isinstance(error, rh.CallTimeout)
    assert time.monotonic() - began < 15


@both_breaks
def test_a_cancel_is_not_lost(crate: rh.Cluster, ledger: Ledger, tmp_path: Path, broken: Break) -> None:
    call = rh.function(work).to(crate).submit(str(ledger.path), "one", str(tmp_path / "never"))
    wait_until(lambda: ledger.rows() == ["one"])
    assert broken(crate) > 0
    assert call.cancel()
    assert isinstance(call.exception(timeout=30), rh.CallCancelled)


def test_a_service_that_calls_another_over_a_restart(crate: rh.Cluster, ledger: Ledger, tmp_path: Path) -> None:
    inner = rh.function(work).to(crate, name="inner")

    def outer(path: str, gate: str) -> Any:
        return "outer " + inner(path, "nested", gate)

    gate = tmp_path / "gate"
    call = rh.function(outer).to(crate, name="outer").submit(str(ledger.path), str(gate))
    wait_until(lambda: ledger.rows() == ["nested"])
    kill_daemon(crate)
    gate.touch()
    assert call.result(timeout=30) == "outer done nested"
    assert ledger.rows() == ["nested"]


def test_the_calls_of_a_client_that_was_killed_are_cancelled(crate: rh.Cluster, ledger: Ledger, tmp_path: Path) -> None:
    def forever(path: str) -> None:
        note(path, "began")
        try:
            while True:
                time.sleep(0.01)
        finally:
            note(path, "ended")

    rh.function(forever).to(crate, name="forever")
    script = textwrap.dedent(
        f"""
        import roundhouse as rh
        rh.compute({crate.name!r}).get("forever", remote=True)({str(ledger.path)!r})
        """
    )
    client = subprocess.Popen([sys.executable, "-c", script])
    wait_until(lambda: ledger.rows() == ["began"], 30)
    client.kill()
    client.wait(10)
    wait_until(lambda: ledger.rows() == ["began", "ended"], 15)


def test_a_node_that_has_ended_is_not_waited_for(crate: rh.Cluster, ledger: Ledger, tmp_path: Path) -> None:
    call = rh.function(work).to(crate).submit(str(ledger.path), "one", str(tmp_path / "never"))
    wait_until(lambda: ledger.rows() == ["one"])
    status = crate.status()
    began = time.monotonic()
    os.kill(status["keeper_pid"], signal.SIGKILL)
    os.kill(status["pid"], signal.SIGKILL)
    error = call.exception(timeout=60)
    assert isinstance(error, rh.NodeLost)
    assert time.monotonic() - began < 15
    # And its workers are gone as well.
    wait_until(lambda: not any(Path(f"/proc/{row['pid']}").exists() for row in status["workers"]), 15)
