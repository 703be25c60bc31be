"""`distribute("pool")`: one name for several replicas, each call of which goes to one that is free."""

from __future__ import annotations

from _thread import allocate_lock
from collections import deque

from roundhouse import _engine, _replicate, _stubs
from roundhouse._call import Call
from roundhouse._options import whole
from roundhouse._service import Service, result_of
from roundhouse.exceptions import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from roundhouse._inputs import Inputs
    from roundhouse._options import Options
    from roundhouse._screen import CallScreen

_LATER_KINDS = ("pytorch", "ray", "dask", "spark", "tensorflow")
# A dispatcher that has nothing to do for so long ends.
_IDLE_SECONDS = 10.0


def distribute(
    remote: Any,
    distribution: str,
    name: str | None = None,
    num_replicas: int | None = None,
    replicas_per_node: int | None = None,
    replication_kwargs: dict[str, Any] | None = None,
    max_concurrency: int = 1,
    **others: Any,
) -> Any:
    """The same function or object, spread over replicas. Of Runhouse's kinds this version has the pool."""
    if distribution in _LATER_KINDS:
        raise Unsupported(
            f"distribute({distribution!r}) comes with a later version, which starts {distribution} on the cluster. "
            "Try: distribute('pool', num_replicas=...), or .to(..., workers=...) and map"
        )
    if distribution != "pool":
        raise ValueError(f"there is no distribution {distribution!r}. Try: 'pool', or later {', '.join(_LATER_KINDS)}")
    service = _stubs.service_of(remote)
    if service is None:
        raise ValueError(f"{remote!r} has not been sent anywhere. Try: .to(rh.compute('NAME').up_if_not()) first")
    if num_replicas is None and replicas_per_node is None:
        raise ValueError("distribute('pool') needs to know how many. Try: distribute('pool', num_replicas=4)")
    if others:
        raise TypeError(f"distribute('pool') has no argument {next(iter(others))!r}. Try: max_concurrency=, name=")
    if service.description["kind"] == "class":
        raise Unsupported(
            f"{service.name!r} is a class, and a pool is of functions or objects. Try: make an instance, and its "
            ".distribute('pool', ...), or rh.handle(instance).distribute"
        )
    whole("max_concurrency", max_concurrency, 1)
    replicas = _replicate.replicate(
        remote, num_replicas, replicas_per_node=replicas_per_node, **(replication_kwargs or {})
    )
    services = []
    for replica in replicas:
        found = _stubs.service_of(replica)
        assert found is not None
        services.append(found)
    pool = PooledService(name or f"distributed_{service.name}", services, max_concurrency)
    return _stubs.stub(pool, local=remote.__dict__.get("__wrapped__", remote.__dict__.get("_rh_local")))


class PooledService(Service):
    """Replicas as one service. A call takes a free one, and waits for its turn where there is none."""

    __slots__ = ("_dispatching", "_each", "_free", "_handed", "_lock", "_next", "_replicas", "_waiting")

    def __init__(self, name: str, replicas: Sequence[Service], max_concurrency: int) -> None:
        first = replicas[0]
        workers = len(replicas) * max_concurrency
        super().__init__(first.cluster, {**first.description, "name": name, "workers": workers})
        from queue import SimpleQueue

        self._replicas = list(replicas)
        self._each = max_concurrency
        self._next = 0
        self._lock = allocate_lock()
        # As often as it may be called at once, in turn.
        self._free: deque[Service] = deque(list(replicas) * max_concurrency)
        self._waiting: deque[_Later] = deque()
        self._handed: SimpleQueue[tuple[_Later, Service]] = SimpleQueue()
        self._dispatching = False

    def __reduce__(self) -> tuple[Any, ...]:
        return PooledService, (self.name, self._replicas, self._each)

    def split(self, method: str, options: Options, kwargs: dict[str, Any]) -> tuple[Options, dict[str, Any]]:
        options, kwargs = super().split(method, options, kwargs)
        accepted = self.accepts(method)
        if "timeout" in kwargs and accepted is not None and "timeout" not in accepted:
            kwargs = dict(kwargs)
            options = options.merged({"timeout": kwargs.pop("timeout")})
        return options, kwargs

    def invoke(self, method: str, options: Options, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if "timeout" in kwargs:
            options, kwargs = self.split(method, options, kwargs)
        return super().invoke(method, options, args, kwargs)

    def call(self, method: str, options: Options, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return result_of(self._start(method, options, args, kwargs, waited=True))

    def submit(self, method: str, options: Options, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        options, kwargs = self.split(method, options, kwargs)
        if options.remote or self.kinds.get(method) in ("generator", "async_generator"):
            return self._any().submit(method, options, args, kwargs)
        return self._start(method, options, args, kwargs)

    def stream(self, method: str, options: Options, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # A stream lasts as long as its reader pleases, so it is not counted.
        return self._any().stream(method, options, args, kwargs)

    def keep(
        self,
        method: str | None,
        options: Options,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        exist_ok: bool = False,
    ) -> Call[Any]:
        return self._any().keep(method, options, args, kwargs, exist_ok)

    def _any(self) -> Service:
        with self._lock:
            self._next += 1
            return self._replicas[self._next % len(self._replicas)]

    def _send(
        self,
        method: str,
        options: Options,
        parts: list[Any],
        screen: CallScreen,
        timeout: float | None,
        inputs: Inputs | None,
    ) -> Call[Any]:
        def begin(replica: Service, left: float | None) -> _engine.Call:
            return replica._begin(method, options, parts, screen, left, inputs)

        with self._lock:
            replica = self._free.popleft() if self._free and not self._waiting else None
            later = None if replica is not None else _Later(self, begin, screen, timeout)
            if later is not None:
                self._waiting.append(later)
        if replica is None:
            assert later is not None
            later.bound()
            return Call(self, method, later, screen)  # type: ignore[arg-type]
        try:
            started = begin(replica, timeout)
        except BaseException:
            self.release(replica)
            raise
        call: Call[Any] = Call(self, method, started, screen)
        call._watch(lambda: self.release(replica))
        return call

    def release(self, replica: Service) -> None:
        """It is free again: the next in line gets it."""
        with self._lock:
            later = self._waiting.popleft() if self._waiting else None
            if later is None:
                self._free.append(replica)
                return
            self._handed.put((later, replica))
            if self._dispatching:
                return
            self._dispatching = True
        import threading

        # Whoever told of the end reads for others too, and must not be kept with sending.
        threading.Thread(target=self._dispatch, name=f"roundhouse-{self.name}", daemon=True).start()

    def forget(self, later: _Later) -> None:
        with self._lock:
            try:
                self._waiting.remove(later)
            except ValueError:
                pass

    def _dispatch(self) -> None:
        from queue import Empty

        while True:
            try:
                later, replica = self._handed.get(timeout=_IDLE_SECONDS)
            except Empty:
                with self._lock:
                    if self._handed.empty():
                        self._dispatching = False
                        return
                continue
            later.begin(replica)
            del later, replica


class _Later:
    """Stands for the engine's call until a replica is free; then it passes everything on."""

    def __init__(
        self,
        pool: PooledService,
        begin: Callable[[Service, float | None], _engine.Call],
        screen: CallScreen,
        timeout: float | None,
    ) -> None:
        import threading
        from time import monotonic

        self._pool = pool
        self._begin = begin
        self._screen = screen
        self._timeout = timeout
        self._since = monotonic()
        self._lock = allocate_lock()
        self._begun = threading.Event()
        self._call: _engine.Call | None = None
        self._error: BaseException | None = None
        self._on_done: Callable[[], None] | None = None
        self._timer: Any = None

    @property
    def pending(self) -> bool:
        return not self._begun.is_set()

    def bound(self) -> None:
        """From now on it waits no longer than its timeout."""
        if self._timeout is None:
            return
        import threading

        self._timer = threading.Timer(self._timeout, self._late)
        self._timer.daemon = True
        self._timer.start()

    def begin(self, replica: Service) -> None:
        """A replica is free: the call is sent there. From the dispatcher."""
        with self._lock:
            if self._begun.is_set():  # Cancelled, or too late.
                self._pool.release(replica)
                return
            try:
                self._call = self._begin(replica, self._left())
            except BaseException as error:
                self._error = error
                self._pool.release(replica)
            self._finish_waiting()
        if self._call is None:
            self._tell()
        else:
            self._watch(self._call, replica)

    def _watch(self, call: _engine.Call, replica: Service) -> None:
        lock, told = allocate_lock(), False

        def done() -> None:
            nonlocal told
            with lock:
                if told:
                    return
                told = True
            self._pool.release(replica)
            self._tell()

        call.observe(self._screen, done)
        if call.done():
            done()

    def _left(self) -> float | None:
        from time import monotonic

        return None if self._timeout is None else max(0.001, self._timeout - (monotonic() - self._since))

    def _finish_waiting(self) -> None:
        self._begun.set()
        if self._timer is not None:
            self._timer.cancel()

    def _fail(self, code: str, message: str) -> None:
        from roundhouse.exceptions import from_engine

        with self._lock:
            if self._begun.is_set():
                return
            self._error = from_engine(_engine.codes[code], message, {"started": "no", "still_running": "False"})
            self._finish_waiting()
        self._pool.forget(self)
        self._tell()

    def _tell(self) -> None:
        on_done = self._on_done
        if on_done is not None:
            on_done()

    def _late(self) -> None:
        self._fail("timeout", f"no replica of {self._pool.name!r} was free within {self._timeout} s")

    # What `Call` asks of the engine's.

    def done(self) -> bool:
        return self._begun.is_set() and (self._call is None or self._call.done())

    def wait(self, timeout: float | None = None) -> bool:
        from time import monotonic

        began = monotonic()
        if not self._begun.wait(timeout):
            return False
        if self._call is None:
            return True
        return self._call.wait(None if timeout is None else max(0.0, timeout - (monotonic() - began)))

    def take(self) -> _engine.Outcome:
        if self._call is None:
            assert self._error is not None
            raise self._error
        return self._call.take()

    def cancel(self, kill: bool = False) -> None:
        self._fail("cancelled", f"the call was cancelled while it waited for a free replica of {self._pool.name!r}")
        if self._call is not None:
            self._call.cancel(kill)

    def ping(self, timeout: float | None = None) -> float:
        return self._pool.cluster.ping() if self._call is None else self._call.ping(timeout)

    def observe(self, on_output: Any = None, on_done: Any = None, on_items: Any = None) -> None:
        # The output goes to the same screen anyway, and nobody streams from a pool by this way.
        self._on_done = on_done
