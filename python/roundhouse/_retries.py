"""Calls that are made again when they fail: which failures allow that, and the pauses between the tries.

`.options(retries=N)` alone makes only those again of which it is known that none of their code has run. What else may
be made again the user says: `idempotent=True`, or the exceptions named in `retry_on=`.
"""

from __future__ import annotations

from _thread import allocate_lock
from time import monotonic

from roundhouse import _engine
from roundhouse._options import whole
from roundhouse.exceptions import (
    CallCancelled,
    LimitExceeded,
    NodeLost,
    OutOfMemory,
    RoundhouseError,
    WorkerDied,
    from_engine,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from roundhouse._call import Call
    from roundhouse._options import Options
    from roundhouse._service import Service

# Between two tries, however often it has failed.
_PAUSE_SECONDS_MAX = 60.0
_MORE = {"no": 0, "unknown": 1, "yes": 2}


def check(options: Options) -> None:
    """Refuses what `.options(...)` cannot mean."""
    whole("retries", options.retries)
    backoff, kinds = options.backoff, options.retry_on
    if isinstance(backoff, bool) or not isinstance(backoff, (int, float)) or not 0 <= backoff <= _PAUSE_SECONDS_MAX:
        raise ValueError(
            f"backoff= is the first pause in seconds, at most {_PAUSE_SECONDS_MAX:.0f}, not {backoff!r}; each "
            "later one is up to twice as long"
        )
    for kind in kinds if isinstance(kinds, tuple) else (kinds,):
        if not isinstance(kind, type) or not issubclass(kind, Exception):
            raise ValueError(f"retry_on= is an exception's type, or a tuple of them, not {kind!r}")


class Tries:
    """The tries of one call, as its options allow them."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._deadline = None if options.timeout is None else monotonic() + options.timeout
        self._made = 0
        # Of all tries together: one that failed before it began does not undo another that ran.
        self.started = "no"

    def left(self) -> float | None:
        """The seconds that the next try may take: the timeout is for all of them and the pauses."""
        return None if self._deadline is None else max(0.001, self._deadline - monotonic())

    def pause_after(self, error: BaseException, raised: bool) -> float | None:
        """The seconds until the next try; None where there is none. `raised`: by user code, not by us."""
        self._made += 1
        now = "yes" if raised else getattr(error, "started", "unknown")
        self.started = max(self.started, now, key=lambda word: _MORE.get(word, 1))
        if self._made > self._options.retries or not self._may_follow(error, raised):
            return None
        import random

        longest = min(self._options.backoff * 2.0 ** min(self._made - 1, 32), _PAUSE_SECONDS_MAX)
        # Those who failed together should not all come back together.
        pause = longest * random.uniform(0.5, 1.0)
        # What went wrong says more than that the time is over.
        return None if self._deadline is not None and monotonic() + pause >= self._deadline else pause

    def _may_follow(self, error: BaseException, raised: bool) -> bool:
        options = self._options
        if isinstance(error, options.retry_on):
            return True
        if raised or not isinstance(error, (WorkerDied, NodeLost, LimitExceeded)):
            return False
        if error.started == "no":
            return not error.facts.get("gone")  # a service that is gone comes back when somebody deploys it
        # What ran out of memory once would only do so again.
        return options.idempotent and not isinstance(error, (OutOfMemory, LimitExceeded))

    def told(self, error: BaseException) -> BaseException:
        """The last try's error, which speaks for all of them."""
        if self._made > 1:
            error.__notes__ = [*getattr(error, "__notes__", ()), f"(the last of {self._made} tries)"]  # type: ignore[attr-defined]
            if isinstance(error, RoundhouseError):
                error.started = error.facts["started"] = self.started
        return error


class Trying:
    """Stands for the engine's call of one that may be made several times; `send` makes it, within so many seconds."""

    def __init__(self, service: Service, send: Callable[[float | None], Call[Any]], options: Options) -> None:
        import threading

        self._service = service
        self._send = send
        self._tries = Tries(options)
        self._decides = bool(options.retry_on)  # whether what user code raises matters
        self._lock = allocate_lock()
        self._call: Call[Any] | None = None  # the try that is under way
        self._timer: threading.Timer | None = None  # the pause
        self._kill: bool | None = None  # not None: it was cancelled
        self._changed = threading.Event()
        self._over = False
        self._outcome: _engine.Outcome | None = None
        self._error: BaseException | None = None
        self._on_done: Callable[[], None] | None = None
        self._try()

    def _try(self) -> None:
        with self._lock:
            self._timer = None
            if self._over:
                return
        try:
            call = self._send(self._tries.left())
        except RoundhouseError as error:
            self._failed(error, raised=False)
            return
        with self._lock:
            self._call = call
            self._changed.set()
            kill = self._kill
        if kill is not None:
            call.cancel(kill)
        call._watch(lambda: self._ended(call))

    def _ended(self, call: Call[Any]) -> None:
        """That try is over: told by whichever thread reads, and by those that wait."""
        with self._lock:
            if self._call is not call:
                return
            self._call = None
            self._changed.clear()
        try:
            outcome = call._engine_call.take()
        except _engine.EngineError as error:
            self._failed(from_engine(error.code, error.message, error.facts), raised=False)
        except RoundhouseError as error:
            self._failed(error, raised=False)
        else:
            if outcome[0] and self._decides:
                import threading

                # To look at it may import modules and make calls, for which whoever reads results must not wait.
                threading.Thread(target=self._raised, args=(outcome,), name="roundhouse-retries", daemon=True).start()
            else:
                self._end(outcome, None)

    def _raised(self, outcome: _engine.Outcome) -> None:
        from roundhouse import _link

        self._failed(_link.raised_there(outcome[2], outcome[3]), raised=True)

    def _failed(self, error: BaseException, raised: bool) -> None:
        pause = self._tries.pause_after(error, raised)
        if pause is not None:
            import threading

            self._say(error, pause)
            with self._lock:
                if self._kill is None:
                    self._timer = threading.Timer(pause, self._try)
                    self._timer.daemon = True
                    self._timer.start()
                    return
            error = self._cancelled()
        self._end(None, self._tries.told(error))

    def _say(self, error: BaseException, pause: float) -> None:
        import logging

        text = str(error).partition("\n")[0]
        logging.getLogger("roundhouse").log(
            # That there was no room for it is nothing to warn of.
            logging.INFO if isinstance(error, LimitExceeded) else logging.WARNING,
            "a call of %r failed (%s: %s); it is tried again in %.2f s",
            *(self._service.name, type(error).__name__, text, pause),
        )

    def _cancelled(self) -> CallCancelled:
        return CallCancelled(
            f"the call of {self._service.name!r} was cancelled between two tries",
            started=self._tries.started,
            still_running=False,
        )

    def _end(self, outcome: _engine.Outcome | None, error: BaseException | None) -> None:
        with self._lock:
            self._outcome, self._error, self._over = outcome, error, True
            self._changed.set()
        on_done = self._on_done
        if on_done is not None:
            on_done()

    # What `Call` asks of the engine's.

    def done(self) -> bool:
        return self._over

    def wait(self, timeout: float | None = None) -> bool:
        deadline = None if timeout is None else monotonic() + timeout
        while not self._over:
            left = None if deadline is None else max(0.0, deadline - monotonic())
            call = self._call
            if call is None:
                if not self._changed.wait(left):
                    return False
            elif call._engine_call.wait(left):
                self._ended(call)
            else:
                return False
        return True

    def take(self) -> _engine.Outcome:
        if self._error is not None:
            raise self._error
        assert self._outcome is not None
        return self._outcome

    def cancel(self, kill: bool = False) -> None:
        with self._lock:
            self._kill = kill or bool(self._kill)
            call, timer, self._timer = self._call, self._timer, None
        if call is not None:
            call.cancel(kill)
        elif timer is not None:
            timer.cancel()
            self._end(None, self._cancelled())

    def leave(self) -> None:
        """No further tries; the one that is under way is a run, and goes on without anybody who looks on."""
        with self._lock:
            self._kill = False
            call, timer, self._timer = self._call, self._timer, None
        if call is not None:
            call._abandon()
        elif timer is not None:
            timer.cancel()
            self._end(None, self._cancelled())

    def ping(self, timeout: float | None = None) -> float:
        call = self._call
        return self._service.cluster.ping() if call is None else call.ping(timeout)

    def observe(self, on_output: Any = None, on_done: Any = None, on_items: Any = None) -> None:
        # The output of every try goes to the same screen anyway.
        self._on_done = on_done
