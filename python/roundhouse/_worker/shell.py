"""Commands that a cluster's user runs in a worker: each in a shell, or a piece of Python in a process, of its own.

What they write appears as the call's own output while they run, and comes back with their exit codes."""

from __future__ import annotations

import codecs
import os
import select
import signal
import subprocess
import sys
import threading

from roundhouse._worker.answers import Refused
from roundhouse.exceptions import CallCancelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeAlias

    OnCancel: TypeAlias = Callable[[Callable[[], None] | None], bool]

# What is returned of each stream: its end.
_KEPT_BYTES_MAX = 8 * 1024 * 1024
_READ_BYTES = 64 * 1024
# No pipe holds more.
_PIPE_BYTES_MAX = 1024 * 1024
# Between SIGTERM and SIGKILL when the call is cancelled.
_GRACE_SECONDS = 1.0


def run(kind: str, commands: Sequence[str], stream: bool, on_cancel: OnCancel) -> Any:
    """[[exit code, stdout, stderr], ...]. `on_cancel` is given what ends the running command, and None behind it; False
    from it: the call has been cancelled."""
    if isinstance(commands, str) or not all(isinstance(command, str) for command in commands):
        raise Refused("bad_arguments", "`commands` is a list of texts")
    if kind == "bash":
        shell = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
        lines = [[shell, "-c", command] for command in commands]
    elif kind == "python":
        lines = [[sys.executable, "-c", "\n".join(commands)]]
    else:
        raise Refused("bad_arguments", f"`kind` is 'bash' or 'python', not {kind!r}")
    return [_run_one(line, stream, on_cancel) for line in lines]


def _run_one(line: list[str], stream: bool, on_cancel: OnCancel) -> list[Any]:
    for own in (sys.stdout, sys.stderr):
        own.flush()
    # A session of its own: what the command leaves behind can be ended with it.
    process = subprocess.Popen(
        line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    ended = False
    try:
        if not on_cancel(lambda: _end(process)):
            raise CallCancelled("the call was cancelled")
        assert process.stdout is not None
        assert process.stderr is not None
        readers = [_Reader(process.stdout, sys.stdout, stream), _Reader(process.stderr, sys.stderr, stream)]
        _read(process, readers)
        ended = True
        return [process.returncode, *(reader.text() for reader in readers)]
    finally:
        on_cancel(None)
        if not ended:
            _signal(process, signal.SIGKILL)


class _Reader:
    def __init__(self, pipe: Any, screen: Any, stream: bool) -> None:
        self.pipe = pipe
        self._screen = screen
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._kept = bytearray()
        self._left_out = 0

    def read(self) -> bool | None:
        """False at the end, None when nothing is there now."""
        try:
            data = os.read(self.pipe.fileno(), _READ_BYTES)
        except BlockingIOError:
            return None
        self._kept += data
        if len(self._kept) > 2 * _KEPT_BYTES_MAX:
            self._cut()
        if self._stream:
            self._screen.write(self._decoder.decode(data, not data))
        return bool(data)

    def _cut(self) -> None:
        beyond = max(0, len(self._kept) - _KEPT_BYTES_MAX)
        self._left_out += beyond
        del self._kept[:beyond]

    def text(self) -> str:
        self._cut()
        mark = f"[the first {self._left_out} bytes were left out]\n" if self._left_out else ""
        return mark + self._kept.decode("utf-8", "replace")


def _read(process: subprocess.Popen[bytes], readers: list[_Reader]) -> None:
    """Until the command is over and all that it wrote has been read. What it left in the background may hold the pipes
    open for ever: that is read by a thread from then on, for nobody, so that it does not stand still."""
    woken, wake = os.pipe()

    def wait() -> None:
        process.wait()
        os.close(wake)

    threading.Thread(target=wait, name="roundhouse-shell", daemon=True).start()
    try:
        poll = select.poll()
        poll.register(woken, select.POLLIN)
        by_number = {reader.pipe.fileno(): reader for reader in readers}
        for number in by_number:
            os.set_blocking(number, False)
            poll.register(number, select.POLLIN)
        while True:
            ready = [number for number, _ in poll.poll()]
            for number in ready:
                if number in by_number and by_number[number].read() is False:
                    poll.unregister(number)
                    by_number.pop(number).pipe.close()
            if woken in ready:
                break
        for number, reader in by_number.items():
            there: bool | None = True
            for _ in range(_PIPE_BYTES_MAX // _READ_BYTES + 1):
                there = reader.read()
                if not there:
                    break
            if there is not False:
                os.set_blocking(number, True)
                threading.Thread(target=_drain, args=(reader.pipe,), name="roundhouse-shell", daemon=True).start()
            else:
                reader.pipe.close()
    finally:
        os.close(woken)


def _drain(pipe: Any) -> None:
    with pipe:
        while os.read(pipe.fileno(), _READ_BYTES):
            pass


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the command and what it started; the caller does not wait for it."""
    _signal(process, signal.SIGTERM)
    killing = threading.Timer(_GRACE_SECONDS, _signal, (process, signal.SIGKILL))
    killing.daemon = True
    killing.start()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        pass
