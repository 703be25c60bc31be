"""The worker: services by name, and calls run one after the other in as many threads as there are calls at once.

Coroutines run on one event loop (`loop`), generators stream (`streams`); both are imported by the first call that
needs them, because what is imported here is waited for by whoever deploys."""

from __future__ import annotations

import os
import sys
import threading

from roundhouse import _context, _engine, _secret_variables, _serialize
from roundhouse._context import current_call
from roundhouse._worker import answers, describe, hooks, output, services
from roundhouse._worker.answers import Refused
from roundhouse._worker.services import Service
from roundhouse.exceptions import CallCancelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from roundhouse._worker.answers import Answer
    from roundhouse._worker.loop import Loop


_NOT_AWAITED = frozenset((type(None), bool, int, float, str, bytes, list, tuple, dict))


class Runner:
    """What src/binding/host.h asks of a runner."""

    cancelled_type = CallCancelled

    def __init__(self) -> None:
        self.host: _engine.Host | None = None
        self.cancelling: set[int] = set()
        self._services: dict[str, Service] = {}
        self._renamed: dict[str, str] = {}
        self._loop: Loop | None = None
        self._lock = threading.Lock()
        # Streams that run in their call's thread; None for one that is being closed, which no cancel may interrupt.
        self._streams: dict[int, Any] = {}
        # What ends a call that waits where no exception can be raised.
        self._endings: dict[int, Callable[[], None]] = {}
        os.register_at_fork(after_in_child=self._after_fork)
        self._forked = False
        # Modules that were here before anything was asked of this worker; how many there are now.
        self.known = frozenset(sys.modules)
        self._modules = len(self.known)
        self._imports_file = os.environ.get("ROUNDHOUSE_IMPORTS")

    # What the engine calls.

    def run(
        self,
        id: int,
        service: str,
        method: str,
        encoding: int,
        parts: list[Any],
        prefetch: int = 0,
        parents: Sequence[str] = (),
    ) -> Answer | None:
        assert self.host is not None
        call = output.CallOutput(self.host, id, parents)
        current_call.set(call)
        answer: Answer | None = None
        try:
            if service == "_worker":
                encoding = _serialize.PICKLE  # Of an exception; the rest is JSON.
                answer = self._own(call, method, parts)
            else:
                answer = self._call(call, service, method, encoding, parts, prefetch)
        except BaseException as error:
            if self._loop is not None:
                self._loop.take_back(id)
            answer = self.failure(id, encoding, error)
        finally:
            if self._forked:
                # User code forked, and the child came back out of it: the call and its answer are the parent's.
                self.leave_child()
            if answer is not None:
                self.end(call)
            if self._imports_file is not None and len(sys.modules) != self._modules:
                self._tell_imports(self._imports_file)
        return answer

    def cancel(self, id: int) -> bool:
        """True where the call hears of it by itself; otherwise an exception is raised in its thread."""
        self.cancelling.add(id)
        if self._streams.get(id, id) is None:
            return True
        end = self._endings.get(id)
        if end is not None:
            end()
            return True
        return self._loop is not None and self._loop.cancel(id)

    def forget(self, id: int) -> None:
        """That call was cancelled, and has ended before `run` could see to it."""
        self.cancelling.discard(id)

    def room(self, id: int) -> None:
        if self._loop is not None:
            self._loop.room(id)

    def stacks(self, running: list[tuple[int, int]]) -> str:
        """What each thread and task does just now, for the daemon; `running`: threads, and the calls that they run."""
        from roundhouse._worker import stacks

        return stacks.told({thread: call for thread, call in running if thread}, self._loop)

    def start_thread(self) -> None:
        assert self.host is not None
        current_call.set(None)
        threading.Thread(target=self.host.serve_more, name="roundhouse-calls", daemon=True).start()

    def services(self) -> list[str]:
        return list(self._services)

    def object_of(self, name: str) -> Any:
        """What lives here by that name, for an argument that is to be the object itself."""
        return self._services[name].target

    def find(self, key: str) -> Any:
        """What a caller over HTTP means by `{"$ref": key}`: itself where it lives here, else a copy."""
        service = self._services.get(key) or self._services.get(self._renamed.get(key, ""))
        return services.fetched(key) if service is None else service.target

    # A user's call.

    def _call(
        self, call: output.CallOutput, name: str, method: str, encoding: int, parts: list[Any], prefetch: int
    ) -> Answer | None:
        service = self._services.get(name) or self._services.get(self._renamed.get(name, ""))
        if service is None:
            raise Refused("not_found", f"this worker has no service {name!r}; it has {services.listed(self._services)}")
        if method[:1] == "@":
            return self._call_every(call, service, method, encoding, parts)
        function, kind = service.find(method)
        called = service.called(method)
        accept = ""
        if encoding == _serialize.JSON:
            args, kwargs, accept = services.arguments_from_json(service, method, function, parts, called, self.find)
        else:
            args, kwargs = services.arguments(encoding, parts, called)
        value = services.call(function, args, kwargs, called)
        if kind == "generator":
            from roundhouse._worker import streams

            return streams.run(call, value, encoding, prefetch, called, self._streams)
        if kind == "async_generator":
            from roundhouse._worker import streams

            stream = streams.run_async(call, value, encoding, prefetch, called, self._open_loop())
            return self._await(call, encoding, stream, _as_it_is)
        if kind == "async" or _is_awaitable(value):
            return self._await(
                call,
                encoding,
                value,
                lambda result: answers.of_value(encoding, result, f"the result of {name}.{method}", accept),
            )
        return answers.of_value(encoding, value, f"the result of {name}.{method}", accept)

    def _call_every(
        self, call: output.CallOutput, service: Service, method: str, encoding: int, parts: list[Any]
    ) -> Answer | None:
        from roundhouse._worker import every

        called = f"{service.name}.{method}"
        args, accept = self._arguments_of_every(service, method, encoding, parts, called)
        value = every.call(service, method, args, self.cancelling, call.id)
        if method in ("@map", "@debug") and _is_awaitable(value):
            return self._await(call, encoding, value, lambda result: every.answer(encoding, result, called, accept))
        return every.answer(encoding, value, f"{service.name}.{args[0]}" if method == "@get" else called, accept)

    def _arguments_of_every(
        self, service: Service, method: str, encoding: int, parts: list[Any], called: str
    ) -> tuple[Sequence[Any], str]:
        if encoding != _serialize.JSON:
            return services.arguments(encoding, parts, called)[0], ""
        args, _, accept = services.arguments_from_json(service, method, _untyped, parts, called, self.find)
        return args, accept

    def _open_loop(self) -> Loop:
        if self._loop is None:
            from roundhouse._worker.loop import Loop

            with self._lock:
                if self._loop is None:
                    self._loop = Loop(self)
        return self._loop

    def _await(
        self, call: output.CallOutput, encoding: int, awaitable: Any, then: Callable[[Any], Answer]
    ) -> Answer | None:
        self._open_loop().start(call, encoding, awaitable, then)
        return None

    # The daemon's own calls (protocol/node.md).

    def _own(self, call: output.CallOutput, method: str, parts: list[Any]) -> Answer | None:
        request = _serialize.decode(_serialize.JSON, parts[:1])
        if method == "load":
            return answers.of_json(self._load(request, parts[1:]))
        if method == "create":
            return self._create(call, request, parts[1:])
        if method == "rename":
            self._rename(request["name"], request["to"])
        elif method == "schema":
            return answers.of_json(self._schemas(request["name"]))
        elif method == "delete":
            self._remove(request["name"])
        elif method == "set_env":
            _set_environment(request["vars"])
        elif method == "run":
            from roundhouse._worker import shell

            commands, stream = request["commands"], bool(request.get("stream", True))
            return answers.of_json(
                shell.run(request["kind"], commands, stream, lambda end: self._end_with(call.id, end))
            )
        else:
            raise Refused("not_found", f"a worker has no method {method!r} (protocol/node.md)")
        return answers.of_json({})

    def _load(self, request: dict[str, Any], parts: list[Any]) -> dict[str, Any]:
        source = request.get("source") or {}
        paths = source.get("sys_path")
        snapshot = source.get("snapshot")
        if snapshot is not None:
            hooks.imported("roundhouse._worker.snapshots").enter(snapshot, paths or sys.path)
        elif paths:
            # The deployer's, so that what it can import can be imported here.
            sys.path[:] = paths
        if source.get("logging") is not None:
            from roundhouse._worker import logs

            logs.configure(source["logging"])
        name, kind = request["name"], request["kind"]
        kind, target = self._target(source, kind, request.get("encoding", _serialize.PICKLE), parts)
        if kind == "class":
            described = describe.of_class(target)
        elif kind == "function":
            described = describe.of_function(target)
        else:
            described = self._described(target, kind)
        if "file" in source:
            described["kind"] = kind
        elif snapshot is not None:
            _tell_digest(described, target if kind != "object" else type(target))
        _import_for(described)
        service = self._services[name] = Service(name, kind, target, described)
        service.concurrency = request.get("max_concurrency") or 0
        service.queue = request.get("max_queue") or 0
        self._limit(service)
        return described

    def _target(self, source: dict[str, Any], kind: str | None, encoding: int, parts: list[Any]) -> tuple[str, Any]:
        if "file" in source:
            text = bytes(parts[0]) if parts else b""
            if "snapshot" in source:
                source = {**source, "file": sys.modules["roundhouse._worker.snapshots"].of_here(source["file"])}
            return hooks.imported("roundhouse._worker.source").load(source, text, kind)  # type: ignore[no-any-return]
        if kind is None:
            raise Refused("bad_arguments", 'the field "kind" may be null where a file\'s text is loaded only')
        if encoding == _serialize.JSON:
            json_calls = hooks.imported("roundhouse._worker.json_calls")
            return kind, json_calls.value(parts, "the value", self.find)
        return kind, _serialize.decode(encoding, parts)

    def _create(self, call: output.CallOutput, request: dict[str, Any], parts: list[Any]) -> Answer | None:
        of, method, name = request["class"], request.get("method"), request["name"]
        service = self._services.get(of)
        if service is None or (method is None and service.kind != "class"):
            classes = [known.name for known in self._services.values() if known.kind == "class"]
            raise Refused("not_found", f"this worker has no class {of!r}; it has {services.listed(classes)}")
        called = of if method is None else service.called(method)
        encoding = request.get("encoding", _serialize.PICKLE)
        if encoding == _serialize.JSON:
            function = service.target if method is None else _untyped if method[:1] == "@" else service.find(method)[0]
            named = method or "__init__"
            args, kwargs, _ = services.arguments_from_json(service, named, function, parts, called, self.find)
        else:
            args, kwargs = services.arguments(encoding, parts, called)
        if method is not None and method[:1] == "@":
            # What an attribute holds, say, kept under a name of its own.
            from roundhouse._worker import every

            value = every.call(service, method, args, self.cancelling, call.id)
        else:
            function = service.target if method is None else service.find(method)[0]
            if method is None and len(args) == 1 and type(args[0]).__module__ == "roundhouse._state":
                # Not a new one, but what an instance of another version of the class was.
                function, args = args[0].made, (service.target,)
            value = services.call(function, args, kwargs, called)

        def keep(made: Any) -> Answer:
            kind = "instance" if method is None else "object"
            described = self._described(made, kind)
            _import_for(described)
            self._services[name] = Service(name, kind, made, described)
            return answers.of_json(described)

        if method is not None and _is_awaitable(value):
            return self._await(call, _serialize.PICKLE, value, keep)
        return keep(value)

    def _schemas(self, name: str) -> dict[str, Any]:
        """Of each of its methods, where it says anything."""
        service = self._services.get(name)
        if service is None:
            raise Refused("not_found", f"this worker has no service {name!r}; it has {services.listed(self._services)}")
        schema = hooks.imported("roundhouse._worker.schema")
        return {"methods": schema.of_service(service)}

    def _described(self, value: Any, kind: str) -> dict[str, Any]:
        described = describe.of_object(value)
        if kind == "object":
            described["methods"] |= describe.of_iteration(value)
        for service in list(self._services.values()):
            if service.kind == "class" and service.target is type(value):
                described["class"] = service.name
        return described

    def _limit(self, service: Service) -> None:
        assert self.host is not None
        self.host.limit(service.name, service.concurrency, service.queue)

    def _rename(self, name: str, to: str) -> None:
        service = self._services.pop(name, None)
        if service is None:
            raise Refused("not_found", f"this worker has no service {name!r}; it has {services.listed(self._services)}")
        assert self.host is not None
        self.host.limit(name, 0, 0)
        service.name = to
        self._services[to] = service
        # For calls that were on their way here.
        self._renamed[name] = to
        self._limit(service)

    def _remove(self, name: str) -> None:
        assert self.host is not None
        if self._services.pop(name, None) is not None:
            self.host.limit(name, 0, 0)

    def _end_with(self, id: int, end: Callable[[], None] | None) -> bool:
        """While it waits, the call is cancelled by that; False when it has been already."""
        if end is None:
            self._endings.pop(id, None)
        else:
            self._endings[id] = end
        return id not in self.cancelling

    # Ends.

    def failure(self, id: int, encoding: int, error: BaseException) -> Answer:
        if id in self.cancelling and answers.is_cancel(error):
            return answers.cancelled()
        return answers.of_failure(encoding, error)

    def end(self, call: output.CallOutput) -> None:
        call.close()
        if self.cancelling:
            self.cancelling.discard(call.id)

    def _tell_imports(self, file: str) -> None:
        """So that the next worker like this one need not import it (`fork_server`)."""
        self._modules = len(sys.modules)
        try:
            names = hooks.imported("roundhouse._worker.preload").imported(self.known)
            with open(file + ".new", "w") as new:
                new.write("".join(f"{name}\n" for name in names))
            os.replace(file + ".new", file)
        except OSError:
            pass  # The next one will take longer.

    def _after_fork(self) -> None:
        self._forked = True

    def leave_child(self) -> None:
        """Ends the process, as the end of its program would."""
        error = sys.exc_info()[1]
        code = 0
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
        elif error is not None:
            code = 1
            sys.excepthook(type(error), error, error.__traceback__)
        _flush()
        os._exit(code & 0xFF)


def _is_awaitable(value: Any) -> bool:
    # To look for what is not there costs an exception, so not with what most calls return.
    kind = type(value)
    return kind not in _NOT_AWAITED and hasattr(kind, "__await__")


def _untyped(*args: Any) -> Any:
    """Whose arguments are taken as they come."""


def _as_it_is(answer: Answer) -> Answer:
    return answer


def _set_environment(variables: dict[str, str | None]) -> None:
    _secret_variables.resolve(variables)
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            if stream is not None:
                stream.flush()
        except Exception:
            continue


def _tell_digest(described: dict[str, Any], target: Any) -> None:
    """Of code that was imported here: its deployer may have imported it before the last edit."""
    if sys.modules["roundhouse._worker.snapshots"].is_from_one(target):
        described["code_digest"] = hooks.imported("roundhouse._code_digest").digest_of(target)


def _import_for(described: dict[str, Any]) -> None:
    """Imports what calls of these methods need, here where no cancel of theirs can strike in the middle of it."""
    if any(method["kind"].endswith("generator") for method in described["methods"].values()):
        from roundhouse._worker import streams  # noqa: F401


def main() -> None:
    """Serves until the daemon ends this worker."""
    if sys.argv[1:2] == ["--fork-server"]:
        known = frozenset(sys.modules)
        from roundhouse._worker import fork_server

        fork_server.serve(known)
    socket_path, worker_id = os.environ["ROUNDHOUSE_SOCKET"], os.environ["ROUNDHOUSE_WORKER"]
    try:
        import faulthandler

        # A crash in native code then tells where in Python it was, at the end of stderr.
        faulthandler.enable(2, all_threads=False)
    except (ImportError, RuntimeError, ValueError, OSError):
        pass
    expected = sys.argv[1:]
    sys.argv = [""]
    _context.worker_id = worker_id
    _secret_variables.resolve(dict(os.environ))
    runner = Runner()
    _context.local_object = runner.object_of
    output.install()
    if "PYTHONBREAKPOINT" not in os.environ:
        sys.breakpointhook = _stop
    code = 0
    try:
        runner.host = _engine.Host(socket_path, worker_id, f"python {sys.version.split()[0]}", runner)
        for module in expected:
            # The first call will need it, and is not here yet. What cannot be found now may be on the deployer's path,
            # which comes with that call.
            try:
                __import__(module)
            except ImportError:
                break
        runner.host.serve()
    except _engine.EngineError as error:
        print(f"roundhouse worker {worker_id}: {error.message}", file=sys.stderr)
        code = 1
    finally:
        _leave(code)


def _stop(*_: Any, **__: Any) -> None:
    from roundhouse._worker import debugger

    debugger.stop(sys._getframe(1))


def _leave(code: int) -> None:
    """Ends the process as Python would, but never waits for user code that is still running."""
    import atexit

    try:
        atexit._run_exitfuncs()
    except BaseException:
        code = 1
    _flush()
    os._exit(code)
