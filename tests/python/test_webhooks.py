"""What the node tells an address when a run has ended (`webhook=`), to a real HTTP server."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import roundhouse as rh
import run_subjects as subjects
from patience import wait_until

PATIENCE = 30.0


class Receiver:
    """Keeps what comes; answers with the statuses that it was given, and then with 204."""

    def __init__(self) -> None:
        self.came: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.came.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 204)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Not on the test's output."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/done"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()


def test_each_attempts_end_is_told_and_signed(box: rh.Cluster, receiver: Receiver, tmp_path: Path) -> None:
    fails = rh.function(subjects.fails_once).to(box)
    once = fails.options(run_name="told", webhook=receiver.url)
    with pytest.raises(LookupError):
        once(str(tmp_path))
    assert once(str(tmp_path)) == "the second time"
    wait_until(lambda: len(receiver.came) == 2, PATIENCE, "both messages")
    messages = sorted((json.loads(body) for _, body in receiver.came), key=lambda message: message["attempt"])
    assert [(message["run"], message["attempt"], message["state"]) for message in messages] == [
        ("told", 1, "failed"),
        ("told", 2, "succeeded"),
    ]
    assert messages[0]["raised"] == {"type": "builtins.LookupError", "message": "not this time"}
    assert messages[1]["raised"] is None
    assert messages[1]["cluster"] == box.name
    for headers, body in receiver.came:
        seconds, signed = (field.partition("=")[2] for field in headers["roundhouse-signature"].split(","))
        assert abs(time.time() - int(seconds)) < 60
        key = box.webhook_secret().encode()
        assert signed == hmac.new(key, f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    assert box.get_run("told").describe()["webhook"] == receiver.url
    assert (Path(box.state_folder) / "webhook.secret").stat().st_mode & 0o777 == 0o600


def test_it_is_tried_again_until_it_is_taken(box: rh.Cluster, receiver: Receiver, tmp_path: Path) -> None:
    receiver.statuses = [503]
    noted = rh.function(subjects.noted).to(box)
    assert noted.options(run_name="later", webhook=receiver.url)(str(tmp_path / "ledger"), 3) == 9
    delivery = box.get_run("later.webhook-1")
    assert delivery.result(PATIENCE) == {"status": 204, "tries": 2}
    assert "503" in delivery.logs()
    # Nobody is asked elsewhere, and who never will take it is not asked again.
    for status in (302, 410):
        receiver.statuses = [status] * 3
        receiver.came.clear()
        assert noted.options(run_name=f"never-{status}", webhook=receiver.url)(str(tmp_path / "ledger"), 3) == 9
        wait_until(lambda: receiver.came, PATIENCE, "the message")
        run = box.get_run(f"never-{status}.webhook-1")
        if status == 410:
            with pytest.raises(ConnectionError, match="410"):
                run.result(PATIENCE)
            assert len(receiver.came) == 1
        else:
            wait_until(lambda run=run: "302" in run.logs(), PATIENCE, "its log")  # type: ignore[misc]
            run.cancel()


def test_it_outlives_the_daemon(receiver: Receiver, tmp_path: Path) -> None:
    receiver.statuses = [503, 503]
    with rh.compute("webhook-outlives") as node:
        told = rh.function(subjects.until_told).to(node)
        told.options(run_name="outlives", webhook=receiver.url, stream_logs=False).submit(str(tmp_path))
        subjects.wait_for(str(tmp_path / "begun"))
        os.kill(node.status()["pid"], signal.SIGKILL)
        (tmp_path / "go").touch()
        assert node.get_run("outlives").result(PATIENCE) == f"done in {tmp_path}"
        wait_until(lambda: receiver.came, PATIENCE, "the first try")
        os.kill(node.status()["pid"], signal.SIGKILL)
        assert node.get_run("outlives.webhook-1").result(PATIENCE)["status"] == 204
        assert {json.loads(body)["state"] for _, body in receiver.came} == {"succeeded"}


def test_bad_addresses(box: rh.Cluster, tmp_path: Path) -> None:
    noted = rh.function(subjects.noted).to(box)
    for address in ("ftp://example.com", "example.com", "http://" + "x" * 3000):
        with pytest.raises(rh.WrongArguments, match="a webhook is an address"):
            noted.options(run_name="bad", webhook=address)(str(tmp_path / "ledger"))
    with pytest.raises(rh.WrongArguments, match="run_name"):
        noted.options(webhook="http://127.0.0.1")
    assert not (tmp_path / "ledger").exists()


def test_a_node_without_python_says_so() -> None:
    with rh.compute("webhook-none") as node:
        request = {"name": "r", "service": "s", "method": "call", "encoding": 2, "webhook": "http://127.0.0.1:1/"}
        with pytest.raises(rh.Unsupported, match="Python worker"):
            node._ask("run_start", request)
