"""The worker's Python part alone: no daemon, no socket, a host that remembers what it was told."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from roundhouse import _json, _serialize
from roundhouse._context import current_call
from roundhouse._worker import output, runner

RETURNED, RAISED, FAILED = 0, 1, 2


class Stream:
    """What the engine keeps of one call's items."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.items: list[Any] = []
        self.inputs: dict[int, deque[Any]] = {}
        self.dropped: list[int] = []
        self.wants_room = False


class Host:
    """Stands in for the engine's host."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, int, bytes]] = []
        self.connected = True
        self.limits: dict[str, tuple[int, int]] = {}
        self.answers: dict[int, Any] = {}
        self.streams: dict[int, Stream] = {}
        self.changed = threading.Condition()
        self.on_room: Any = None

    def output(self, id: int, channel: int, text: bytes) -> bool:
        if self.connected:
            self.heard.append((id, channel, text))
        return self.connected

    def limit(self, service: str, concurrency: int, queue: int) -> None:
        self.limits[service] = (concurrency, queue)

    def finish(self, id: int, answer: Any) -> None:
        with self.changed:
            assert id not in self.answers, "a call has one answer"
            self.answers[id] = answer
            self.changed.notify_all()

    # Items. A call has as much room as `stream` gave it; `gone` calls have no listener.

    def stream(self, id: int, room: int = 1 << 30) -> Stream:
        with self.changed:
            return self.streams.setdefault(id, Stream(room))

    def hang_up(self, id: int) -> None:
        self.give_room(id, -1)

    def give_room(self, id: int, more: int) -> None:
        with self.changed:
            stream = self.streams[id]
            stream.room = -1 if more < 0 else stream.room + more
            told, stream.wants_room = stream.wants_room, False
            self.changed.notify_all()
        if told:
            self.on_room(id)

    def give_input(self, id: int, source: int, *entries: Any) -> None:
        with self.changed:
            self.streams[id].inputs.setdefault(source, deque()).extend(entries)
            self.changed.notify_all()

    def item(self, id: int, encoding: int, parts: Any, wait: bool = True) -> int:
        with self.changed:
            stream = self.streams[id]
            if stream.room < 0:
                return -1
            stream.items.append(_serialize.decode(encoding, [parts] if isinstance(parts, bytes) else parts))
            stream.room -= 1
            self.changed.notify_all()
        return self.await_room(id, wait)

    def await_room(self, id: int, wait: bool = True) -> int:
        with self.changed:
            stream = self.streams[id]
            stream.wants_room = stream.room == 0
            if wait:
                assert self.changed.wait_for(lambda: stream.room, 10)
            return max(-1, min(1, stream.room))

    def next_input(self, id: int, source: int, wait: bool = True) -> Any:
        with self.changed:
            stream = self.streams[id]
            waiting = stream.inputs.setdefault(source, deque())
            if wait:
                assert self.changed.wait_for(lambda: waiting or stream.room < 0 or source in stream.dropped, 10)
            return waiting.popleft() if waiting and stream.room >= 0 else None

    def drop_input(self, id: int, source: int) -> None:
        with self.changed:
            self.streams[id].dropped.append(source)
            self.changed.notify_all()


class Worker:
    def __init__(self) -> None:
        self.host = Host()
        self.runner = runner.Runner()
        self.runner.host = self.host  # type: ignore[assignment]
        self.host.on_room = self.runner.room
        self.calls = 0

    def run(self, service: str, method: str, encoding: int, parts: list[Any], **more: Any) -> Any:
        """The call's answer, waited for."""
        self.calls += 1
        id = self.calls
        # pytest changes the streams between the phases of a test, so a worker's own are in place during a call only.
        with pytest.MonkeyPatch.context() as patch:
            for channel, name in ((output.OUT, "stdout"), (output.ERR, "stderr")):
                own = getattr(sys, name)
                patch.setitem(output._own_streams, channel, own)
                patch.setattr(sys, name, output.CallStream(channel, own))
            answer = self.runner.run(id, service, method, encoding, parts, **more)
            return self.wait(id) if answer is None else answer

    def begin(self, service: str, method: str, *args: Any, prefetch: int = 0) -> int:
        """Starts a call on a thread, or on the loop; its answer comes to the host in both cases."""
        self.calls += 1
        id = self.calls

        def run() -> None:
            body = _serialize.dumps((args, {}))
            answer = self.runner.run(id, service, method, _serialize.PICKLE, body, prefetch)
            if answer is not None:
                self.host.finish(id, answer)

        threading.Thread(target=run, daemon=True).start()
        return id

    def wait(self, id: int, seconds: float = 10.0) -> Any:
        with self.host.changed:
            assert self.host.changed.wait_for(lambda: id in self.host.answers, seconds), f"call {id} has not ended"
            return self.host.answers[id]

    def own(self, method: str, request: dict[str, Any], parts: list[Any]) -> Any:
        request.setdefault("source", {"sys_path": list(sys.path)})
        return self.run("_worker", method, _serialize.JSON, [_json.encode(request), *parts])

    def load(self, name: str, kind: str, target: Any, **more: Any) -> Any:
        request = {"name": name, "kind": kind, **more}
        kind_of_answer, encoding, parts, *_ = self.own("load", request, _serialize.dumps(target))
        assert kind_of_answer == RETURNED
        return _serialize.decode(encoding, parts)

    def call(self, service: str, method: str, *args: Any, **kwargs: Any) -> Any:
        return self.run(service, method, _serialize.PICKLE, _serialize.dumps((args, kwargs)))


def fresh_worker() -> Iterator[Worker]:
    """A fixture."""
    before = list(sys.path)
    yield Worker()
    current_call.set(None)
    sys.path[:] = before


def value(answer: Any) -> Any:
    kind, encoding, parts, raised, error = answer
    assert (kind, raised, error) == (RETURNED, None, None)
    return _serialize.decode(encoding, parts)
