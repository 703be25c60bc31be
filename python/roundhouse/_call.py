"""One call on its way."""

from __future__ import annotations

import itertools
from _thread import allocate_lock

from roundhouse import _engine, _link
from roundhouse.exceptions import CallCancelled, CallTimeout, RoundhouseError, from_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Generic, TypeVar

    R = TypeVar("R")
else:
    from roundhouse._generic import Generic, R


_numbers = itertools.count(1)


class Call(Generic[R]):
    """A call that was submitted and goes on by itself. It has a future's methods; what it prints appears meanwhile.

    >>> import roundhouse as rh
    >>> call = rh.function(pow).to(rh.compute("example").up_if_not()).submit(2, 10)
    >>> call.result()
    1024
    >>> call.done(), call.exception()
    (True, None)
    """

    __slots__ = ("_engine_call", "_error", "_lock", "_settled", "_value", "id", "method", "service")

    def __init__(self, link: _link.Link, service: str, method: str, engine_call: _engine.Call) -> None:
        self.id = f"{link.client().session()[:8]}-{next(_numbers)}"
        self.service = service
        self.method = method
        self._engine_call = engine_call
        self._lock = allocate_lock()
        self._settled = False
        self._value: Any = None
        self._error: BaseException | None = None

    def result(self, timeout: float | None = None) -> R:
        """The value, or what the call raised; CallTimeout after ``timeout`` seconds (the call goes on)."""
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
        self._settle(timeout)
        return self._error

    def done(self) -> bool:
        """True once it has a result or an exception."""
        return self._settled or self._engine_call.done()

    def cancel(self) -> bool:
        """Asks the call to stop: CallCancelled is raised inside its code. False when it is done already.

        Code that blocks outside Python notices when it comes back.
        """
        if self.done():
            return False
        self._engine_call.cancel()
        return True

    def cancelled(self) -> bool:
        """True once the call has ended because it was asked to stop."""
        if not self.done():
            return False
        return isinstance(self.exception(), CallCancelled)

    def ping(self, timeout: float | None = 10.0) -> float:
        """Seconds to the worker that runs it and back; answered at once, whatever the code is doing."""
        try:
            return self._engine_call.ping(timeout)
        except _engine.EngineError as error:
            raise from_engine(error.code, error.message, error.facts) from None

    def __repr__(self) -> str:
        state = "running" if not self.done() else "failed" if self.exception() is not None else "done"
        return f"<Call {self.id} {self.service}.{self.method} {state}>"

    def _settle(self, timeout: float | None) -> None:
        if self._settled:
            return
        if not self._engine_call.wait(timeout):
            raise CallTimeout(
                f"call {self.id} of {self.service}.{self.method} has no result after {timeout} s; it goes on. "
                "Try: result() with a longer timeout, or cancel()",
                still_running=True,
                started="unknown",
            )
        with self._lock:
            if self._settled:
                return
            try:
                self._value = _link.value_of(self._engine_call.take())
            except _engine.EngineError as error:
                self._error = from_engine(error.code, error.message, error.facts)
            except BaseException as error:
                self._error = error
                if isinstance(error, RoundhouseError) and error.__traceback__ is not None:
                    self._error = error.with_traceback(None)
            self._settled = True
