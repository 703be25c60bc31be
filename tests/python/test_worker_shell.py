"""Commands that a worker runs for its cluster's user."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from bare_worker import FAILED, Worker, fresh_worker, value
from patience import wait_until
from roundhouse import _engine, _json, _serialize
from roundhouse._worker import shell

worker = pytest.fixture(fresh_worker)


def run(worker: Worker, *commands: str, kind: str = "bash", stream: bool = True) -> Any:
    return value(worker.own("run", {"kind": kind, "commands": list(commands), "stream": stream}, []))


def test_each_command_has_a_shell_of_its_own(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RH_TEST_WORD", "über")
    results = run(worker, "x=1; echo $RH_TEST_WORD", 'echo "x is $x" >&2; exit 3', "kill -9 $$")
    assert results == [[0, "über\n", ""], [3, "", "x is \n"], [-9, "", ""]]
    assert worker.host.heard == [(1, 1, "über\n".encode()), (1, 2, b"x is \n")]


def test_output_can_stay_unshown(worker: Worker) -> None:
    assert run(worker, "echo quiet", stream=False) == [[0, "quiet\n", ""]]
    assert worker.host.heard == []


def test_python_runs_once_and_is_not_quoted(worker: Worker) -> None:
    commands = ["import sys", 'word = "it\'s $HOME"', "for letter in 'ab':", "    print(letter, word)", "sys.exit(4)"]
    assert run(worker, *commands, kind="python") == [[4, "a it's $HOME\nb it's $HOME\n", ""]]


def test_what_is_kept_is_bounded(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "_KEPT_BYTES_MAX", 100_000)
    ((code, out, _),) = run(worker, "for i in $(seq 50000); do echo line $i; done", stream=False)
    assert code == 0
    mark, rest = out.split("\n", 1)
    whole = "".join(f"line {number}\n" for number in range(1, 50_001))
    assert rest == whole[-100_000:]
    assert mark == f"[the first {len(whole) - 100_000} bytes were left out]"


def test_what_stays_in_the_background_is_not_waited_for(worker: Worker, tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    os.mkfifo(go_on)
    done = tmp_path / "done"
    # It writes more than a pipe holds after the shell is gone: it must neither stop nor break.
    ((code, out, _),) = run(worker, f"(cat {go_on}; seq 200000; echo fine > {done}) & echo begun", stream=False)
    assert (code, out) == (0, "begun\n")
    go_on.write_text("")
    wait_until(lambda: done.exists() and done.read_text() == "fine\n")


def test_a_cancel_ends_the_whole_group(worker: Worker, tmp_path: Path) -> None:
    answers: list[Any] = []
    pids = tmp_path / "pids"
    request = {
        "kind": "bash",
        "commands": [
            f"trap '' TERM; sleep 600 & echo $$ $! > {pids}.new; mv {pids}.new {pids}; wait; wait",
            "echo never",
        ],
        "stream": True,
    }
    thread = threading.Thread(
        target=lambda: answers.append(worker.runner.run(77, "_worker", "run", _serialize.JSON, [_json.encode(request)]))
    )
    thread.start()
    wait_until(pids.exists)
    assert worker.runner.cancel(77)
    thread.join(10)
    kind, _, _, _, error = answers[0]
    assert (kind, error[0]) == (FAILED, _engine.codes["cancelled"])
    for pid in pids.read_text().split():
        wait_until(lambda pid=pid: not alive(int(pid)))  # type: ignore[misc]
    assert worker.host.heard == []


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Nobody may be there to reap an orphan.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("request_", [{"kind": "fish", "commands": ["x"]}, {"kind": "bash", "commands": "ls"}])
def test_bad_requests(worker: Worker, request_: dict[str, Any]) -> None:
    kind, _, _, _, error = worker.own("run", request_, [])
    assert (kind, error[0]) == (FAILED, _engine.codes["bad_arguments"])


def test_signals_reach_what_was_started(worker: Worker) -> None:
    begun = time.monotonic()
    assert run(worker, "sleep 60 & p=$!; kill -TERM $p; wait $p")[0][0] == 128 + signal.SIGTERM
    assert time.monotonic() - begun < 30
