"""The worker: services by name, and calls run one after the other in as many threads as there are calls at once."""

from __future__ import annotations

import os
import sys
import threading

from roundhouse import _engine, _raised, _serialize
from roundhouse._worker import describe, output
from roundhouse.exceptions import CallCancelled, NotFound, RoundhouseError, WrongArguments, code_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeAlias

    Failure: TypeAlias = tuple[int, str, dict[str, str]]
    Answer: TypeAlias = tuple[int, int, list[Any], _engine.Raised | None, Failure | None]

RETURNED = 0
RAISED = 1
FAILED = 2


class Service:
    """A function, a class or an instance, with the methods that can be called."""

    __slots__ = ("kind", "methods", "name", "target")

    def __init__(self, name: str, kind: str, target: Any, methods: dict[str, Any]) -> None:
        self.name = name
        self.kind = kind
        self.target = target
        self.methods: dict[str, str] = {method: described["kind"] for method, described in methods.items()}

    def callable(self, method: str) -> Callable[..., Any]:
        if self.kind == "function":
            return self.target  # type: ignore[no-any-return]
        return getattr(self.target, method)  # type: ignore[no-any-return]


class Runner:
    """What src/binding/host.h asks of a runner."""

    cancelled_type = CallCancelled

    def __init__(self) -> None:
        self.host: _engine.Host | None = None
        self._services: dict[str, Service] = {}
        self._cancelling: set[int] = set()
        # Calls on an event loop of their own, with what cancels their task.
        self._tasks: dict[int, Callable[[], None]] = {}
        self._forked = False
        os.register_at_fork(after_in_child=self._after_fork)

    # What the engine calls.

    def run(
        self,
        id: int,
        service: str,
        method: str,
        encoding: int,
        parts: list[Any],
        session: bytes,
        deadline_ms: int,
        prefetch: int = 0,
        parents: Sequence[str] = (),
    ) -> Answer:
        assert self.host is not None
        printed = output.CallOutput(self.host, id)
        output.current.set(printed)
        try:
            if service == "_worker":
                return self._own(method, parts)
            return self._call(id, service, method, encoding, parts)
        except BaseException as error:
            return self._failure(id, encoding if service != "_worker" else _serialize.PICKLE, error)
        finally:
            if self._forked:
                # User code forked, and the child came back out of it: the call and its answer are the parent's.
                self._leave_child()
            printed.close()
            if self._cancelling:
                self._cancelling.discard(id)

    def cancel(self, id: int) -> bool:
        self._cancelling.add(id)
        cancel_task = self._tasks.get(id)
        if cancel_task is None:
            return False
        cancel_task()
        return True

    def start_thread(self) -> None:
        assert self.host is not None
        threading.Thread(target=self.host.serve_more, name="roundhouse-calls", daemon=True).start()

    def services(self) -> list[str]:
        return list(self._services)

    # A user's call.

    def _call(self, id: int, name: str, method: str, encoding: int, parts: list[Any]) -> Answer:
        service = self._services.get(name)
        if service is None:
            raise NotFound(f"this worker has no service {name!r}; it has {_listed(self._services)}")
        kind = service.methods.get(method)
        if kind is None or method == "__init__":
            raise NotFound(_no_method(service, method))
        if kind != "sync" and kind != "async":
            raise _unsupported_generator(service, method)
        function = service.callable(method)
        args, kwargs = _arguments(encoding, parts, name, method)
        try:
            value = function(*args, **kwargs)
        except TypeError as error:
            # Only our own frame: the call itself did not fit.
            if error.__traceback__ is not None and error.__traceback__.tb_next is None:
                _check_arguments(function, args, kwargs, name if method == describe.CALL else f"{name}.{method}")
            raise
        if kind == "async":
            value = self._await(id, value)
        if value is None:
            return RETURNED, _serialize.EMPTY, [], None, None
        if encoding == _serialize.EMPTY:
            encoding = _serialize.PICKLE
        try:
            return RETURNED, encoding, _serialize.encode(encoding, value), None, None
        except CallCancelled:
            raise
        except Exception as error:
            raise _bad_result(f"the result of {name}.{method}", value, error) from None

    def _await(self, id: int, coroutine: Any) -> Any:
        import asyncio

        async def run() -> Any:
            task = asyncio.current_task()
            loop = asyncio.get_running_loop()
            assert task is not None

            def cancel_task() -> None:
                loop.call_soon_threadsafe(task.cancel)

            self._tasks[id] = cancel_task
            if id in self._cancelling:  # The cancel came before there was a task.
                task.cancel()
            return await coroutine

        try:
            return asyncio.run(run())
        finally:
            self._tasks.pop(id, None)

    # The daemon's own calls (protocol/node.md).

    def _own(self, method: str, parts: list[Any]) -> Answer:
        request = _serialize.decode(_serialize.JSON, parts[:1])
        if method == "load":
            answer = self._load(request, parts[1:])
        elif method == "create":
            answer = self._create(request, parts[1:])
        elif method == "delete":
            self._services.pop(request["name"], None)
            answer = {}
        else:
            raise NotFound(f"a worker has no method {method!r}; it has load, create, delete")
        return RETURNED, _serialize.JSON, _serialize.encode(_serialize.JSON, answer), None, None

    def _load(self, request: dict[str, Any], parts: list[Any]) -> dict[str, Any]:
        paths = request.get("source", {}).get("sys_path")
        if paths:
            # The deployer's, so that what it can import can be imported here.
            sys.path[:] = paths
        target = _serialize.loads(parts)
        name, kind = request["name"], request["kind"]
        described = describe.of_class(target) if kind == "class" else describe.of_function(target)
        self._services[name] = Service(name, kind, target, described["methods"])
        return described

    def _create(self, request: dict[str, Any], parts: list[Any]) -> dict[str, Any]:
        service = self._services.get(request["class"])
        if service is None or service.kind != "class":
            raise NotFound(f"this worker has no class {request['class']!r}; it has {_listed(self._services)}")
        args, kwargs = _arguments(request.get("encoding", _serialize.PICKLE), parts, service.name, "__init__")
        construct = service.target
        try:
            instance = construct(*args, **kwargs)
        except TypeError as error:
            if error.__traceback__ is not None and error.__traceback__.tb_next is None:
                _check_arguments(construct, args, kwargs, service.name)
            raise
        described = describe.of_instance(instance)
        self._services[request["name"]] = Service(request["name"], "instance", instance, described["methods"])
        return described

    # Ends.

    def _failure(self, id: int, encoding: int, error: BaseException) -> Answer:
        if id in self._cancelling and _is_cancel(error):
            return FAILED, 0, [], None, (_engine.codes["cancelled"], "the call was cancelled", {"started": "yes"})
        if isinstance(error, _Refused):
            return FAILED, 0, [], None, error.failure
        if isinstance(error, RoundhouseError) and error.__traceback__ is not None and _from_here(error):
            facts = {key: str(value) for key, value in error.facts.items()}
            return FAILED, 0, [], None, (code_of(error), error.message, facts)
        from roundhouse._worker import traces

        kind = type(error)
        try:
            message = str(error)
        except Exception:
            message = "(its __str__ failed)"
        raised = (f"{kind.__module__}.{kind.__qualname__}", _sendable(message), _sendable(traces.text_of(error)))
        parts = _raised.encode(error) if encoding in (_serialize.PICKLE, _serialize.EMPTY) else []
        return RAISED, _serialize.PICKLE if parts else _serialize.EMPTY, parts, raised, None

    def _after_fork(self) -> None:
        self._forked = True

    def _leave_child(self) -> None:
        error = sys.exc_info()[1]
        code = 0
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
        elif error is not None:
            code = 1
            sys.excepthook(type(error), error, error.__traceback__)
        _flush()
        os._exit(code & 0xFF)


class _Refused(Exception):
    """A failure of ours that is already in its final form."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure[1])
        self.failure = failure


def _from_here(error: RoundhouseError) -> bool:
    """True when this module raised it; one that user code raised is the user's exception, like any other."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and last.tb_frame.f_globals is globals()


def _is_cancel(error: BaseException) -> bool:
    if isinstance(error, CallCancelled):
        return True
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and isinstance(error, asyncio.CancelledError)


def _arguments(encoding: int, parts: Sequence[Any], service: str, method: str) -> tuple[Sequence[Any], dict[str, Any]]:
    try:
        return _serialize.decode_call(encoding, parts)
    except CallCancelled:
        raise
    except ValueError as error:
        raise WrongArguments(f"the arguments of {service}.{method} could not be read: {error}") from error
    except (ImportError, AttributeError) as error:
        raise WrongArguments(
            f"the arguments of {service}.{method} could not be read on its worker: {type(error).__name__}: {error}. "
            "Try: pass something that the worker can import"
        ) from error


def _check_arguments(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], called: str) -> None:
    """Raises WrongArguments when the arguments do not fit; what a builtin raised itself is left alone."""
    import inspect

    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise WrongArguments(f"{called}() {error}. Its signature: {called}{signature}") from None


def _bad_result(what: str, value: Any, error: Exception) -> Exception:
    from roundhouse import _blame
    from roundhouse.exceptions import NotSerializable

    found = error if isinstance(error, NotSerializable) else _blame.not_serializable(what, value, error)
    facts = {key: str(fact) for key, fact in found.facts.items()}
    return _Refused((_engine.codes["not_serializable"], found.message, facts))


def _unsupported_generator(service: Service, method: str) -> Exception:
    what = service.name if method == describe.CALL else f"{service.name}.{method}"
    message = f"{what} is a generator, which this version cannot stream yet. Try: return a list of its items"
    return _Refused((_engine.codes["unsupported"], message, {}))


def _no_method(service: Service, method: str) -> str:
    names = [name for name in service.methods if name != "__init__"]
    import difflib

    close = difflib.get_close_matches(method, names, 1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{service.kind} {service.name!r} has no method {method!r}; it has {_listed(names)}.{hint}"


def _listed(names: Any) -> str:
    shown = [repr(name) for name in sorted(names)]
    return ", ".join(shown[:20]) + (", ..." if len(shown) > 20 else "") if shown else "none"


def _sendable(text: str) -> str:
    """Text may hold half characters, which UTF-8 refuses."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            if stream is not None:
                stream.flush()
        except Exception:
            continue


def main() -> None:
    """Serves until the daemon ends this worker."""
    socket_path, worker_id = os.environ["ROUNDHOUSE_SOCKET"], os.environ["ROUNDHOUSE_WORKER"]
    try:
        import faulthandler

        # A crash in native code then tells where in Python it was, at the end of stderr.
        faulthandler.enable(2)
    except (ImportError, RuntimeError, ValueError, OSError):
        pass
    expected = sys.argv[1:]
    sys.argv = [""]
    runner = Runner()
    output.install()
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


def _leave(code: int) -> None:
    """Ends the process as Python would, but never waits for user code that is still running."""
    import atexit

    try:
        atexit._run_exitfuncs()
    except BaseException:
        code = 1
    _flush()
    os._exit(code)
