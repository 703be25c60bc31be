"""Stands between a client and the daemon's Unix socket, knows frames (protocol/wire.md), and breaks what it is told to.

A plan (plans.py) decides for each whole frame how much of it goes on; the connection is cut where that is not all. It
is a process of its own, as a network is: whatever the client's process does, bytes go on. `RelayProcess` starts one,
and asks it by a line of JSON what has come and what was cut.
"""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import plans
from .plans import TO_CLIENT, TO_NODE, Frame, Plan

_HEAD_END = b"\r\n\r\n"


@dataclass
class _Frames:
    """Bytes of one direction in, whole frames out; the HTTP head in front of them passes as it is."""

    direction: str
    unread: bytes = b""
    head: bool = True
    index: int = 0
    offset: int = 0

    def feed(self, more: bytes) -> Iterator[bytes | Frame]:
        self.unread += more
        if self.head:
            head, end, rest = self.unread.partition(_HEAD_END)
            if not end:
                return
            self.head, self.unread, self.offset = False, rest, len(head) + len(end)
            yield head + end
        while len(self.unread) >= 8 and len(self.unread) >= (size := 8 + sum(struct.unpack_from("<II", self.unread))):
            raw, self.unread = self.unread[:size], self.unread[size:]
            yield Frame(self.direction, self.index, self.offset, raw)
            self.index, self.offset = self.index + 1, self.offset + size


class Relay:
    def __init__(self, target: str, path: str, plan: Plan) -> None:
        self.target = target
        self.plan = plan
        self.frames = {TO_NODE: 0, TO_CLIENT: 0}
        # Held by whoever takes a frame, so that a plan sees one after the other.
        self._flow = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(64)

    def serve(self) -> None:
        """Takes connections, for as long as this process lives."""
        while True:
            client, _ = self._listener.accept()
            node = socket.socket(socket.AF_UNIX)
            try:
                node.connect(self.target)
            except OSError:
                # As it would be without us: nobody is there.
                client.close()
                continue
            for source, sink, direction in ((client, node, TO_NODE), (node, client, TO_CLIENT)):
                threading.Thread(target=self._pump, args=(source, sink, direction), daemon=True).start()

    def stall(self, seconds: float) -> None:
        """Nothing passes in either direction, nobody is told, and then all goes on."""
        with self._flow:
            time.sleep(seconds)

    @staticmethod
    def _end(each: socket.socket) -> None:
        """Wakes whoever reads it as well."""
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        each.close()

    def _pump(self, source: socket.socket, sink: socket.socket, direction: str) -> None:
        frames = _Frames(direction)
        try:
            while more := source.recv(1 << 16):
                for piece in frames.feed(more):
                    if not self._pass(piece, sink):
                        return
        except OSError:
            pass
        finally:
            self._end(sink)
            self._end(source)

    def _pass(self, piece: bytes | Frame, sink: socket.socket) -> bool:
        """False once the connection is to be cut."""
        with self._flow:
            if isinstance(piece, bytes):
                raw, whole = piece, True
            else:
                self.frames[piece.direction] += 1
                size = self.plan.bytes_that_pass(piece)
                raw, whole = (piece.raw, True) if size is None else (piece.raw[:size], False)
        sink.sendall(raw)
        return whole


class RelayProcess:
    def __init__(self, target: str, path: str, plan: dict[str, Any]) -> None:
        command = [sys.executable, "-m", "tests.faults.relay", target, path, json.dumps(plan)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ask()

    def ask(self, stall_seconds: float = 0.0) -> dict[str, Any]:
        """How many frames came from either side, and what was cut; it may be told to stall first, and then answers at
        once, while it does."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"stall_seconds": stall_seconds}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())  # type: ignore[no-any-return]

    def close(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=10)


def main() -> None:
    target, path, plan = sys.argv[1:]
    relay = Relay(target, path, plans.plan_of(json.loads(plan)))
    threading.Thread(target=relay.serve, daemon=True).start()
    for line in sys.stdin:
        if seconds := json.loads(line)["stall_seconds"]:
            threading.Thread(target=relay.stall, args=(seconds,), daemon=True).start()
            time.sleep(0.02)  # until it has begun, give or take a frame
        print(json.dumps({"frames": relay.frames, "cut": relay.plan.cut}), flush=True)


if __name__ == "__main__":
    main()
