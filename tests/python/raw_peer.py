"""The wire, from protocol/wire.md and messages.proto alone: a client that sends whatever a test wants, and a worker
(run as a program) that does what the name of the called method says. Both know what a well-behaved peer would hide."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import time
from typing import Any

HELLO, CALL, RESULT, CHUNK, ABORT, CANCEL, CREDIT, PING, PONG, OUTPUT, GOODBYE, ITEM = range(1, 13)
RETURNED, RAISED, FAILED = range(3)
JSON = 2
BODY, STDOUT, STDERR, ITEMS = range(4)
CLIENT, WORKER = range(2)
CANCELLED, SETUP_FAILED = 10, 13

Fields = dict[str, tuple[int, Any]]
Message = dict[str, Any]

FACT: Fields = {"key": (1, str), "value": (2, str)}
FAILURE: Fields = {"code": (1, int), "message": (2, str), "facts": (3, [FACT])}
RAISED_FIELDS: Fields = {"type": (1, str), "message": (2, str), "traceback": (3, str)}
HELLO_FIELDS: Fields = {
    "role": (1, int), "session": (2, bytes), "worker": (3, str), "pid": (4, int), "software": (5, str),
    "features": (6, [str]), "language": (7, str), "services": (8, [str]),
}  # fmt: skip
MESSAGE: Fields = {
    "kind": (1, int), "stream": (2, int), "body_bytes": (3, int), "encoding": (4, int), "parts": (5, [int]),
    "service": (6, str), "method": (7, str), "session": (8, bytes), "sequence": (9, int), "deadline_ms": (12, int),
    "principal": (14, str), "outcome": (15, int), "raised": (16, RAISED_FIELDS), "error": (17, FAILURE),
    "channel": (18, int), "number": (19, int), "hello": (20, HELLO_FIELDS), "source": (21, int), "batch": (22, int),
    "last": (23, int), "prefetch": (24, int), "parents": (25, [str]), "kill": (26, int),
}  # fmt: skip
FRAME: Fields = {"messages": (1, [MESSAGE])}


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def _bytes_of(kind: Any, value: Any) -> bytes:
    if kind is str:
        return value.encode()  # type: ignore[no-any-return]
    return value if kind is bytes else encode(kind, value)


def encode(fields: Fields, values: Message) -> bytes:
    out = b""
    for name, value in values.items():
        number, kind = fields[name]
        if kind == [int]:
            packed = b"".join(_varint(each) for each in value)
            out += _varint(number << 3 | 2) + _varint(len(packed)) + packed
            continue
        for each in value if isinstance(kind, list) else [value]:
            inner = kind[0] if isinstance(kind, list) else kind
            if inner is int:
                out += _varint(number << 3) + _varint(int(each))
            else:
                raw = _bytes_of(inner, each)
                out += _varint(number << 3 | 2) + _varint(len(raw)) + raw
    return out


def _take_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def decode(fields: Fields, data: bytes) -> Message:
    by_number = {number: (name, kind) for name, (number, kind) in fields.items()}
    values: Message = {}
    at = 0
    while at < len(data):
        tag, at = _take_varint(data, at)
        raw: Any
        if tag & 7 == 2:
            size, at = _take_varint(data, at)
            raw, at = data[at : at + size], at + size
        else:
            raw, at = _take_varint(data, at)
        name, kind = by_number.get(tag >> 3, ("", None))
        if kind is None:
            continue
        if kind == [int]:
            numbers = values.setdefault(name, [])
            place = 0
            while place < len(raw):
                number, place = _take_varint(raw, place)
                numbers.append(number)
            continue
        inner = kind[0] if isinstance(kind, list) else kind
        value = raw if inner in (int, bytes) else raw.decode() if inner is str else decode(inner, raw)
        if isinstance(kind, list):
            values.setdefault(name, []).append(value)
        else:
            values[name] = value
    return values


class Peer:
    """One connection, from the Upgrade to the end. Messages are dictionaries; a body is the bytes beside one."""

    def __init__(self, socket_path: str, hello: Message) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(socket_path)
        self.unread = b""
        self.waiting: list[tuple[Message, bytes]] = []
        request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: roundhouse\r\n\r\n"
        self.socket.sendall(request)
        self.send({"kind": HELLO, "hello": {"features": ["frames-1"], **hello}})
        while b"\r\n\r\n" not in self.unread:
            self._read()
        self.unread = self.unread.partition(b"\r\n\r\n")[2]
        assert self.receive()[0]["kind"] == HELLO

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def _read(self) -> None:
        more = self.socket.recv(1 << 16)
        if not more:
            raise EOFError("the daemon hung up")
        self.unread += more

    def send(self, message: Message, body: bytes = b"") -> None:
        header = encode(FRAME, {"messages": [{**message, "body_bytes": len(body)} if body else message]})
        self.socket.sendall(struct.pack("<II", len(header), len(body)) + header + body)

    def receive(self) -> tuple[Message, bytes]:
        while not self.waiting:
            while len(self.unread) < 8 or len(self.unread) < 8 + sum(struct.unpack_from("<II", self.unread)):
                self._read()
            header_bytes, body_bytes = struct.unpack_from("<II", self.unread)
            header, body = (
                self.unread[8 : 8 + header_bytes],
                self.unread[8 + header_bytes : 8 + header_bytes + body_bytes],
            )
            self.unread = self.unread[8 + header_bytes + body_bytes :]
            for message in decode(FRAME, header).get("messages", []):
                size = message.get("body_bytes", 0)
                self.waiting.append((message, body[:size]))
                body = body[size:]
        return self.waiting.pop(0)

    def is_quiet(self, seconds: float) -> bool:
        """True when nothing comes for so long."""
        return not self.waiting and not self.unread and not select.select([self.socket], [], [], seconds)[0]


class Client(Peer):
    def __init__(self, socket_path: str) -> None:
        super().__init__(socket_path, {"role": CLIENT, "session": os.urandom(16)})
        self.stream = 0

    def call(self, service: str, method: str, body: bytes = b"", announce: int | None = None, **more: Any) -> int:
        """Opens a stream; `announce` is the size of the whole body where this is only its beginning."""
        self.stream += 1
        whole = len(body) if announce is None else announce
        parts = {"encoding": JSON, "parts": [whole]} if whole else {}
        call = {"kind": CALL, "stream": self.stream, "service": service, "method": method, **parts, **more}
        self.send(call, body)
        return self.stream

    def result(self, stream: int) -> Message:
        """What ended the stream, other messages thrown away; `json` is its body's value, `facts` are its error's."""
        while True:
            message, body = self.receive()
            if message["stream"] != stream or message["kind"] not in (RESULT, ABORT):
                continue
            message["json"] = json.loads(body) if body else None
            message["facts"] = {
                fact["key"]: fact.get("value", "") for fact in message.get("error", {}).get("facts", [])
            }
            return message

    def ask(self, service: str, method: str, **more: Any) -> Any:
        """A call to its end, which must be a value."""
        message = self.result(self.call(service, method, **more))
        assert message.get("outcome", RETURNED) == RETURNED, message
        return message["json"]


class WorkerProgram:
    """One thread: it sees every message at once, and is never busy."""

    def __init__(self) -> None:
        hello = {"role": WORKER, "worker": os.environ["ROUNDHOUSE_WORKER"], "pid": os.getpid(), "language": "raw 1"}
        self.peer = Peer(os.environ["ROUNDHOUSE_SOCKET"], hello)
        self.peer.socket.settimeout(None)
        self.calls: dict[int, Message] = {}
        self.log: list[Message] = []
        self.services: dict[str, Any] = {}

    def serve(self) -> None:
        beginnings: dict[int, tuple[Message, bytes]] = {}
        while True:
            message, body = self.peer.receive()
            kind, stream = message["kind"], message.get("stream", 0)
            if kind == CALL or stream in beginnings:
                # Seen only once all of its body is there, as any worker has it.
                call, begun = beginnings.pop(stream, (message, b""))
                if kind == ABORT:
                    continue
                if kind in (CALL, CHUNK):
                    begun += body
                if len(begun) < sum(call.get("parts", [])):
                    beginnings[stream] = (call, begun)
                    continue
                kind, message, body = CALL, call, begun
            if kind == CALL:
                self.log.append({key: value for key, value in message.items() if key not in ("session",)})
                self.calls[stream] = message
                getattr(self, "own" if message["service"] == "_worker" else f"do_{message['method']}")(
                    stream, message, body
                )
            elif kind == PING:
                self.peer.send({**message, "kind": PONG})
            elif stream in self.calls:
                self.log.append({**message, "size": len(body)})
                method = self.calls[stream]["method"]
                handler = getattr(self, f"on_{method}", None)
                if handler is not None:
                    handler(stream, message, body)

    def answer(self, stream: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.calls.pop(stream, None)
        self.peer.send({"kind": RESULT, "stream": stream, "encoding": JSON, "parts": [len(body)]}, body)

    def fail(self, stream: int, code: int, message: str) -> None:
        self.calls.pop(stream, None)
        error = {"code": code, "message": message}
        self.peer.send({"kind": RESULT, "stream": stream, "outcome": FAILED, "error": error})

    def own(self, stream: int, message: Message, body: bytes) -> None:
        sizes = message["parts"]
        request = json.loads(body[: sizes[0]])
        method = message["method"]
        if method == "load" and os.path.exists(os.environ.get("RAW_REFUSE", "/nonexistent")):
            return self.fail(stream, SETUP_FAILED, "told to refuse")
        if method == "load" and request["name"].startswith("stuck"):
            self.peer.send({"kind": OUTPUT, "stream": stream, "channel": STDOUT, "number": 1}, b"loading\n")
            return None
        if method in ("load", "create"):
            self.services[request["name"]] = request
        elif method == "delete":
            self.services.pop(request["name"], None)
        elif method == "rename":
            self.services[request["to"]] = self.services.pop(request["name"])
        elif method == "set_env":
            for key, value in request["vars"].items():
                os.environ.update({key: value}) if value is not None else os.environ.pop(key, None)
            return self.answer(stream, {})
        elif method == "run":
            text = f"running {request['commands'][0]}\n".encode()
            self.peer.send({"kind": OUTPUT, "stream": stream, "channel": STDOUT, "number": 1}, text)
            if request["commands"] == ["wait"]:
                return None
            return self.answer(stream, [[0, "out", "err"]])
        elif method not in ("load", "create"):
            return self.fail(stream, SETUP_FAILED, f"asked for {method}")
        if request.get("method") == "stuck" or request.get("class", "").startswith("slow"):
            return None
        return self.answer(stream, {"methods": {}, "doc": "", "asked": request, "attached": sizes[1:]})

    def on_run(self, stream: int, message: Message, body: bytes) -> None:
        if message["kind"] == CANCEL:
            self.fail(stream, CANCELLED, "the commands were cancelled")

    def do_echo(self, stream: int, message: Message, body: bytes) -> None:
        about = {key: value for key, value in message.items() if key != "session"}
        about.update(pid=os.getpid(), services=sorted(self.services), body=body.decode())
        self.answer(stream, about)

    def do_place(self, stream: int, message: Message, body: bytes) -> None:
        here = {"env": dict(os.environ), "cpus": sorted(os.sched_getaffinity(0)), "pid": os.getpid()}
        self.answer(stream, here)

    def do_log(self, stream: int, message: Message, body: bytes) -> None:
        self.answer(stream, [{k: v for k, v in each.items() if k != "error"} for each in self.log])

    def do_die(self, stream: int, message: Message, body: bytes) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def do_stuck(self, stream: int, message: Message, body: bytes) -> None:
        """Never ends, whatever it is told, until `let_go`."""

    def do_let_go(self, stream: int, message: Message, body: bytes) -> None:
        for other, call in list(self.calls.items()):
            if call["method"] in ("stuck", "create", "load"):
                self.answer(other, {"methods": {}})
        self.answer(stream, None)

    def do_obey(self, stream: int, message: Message, body: bytes) -> None:
        """Ends when it is cancelled."""

    def on_obey(self, stream: int, message: Message, body: bytes) -> None:
        if message["kind"] == CANCEL:
            self.fail(stream, CANCELLED, "cancelled as asked")

    def do_late(self, stream: int, message: Message, body: bytes) -> None:
        """Has a value ready when it is cancelled."""

    def on_late(self, stream: int, message: Message, body: bytes) -> None:
        if message["kind"] == CANCEL:
            self.answer(stream, "a value after all")

    def do_bounce(self, stream: int, message: Message, body: bytes) -> None:
        """Sends back what comes; ends with the item that is the last."""

    def on_bounce(self, stream: int, message: Message, body: bytes) -> None:
        if message["kind"] == ITEM and message.get("last"):
            return self.answer(stream, "bounced")
        return self.peer.send(message, body)

    def do_drop(self, stream: int, message: Message, body: bytes) -> None:
        """Takes no more of its second argument."""
        self.peer.send({"kind": CANCEL, "stream": stream, "source": 2})
        self.answer(stream, "dropped")

    def do_overrun(self, stream: int, message: Message, body: bytes) -> None:
        self.peer.send({"kind": ITEM, "stream": stream, "encoding": JSON, "parts": [10]}, b"12345")
        self.peer.send({"kind": CHUNK, "stream": stream}, b"6" * 20)


if __name__ == "__main__":
    if "RAW_DIE_AT_ONCE" in os.environ and os.path.exists(os.environ["RAW_DIE_AT_ONCE"]):
        os._exit(9)
    time.sleep(float(os.environ.get("RAW_DELAY", "0")))
    try:
        WorkerProgram().serve()
    except (EOFError, ConnectionError):
        os._exit(0)
