"""Runs: calls with a name, journalled by the node before it acknowledges them, which outlive whoever started them."""

from __future__ import annotations

import sys

from roundhouse import _canonical, _engine, _json, _link, _serialize
from roundhouse._call import Call
from roundhouse._screen import CallScreen
from roundhouse.exceptions import Unsupported, from_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from roundhouse import _retries
    from roundhouse._cluster import Cluster
    from roundhouse._options import Options
    from roundhouse._service import Service

    _Call = Call[Any]
else:
    _Call = Call

OVER = ("succeeded", "failed", "lost", "cancelled")


class Logs(str):
    """What a run has printed: text, with ``next``, the offset (in bytes) at which what it prints later begins."""

    __slots__ = ("next",)
    next: int


class Run:
    """A run of a cluster's, found by its name: ``box.get_run("nightly")``. It is asked about anew at every use.

    >>> import roundhouse as rh
    >>> box = rh.compute("example").up_if_not()
    >>> def square(x):
    ...     print("squaring")
    ...     return x * x
    >>> rh.function(square).to(box).options(run_name="example-run", replace=True, stream_logs=False)(7)
    49
    >>> run = box.get_run("example-run")
    >>> run.status, run.result(), run.logs()
    ('succeeded', 49, 'squaring\\n')
    >>> run.attempts[-1]["state"]
    'succeeded'
    """

    __slots__ = ("cluster", "name")

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name

    def describe(self) -> dict[str, Any]:
        """All that the node knows of it: ``service``, ``method``, ``state``, ``attempts``, how long it is kept."""
        return self.cluster._ask("run_get", {"name": self.name})  # type: ignore[no-any-return]

    @property
    def status(self) -> str:
        """Of its last attempt: "queued", "running", "succeeded", "failed", "lost" or "cancelled"."""
        return str(self.describe()["state"])

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """Its attempts in their order, each with ``number``, ``state``, ``queued_s``, ``started_s``, ``ended_s``
        (seconds since 1970, or None), ``arguments`` and ``code``, and ``error`` or ``raised`` where it has failed."""
        return list(self.describe()["attempts"])

    def done(self) -> bool:
        """True once its last attempt has ended, however."""
        return self.status in OVER

    def result(self, timeout: float | None = None, attempt: int | None = None) -> Any:
        """The value, or what the call raised; CallTimeout after ``timeout`` seconds (the run goes on).

        NodeLost for an attempt that was lost with its daemon. It is that of the last attempt, unless ``attempt``.
        """
        request = {"name": self.name, "attempt": attempt or 0, "wait": timeout is None or timeout > 0}
        parts = [_json.encode(request)]
        return self.cluster._link.call("_node", "run_result", _serialize.JSON, parts, timeout or None, False, True)

    def logs(self, offset: int = 0, attempt: int | None = None) -> Logs:
        """What it has printed so far, from that offset (in bytes) on: text, stdout and stderr as they came.

        ``logs().next`` is the offset at which to go on. The last 8 MiB at least are kept.
        """
        collected = _Collected()
        answer = _ask_printing(self.cluster, {"name": self.name, "attempt": attempt or 0, "offset": offset}, collected)
        logs = Logs(collected.text())
        logs.next = answer["next"]
        return logs

    def stream(self, offset: int = 0, attempt: int | None = None) -> Iterator[str]:
        """What it prints, from that offset on, piece by piece until it has ended."""
        from queue import SimpleQueue

        pieces: SimpleQueue[str | None] = SimpleQueue()
        screen = _Passed(pieces)
        request = {"name": self.name, "attempt": attempt or 0, "offset": offset, "follow": True}
        started = self.cluster._link.start("_node", "run_logs", _serialize.JSON, [_json.encode(request)], screen)
        started.observe(screen, lambda: pieces.put(None))
        if started.done():
            pieces.put(None)
        try:
            while (piece := pieces.get()) is not None:
                yield piece
        finally:
            if not started.done():
                started.cancel(False)
        _taken(started)

    def cancel(self, kill: bool = False) -> bool:
        """Asks its attempt to stop, as ``Call.cancel`` does. False when none is running."""
        return bool(self.cluster._ask("run_cancel", {"name": self.name, "kill": kill})["cancelled"])

    def replay(self, attempt: int | None = None, pdb: bool = False) -> Any:
        """Calls here, in this process, what that attempt (the last, unless ``attempt``) called, as the node stored it.

        That is its code with its arguments: returns what they return and raises what they raise, under your debugger
        if you like; with ``pdb=True`` it stops in pdb first, at the line of that code that failed. From a shell it is
        ``roundhouse replay RUN --pdb``. The run itself is not touched. Unsupported where the code belongs to a live
        object or is not Python's; NotAllowed where this program's token may not read code.

        >>> import roundhouse as rh
        >>> box = rh.compute("example").up_if_not()
        >>> def divide(x):
        ...     return 1 / x
        >>> rh.function(divide).to(box).options(run_name="divided", replace=True)(4)
        0.25
        >>> box.get_run("divided").replay()
        0.25
        """
        from roundhouse import _replay, _run_nodes

        return _replay.replay(_run_nodes.NodeRuns(self.cluster), self.name, attempt or 0, self.cluster.get, pdb)

    def forget(self) -> None:
        """Removes it with all its attempts; NameTaken while one is running."""
        self.cluster._ask("run_forget", {"name": self.name})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and (self.cluster, self.name) == (other.cluster, other.name)

    def __hash__(self) -> int:
        return hash((self.cluster, self.name))

    def __repr__(self) -> str:
        return f"<Run {self.name!r} on {self.cluster.name!r}>"

    def _repr_html_(self) -> str:
        from roundhouse import _display

        return _display.card("Run", self.name, {"cluster": self.cluster.name, "status": self.status})


class _Collected(CallScreen):
    """Keeps what it is told, all of it."""

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        super().__init__(silent=True)
        self._pieces: list[str] = []

    def __call__(self, channel: int, text: bytes) -> None:
        self._pieces.append(self.decoded(channel, text))

    def text(self) -> str:
        return "".join(self._pieces)


class _Passed(CallScreen):
    """Passes on what it is told, as it comes."""

    __slots__ = ("_pieces",)

    def __init__(self, pieces: Any) -> None:
        super().__init__(silent=True)
        self._pieces = pieces

    def __call__(self, channel: int, text: bytes) -> None:
        piece = self.decoded(channel, text)
        if piece:
            self._pieces.put(piece)


def _taken(started: _engine.Call) -> Any:
    try:
        started.wait(None)
        return _link.value_of(started.take())
    except _engine.EngineError as error:
        raise from_engine(error.code, error.message, error.facts) from None


def _ask_printing(cluster: Cluster, request: dict[str, Any], screen: CallScreen) -> Any:
    return _taken(cluster._link.start("_node", "run_logs", _serialize.JSON, [_json.encode(request)], screen))


class RunCall(_Call):
    """The Call of a run: it looks on. ``cancel()`` cancels the run itself; the end of this process does not."""

    __slots__ = ("run",)

    def __init__(
        self, service: Service, method: str, started: _engine.Call | _retries.Trying, screen: CallScreen, run: Run
    ) -> None:
        super().__init__(service, method, started, screen)
        self.run = run

    def cancel(self, kill: bool = False) -> bool:
        """Asks the run to stop, for everybody who looks on. False when it is done already."""
        if isinstance(self._engine_call, _engine.Call):
            return not self.done() and self.run.cancel(kill)
        return super().cancel(kill)

    def _known_as(self) -> str:
        return self.run.name

    def _abandon(self) -> None:
        if isinstance(self._engine_call, _engine.Call):
            self._engine_call.cancel(False)
        else:
            self._engine_call.leave()

    def __repr__(self) -> str:
        return f"<Call of run {self.run.name!r}, {self.service}.{self.method} {self.status}>"


def submit(service: Service, method: str, options: Options, args: tuple[Any, ...], kwargs: dict[str, Any]) -> RunCall:
    """Starts the run of that name, or finds it, and returns once the node has acknowledged it."""
    from roundhouse._service import pumped

    name = options.run_name
    assert name is not None
    if pumped(args, kwargs):
        raise Unsupported(
            f"the run {name!r} of {service.name}.{method} cannot take a generator, which ends with this process. "
            "Try: pass a list of its items"
        )
    request = {
        "name": name,
        "service": service.name,
        "method": method,
        "encoding": service.encoding,
        "replace": bool(options.replace),
        "accept_old_code": bool(options.accept_old_code),
        "digest": _canonical.digest_of(args, kwargs, service.signature(method)),
        "shown": _canonical.shown(args, kwargs),
        "kill": options.kill,
        "timeout_ms": None if options.timeout is None else max(1, round(options.timeout * 1000)),
        "keep_s": _seconds(options.keep_for),
        "keep_bytes": options.keep_bytes,
    }
    if options.webhook is not None:
        from roundhouse import _webhooks

        _webhooks.ensure(service.cluster)
        request["webhook"] = options.webhook
    link = service._link
    if options.run_store is not None:
        request["store"] = options.run_store
    run = Run(service.cluster, name)
    parts = service.parts_of(method, args, kwargs)
    screen = CallScreen(not options.stream_logs)

    def look_on(begun: dict[str, Any]) -> RunCall:
        # Of one that has succeeded the result is wanted, not what it printed then.
        look = {"name": name, "attempt": begun["attempt"], "output": begun["how"] != "stored"}
        started = link.start("_node", "run_result", _serialize.JSON, [_json.encode(look)], screen)
        return RunCall(service, method, started, screen, run)

    def begin() -> Any:
        if options.run_store is None:
            return link.ask_node("run_start", request, parts)
        from roundhouse import _run_keeping

        return _run_keeping.start(service.cluster, request, parts)

    begun = begin()
    if not options.retries:
        return look_on(begun)
    from roundhouse import _retries

    # Each try is another attempt, which another caller may have begun meanwhile.
    first = [begun]
    request["replace"] = False

    def send(left: float | None) -> RunCall:
        if first:
            return look_on(first.pop())
        request["timeout_ms"] = None if left is None else max(1, round(left * 1000))
        return look_on(begin())

    return RunCall(service, method, _retries.Trying(service, send, options), screen, run)


def call(service: Service, method: str, options: Options, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The same, and waits for its end. Ctrl-C detaches."""
    attached = submit(service, method, options, args, kwargs)
    try:
        return attached.result()
    except KeyboardInterrupt:
        attached._abandon()
        name, box = attached.run.name, service.cluster.name
        print(
            f"\ndetached from the run {name!r}, which goes on. "
            f"Its result: rh.compute({box!r}).get_run({name!r}).result(). To cancel it: .cancel() instead of .result()",
            file=sys.stderr,
        )
        raise


def _seconds(keep_for: Any) -> int | None:
    if keep_for is None:
        return None
    seconds: float = keep_for.total_seconds() if hasattr(keep_for, "total_seconds") else keep_for
    return max(0, round(seconds))
