"""Tracebacks as text, without the frames that are ours. Imported by the first exception only."""

from __future__ import annotations

import os
import sys
import traceback

OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def text_of(exc: BaseException) -> str:
    """As Python would print it, causes included."""
    try:
        shown = traceback.TracebackException.from_exception(exc)
        _clean(shown, set())
        text = "".join(shown.format())
    except Exception:  # An exception whose own __str__ or attributes fail.
        return f"{type(exc).__module__}.{type(exc).__qualname__}\n"
    snapshots = sys.modules.get("roundhouse._worker.snapshots")
    return text if snapshots is None else snapshots.at_home(text)


def _clean(shown: traceback.TracebackException | None, seen: set[int]) -> None:
    if shown is None or id(shown) in seen:
        return
    seen.add(id(shown))
    kept = [frame for frame in shown.stack if not frame.filename.startswith(OURS)]
    shown.stack = traceback.StackSummary.from_list(kept)
    _clean(shown.__cause__, seen)
    _clean(shown.__context__, seen)
    for inner in getattr(shown, "exceptions", None) or ():
        _clean(inner, seen)
