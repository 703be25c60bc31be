"""What a call prints there appears here: on whatever `sys.stdout` and `sys.stderr` are when it arrives."""

from __future__ import annotations

import sys
from _contextvars import copy_context
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from codecs import IncrementalDecoder

_LOG_BYTES_MAX = 256 * 1024
_PIECES_MAX = 64
# Guards every log: they are touched for an instant only.
_lock = allocate_lock()


class Screen:
    """Shows the output of one call. Its pieces may end in the middle of a character.

    It has no constructor, because most calls print nothing: what is not there yet is made by the first piece.
    """

    __slots__ = ("_decoders",)
    _decoders: dict[int, IncrementalDecoder]

    def __call__(self, channel: int, text: bytes) -> None:
        self.show(channel, self.decoded(channel, text))

    def decoded(self, channel: int, text: bytes) -> str:
        try:
            decoders = self._decoders
        except AttributeError:
            decoders = self._decoders = {}
        decoder = decoders.get(channel)
        if decoder is None:
            import codecs

            decoder = decoders[channel] = codecs.getincrementaldecoder("utf-8")("replace")
        return decoder.decode(text)

    def show(self, channel: int, text: str) -> None:
        stream = sys.stderr if channel == 2 else sys.stdout
        if stream is None:  # pythonw, and programs that closed it.
            return
        stream.write(text)
        stream.flush()


class CallScreen(Screen):
    """The same for a call that was submitted: it remembers what was printed, and the context that it was submitted in.

    Whichever thread reads shows it, and in that context: in a worker it belongs to the call that submitted this one, in
    a notebook it stands below the cell that did, whichever runs by now.
    """

    __slots__ = ("_context", "_log", "_silent")

    def __init__(self, silent: bool = False) -> None:
        self._context = copy_context()
        self._log: list[str] | None = None
        self._silent = silent

    def __call__(self, channel: int, text: bytes) -> None:
        shown = self.decoded(channel, text)
        with _lock:
            if self._log is None:
                self._log = []
            self._log.append(shown)
            if len(self._log) > _PIECES_MAX:
                self._trim()
        if not self._silent:
            # A copy can be entered even while one is shown, by a stream that itself waits for a call.
            self._context.copy().run(self.show, channel, shown)

    def text(self) -> str:
        """What was printed so far, its last 256 KiB."""
        with _lock:
            if self._log is None:
                return ""
            self._trim()
            return self._log[0]

    def _trim(self) -> None:
        assert self._log is not None
        joined = "".join(self._log)
        data = joined.encode("utf-8", "surrogatepass")
        if len(data) > _LOG_BYTES_MAX:
            joined = data[-_LOG_BYTES_MAX:].decode("utf-8", "ignore")
        self._log = [joined]
