"""Event loops that wait for calls. Many results that arrive at once wake a loop once."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_wakers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Waker] = weakref.WeakKeyDictionary()


class Waker:
    """Completes futures of one loop from other threads."""

    __slots__ = ("_asked", "_loop", "_ready")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # It is this table's key: held from here it would never leave the table.
        self._loop = weakref.ref(loop)
        self._ready: deque[asyncio.Future[None]] = deque()
        self._asked = False

    def wake(self, future: asyncio.Future[None]) -> None:
        """From any thread: the future is completed by its loop."""
        self._ready.append(future)
        if self._asked:
            return
        self._asked = True
        loop = self._loop()
        try:
            if loop is not None:
                loop.call_soon_threadsafe(self._drain)
        except RuntimeError:
            # The loop is closed: nobody waits there any more.
            self._ready.clear()
            self._asked = False

    def _drain(self) -> None:
        # Before looking: what is added from now on asks again.
        self._asked = False
        ready = self._ready
        while ready:
            future = ready.popleft()
            if not future.done():
                future.set_result(None)


def waker_of(loop: asyncio.AbstractEventLoop) -> Waker:
    waker = _wakers.get(loop)
    if waker is None:
        waker = _wakers.setdefault(loop, Waker(loop))
    return waker


def running() -> Any:
    """The loop that runs in this thread, or None."""
    return asyncio._get_running_loop()
