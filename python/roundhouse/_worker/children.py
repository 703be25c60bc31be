"""Processes that user code starts with `multiprocessing`: what came to this worker by value goes on to them by value.

A function that a script or notebook defines has no module that the child could import it from."""

from __future__ import annotations

import sys
from types import FunctionType

from roundhouse._worker import hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def install(reduction: Any) -> None:
    """`multiprocessing.reduction` has been imported."""
    reduction.ForkingPickler.reducer_override = _reduce


def _reduce(pickler: Any, obj: Any) -> Any:
    if isinstance(obj, (FunctionType, type)) and getattr(obj, "__module__", None) in ("__main__", "__mp_main__"):
        by_value = sys.modules.get("roundhouse._by_value")
        if by_value is not None and by_value.is_copy(obj):
            return revive, (by_value.dumps(obj),)
    return NotImplemented


def revive(data: bytes) -> Any:
    """In the child, which may be a fresh interpreter; what it sends back goes the same way."""
    from roundhouse import _serialize

    hooks.when_imported("multiprocessing.reduction", install)
    return _serialize.loads([data])
