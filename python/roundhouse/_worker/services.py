"""What lives in a worker and can be called by name."""

from __future__ import annotations

from roundhouse import _engine, _serialize
from roundhouse._signature import kind_of
from roundhouse._worker import describe, hooks
from roundhouse._worker.answers import Refused
from roundhouse.exceptions import CallCancelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from roundhouse._worker.hints import Parameters


class Service:
    """A function, a class, an instance or any other object, with the methods that can be called."""

    __slots__ = ("concurrency", "kind", "methods", "name", "parameters", "queue", "target")

    def __init__(self, name: str, kind: str, target: Any, described: dict[str, Any]) -> None:
        self.name = name
        self.kind = kind
        self.target = target
        # What a call of each gives. Of a class, only what needs no instance.
        self.methods: dict[str, str] = {
            method: told["kind"]
            for method, told in described["methods"].items()
            if method != "__init__" and (kind != "class" or told["binding"] != "instance")
        }
        self.concurrency = 0
        self.queue = 0
        # What calls over HTTP have found out of type hints.
        self.parameters: dict[str, Parameters] = {}

    def find(self, method: str) -> tuple[Callable[..., Any], str]:
        """What to call for that method, and what a call of it gives."""
        kind = self.methods.get(method)
        if kind is not None:
            return (self.target if self.kind == "function" else getattr(self.target, method)), kind
        if self.kind == "object":
            found = getattr(self.target, method, None)
            if callable(found):
                return found, kind_of(found)
        raise Refused("not_found", self._no_method(method))

    def called(self, method: str) -> str:
        """The method's name for people."""
        return self.name if method == describe.CALL and self.kind == "function" else f"{self.name}.{method}"

    def _no_method(self, method: str) -> str:
        if self.kind == "class" and hasattr(self.target, method) and not method.startswith("_"):
            return (
                f"{self.name}.{method} is for the instances of class {self.name!r}. "
                f"Try: make one, and call its {method}"
            )
        names = [name for name in self.methods if not name.startswith("_")] or list(self.methods)
        import difflib

        close = difflib.get_close_matches(method, names, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return f"{self.kind} {self.name!r} has no method {method!r}; it has {listed(names)}.{hint}"


def listed(names: Iterable[str]) -> str:
    shown = [repr(name) for name in sorted(names)]
    return ", ".join(shown[:20]) + (", ..." if len(shown) > 20 else "") if shown else "none"


def arguments(encoding: int, parts: Sequence[Any], called: str) -> tuple[Sequence[Any], dict[str, Any]]:
    try:
        return _serialize.decode_call(encoding, parts)
    except CallCancelled:
        raise
    except ValueError as error:
        raise Refused("bad_arguments", f"the arguments of {called} could not be read: {error}") from error
    except (ImportError, AttributeError) as error:
        raise Refused(
            "bad_arguments",
            f"the arguments of {called} could not be read on its worker: {type(error).__name__}: {error}. "
            "Try: pass something that the worker can import",
        ) from error


def arguments_from_json(
    service: Service,
    method: str,
    function: Callable[..., Any],
    parts: Sequence[Any],
    called: str,
    find: Callable[[str], Any],
) -> tuple[Sequence[Any], dict[str, Any], str]:
    """Of a call over HTTP: as its type hints ask for, and the media type that its caller accepts."""
    json_calls = hooks.imported("roundhouse._worker.json_calls")
    parameters = service.parameters.get(method)
    if parameters is None:
        parameters = service.parameters[method] = hooks.imported("roundhouse._worker.hints").of(function)
    return json_calls.arguments(parts, parameters, called, find)  # type: ignore[no-any-return]


def fetched(key: str) -> Any:
    """A copy of what lives in another worker of this node."""
    import os

    from roundhouse._link import link_to
    from roundhouse.exceptions import NotFound, RoundhouseError, code_of

    link = link_to(os.environ.get("ROUNDHOUSE_CLUSTER", ""), os.environ["ROUNDHOUSE_SOCKET"])
    try:
        return link.call(key, "@fetch", _serialize.PICKLE, _serialize.dumps(((), {})))
    except CallCancelled:
        raise
    except NotFound:
        raise Refused(
            "not_found",
            f"there is no object {key!r} here. Try: call with remote=true, which says the key",
            {"name": key},
        ) from None
    except RoundhouseError as error:
        codes = {number: name for name, number in _engine.codes.items()}
        message = f"the object {key!r} could not be fetched: {error.message}"
        raise Refused(codes[code_of(error)], message, {"name": key}) from None


def call(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], called: str) -> Any:
    """Calls it; where the arguments do not fit, says so with its signature."""
    try:
        return function(*args, **kwargs)
    except TypeError as error:
        # Only our own frame: the call itself did not fit.
        if error.__traceback__ is not None and error.__traceback__.tb_next is None:
            _check_arguments(function, args, kwargs, called, str(error))
        raise


def _check_arguments(
    function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], called: str, said: str
) -> None:
    """Refuses when the arguments do not fit; what a builtin raised itself is left alone."""
    import inspect

    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        # Python's own words, but for the function's name, which may be another here.
        words = said.partition("() ")[2] or said
        raise Refused("bad_arguments", f"{called}() {words}. Its signature: {called}{signature}") from None
