"""Which call this code runs in: a context variable, so that every thread and every task has its own.

Outside a worker there is none. Inside, what a call prints, and the calls that it makes itself, are known as its own."""

from __future__ import annotations

from _contextvars import ContextVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from roundhouse._worker.output import CallOutput

# More are not sent (src/base/limits.h).
_PARENTS_MAX = 32

current_call: ContextVar[CallOutput | None] = ContextVar("roundhouse_call", default=None)
# This worker's id; empty in other processes.
worker_id = ""


def parents() -> Sequence[str]:
    """The calls that a call made here is made from within, innermost first; () outside a worker.

    A service that is full lets in what one of its own running calls waits for; it knows them by these."""
    call = current_call.get()
    if call is None:
        return ()
    return (f"{worker_id}/{call.id}", *call.parents)[:_PARENTS_MAX]


def local_object(name: str) -> Any:
    """The object that lives in this process as the service of that name; LookupError where none does."""
    raise LookupError(name)
