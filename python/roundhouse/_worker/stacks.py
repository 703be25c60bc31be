"""What the threads and tasks of this worker do just now (protocol/node.md, `stack` of `_worker`)."""

from __future__ import annotations

import json
import sys
import threading
import traceback

from roundhouse._worker.traces import OURS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType
    from typing import Any

    from roundhouse._worker.loop import Loop


def told(running: dict[int, int], loop: Loop | None) -> str:
    """`running`: the calls by the threads that run them."""
    known = {thread.ident: thread for thread in threading.enumerate()}
    threads = []
    for ident, frame in sys._current_frames().items():
        thread = known.get(ident)
        threads.append(
            {
                "thread": thread.native_id if thread is not None else None,
                "name": thread.name if thread is not None else "",
                "call": running.get(ident, 0),
                "frames": _text(list(traceback.walk_stack(frame))[::-1]),
            }
        )
    tasks = [
        {"name": task.get_name(), "call": call, "frames": _text(list(_awaited(task.get_coro())))}
        for call, task in (loop.tasks() if loop is not None else ())
        if not task.done()
    ]
    return json.dumps({"threads": threads, "tasks": tasks})


def _text(frames: list[tuple[FrameType, int]]) -> str:
    """As in a traceback, without ours and what started those: nothing for a thread that waits for calls."""
    ours = [entry[0].f_code.co_filename.startswith(OURS) for entry in frames]
    first = ours.index(True) if True in ours else 0
    own = [entry for entry, is_ours in zip(frames[first:], ours[first:], strict=True) if not is_ours]
    if all(entry[0].f_code.co_filename == threading.__file__ for entry in own):
        return ""
    return "".join(traceback.StackSummary.extract(iter(own), lookup_lines=True).format())


def _awaited(coroutine: Any) -> Iterator[tuple[FrameType, int]]:
    """Its frames, outermost first, and those of what it waits for."""
    while coroutine is not None:
        kind = next((kind for kind in ("cr", "gi", "ag") if hasattr(coroutine, f"{kind}_frame")), None)
        frame = getattr(coroutine, f"{kind}_frame") if kind else None
        if frame is None:
            return
        yield frame, frame.f_lineno
        coroutine = getattr(coroutine, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
