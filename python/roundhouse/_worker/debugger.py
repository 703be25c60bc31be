"""`breakpoint()` in a worker: pdb on the terminal of a caller who asked for it, else a word on how to ask."""

from __future__ import annotations

import sys

from roundhouse._context import current_call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType
    from typing import Any

# Stands in the output where a line is wanted, and is not shown; ASCII calls it an enquiry.
ASKS = "\x05"

_passed: set[tuple[str, int]] = set()


def stop(frame: FrameType) -> None:
    call = current_call.get()
    lines = None if call is None else getattr(call, "lines", None)
    if lines is None:
        place = (frame.f_code.co_filename, frame.f_lineno)
        if place not in _passed:
            _passed.add(place)
            print(
                f"{place[0]}:{place[1]}: breakpoint() is passed over, because nobody debugs this call. "
                "Try: .options(debug=True)(...) of what is called",
                file=sys.stderr,
            )
        return
    from pdb import Pdb

    # Frames of ours around the user's are nothing to step into.
    Pdb(stdin=_Lines(lines), stdout=sys.stdout, nosigint=True, skip=["roundhouse.*"]).set_trace(frame)  # type: ignore[arg-type]


class _Lines:
    """What the debugger reads: a line of the caller's each time."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines

    def readline(self) -> Any:
        sys.stdout.write(ASKS)
        sys.stdout.flush()
        return next(self._lines, "")
