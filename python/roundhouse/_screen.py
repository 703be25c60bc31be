"""What a call prints there appears here: on whatever `sys.stdout` and `sys.stderr` are when it arrives."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from codecs import IncrementalDecoder


class Screen:
    """Shows the output of one call. Its pieces may end in the middle of a character."""

    __slots__ = ("_decoders",)

    def __init__(self) -> None:
        self._decoders: dict[int, IncrementalDecoder] | None = None

    def __call__(self, channel: int, text: bytes) -> None:
        stream = sys.stderr if channel == 2 else sys.stdout
        if stream is None:  # pythonw, and programs that closed it.
            return
        if self._decoders is None:
            self._decoders = {}
        decoder = self._decoders.get(channel)
        if decoder is None:
            import codecs

            decoder = self._decoders[channel] = codecs.getincrementaldecoder("utf-8")("replace")
        stream.write(decoder.decode(text))
        stream.flush()
