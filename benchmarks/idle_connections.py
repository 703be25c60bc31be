"""Opens idle connections to a daemon: upgrades each to frames, says hello, and then says nothing.

    python idle_connections.py SOCKET COUNT

Prints {"open": COUNT} once the daemon has greeted every one, and keeps them until its stdin ends. The bytes are those
of protocol/wire.md, written by hand: this is a peer that shares no code with the engine.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import struct
import sys

UPGRADE = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: roundhouse\r\n\r\n"
ANSWER_SECONDS = 20.0

# Numbers of protocol/messages.proto.
FRAME_MESSAGES = 1
MESSAGE_KIND, MESSAGE_HELLO = 1, 20
KIND_HELLO = 1
HELLO_SESSION, HELLO_PID, HELLO_SOFTWARE, HELLO_FEATURES = 2, 4, 5, 6


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def number_field(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def bytes_field(field: int, value: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(value)) + value


def hello_frame() -> bytes:
    hello = (
        bytes_field(HELLO_SESSION, os.urandom(16))
        + number_field(HELLO_PID, os.getpid())
        + bytes_field(HELLO_SOFTWARE, b"an idle connection")
        + bytes_field(HELLO_FEATURES, b"frames-1")
    )
    header = bytes_field(FRAME_MESSAGES, number_field(MESSAGE_KIND, KIND_HELLO) + bytes_field(MESSAGE_HELLO, hello))
    return struct.pack("<II", len(header), 0) + header


def receive(end: socket.socket, bytes_wanted: int, so_far: bytes) -> bytes:
    while len(so_far) < bytes_wanted:
        more = end.recv(65536)
        if not more:
            raise RuntimeError(f"the daemon hung up after {so_far!r}")
        so_far += more
    return so_far


def open_one(path: str) -> socket.socket:
    end = socket.socket(socket.AF_UNIX)
    end.settimeout(ANSWER_SECONDS)
    end.connect(path)
    end.sendall(UPGRADE)
    head = b""
    while b"\r\n\r\n" not in head:
        head = receive(end, len(head) + 1, head)
    head, _, rest = head.partition(b"\r\n\r\n")
    if b" 101 " not in head:
        raise RuntimeError(f"the daemon answered {head.splitlines()[0]!r}")
    end.sendall(hello_frame())
    rest = receive(end, 8, rest)
    header_bytes, body_bytes = struct.unpack("<II", rest[:8])
    receive(end, 8 + header_bytes + body_bytes, rest)
    return end


def main() -> None:
    path, count = sys.argv[1], int(sys.argv[2])
    wanted = count + 64
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    try:
        connections = [open_one(path) for _ in range(count)]
        answer: dict[str, object] = {"open": len(connections)}
    except (OSError, RuntimeError) as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
    sys.stdin.read()


main()
