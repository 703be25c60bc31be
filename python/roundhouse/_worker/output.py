"""`sys.stdout` and `sys.stderr` of a worker: text belongs to the call that wrote it, by a context variable.

Lines go out when they are complete, or when they are flushed, as on a terminal, so that a progress bar moves. Threads
that a call starts, and what it submits to a pool of threads, print as that call. What is written outside any call, or
after its call is over, goes to the worker's own file."""

from __future__ import annotations

import io
import os
import sys
import threading
from _thread import allocate_lock

from roundhouse._context import current_call
from roundhouse._worker import hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from roundhouse._engine import Host

OUT = 1
ERR = 2

# A line that never ends is sent in pieces of this.
_PENDING_BYTES_MAX = 64 * 1024

_lock = allocate_lock()
# True in a child that user code forked: the connection is its parent's, so it writes to the file.
_forked = False


def _after_fork() -> None:
    global _forked, _lock
    _forked = True
    _lock = allocate_lock()


def is_forked() -> bool:
    return _forked


class CallOutput:
    """A call that runs here, as its own code finds it, and what it has printed and not sent yet."""

    __slots__ = ("_pending", "host", "id", "lines", "over", "parents")
    # What its caller types for its debugger (debugger.py); not there unless it has one.
    lines: Any

    def __init__(self, host: Host, id: int, parents: Sequence[str] = ()) -> None:
        self.host = host
        self.id = id
        self.parents = parents
        self.over = False
        self._pending: dict[int, list[bytes]] | None = None

    def write(self, channel: int, text: bytes) -> None:
        with _lock:
            if self._pending is None:
                self._pending = {}
            pieces = self._pending.setdefault(channel, [])
            pieces.append(text)
            if b"\n" not in text and len(text) < _PENDING_BYTES_MAX and len(pieces) < 1024:
                return
        self.flush(channel)

    def flush(self, channel: int) -> None:
        if self._pending is None:
            return
        with _lock:
            pieces = self._pending.get(channel)
            if not pieces:
                return
            text = b"".join(pieces)
            pieces.clear()
        if not self.host.output(self.id, channel, text):
            own = _own_streams[channel]
            own.write(text.decode("utf-8", "replace"))
            own.flush()

    def close(self) -> None:
        self.over = True
        if self._pending is not None:
            self.flush(OUT)
            self.flush(ERR)


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
        call = current_call.get()
        if call is None or _forked:
            self._own.write(text)
        elif text:
            call.write(self._channel, text.encode("utf-8", "backslashreplace"))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]
        for line in lines:
            self.write(line)

    def write_bytes(self, content: bytes) -> None:
        call = current_call.get()
        if call is None or _forked:
            self._own.write(content.decode("utf-8", "replace"))
        else:
            call.write(self._channel, content)

    def flush(self) -> None:
        call = current_call.get()
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
        self._stream.write_bytes(data)
        return len(data)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Does nothing: the stream is everybody's."""


# Threads. Python gives a new thread an empty context, and a pool's thread that of whoever was first.


class _Inheriting:
    """Stands in for a thread's `run`, once: sets the call that started the thread."""

    def __init__(self, thread: threading.Thread, call: CallOutput) -> None:
        self._thread = thread
        self._call = call
        self._hidden = vars(thread).get("run")

    def take_back(self) -> None:
        if self._hidden is None:
            vars(self._thread).pop("run", None)
        else:
            self._thread.run = self._hidden  # type: ignore[method-assign]

    def __call__(self) -> None:
        current_call.set(self._call)
        self.take_back()
        self._thread.run()


def _start_inheriting(start: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    def start_inheriting(self: threading.Thread) -> None:
        call = current_call.get()
        if call is None or _forked:
            return start(self)
        inheriting = _Inheriting(self, call)
        self.run = inheriting  # type: ignore[method-assign]
        try:
            return start(self)
        except BaseException:
            inheriting.take_back()
            raise

    start_inheriting.__doc__ = start.__doc__
    start_inheriting.__name__ = "start"
    return start_inheriting


def _submit_inheriting(module: Any) -> None:
    """`ThreadPoolExecutor.submit`: what is submitted runs as the call that submitted it."""
    submit = module.ThreadPoolExecutor.submit

    def run_as(call: CallOutput | None, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        before = current_call.get()
        current_call.set(call)
        try:
            return function(*args, **kwargs)
        finally:
            current_call.set(before)

    def submit_inheriting(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        return submit(self, run_as, current_call.get(), fn, *args, **kwargs)

    submit_inheriting.__doc__ = submit.__doc__
    submit_inheriting.__name__ = "submit"
    module.ThreadPoolExecutor.submit = submit_inheriting


def _install_children(reduction: Any) -> None:
    from roundhouse._worker import children

    children.install(reduction)


def install() -> None:
    """Puts the streams in their place, where they are not there already in what this process was forked from."""
    global _forked
    _forked = False
    if _own_streams:
        return
    for channel, name in ((OUT, "stdout"), (ERR, "stderr")):
        own = getattr(sys, name)
        if own is None:
            continue
        # It is a file, which Python would buffer by blocks: a worker that dies would take its last words with it.
        own.reconfigure(line_buffering=True, errors="backslashreplace")
        _own_streams[channel] = own
        setattr(sys, name, CallStream(channel, own))
    threading.Thread.start = _start_inheriting(threading.Thread.start)  # type: ignore[assignment,method-assign]
    hooks.when_imported("concurrent.futures.thread", _submit_inheriting)
    hooks.when_imported("multiprocessing.reduction", _install_children)
    os.register_at_fork(after_in_child=_after_fork)
