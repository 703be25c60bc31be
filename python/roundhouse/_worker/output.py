"""`sys.stdout` and `sys.stderr` of a worker: text belongs to the call that wrote it, by a context variable.

Lines go out when they are complete, or when they are flushed, as on a terminal, so that a progress bar moves. What is
written outside any call, or after its call is over, goes to the worker's own file."""

from __future__ import annotations

import io
import os
import sys
from _contextvars import ContextVar
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from roundhouse._engine import Host

OUT = 1
ERR = 2

# A line that never ends is sent in pieces of this.
_PENDING_CHARACTERS_MAX = 64 * 1024

_lock = allocate_lock()
# True in a child that user code forked: the connection is its parent's, so it writes to the file.
_forked = False


def _after_fork() -> None:
    global _forked, _lock
    _forked = True
    _lock = allocate_lock()


class CallOutput:
    """What one call has printed and not sent yet."""

    __slots__ = ("_host", "_id", "_pending")

    def __init__(self, host: Host, id: int) -> None:
        self._host = host
        self._id = id
        self._pending: dict[int, list[str]] | None = None

    def write(self, channel: int, text: str) -> None:
        with _lock:
            if self._pending is None:
                self._pending = {}
            pieces = self._pending.setdefault(channel, [])
            pieces.append(text)
            if "\n" not in text and len(text) < _PENDING_CHARACTERS_MAX and len(pieces) < 1024:
                return
        self.flush(channel)

    def flush(self, channel: int) -> None:
        if self._pending is None:
            return
        with _lock:
            pieces = self._pending.get(channel)
            if not pieces:
                return
            text = "".join(pieces)
            pieces.clear()
        if not self._host.output(self._id, channel, text.encode("utf-8", "backslashreplace")):
            own = _own_streams[channel]
            own.write(text)
            own.flush()

    def close(self) -> None:
        if self._pending is not None:
            self.flush(OUT)
            self.flush(ERR)


current: ContextVar[CallOutput | None] = ContextVar("roundhouse_call", default=None)
_own_streams: dict[int, Any] = {}


class CallStream(io.TextIOBase):
    """A text stream in the place of `sys.stdout` or `sys.stderr`."""

    encoding = "utf-8"
    errors = "backslashreplace"
    newlines = None
    line_buffering = True
    mode = "w"

    def __init__(self, channel: int, own: Any) -> None:
        self._channel = channel
        self._own = own
        self.name = "<stdout>" if channel == OUT else "<stderr>"
        self.buffer = _BinaryStream(self)

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() takes text, not {type(text).__name__}")
        call = current.get()
        if call is None or _forked:
            self._own.write(text)
        else:
            call.write(self._channel, text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        call = current.get()
        if call is None or _forked:
            self._own.flush()
        else:
            call.flush(self._channel)

    def fileno(self) -> int:
        return self._own.fileno()  # type: ignore[no-any-return]

    def isatty(self) -> bool:
        return False

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def reconfigure(self, **_: Any) -> None:
        """Accepted: the text arrives as it is, whatever encoding was asked for."""

    def close(self) -> None:
        """Does nothing: the stream is everybody's."""


class _BinaryStream(io.RawIOBase):
    """`sys.stdout.buffer`: bytes are taken for UTF-8."""

    def __init__(self, stream: CallStream) -> None:
        self._stream = stream

    def write(self, content: Any) -> int:
        data = bytes(content)
        self._stream.write(data.decode("utf-8", "replace"))
        return len(data)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Does nothing: the stream is everybody's."""


def install() -> None:
    """Puts the streams in their place."""
    for channel, name in ((OUT, "stdout"), (ERR, "stderr")):
        own = getattr(sys, name)
        if own is None:
            continue
        # It is a file, which Python would buffer by blocks: a worker that dies would take its last words with it.
        own.reconfigure(line_buffering=True, errors="backslashreplace")
        _own_streams[channel] = own
        setattr(sys, name, CallStream(channel, own))
    os.register_at_fork(after_in_child=_after_fork)
