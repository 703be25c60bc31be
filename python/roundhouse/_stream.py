"""Streams of values: what a remote generator yields, as it yields it."""

from __future__ import annotations

from _pickle import loads
from _thread import allocate_lock
from collections import deque

from roundhouse import _engine, _link, _serialize, _service
from roundhouse._inputs import failure_of
from roundhouse.exceptions import CallCancelled, NotSerializable, Unsupported, from_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Generic, NoReturn, TypeVar

    from roundhouse._screen import CallScreen
    from roundhouse._service import Service

    R = TypeVar("R", covariant=True)
else:
    from roundhouse._generic import Generic, R

# The node lets go of a call that does not end sooner than this.
_CLOSE_SECONDS = 5.0


class Stream(Generic[R]):
    """What a remote generator yields, while it goes on; an async one as well. It behaves as the generator does here.

    The worker runs ahead by ``prefetch`` items (``.options(prefetch=n)``) and waits when nobody takes them. With 0 it
    takes a step only when asked, which ``send`` and ``throw`` need; generators that use what is sent start so by
    themselves. Dropping the stream ends the generator. ``rh.GeneratorModule`` and ``rh.AsyncGeneratorModule`` are the
    same class.

    >>> import roundhouse as rh
    >>> def count(n: int):
    ...     for i in range(n):
    ...         yield i * i
    >>> remote_count = rh.function(count).to(rh.compute("example").up_if_not())
    >>> for square in remote_count(4):
    ...     print(square)
    0
    1
    4
    9
    """

    __slots__ = (
        "__weakref__",
        "_engine_call",
        "_error",
        "_lock",
        "_observed",
        "_over",
        "_prefetch",
        "_queue",
        "_screen",
        "_service",
        "_started",
        "_value",
        "_waiting",
        "method",
    )

    def __init__(
        self, service: Service, method: str, engine_call: _engine.Call, screen: CallScreen, prefetch: int
    ) -> None:
        self._over = False
        self._engine_call = engine_call
        self._service = service
        self._screen = screen
        self._prefetch = prefetch
        self.method = method
        # What has come and was not asked for yet: bytes of a pickle, or (encoding, parts).
        self._queue: deque[Any] = deque()
        self._lock = allocate_lock()
        self._started = False
        self._observed = False
        self._waiting: list[Any] = []
        self._value: Any = None
        self._error: BaseException | None = None

    # As a generator.

    def __iter__(self) -> Iterator[R]:
        # A loop is much faster in a generator of its own; both take from one queue.
        return self._loop() if self._prefetch else self

    def _loop(self) -> Any:
        self._started = True
        pop = self._queue.popleft
        while True:
            try:
                item = pop()
            except IndexError:
                if not self._more():
                    return self._end()
                continue
            sent = yield (_serialize.decode(*item) if type(item) is tuple else loads(item))
            if sent is not None:
                self._refuse_to_send()

    def __next__(self) -> R:
        self._started = True
        while True:
            try:
                item = self._queue.popleft()
            except IndexError:
                if not self._more():
                    raise StopIteration(self._end()) from None
                continue
            return self._decoded(item)  # type: ignore[no-any-return]

    def send(self, value: Any) -> R:
        """Resumes the generator with a value, as ``generator.send`` does, and returns what it yields next."""
        if value is not None:
            self._send(0, value)
        return next(self)

    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> R:
        """Raises an exception where the generator stands, as ``generator.throw`` does."""
        self._send(1, _exception(kind, value, traceback))
        return next(self)

    def close(self) -> None:
        """Ends the generator where it stands: its ``finally`` blocks run, and then this returns."""
        if self._over:
            return
        self._engine_call.cancel()
        from time import monotonic

        deadline = monotonic() + _CLOSE_SECONDS
        while not self._over and monotonic() < deadline:
            self._queue.clear()
            self._more(deadline - monotonic())
        self._closed()

    # As an async generator.

    def __aiter__(self) -> Stream[R]:
        return self

    async def __anext__(self) -> R:
        self._started = True
        while not self._queue:
            if not await self._more_async():
                self._end()
                raise StopAsyncIteration
        return self._decoded(self._queue.popleft())  # type: ignore[no-any-return]

    async def asend(self, value: Any) -> R:
        """As ``send``, for ``async`` code."""
        if value is not None:
            self._send(0, value)
        return await self.__anext__()

    async def athrow(self, kind: Any, value: Any = None, traceback: Any = None) -> R:
        """As ``throw``, for ``async`` code."""
        self._send(1, _exception(kind, value, traceback))
        return await self.__anext__()

    async def aclose(self) -> None:
        """As ``close``, for ``async`` code."""
        if self._over:
            return
        self._engine_call.cancel()
        import asyncio

        async def drain() -> None:
            while await self._more_async():
                self._queue.clear()

        try:
            await asyncio.wait_for(drain(), _CLOSE_SECONDS)
        except asyncio.TimeoutError:
            pass
        self._closed()

    # Ours.

    @property
    def logs(self) -> str:
        """What it has printed so far, as far as it was shown: the last 256 KiB."""
        return self._screen.text()

    def cancel(self, kill: bool = False) -> bool:
        """Asks the generator to stop, and does not wait for it. False when it is over."""
        if self._over:
            return False
        self._engine_call.cancel(kill)
        return True

    def __del__(self) -> None:
        try:
            if not self._over:
                self._engine_call.abandon()
        except Exception:
            # Its constructor did not get that far, or the interpreter is at its end.
            pass

    def __reduce__(self) -> tuple[Any, ...]:
        raise NotSerializable(
            f"the stream of {self._service.name}.{self.method} can be an argument of a call, whose items then travel "
            "one by one, but not a part of one. Try: pass it as an argument of its own, or list(stream)"
        )

    def __repr__(self) -> str:
        return f"<Stream of {self._service.name}.{self.method}, {'over' if self._over else 'open'}>"

    def _repr_html_(self) -> str:
        from roundhouse import _display

        state = {"state": "over" if self._over else "open", "prefetch": self._prefetch}
        return _display.card("Stream", f"{self._service.name}.{self.method}", state)

    # Both.

    def _decoded(self, item: Any) -> Any:
        return _serialize.decode(*item) if type(item) is tuple else loads(item)

    def _more(self, timeout: float | None = None) -> bool:
        """Waits until there is something in the queue; False when the generator is over and all of it was taken."""
        with self._lock:
            if self._queue:
                return True
            if self._over:
                return False
            if not self._prefetch:
                self._engine_call.ask()
            while True:
                batch = self._engine_call.next_items(timeout)
                if batch is None:
                    self._finish()
                    return False
                if batch:
                    self._take(batch)
                    return True
                if timeout is not None:
                    return False

    async def _more_async(self) -> bool:
        from roundhouse import _loops

        loop = _loops.running()
        waker = _loops.waker_of(loop)
        if not self._observed:
            self._observed = True
            self._engine_call.observe(self._screen, self._wake, self._wake)
        if not self._prefetch and not self._over:
            self._engine_call.ask()
        while not self._queue:
            if self._over:
                return False
            # Entered before looking, so that nothing is missed between.
            future = loop.create_future()
            self._waiting.append((waker, future))
            batch = self._engine_call.poll_items()
            if batch is None:
                self._finish()
                self._wake()
                return False
            if batch:
                self._take(batch)
                self._wake()
                return True
            await future
        return True

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waker, future in waiting:
            waker.wake(future)

    def _take(self, batch: list[_engine.Items]) -> None:
        for encoding, parts, each in batch:
            if not each:
                self._queue.append((encoding, parts))
            elif encoding == _serialize.PICKLE:
                self._queue.extend(parts)
            else:
                self._queue.extend((encoding, [part]) for part in parts)

    def _finish(self) -> None:
        try:
            self._value = _link.value_of(self._engine_call.take())
        except _engine.EngineError as error:
            self._error = from_engine(error.code, error.message, error.facts)
        except BaseException as error:
            self._error = error
        self._over = True

    def _end(self) -> Any:
        """What a generator does that is over: once its exception or its value, and nothing from then on."""
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error
        value, self._value = self._value, None
        return value

    def _closed(self) -> None:
        self._queue.clear()
        if not self._over:
            self._over = True
            self._engine_call.abandon()
        self._value = None
        error, self._error = self._error, None
        if error is not None and not isinstance(error, CallCancelled):
            raise error

    def _send(self, kind: int, value: Any) -> None:
        if self._prefetch:
            self._refuse_to_send()
        if self._over:
            if kind == 1:
                raise value
            return
        if kind == 1:
            encoding, parts, raised = failure_of(value)
        else:
            if not self._started:
                raise TypeError("can't send non-None value to a just-started generator")
            encoding, parts, raised = self._service.encoding, _serialize.encode(self._service.encoding, value), None
        self._started = True
        self._engine_call.send_item(0, kind, encoding, parts, raised)

    def _refuse_to_send(self) -> NoReturn:
        raise Unsupported(
            f"the stream of {self._service.name}.{self.method} runs ahead by up to {self._prefetch} items, so that "
            "nothing can be sent or thrown to where it seems to stand. Try: .options(prefetch=0) before the call"
        )


def _exception(kind: Any, value: Any, traceback: Any) -> BaseException:
    """What `throw` was given, in its old form of three as well."""
    made = kind if isinstance(kind, BaseException) else value if isinstance(value, BaseException) else None
    if made is None:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(f"exceptions must be classes or instances deriving from BaseException, not {kind!r}")
        made = kind() if value is None else kind(*value) if isinstance(value, tuple) else kind(value)
    return made if traceback is None else made.with_traceback(traceback)


# A stream that is an argument is passed on item by item, like any generator.
_service.PUMPED.add(Stream)
