"""Clients that die, stop, or do not read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.python.raw_peer import BODY, CHUNK, CREDIT, RESULT, Client

from . import ledger, oracle
from .calls import DEADLINE_SECONDS
from .processes import happens, is_alive, kill_and_see, resident_bytes, state_of
from .trial import Trial

_RESULT_BYTES = 12 << 20
# What a client that does not read may cost the daemon: a body's window, output's, and what buffers round up to.
_HELD_BYTES_MAX = 8 << 20


@contextmanager
def started(
    trial: Trial, count: int, seconds: float, kinds: tuple[str, ...] = ("call", "method", "async", "items")
) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that makes so many calls, and ends once all are answered."""
    prefix = f"{trial.number}-{trial.fault}-client"
    arguments = [trial.lane.name, trial.folder, prefix, str(trial.random.random()), str(count), str(seconds), *kinds]
    process = subprocess.Popen([sys.executable, "-m", "tests.faults.client", *arguments], stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)


def client_killed(trial: Trial) -> None:
    """Its calls are nobody's any more: they are ended, once, and everybody else's go on."""
    with started(trial, 4, 30.0) as process:
        trial.ask_some(2)
        at_work = trial.await_one_under_way()
        happens(lambda: any("client" in row["call"] for row in trial.under_way()) or process.poll() is not None, 20)
        at_work = [row["call"] for row in trial.under_way() if "client" in row["call"]]
        if at_work and kill_and_see(process.pid):
            ledger.write(trial.folder, ledger.CALLER, "gone", caller=process.pid)
            trial.fired(pid=process.pid, gone=True, calls_under_way=at_work)
        else:
            trial.missed("it had made no calls")
    trial.settle()
    trial.wait_for(lambda: _calls(trial) == 0, "the end of calls that nobody waits for")


def _calls(trial: Trial) -> int:
    return sum(service["calls"] for service in trial.lane.status()["services"])


def client_stopped(trial: Trial) -> None:
    """Asleep for a while, as under Ctrl-Z or a laptop's lid; what came meanwhile is there when it wakes up."""
    with started(trial, 4, 0.6) as process:
        happens(lambda: trial.under_way() or process.poll() is not None, 20)
        at_work = trial.under_way()
        os.kill(process.pid, signal.SIGSTOP)
        stopped = happens(lambda: state_of(process.pid) == "T", 5)
        time.sleep(trial.random.uniform(0.3, 2.0))
        os.kill(process.pid, signal.SIGCONT)
        if at_work and stopped:
            trial.fired(pid=process.pid, state="T", calls_under_way=len(at_work))
        else:
            trial.missed("it had made no calls")
        if not happens(lambda: process.poll() is not None, DEADLINE_SECONDS + oracle.GRACE_SECONDS + 10):
            trial.note("the client never ended", alive=is_alive(process.pid))
    trial.check(process.returncode == 0, f"the client ended by itself, with 0 and not {process.returncode}")


def slow_reader(trial: Trial) -> None:
    """A client that asks for much and does not read: the daemon holds little for it, and others notice nothing."""
    daemon = trial.lane.daemon_pid()
    before = resident_bytes(daemon)
    name = trial.name_call()
    with Client(trial.lane.box._socket_path) as client:
        about: dict[str, Any] = {"call": name, "attempt": 0, "caller": os.getpid()}
        ledger.write(trial.folder, ledger.CALLER, "asked", deadline=DEADLINE_SECONDS, **about)
        body = json.dumps({"args": [trial.folder, name, 0.0, "y" * _RESULT_BYTES]}).encode()
        stream = client.call("work", "call", body[:1], announce=len(body), deadline_ms=int(DEADLINE_SECONDS * 1000))
        _send_rest(client, stream, body)
        happens(lambda: ledger.read(trial.folder, ledger.CODE, "ended"), 10)
        others = trial.ask_some(4, seconds=0.2)
        time.sleep(trial.random.uniform(0.3, 1.0))
        settled = others.has_settled(DEADLINE_SECONDS + oracle.GRACE_SECONDS)
        grown = resident_bytes(daemon) - before
        answer = _read_slowly(client, stream)
    ledger.write(trial.folder, ledger.CALLER, "told", **about, **answer)
    trial.check(settled, "the calls of others were answered beside it")
    trial.check(grown < _HELD_BYTES_MAX, f"the daemon grew by {grown} bytes for a client that does not read")
    trial.fired(unread_bytes=_RESULT_BYTES, daemon_grew_by_bytes=grown)


def _send_rest(client: Client, stream: int, body: bytes) -> None:
    sent, credit = 1, (1 << 20) - 1
    while sent < len(body):
        while credit < 1 << 16 and sent < len(body):
            message, _ = client.receive()
            if message["kind"] == CREDIT and message.get("channel", BODY) == BODY:
                credit += message["number"]
            elif message["kind"] == RESULT:
                client.waiting.insert(0, (message, b""))
                return
        piece = body[sent : sent + (1 << 16)]
        client.send({"kind": CHUNK, "stream": stream}, piece)
        sent, credit = sent + len(piece), credit - len(piece)


def _read_slowly(client: Client, stream: int) -> dict[str, Any]:
    parts = bytearray()
    announced = 0
    while True:
        message, body = client.receive()
        if message.get("stream") != stream or message["kind"] not in (RESULT, CHUNK):
            continue
        if message["kind"] == RESULT:
            if message.get("outcome", 0) != 0:
                return {"outcome": "failed", "message": str(message.get("error")), "typed": False}
            announced = sum(message["parts"])
        parts += body
        client.send({"kind": CREDIT, "stream": stream, "channel": BODY, "number": len(body)})
        if announced and len(parts) >= announced:
            break
    token, value = json.loads(bytes(parts))
    if value != "y" * _RESULT_BYTES:
        return {"outcome": oracle.WRONG_VALUE, "message": f"{len(value)} characters"}
    return {"outcome": oracle.SUCCESS, "token": token}
