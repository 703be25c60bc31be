"""A caller: it asks, and writes down what it asked and what it was told, whatever that is."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import roundhouse as rh

from . import ledger, oracle

DEADLINE_SECONDS = 10.0
# Beyond a chunk, and beyond a window: both directions then need several messages and credit.
LARGE_BYTES = 3_000_000
ITEMS = 40
LINES = 30

FUNCTION, DESKS = "work", ("left", "right")


class Services(Protocol):
    """Where a caller has its services from: the handle of a name, or an exception."""

    def reach(self, name: str) -> Any: ...


class NodeServices:
    """Those of the node that this code runs on."""

    def reach(self, name: str) -> Any:
        return rh.here.get(name, remote=True)  # type: ignore[union-attr]


class WrongValue(Exception):
    """A success, but not with the value that it should have."""


def _checked(receipt: Any, given: Any) -> str:
    if not (isinstance(receipt, tuple) and len(receipt) == 2 and isinstance(receipt[0], str)):
        raise WrongValue(f"{receipt!r:.80} is no receipt")
    if receipt[1] != given:
        raise WrongValue(f"{receipt[1]!r:.80} came where {given!r:.80} was to come")
    return receipt[0]


def _call(handle: Any, folder: str, call: str, seconds: float) -> str:
    return _checked(handle.options(timeout=DEADLINE_SECONDS)(folder, call, seconds, call), call)


def _submit(handle: Any, folder: str, call: str, seconds: float) -> str:
    pending = handle.options(timeout=DEADLINE_SECONDS).submit(folder, call, seconds, call)
    return _checked(pending.result(), call)


def _run(handle: Any, folder: str, call: str, seconds: float) -> str:
    """As a run of that name, which is acknowledged before it ends."""
    pending = handle.options(run_name=call, stream_logs=False).submit(folder, call, seconds, call)
    ledger.write(folder, ledger.CALLER, "acknowledged", call=call)
    return _checked(pending.result(), call)


def _print(handle: Any, folder: str, call: str, seconds: float) -> str:
    """What it prints arrives as well, each line once and in order, before its value does."""
    pending = handle.options(timeout=DEADLINE_SECONDS, stream_logs=False).submit(
        folder, call, seconds, call, printed=LINES
    )
    token = _checked(pending.result(), call)
    lines = pending.logs.splitlines()
    if lines != [f"{call} {number}" for number in range(LINES)]:
        raise WrongValue(f"{len(lines)} lines of {LINES} came, the last of them {lines[-3:]}")
    return token


def _large(handle: Any, folder: str, call: str, seconds: float) -> str:
    given = random.Random(call).randbytes(LARGE_BYTES)
    return _checked(handle.options(timeout=DEADLINE_SECONDS)(folder, call, seconds, given), given)


def _fail(handle: Any, folder: str, call: str, seconds: float) -> str:
    handle.options(timeout=DEADLINE_SECONDS)(folder, call, seconds, None, True)
    raise WrongValue("a value, where an exception was to come")


def _method(desk: Any, folder: str, call: str, seconds: float) -> str:
    return _checked(desk.work.options(timeout=DEADLINE_SECONDS)(folder, call, seconds, call), call)


def _async_method(desk: Any, folder: str, call: str, seconds: float) -> str:
    # Awaited where it runs; here somebody waits for it on a thread.
    pending = desk.work_async.options(timeout=DEADLINE_SECONDS).submit(folder, call, seconds, call)
    return _checked(pending.result(), call)


def _all_items(items: Any, pause: float = 0.0) -> str:
    token, expected = "", 0
    for receipt in items:
        token = _checked(receipt, expected)
        expected += 1
        time.sleep(pause)
    if expected != ITEMS:
        raise WrongValue(f"{expected} items of {ITEMS} came")
    return token


def _items(desk: Any, folder: str, call: str, seconds: float) -> str:
    return _all_items(desk.items.options(timeout=DEADLINE_SECONDS)(folder, call, seconds, ITEMS))


def _items_async(desk: Any, folder: str, call: str, seconds: float) -> str:
    return _all_items(desk.items_async.options(timeout=DEADLINE_SECONDS)(folder, call, seconds, ITEMS))


def _bounce(desk: Any, folder: str, call: str, seconds: float, depth: int = 2, desks: Any = None) -> str:
    asked = desk.bounce.options(timeout=DEADLINE_SECONDS)
    return _checked(asked(folder, call, seconds / 2, depth, desks or [DESKS[1], DESKS[0]]), None)


_OF_FUNCTIONS: dict[str, Callable[..., str]] = {
    "call": _call,
    "submit": _submit,
    "large": _large,
    "fail": _fail,
    "print": _print,
}
_OF_DESKS: dict[str, Callable[..., str]] = {
    "method": _method,
    "async": _async_method,
    "items": _items,
    "items_async": _items_async,
    "bounce": _bounce,
}
KINDS = (*_OF_FUNCTIONS, *_OF_DESKS)
# Not among those that every trial picks from: it needs an engine that has runs.
_OF_FUNCTIONS["run"] = _run


def _answer_to(call: str, ask: Callable[[], str]) -> dict[str, Any]:
    """What a row says of what the caller was told."""
    try:
        return {"outcome": oracle.SUCCESS, "token": ask()}
    except WrongValue as error:
        return {"outcome": oracle.WRONG_VALUE, "message": str(error)}
    except ValueError as error:
        return {"outcome": oracle.RAISED, "message": str(error), "typed": str(error) == call}
    except rh.RoundhouseError as error:
        return _failure(error)
    except BaseException as error:
        return {"outcome": type(error).__name__, "message": repr(error)[-600:], "typed": False}


def _failure(error: rh.RoundhouseError) -> dict[str, Any]:
    answer = {"outcome": type(error).__name__, "message": str(error)[-600:]}
    return {**answer, "started": str(error.started)} if "started" in error.facts else answer


class Caller:
    def __init__(self, folder: str, services: Services) -> None:
        self.folder = folder
        self.services = services
        self._threads: list[threading.Thread] = []

    def ask(self, kind: str, call: str, seconds: float, desk: str = DESKS[0], **how: Any) -> None:
        """Asks on a thread of its own."""
        asked = (kind, call, seconds, desk)
        thread = threading.Thread(target=self.ask_now, args=asked, kwargs=how, daemon=True, name=call)
        self._threads.append(thread)
        thread.start()

    def ask_now(self, kind: str, call: str, seconds: float, desk: str = DESKS[0], **how: Any) -> None:
        """Asks and waits. Raises nothing: what there is to say stands in the ledger."""
        work = _OF_FUNCTIONS.get(kind) or _OF_DESKS[kind]
        try:
            handle = self.services.reach(FUNCTION if kind in _OF_FUNCTIONS else desk)
        except (rh.RoundhouseError, OSError):
            return  # Nothing was asked, so nothing is owed.
        self.write_down(call, lambda: work(handle, self.folder, call, seconds, **how))

    def write_down(self, call: str, ask: Callable[[], str], deadline: float = DEADLINE_SECONDS) -> None:
        """Calls what makes the call and returns its token, between the two rows about it."""
        about = {"call": call, "attempt": 0, "caller": os.getpid()}
        answer: dict[str, Any] = {}
        try:
            ledger.write(self.folder, ledger.CALLER, "asked", deadline=deadline, **about)
            answer = _answer_to(call, ask)
            ledger.write(self.folder, ledger.CALLER, "told", **about, **answer)
        except rh.CallCancelled as error:
            # Of the call that this one is made from within: it may come anywhere, and comes once.
            answer = answer or _failure(error)
            ledger.write(self.folder, ledger.CALLER, "told", **about, **answer)

    def has_settled(self, seconds: float = 0.0) -> bool:
        """Whether all that was asked has been answered, so many seconds from now at the latest."""
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not self.waiting()

    def waiting(self) -> list[str]:
        return [thread.name for thread in self._threads if thread.is_alive()]
