"""Many calls: waiting for several of them, and one call for each of many items."""

from __future__ import annotations

import sys
from collections import deque

from roundhouse._call import Call
from roundhouse._options import DEFAULT
from roundhouse._service import pumped
from roundhouse.exceptions import CallTimeout, NotSerializable, Unsupported, WrongArguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Iterator
    from typing import Any, Literal, TypeVar, overload

    R = TypeVar("R")

# CO_COROUTINE, CO_ITERABLE_COROUTINE and CO_ASYNC_GENERATOR of `inspect`.
_AWAITS = 0x80 | 0x100 | 0x200


if TYPE_CHECKING:

    @overload
    def gather(*awaitables: Call[R], return_exceptions: Literal[False] = ...) -> _Gathered[R]: ...
    @overload
    def gather(*awaitables: Call[Any] | Awaitable[Any], return_exceptions: bool = ...) -> _Gathered[Any]: ...
    def gather(*awaitables: Any, return_exceptions: bool = False) -> Any: ...

    class _Gathered(list[R], Awaitable[list[R]]):
        """A list outside a running event loop, awaitable inside one."""

else:

    def gather(*awaitables, return_exceptions=False):
        """The results of several calls, in the order given: a list. Inside a running event loop, await it; a notebook's
        cell may, and need not.

        The first exception in that order is raised, and the other calls go on; with ``return_exceptions`` exceptions
        stand in the list instead. Coroutines of remote ``async`` functions are welcome beside calls.

        >>> import roundhouse as rh
        >>> remote_pow = rh.function(pow).to(rh.compute("example").up_if_not())
        >>> rh.gather(remote_pow.submit(2, 3), remote_pow.submit(3, 2))
        [8, 9]
        """
        asyncio = sys.modules.get("asyncio")
        calls = all(isinstance(one, Call) for one in awaitables)
        if asyncio is not None and asyncio._get_running_loop() is not None and not (calls and _in_plain_cell()):
            return _gather_async(awaitables, return_exceptions)
        if not calls:
            import asyncio

            return asyncio.run(_gather_async(awaitables, return_exceptions))
        results = _Results()
        for call in awaitables:
            error = call.exception()
            if error is not None and not return_exceptions:
                return call.result()
            results.append(call.result() if error is None else error)
        return results


class _Results(list):  # type: ignore[type-arg]
    """A list that the next cell of a notebook may await all the same."""

    def __await__(self) -> Any:
        return list(self)
        yield

    def __reduce__(self) -> Any:
        return list, (list(self),)


def _in_plain_cell() -> bool:
    """True in a notebook's cell that awaits nothing: a kernel runs it within its event loop, but it is plain code."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_flags & _AWAITS:
            return False
        if frame.f_code.co_name == "<module>":
            # A program that runs a loop stands there as well, with the loop between itself and whoever asks.
            return True
        if frame.f_globals.get("__name__", "").startswith("asyncio."):
            return False
        frame = frame.f_back  # type: ignore[assignment]
    return False


async def _gather_async(awaitables: tuple[Any, ...], return_exceptions: bool) -> list[Any]:
    import asyncio

    return list(await asyncio.gather(*awaitables, return_exceptions=return_exceptions))


def as_completed(calls: Iterable[Call[R]], timeout: float | None = None) -> Iterator[Call[R]]:
    """Each of the calls as soon as it is done, whichever is first; CallTimeout when they take longer than ``timeout``.

    >>> import roundhouse as rh, time
    >>> remote_sleep = rh.function(time.sleep).to(rh.compute("example").up_if_not())
    >>> slow, fast = remote_sleep.submit(0.3), remote_sleep.submit(0)
    >>> [call is fast for call in rh.as_completed([slow, fast])]
    [True, False]
    """
    from queue import Empty, SimpleQueue
    from time import monotonic

    waiting = list(dict.fromkeys(calls))
    deadline = None if timeout is None else monotonic() + timeout
    done: SimpleQueue[Call[R]] = SimpleQueue()
    for call in waiting:
        call.add_done_callback(done.put)

    def each() -> Iterator[Call[R]]:
        for left in range(len(waiting), 0, -1):
            try:
                yield done.get(timeout=None if deadline is None else max(0.0, deadline - monotonic()))
            except Empty:
                raise CallTimeout(
                    f"{left} of {len(waiting)} calls are not done after {timeout} s; they go on. "
                    "Try: a longer timeout, or cancel them",
                    still_running=True,
                ) from None

    return each()


# An item that takes longer than this travels as a call of its own; those that are shorter share calls.
_ALONE_SECONDS = 0.005
_CHUNK_SECONDS = 0.02
_CHUNK_ITEMS_MAX = 4096


def map_over(method: Any, arguments: Iterable[Any], kwargs: dict[str, Any]) -> list[Any]:
    """One call of a remote function or method for each item: the results in order."""
    service = method._service
    if service is None:
        return [method(*args, **kwargs) for args in arguments]
    options = method._options
    name = method._method
    if kwargs:
        options, kwargs = service.split(name, options, kwargs)
    return Map(service, name, options, kwargs, service.description.get("workers") or 1).run(arguments)


class Map:
    """A map on its way. A bounded number of calls is under way; short items travel together, several in one call."""

    def __init__(self, service: Any, method: str, options: Any, kwargs: dict[str, Any], workers: int) -> None:
        from queue import SimpleQueue

        kind = service.kinds.get(method, "sync")
        if kind in ("generator", "async_generator"):
            raise Unsupported(f"{service.name!r} is a generator, which cannot be mapped. Try: [f(x) for x in items]")
        if options.remote or options.run_async:
            raise WrongArguments("map() returns values. Try: without remote= and run_async=, or submit() in a loop")
        if options.run_name is not None:
            raise WrongArguments(
                f"run_name={options.run_name!r} names one call, and map() makes many. Try: submit() in a loop, each "
                "with a name of its own"
            )
        self._service = service
        self._method = method
        self._options = options
        self._kwargs = kwargs
        self._under_way_max = max(2, workers * 2)
        # What would change the meaning of sharing a call does not share one.
        self._shares = kind == "sync" and service.encoding == 1 and options is DEFAULT
        self._item_seconds: float | None = None
        self._chunk = 1
        self._done: SimpleQueue[Any] = SimpleQueue()
        self._under_way: dict[Any, tuple[int, list[Any], bool, float]] = {}
        self._results: list[Any] = []
        self._error: BaseException | None = None
        # Items from here on are of no interest: an earlier one failed.
        self._end = sys.maxsize

    def run(self, arguments: Iterable[Any]) -> list[Any]:
        items = iter(arguments)
        waiting: deque[tuple[int, list[Any]]] = deque()  # chunks that have to be sent one by one
        exhausted = False
        try:
            while True:
                while len(self._under_way) < self._under_way_max and self._end == sys.maxsize:
                    if waiting:
                        start, chunk = waiting.popleft()
                        self._send(start, chunk[:1], False)
                        if len(chunk) > 1:
                            waiting.appendleft((start + 1, chunk[1:]))
                        continue
                    if exhausted:
                        break
                    taken = self._take(items)
                    exhausted = len(taken) < self._chunk
                    if not taken:
                        break
                    start = len(self._results)
                    self._results.extend([None] * len(taken))
                    if len(taken) == 1 or not self._sendable(taken):
                        waiting.append((start, taken))
                        continue
                    try:
                        self._send(start, taken, True)
                    except NotSerializable:
                        # Sent one by one, the message names the argument.
                        waiting.append((start, taken))
                if not any(start < self._end for start, *_ in self._under_way.values()):
                    break
                self._arrived(self._done.get())
        finally:
            # Of what is still under way nobody wants anything; nothing is, unless this was interrupted or failed.
            for call in self._under_way:
                call.cancel()
        if self._error is not None:
            raise self._error
        return self._results

    def _take(self, items: Iterator[Any]) -> list[Any]:
        taken = []
        for args in items:
            taken.append(tuple(args))
            if len(taken) == self._chunk:
                break
        return taken

    def _sendable(self, chunk: list[Any]) -> bool:
        return self._shares and not any(pumped(args, self._kwargs) for args in chunk)

    def _send(self, start: int, chunk: list[Any], together: bool) -> None:
        from time import monotonic

        if together:
            asked = (self._method, [(args, self._kwargs) for args in chunk])
            call = self._service.submit("@map", self._options, asked, {})
        else:
            call = self._service.submit(self._method, self._options, chunk[0], self._kwargs)
        self._under_way[call] = (start, chunk, together, monotonic())
        call.add_done_callback(self._done.put)

    def _arrived(self, call: Any) -> None:
        from time import monotonic

        start, chunk, together, began = self._under_way.pop(call)
        if start >= self._end:
            return
        error = call.exception()
        if error is not None:
            self._fail(start, error)
            return
        if together:
            for position, told in enumerate(call.result(), start):
                if not told[0]:
                    self._fail(position, _rebuilt(told[1], told[2]))
                    break
                self._results[position] = told[1]
        else:
            self._results[start] = call.result()
        self._learn((monotonic() - began) / len(chunk))

    def _learn(self, seconds: float) -> None:
        """How many of the next items share a call: as many as take some milliseconds together."""
        if not self._shares:
            return
        known = self._item_seconds
        self._item_seconds = seconds if known is None else (known + seconds) / 2
        if self._item_seconds >= _ALONE_SECONDS:
            self._chunk = 1
            return
        fitting = int(_CHUNK_SECONDS / max(self._item_seconds, 1e-9))
        self._chunk = max(1, min(fitting, 2 * self._chunk, _CHUNK_ITEMS_MAX))

    def _fail(self, position: int, error: BaseException) -> None:
        """The first exception in order counts: what comes behind it is not wanted any more."""
        self._end, self._error = position, error
        for call, (start, *_) in list(self._under_way.items()):
            if start > position:
                call.cancel()


def _rebuilt(error: BaseException | None, raised: tuple[str, str, str]) -> BaseException:
    """The exception of one item, with the place where it was raised as its cause."""
    from roundhouse import _raised

    if error is None:
        return _raised.decode([], raised)
    last, seen = error, {id(error)}
    while last.__cause__ is not None and id(last.__cause__) not in seen:
        last = last.__cause__
        seen.add(id(last))
    last.__cause__ = _raised.RemoteTraceback(raised[2])
    return error
