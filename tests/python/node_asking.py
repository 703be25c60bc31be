"""How tests ask a node (protocol/node.md) for services of raw_peer's worker, and what they look at."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import raw_peer
import roundhouse as rh
from patience import wait_until
from raw_peer import ABORT, FAILED, Client
from roundhouse import _engine

CODES = _engine.codes
names = (f"service-{number}" for number in itertools.count())


@pytest.fixture(autouse=True)
def nothing_stays(box: rh.Cluster) -> Iterator[None]:
    yield
    if not box.is_up():
        return
    ask(box, "clear")
    for name in ask(box, "processes"):
        ask(box, "kill_process", name=name)
    # Calls that a test has left are cancelled with its connection, and ended in time.
    wait_until(lambda: not workers(box), what="the end of all workers")


@pytest.fixture(name="client")
def raw_client(box: rh.Cluster, nothing_stays: None) -> Iterator[Client]:
    with Client(box._socket_path) as peer:
        yield peer


def ask(box: rh.Cluster, what: str, attachments: Any = (), /, **request: Any) -> Any:
    return box._link.ask_node(what, request, attachments)


def launch(**more: Any) -> dict[str, Any]:
    env = {**os.environ, **more.pop("env", {})}
    return {"command": [sys.executable, raw_peer.__file__], "env": env, "cwd": "/", **more}


def deploy(box: rh.Cluster, name: str | None = None, kind: str = "function", env: Any = None, **more: Any) -> str:
    """A service of the raw worker's, in a worker of its own, or more."""
    starting = {key: more.pop(key) for key in ("count", "cpus", "gpus", "memory") if key in more}
    workers = ask(box, "start", **launch(env=env or {}, **starting))["workers"]
    return str(ask(box, "deploy", [b"code"], name=name or next(names), kind=kind, workers=workers, **more)["name"])


def workers(box: rh.Cluster) -> dict[str, dict[str, Any]]:
    return {worker["id"]: worker for worker in box.status()["workers"]}


def kill_worker(box: rh.Cluster, client: Client, name: str) -> None:
    """Returns once the node has seen it; a call before that may be lost with the worker."""
    pid = client.ask(name, "echo")["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: ask(box, "describe", name=name)["pid"] != pid, what="another worker")


def calls_of(box: rh.Cluster, name: str) -> int:
    return next(s["calls"] for s in box.status()["services"] if s["name"] == name)


def code_of(message: dict[str, Any]) -> str:
    assert message.get("outcome") == FAILED or message["kind"] == ABORT, message
    return next(name for name, number in CODES.items() if number == message["error"]["code"])
