"""A service as its callers hold it: node, name, what it offers. Functions, classes and instances share it."""

from __future__ import annotations

import os
import sys

from roundhouse import _options, _serialize
from roundhouse._call import Call
from roundhouse._options import DEFAULT, KEYWORDS, PREFETCH
from roundhouse._screen import CallScreen
from roundhouse.exceptions import RoundhouseError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from roundhouse import _engine
    from roundhouse._cluster import Cluster
    from roundhouse._inputs import Inputs
    from roundhouse._options import Options

_GENERATORS = ("generator", "async_generator")


async def _async_generator() -> Any:
    yield


# Arguments of these types stay here, and their items travel. (Importing `types` would cost every worker.)
PUMPED: set[type] = {type(_ for _ in ()), type(_async_generator())}


class Service:
    __slots__ = ("__weakref__", "_accepted", "_link", "cluster", "description", "encoding", "kinds", "name")

    def __init__(self, cluster: Cluster, description: dict[str, Any]) -> None:
        self.cluster = cluster
        self.name: str = description["name"]
        # "python 3.11.7"; whoever may only call sends no pickles, which run code.
        python = description.get("language", "python").startswith("python") and description.get("trust") != "data"
        self.encoding = _serialize.PICKLE if python else _serialize.MSGPACK
        self._link = cluster._link
        self.describe(description)

    def describe(self, description: dict[str, Any]) -> None:
        """Takes what the node says of it."""
        self.description = description
        methods = description.get("methods", {})
        self.kinds: dict[str, str] = {name: method.get("kind", "sync") for name, method in methods.items()}
        self._accepted: dict[str, frozenset[str] | None] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return revive, (self.cluster.name, self._link.socket_path, self.description, self._link.pin)

    # Calls.

    def invoke(self, method: str, options: Options, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call as a user writes it: what comes of it depends on what is called, and on the options."""
        if kwargs and not KEYWORDS.isdisjoint(kwargs):
            options, kwargs = self.split(method, options, kwargs)
        kind = self.kinds.get(method, "sync")
        if options is DEFAULT and kind == "sync":
            return self.call(method, options, args, kwargs)
        if options.debug:
            from roundhouse import _debug

            return _debug.call(self, method, options, args, kwargs)
        if options.run_name is not None:
            return self._run(kind, method, options, args, kwargs)
        if options.remote:
            if kind == "async" and options.run_async is not False:
                return _awaited(self, method, options, args, kwargs)
            kept = self.keep(method, options, args, kwargs)
            return kept if options.run_async else result_of(kept)
        if kind in _GENERATORS:
            return self.stream(method, options, args, kwargs)
        if kind == "async" and options.run_async is not False:
            return _awaited(self, method, options, args, kwargs)
        if options.run_async:
            return self.submit(method, options, args, kwargs)
        if options.retries:
            return result_of(self._start(method, options, args, kwargs, waited=True))
        return self.call(method, options, args, kwargs)

    def call(self, method: str, options: Options, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Calls and waits, whatever kind of method it is."""
        if pumped(args, kwargs):
            return result_of(self._start(method, options, args, kwargs, waited=True))
        parts = self.parts_of(method, args, kwargs)
        if options is DEFAULT:
            return self._link.call(self.name, method, self.encoding, parts)
        silent = not options.stream_logs
        return self._link.call(self.name, method, self.encoding, parts, options.timeout, options.kill, silent)

    def submit(self, method: str, options: Options, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Starts a call: a Call, or the Stream of a generator."""
        if kwargs and not KEYWORDS.isdisjoint(kwargs):
            options, kwargs = self.split(method, options, kwargs)
        if options is not DEFAULT:
            if options.debug:
                raise Unsupported("debug=True is for a call that somebody waits for. Try: call it, without submit")
            if options.run_name is not None:
                from roundhouse import _runs

                return _runs.submit(self, method, options, args, kwargs)
            if options.remote:
                return self.keep(method, options, args, kwargs)
        if self.kinds.get(method) in _GENERATORS:
            return self.stream(method, options, args, kwargs)
        if options is DEFAULT and not pumped(args, kwargs):
            screen = CallScreen()
            parts = self.parts_of(method, args, kwargs)
            return Call(self, method, self._link.start(self.name, method, self.encoding, parts, screen), screen)
        return self._start(method, options, args, kwargs)

    def _run(self, kind: str, method: str, options: Options, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if kind == "async" and options.run_async is not False:
            return _awaited(self, method, options, args, kwargs)
        from roundhouse import _runs

        run = _runs.submit if options.run_async else _runs.call
        return run(self, method, options, args, kwargs)

    def stream(self, method: str, options: Options, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Starts a generator: the Stream of what it yields."""
        from roundhouse import _inputs, _stream

        if options.retries:
            raise Unsupported(
                f"{self.name!r} is a generator, and retries= cannot take back what one has yielded already. "
                "Try: without it, and begin anew where that is right"
            )
        prefetch = options.prefetch
        if prefetch is None:
            sends = self.description.get("methods", {}).get(method, {}).get("sends", False)
            prefetch = 0 if sends else PREFETCH
        args, kwargs, inputs = _inputs.taken_apart(args, kwargs, waited=False)
        screen = CallScreen(not options.stream_logs)
        parts = self.parts_of(method, args, kwargs)
        started = self._link.start(
            self.name, method, self.encoding, parts, screen, options.timeout, options.kill, prefetch, False
        )
        if inputs is not None:
            inputs.pump(started)
        return _stream.Stream(self, method, started, screen, prefetch)

    def _start(
        self,
        method: str,
        options: Options,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        waited: bool = False,
    ) -> Call[Any]:
        inputs: Inputs | None = None
        if pumped(args, kwargs):
            from roundhouse import _inputs

            if options.retries:
                raise Unsupported(
                    f"{self.name}.{method} cannot be tried again with a generator among its arguments, which the "
                    "first try uses up. Try: pass a list of its items"
                )
            args, kwargs, inputs = _inputs.taken_apart(args, kwargs, waited)
        screen = CallScreen(not options.stream_logs)
        parts = self.parts_of(method, args, kwargs)
        return self._tried(
            method, options, screen, lambda timeout: self._send(method, options, parts, screen, timeout, inputs)
        )

    def _send(
        self,
        method: str,
        options: Options,
        parts: list[Any],
        screen: CallScreen,
        timeout: float | None,
        inputs: Inputs | None,
    ) -> Call[Any]:
        return Call(self, method, self._begin(method, options, parts, screen, timeout, inputs), screen)

    def _begin(
        self,
        method: str,
        options: Options,
        parts: list[Any],
        screen: CallScreen,
        timeout: float | None,
        inputs: Inputs | None,
    ) -> _engine.Call:
        started = self._link.start(self.name, method, self.encoding, parts, screen, timeout, options.kill)
        if inputs is not None:
            inputs.pump(started)
        return started

    def _tried(
        self,
        method: str,
        options: Options,
        screen: CallScreen,
        send: Callable[[float | None], Call[Any]],
        convert: Callable[[Any], Any] | None = None,
    ) -> Call[Any]:
        """The call that `send` makes, within so many seconds; with retries one that stands for as many as it takes."""
        if not options.retries:
            call = send(options.timeout)
            call._convert = convert
            return call
        from roundhouse import _retries

        return Call(self, method, _retries.Trying(self, send, options), screen, convert)

    def keep(
        self,
        method: str | None,
        options: Options,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        exist_ok: bool = False,
    ) -> Call[Any]:
        """A call whose value stays there, as an object or (without `method`) a new instance: the Call of its stub.

        With `exist_ok` that of what has the name already, where there is one.
        """
        called = method or "__init__"
        if options.run_name is not None:
            raise Unsupported(f"{self.name}.{called} makes something that lives in its worker, which no run can keep")
        if pumped(args, kwargs):
            raise Unsupported(
                f"{self.name}.{called} cannot take a generator where its value stays on the cluster. "
                "Try: pass a list of its items"
            )
        from roundhouse import _json, _stubs

        request = {
            "class": self.name,
            "method": method,
            "name": options.name,
            "replace": bool(options.replace),
            "exist_ok": exist_ok,
            "encoding": self.encoding,
            "process": _process(self.cluster, options.process),
        }
        screen = CallScreen(not options.stream_logs)
        parts = [_json.encode(request), *self.parts_of(called, args, kwargs)]

        def send(timeout: float | None) -> Call[Any]:
            started = self._link.start("_node", "create", _serialize.JSON, parts, screen, timeout, options.kill)
            return Call(self, called, started, screen)

        return self._tried(called, options, screen, send, lambda description: _stubs.stub_of(self.cluster, description))

    # Arguments.

    def parts_of(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        try:
            return _serialize.encode_call(self.encoding, args, kwargs)
        except RoundhouseError:
            if self.encoding != _serialize.PICKLE:
                raise
            error = sys.exc_info()[1]
        except Exception as caught:
            error = caught
        from roundhouse import _blame

        assert error is not None
        raise _blame.call_not_serializable(args, kwargs, self.parameter_names(method), error) from None

    def split(self, method: str, options: Options, kwargs: dict[str, Any]) -> tuple[Options, dict[str, Any]]:
        """Runhouse's keywords out of the arguments, where the method's signature leaves them free."""
        accepted = self.accepts(method)
        if accepted is None:
            return options, kwargs
        ours = {name: kwargs[name] for name in KEYWORDS if name in kwargs and name not in accepted}
        if not ours:
            return options, kwargs
        theirs = {name: value for name, value in kwargs.items() if name not in ours}
        return options.merged(ours), theirs

    def accepts(self, method: str) -> frozenset[str] | None:
        """The names of the method's parameters; None where it takes any keyword, or nobody knows."""
        try:
            return self._accepted[method]
        except KeyError:
            pass
        signature = self.signature(method)
        accepted = self._accepted[method] = None if signature is None else _options.keywords_of(signature)
        return accepted

    def parameter_names(self, method: str) -> Sequence[str]:
        signature = self.signature(method)
        return [] if signature is None else list(signature.parameters)

    def signature(self, method: str) -> Any:
        """The method's `inspect.Signature`, from the node's description; None where that has none."""
        from roundhouse import _signature

        text = self.description.get("methods", {}).get(method, {}).get("signature")
        return _signature.parse(text) if text else None


def pumped(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """True when an argument is a generator."""
    for value in args:
        if type(value) in PUMPED:
            return True
    if kwargs:
        for value in kwargs.values():
            if type(value) in PUMPED:
                return True
    return False


def revive(cluster_name: str, socket_path: str, description: dict[str, Any], pin: str = "") -> Service:
    """A service that came as an argument, or in code that was sent: called through its node's socket."""
    from roundhouse._cluster import Cluster

    if "://" in socket_path:
        from roundhouse import _reached

        home = _reached.home_of(description["name"], description.get("worker", ""))
        return Service(home or _reached.revive(cluster_name, socket_path, pin), description)
    cluster = Cluster(cluster_name)
    # $ROUNDHOUSE_STATE may be another one here.
    cluster._socket_path = socket_path
    return Service(cluster, description)


def resolve(service: Service) -> Any:
    """The object itself, where the service lives in this process; a copy of it elsewhere."""
    from roundhouse import _context

    if service._link.socket_path == os.environ.get("ROUNDHOUSE_SOCKET"):
        try:
            return _context.local_object(service.name)
        except LookupError:
            pass
    return service.call("@fetch", DEFAULT, (), {})


async def _awaited(
    service: Service, method: str, options: Options, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    if options.run_store is not None:
        import asyncio

        # Before it is begun the store is read and written, however far away that is.
        return await (await asyncio.to_thread(service.submit, method, options, args, kwargs))
    return await service.submit(method, options, args, kwargs)


def result_of(call: Call[Any]) -> Any:
    """Waits as a plain call does: Ctrl-C cancels it."""
    try:
        return call.result()
    except BaseException as error:
        if not isinstance(error, Exception):
            call.cancel()
        raise


def _process(cluster: Cluster, process: Any) -> str | None:
    if process is None:
        return None
    from roundhouse import _deploy

    return _deploy.process_on(cluster, process, None)
