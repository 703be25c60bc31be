"""Generator arguments: what the caller's generator yields arrives here item by item, as the call takes it.

The caller puts `make(source, is_async)` in the argument's place, so that unpickling the arguments makes the iterator
here, bound to the call that it is an argument of."""

from __future__ import annotations

from collections import deque

from roundhouse import _raised, _serialize
from roundhouse._context import current_call
from roundhouse._worker import output
from roundhouse.exceptions import CallCancelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from typing import Any

    from roundhouse._engine import Input

VALUE = 0
RAISED = 1
END = 2

_IDLE_SECONDS = 10.0


def make(source: int, is_async: bool) -> Any:
    call = current_call.get()
    if call is None:
        raise TypeError("a generator argument can be unpickled by the worker that runs its call only")
    return AsyncItems(call, source) if is_async else Items(call, source)


class _Items:
    def __init__(self, call: output.CallOutput, source: int) -> None:
        self._call = call
        self._source = source
        self._ended = False

    def _value(self, taken: Input | None, end: type[Exception]) -> Any:
        if taken is None:
            if self._ended:  # Closed while this waited.
                raise end
            self._ended = True
            if self._call.over:
                raise ValueError("the call that this generator was an argument of is over, so it has no more items")
            raise CallCancelled("the call that takes these items was cancelled", started="yes")
        kind, encoding, parts, raised = taken
        if kind == VALUE:
            return _serialize.decode(encoding, parts)
        self._ended = True
        if kind == RAISED:
            raise _raised.decode(parts, raised)
        raise end

    def _drop(self) -> None:
        if not self._ended and not self._call.over and not output.is_forked():
            self._call.host.drop_input(self._call.id, self._source)
        self._ended = True

    def __del__(self) -> None:
        try:
            self._drop()
        except Exception:  # The engine may be gone already, as the worker ends.
            pass


class Items(_Items):
    """The caller's generator, as an iterator."""

    def __iter__(self) -> Items:
        return self

    def __next__(self) -> Any:
        if self._ended:
            raise StopIteration
        return self._value(self._call.host.next_input(self._call.id, self._source), StopIteration)

    def close(self) -> None:
        """Nothing more is wanted: the caller's generator is closed."""
        self._drop()


class AsyncItems(_Items):
    """The caller's async generator, as an async iterator. What has to be waited for is waited for by a thread."""

    def __init__(self, call: output.CallOutput, source: int) -> None:
        super().__init__(call, source)
        self._arrived: deque[Input | None] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self._fetching = False

    def __aiter__(self) -> AsyncItems:
        return self

    async def __anext__(self) -> Any:
        if self._ended:
            raise StopAsyncIteration
        if not self._arrived and not self._fetching:
            there = self._call.host.next_input(self._call.id, self._source, False)
            if there is not None:
                return self._value(there, StopAsyncIteration)
        import asyncio

        loop = asyncio.get_running_loop()
        while not self._arrived:
            if self._ended:
                raise StopAsyncIteration
            self._waiting = loop.create_future()
            if not self._fetching:
                self._fetching = True
                # A wait that is given up loses no item: what the thread brings is the next one's.
                _fetcher.fetch(self, loop)
            await self._waiting
        return self._value(self._arrived.popleft(), StopAsyncIteration)

    def _fetch(self, loop: asyncio.AbstractEventLoop) -> None:
        """On a thread."""
        taken = self._call.host.next_input(self._call.id, self._source)
        try:
            loop.call_soon_threadsafe(self._arrive, taken)
        except RuntimeError:
            pass  # The loop was one of user code's own, and is closed.

    def _arrive(self, taken: Input | None) -> None:
        self._arrived.append(taken)
        self._fetching = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def aclose(self) -> None:
        """Nothing more is wanted: the caller's generator is closed."""
        self._drop()


class _Fetcher:
    """Threads that wait for items: as many as wait at once, kept for a while."""

    def __init__(self) -> None:
        from _thread import allocate_lock
        from queue import Empty, SimpleQueue

        self._lock = allocate_lock()
        self._asked: SimpleQueue[tuple[AsyncItems, asyncio.AbstractEventLoop]] = SimpleQueue()
        self._nothing = Empty
        self._idle = 0  # threads that nobody counts on

    def fetch(self, items: AsyncItems, loop: asyncio.AbstractEventLoop) -> None:
        import threading

        with self._lock:
            self._asked.put((items, loop))
            if self._idle:
                self._idle -= 1
                return
        threading.Thread(target=self._work, name="roundhouse-items", daemon=True).start()

    def _work(self) -> None:
        current_call.set(None)
        while True:
            try:
                items, loop = self._asked.get(timeout=_IDLE_SECONDS)
            except self._nothing:
                with self._lock:
                    if self._idle and self._asked.empty():
                        self._idle -= 1
                        return
                continue
            items._fetch(loop)
            del items, loop
            with self._lock:
                self._idle += 1


_fetcher = _Fetcher()
