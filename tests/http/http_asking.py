"""HTTP over a node's Unix socket: whole requests, and bytes that no client would send."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import roundhouse as rh

TIMEOUT = 20.0


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(self.path)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])


class Node:
    def __init__(self, box: rh.Cluster) -> None:
        self.box = box
        self.path = str(box._socket_path)

    def connect(self) -> UnixConnection:
        return UnixConnection(self.path)

    def ask(self, method: str, target: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """`body`: bytes as they are, anything else as JSON."""
        connection = self.connect()
        try:
            return ask_on(connection, method, target, body, headers)
        finally:
            connection.close()

    def post(self, target: str, body: Any = None, **headers: str) -> Answer:
        return self.ask("POST", target, body, {name.replace("_", "-"): value for name, value in headers.items()})

    def raw(self, data: bytes, half_close: bool = False) -> bytes:
        """Sends these bytes; everything that comes until the node hangs up, or says nothing more."""
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(TIMEOUT)
            peer.connect(self.path)
            try:
                peer.sendall(data)
                if half_close:
                    peer.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                pass
            heard = b""
            while True:
                try:
                    more = peer.recv(1 << 16)
                except ConnectionResetError:
                    return heard
                if not more:
                    return heard
                heard += more

    def curl(self, *arguments: str, data: bytes | None = None) -> str:
        done = subprocess.run(
            ["curl", "-sS", "-m", str(TIMEOUT), "--unix-socket", self.path, *arguments],
            input=data, capture_output=True, timeout=60, check=True,
        )  # fmt: skip
        return done.stdout.decode()

    def resident_bytes(self) -> int:
        text = Path(f"/proc/{self.box.status()['pid']}/statm").read_text()
        return int(text.split()[1]) * 4096

    def calls_in_flight(self) -> int:
        return sum(worker["calls"] for worker in self.box.status()["workers"])


def ask_on(
    connection: http.client.HTTPConnection, method: str, target: str, body: Any = None,
    headers: dict[str, str] | None = None,
) -> Answer:  # fmt: skip
    sent = dict(headers or {})
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        sent.setdefault("Content-Type", "application/json")
    connection.request(method, target, body, sent)
    response = connection.getresponse()
    return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


def wait_until(condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.01)
