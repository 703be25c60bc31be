"""Failures over HTTP: the same type, code and facts as anywhere, `started` among them (protocol/http.md, Errors)."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
import roundhouse as rh
from http_asking import Node, wait_until


def wait_or_leave(seconds: float, leave: bool, here: str = "") -> int:
    import os
    import time

    if here:
        open(here, "w").close()
    time.sleep(seconds)
    if leave:
        os._exit(3)
    return os.getpid()


@pytest.fixture(scope="module")
def narrow(node: Node) -> str:
    rh.function(wait_or_leave).to(node.box, name="narrow", max_concurrency=1, max_queue=1)
    return "/v1/services/narrow"


def test_a_worker_that_leaves(node: Node, narrow: str) -> None:
    answer = node.post(narrow, [0, True])
    error = answer.json["error"]
    assert (answer.status, error["type"], error["code"]) == (502, "WorkerDied", "worker_died")
    assert (error["facts"]["started"], error["facts"]["exit_code"]) == ("yes", "3")
    assert "narrow" in error["message"]


def test_what_waited_and_what_was_refused_had_not_begun(node: Node, narrow: str, tmp_path: Path) -> None:
    pid = node.post(narrow, [0, False]).json
    here = tmp_path / "here"
    calls = [node.connect(), node.connect()]
    calls[0].request("POST", narrow, f'[60, false, "{here}"]', {"Content-Type": "application/json"})
    wait_until(here.exists, "the first call")
    calls[1].request("POST", narrow, "[0, false]", {"Content-Type": "application/json"})
    deadline = time.monotonic() + 20
    while (refused := node.post(f"{narrow}?timeout=0.2", [0, False])).status != 429:
        # The one before it was not in the queue yet.
        assert time.monotonic() < deadline
    assert refused.headers["retry-after"] == "1"
    error = refused.json["error"]
    assert (error["type"], error["code"], error["facts"]["started"]) == ("LimitExceeded", "limit_exceeded", "no")
    os.kill(pid, signal.SIGKILL)
    started = []
    for call in calls:
        answer = call.getresponse()
        assert answer.status == 502
        started.append(json.loads(answer.read())["error"]["facts"]["started"])
        call.close()
    assert started == ["yes", "no"]


def test_late(node: Node, narrow: str) -> None:
    # Long enough to begin on a busy machine.
    answer = node.post(f"{narrow}?timeout=3", [60, False])
    error = answer.json["error"]
    assert (answer.status, error["type"], error["code"]) == (504, "CallTimeout", "timeout")
    assert (error["facts"]["started"], error["facts"]["still_running"]) == ("yes", "False")


def test_no_such_thing(node: Node) -> None:
    answer = node.post("/v1/services/nothing", [])
    error = answer.json["error"]
    assert (answer.status, error["type"], error["facts"]["started"]) == (404, "NotFound", "no")
