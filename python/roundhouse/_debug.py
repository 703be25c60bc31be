"""pdb at the user's own code: where an exception came from, and where a remote call stops at `breakpoint()`."""

from __future__ import annotations

import select
import sys
from pdb import Pdb
from queue import SimpleQueue

from roundhouse import _code_digest, _inputs, _serialize
from roundhouse._call import Call
from roundhouse._screen import CallScreen
from roundhouse._service import pumped, result_of
from roundhouse._worker.debugger import ASKS
from roundhouse._worker.traces import OURS
from roundhouse.exceptions import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType, TracebackType
    from typing import Any

    from roundhouse._options import Options
    from roundhouse._service import Service

# How often whoever waits for a line looks whether the call is over.
_LOOK_SECONDS = 0.2


class PostMortem(Pdb):
    """Stops at the innermost frame of the user's own code; those of libraries it called are further `down`, and ours,
    from which it was called, are left out."""

    def get_stack(self, f: FrameType | None, t: TracebackType | None) -> tuple[list[tuple[FrameType, int]], int]:
        stack, _ = super().get_stack(f, t)
        kept = [entry for entry in stack if not entry[0].f_code.co_filename.startswith(OURS)] or stack
        own = [at for at, (frame, _) in enumerate(kept) if not _code_digest.is_installed(frame.f_code.co_filename)]
        return kept, own[-1] if own else len(kept) - 1


def post_mortem(error: BaseException) -> None:
    """Lets the user look around where it was raised, until they quit."""
    debugger = PostMortem()
    debugger.reset()
    debugger.interaction(None, error.__traceback__)


class _Terminal(CallScreen):
    """Shows what the call prints, and knows when its debugger wants a line."""

    __slots__ = ("_asked", "_over")

    def __init__(self) -> None:
        super().__init__()
        self._asked: SimpleQueue[bool] = SimpleQueue()
        self._over = False

    def show(self, channel: int, text: str) -> None:
        super().show(channel, text.replace(ASKS, ""))
        for _ in range(text.count(ASKS)):
            self._asked.put(True)

    def close(self) -> None:
        self._over = True
        self._asked.put(False)

    def lines(self) -> Iterator[str]:
        """What is typed, read only when it is asked for: whatever else is typed is for others."""
        while self._asked.get() and not self._over:
            while not _is_typed():
                if self._over:
                    return
            yield sys.stdin.readline()


def _is_typed() -> bool:
    try:
        return bool(select.select([sys.stdin], [], [], _LOOK_SECONDS)[0])
    except (OSError, ValueError):  # It is no file: reading it waits.
        return True


def call(service: Service, method: str, options: Options, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call whose `breakpoint()` opens pdb on this process's terminal."""
    plain = options.run_name is None and not options.remote and not options.retries and not options.run_async
    if not plain or pumped(args, kwargs) or service.kinds.get(method, "sync").endswith("generator"):
        raise Unsupported(
            f"debug=True is for plain calls: {service.name}.{method} cannot be debugged as a run, in another try, as a "
            "generator or with one among its arguments"
        )
    if service.encoding != _serialize.PICKLE:
        raise Unsupported(f"{service.name!r} is not Python's, and debug=True means Python's debugger")
    terminal = _Terminal()
    travels, _, inputs = _inputs.taken_apart((method, terminal.lines(), args, kwargs), {}, waited=True)
    assert inputs is not None
    parts = service.parts_of("@debug", travels, {})
    started = service._link.start(
        service.name, "@debug", service.encoding, parts, terminal, options.timeout, options.kill
    )
    inputs.pump(started)
    try:
        return result_of(Call(service, method, started, terminal))
    finally:
        terminal.close()
