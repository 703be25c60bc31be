"""Bytes at a port, without a client of ours."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

import roundhouse as rh
from roundhouse._doors import Listener


def reached(box: rh.Cluster, listener: Listener, token: str = "", pin: str | None = None, **more: Any) -> rh.Cluster:
    """The cluster as somebody without its socket has it."""
    arguments: dict[str, Any] = {
        "host": listener.host,
        "server_port": listener.port,
        "server_connection_type": "tls" if listener.tls else "none",
        "token": token,
        "pin": listener.pin if pin is None else pin,
        **more,
    }
    return rh.cluster(box.name + "-reached", **arguments)


def plain(listener: Listener) -> socket.socket:
    return socket.create_connection((listener.host, listener.port), 20)


def encrypted(listener: Listener) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain(listener), server_hostname="localhost")


def connected(listener: Listener) -> socket.socket:
    return encrypted(listener) if listener.tls else plain(listener)


def upgrade(listener: Listener, token: str | None = None, host: str | None = None, *headers: str) -> bytes:
    lines = ["GET / HTTP/1.1", f"Host: {host or f'{listener.host}:{listener.port}'}", *headers]
    lines += ["Connection: Upgrade", "Upgrade: roundhouse"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    return "\r\n".join([*lines, "", ""]).encode()


def heard(connection: socket.socket, enough: Callable[[bytes], bool] = lambda _: False) -> bytes:
    """What comes until the peer closes, or it is enough."""
    connection.settimeout(20)
    text = b""
    while not enough(text):
        try:
            more = connection.recv(1 << 16)
        except (ConnectionError, ssl.SSLError):
            break
        if not more:
            break
        text += more
    return text


def asked(listener: Listener, request: bytes) -> tuple[int, str]:
    """The status of the answer, and the message in it."""
    with connected(listener) as connection:
        connection.sendall(request)
        head, _, body = heard(connection, lambda text: text.startswith(b"HTTP/1.1 101 ")).partition(b"\r\n\r\n")
    status = int(head.split()[1])
    return status, json.loads(body)["error"]["message"] if body[:1] == b"{" else ""


def wait_until(condition: Callable[[], object], seconds: float = 20.0, what: str = "it") -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.01)
