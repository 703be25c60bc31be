"""One call on its way."""

from __future__ import annotations

import itertools
import sys
from _thread import allocate_lock

from roundhouse import _engine, _link
from roundhouse.exceptions import CallCancelled, CallTimeout, RoundhouseError, from_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Callable, Generator
    from typing import Any, Generic, TypeVar

    from roundhouse import _retries
    from roundhouse._screen import CallScreen
    from roundhouse._service import Service

    R = TypeVar("R", covariant=True)
else:
    from roundhouse._generic import Generic, R


_numbers = itertools.count(1)
# Held for an instant only, to give a call what few calls need: a lock, a number, somebody to tell.
_making = allocate_lock()


class Call(Generic[R]):
    """A call that was submitted and goes on by itself. What it prints appears meanwhile.

    It has a future's methods, and is awaitable: ``await f.submit(x)``. Cancelling the task that awaits it cancels it.

    >>> import roundhouse as rh
    >>> call = rh.function(pow).to(rh.compute("example").up_if_not()).submit(2, 10)
    >>> call.result()
    1024
    >>> call.done(), call.exception(), call.status
    (True, None, 'done')
    """

    __slots__ = (
        "__weakref__",
        "_callbacks",
        "_convert",
        "_engine_call",
        "_error",
        "_id",
        "_lock",
        "_screen",
        "_service",
        "_settled",
        "_value",
        "method",
    )
    _id: str
    _lock: LockType | None

    def __init__(
        self,
        service: Service,
        method: str,
        engine_call: _engine.Call | _retries.Trying,
        screen: CallScreen,
        convert: Callable[[Any], Any] | None = None,
    ) -> None:
        # Little is made here, because submitting must stay cheap; the rest is made when somebody asks.
        self.method = method
        self._service = service
        self._engine_call = engine_call
        self._screen = screen
        self._convert = convert
        self._settled = False
        self._lock = None
        # None while nobody is to be told of the end, then those to be told, at last ().
        self._callbacks: Any = None

    @property
    def id(self) -> str:
        """What tells this call from all others, in messages and logs, and for `roundhouse stack`."""
        with _making:
            try:
                return self._id
            except AttributeError:
                call = self._engine_call
                # With retries= it is several calls, one after the other.
                number = call.stream() if isinstance(call, _engine.Call) else f"r{next(_numbers)}"
                self._id = f"{self._service._link.session[:8]}-{number}"
                return self._id

    @property
    def service(self) -> str:
        """The name of what was called."""
        return self._service.name

    def result(self, timeout: float | None = None) -> R:
        """The value, or what the call raised; CallTimeout after ``timeout`` seconds (the call goes on)."""
        if not self._settled:
            self._settle(timeout)
        if self._error is not None:
            try:
                raise self._error
            finally:
                # The frame that the traceback holds would otherwise hold the exception in turn.
                self = None  # type: ignore[assignment]
        return self._value  # type: ignore[no-any-return]

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the call raised, or None; waits as ``result`` does."""
        if not self._settled:
            self._settle(timeout)
        return self._error

    def done(self) -> bool:
        """True once it has a result or an exception."""
        return self._settled or self._engine_call.done()

    def running(self) -> bool:
        """True until then."""
        return not self.done()

    def cancel(self, kill: bool = False) -> bool:
        """Asks the call to stop: CallCancelled is raised inside its code. False when it is done already.

        Code that blocks outside Python notices when it comes back; with ``kill`` its worker is ended instead, and
        everything else that lives there with it.
        """
        if self.done():
            return False
        self._engine_call.cancel(kill)
        return True

    def cancelled(self) -> bool:
        """True once the call has ended because it was asked to stop."""
        if not self.done():
            return False
        return isinstance(self.exception(), CallCancelled)

    @property
    def status(self) -> str:
        """ "pending" (not sent yet), "running" (as far as is known here), "done", "failed" or "cancelled"."""
        if not self.done():
            return "pending" if getattr(self._engine_call, "pending", False) else "running"
        error = self.exception()
        return "done" if error is None else "cancelled" if isinstance(error, CallCancelled) else "failed"

    @property
    def logs(self) -> str:
        """What it has printed so far: text, stdout and stderr as they came, the last 256 KiB."""
        return self._screen.text()

    def ping(self, timeout: float | None = 10.0) -> float:
        """Seconds to the worker that runs it and back; answered at once, whatever the code is doing."""
        try:
            return self._engine_call.ping(timeout)
        except _engine.EngineError as error:
            raise from_engine(error.code, error.message, error.facts) from None

    def stack(self) -> str:
        """What it does just now, for people: the stacks of its worker's tasks and threads, Python's and native ones,
        its own first and marked. It runs on; NotFound once it has ended.

        >>> import time
        >>> import roundhouse as rh
        >>> call = rh.function(time.sleep).to(rh.compute("example").up_if_not(), name="naps").submit(60)
        >>> call.ping() < 60, f"call {call.id} of naps" in call.stack()
        (True, True)
        >>> call.cancel()
        True
        """
        return self._service.cluster.stack(self._known_as())

    def _known_as(self) -> str:
        """What its node calls it just now."""
        current = getattr(self._engine_call, "_call", None)
        return self.id if current is None else current.id

    def add_done_callback(self, callback: Callable[[Call[R]], object]) -> None:
        """Has ``callback(call)`` called once it is done: by the thread that reads results, so it should be brief."""
        self._watch(lambda: callback(self))

    def __await__(self) -> Generator[Any, None, R]:
        if not self.done():
            from roundhouse import _loops

            loop = _loops.running()
            if loop is None:
                raise RuntimeError("a call is awaited on an event loop. Try: call.result()")
            future = loop.create_future()
            waker = _loops.waker_of(loop)
            self._watch(lambda: waker.wake(future))
            try:
                yield from future
            except BaseException:
                self._abandon()
                raise
        return self.result()

    def _abandon(self) -> None:
        """Nobody waits for it any more."""
        self.cancel()

    def __repr__(self) -> str:
        return f"<Call {self.id} {self.service}.{self.method} {self.status}>"

    def _repr_html_(self) -> str:
        from roundhouse import _display

        return _display.card("Call", f"{self.service}.{self.method}", {"id": self.id, "status": self.status})

    def _watch(self, tell: Callable[[], object]) -> None:
        """Has `tell` called once, when the call is over; at once if it is."""
        with _making:
            told = self._callbacks == ()
            first = self._callbacks is None
            if first:
                self._callbacks = [tell]
            elif not told:
                self._callbacks.append(tell)
        if told:
            _tell(tell)
        elif first:
            self._engine_call.observe(self._screen, self._tell_all)
            if self._engine_call.done():
                self._tell_all()

    def _tell_all(self) -> None:
        with _making:
            waiting, self._callbacks = self._callbacks, ()
        for tell in waiting:
            _tell(tell)

    def _settle(self, timeout: float | None) -> None:
        if not self._engine_call.wait(timeout):
            raise CallTimeout(
                f"call {self.id} of {self.service}.{self.method} has no result after {timeout} s; it goes on. "
                "Try: result() with a longer timeout, or cancel()",
                still_running=True,
                started="yes" if self._screen.text() else "unknown",
            )
        with _making:
            lock = self._lock
            if lock is None:
                lock = self._lock = allocate_lock()
        with lock:
            if not self._settled:
                self._value, self._error = self._outcome()
                self._settled = True

    def _outcome(self) -> tuple[Any, BaseException | None]:
        try:
            value = _link.value_of(self._engine_call.take())
            return (value if self._convert is None else self._convert(value)), None
        except _engine.EngineError as error:
            return None, from_engine(error.code, error.message, error.facts)
        except BaseException as error:
            if isinstance(error, RoundhouseError) and error.__traceback__ is not None:
                return None, error.with_traceback(None)
            return None, error


def _tell(tell: Callable[[], object]) -> None:
    try:
        tell()
    except Exception:
        # It has no caller that could be told.
        sys.excepthook(*sys.exc_info())
