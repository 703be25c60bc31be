"""The type hints of what a service offers, resolved: for converting arguments, and for schemas.

Imported by the first call from HTTP, or the first question for a schema, only."""

from __future__ import annotations

import functools
import inspect
import sys
import types
import typing
from typing import Any

# A parameter or result that says nothing about its type.
EMPTY: Any = inspect.Parameter.empty


class Parameters:
    """What a callable takes, as far as it tells."""

    __slots__ = ("known", "parameters", "returns")

    def __init__(self, parameters: list[inspect.Parameter], returns: Any, known: bool) -> None:
        # With `annotation` resolved, or EMPTY where it cannot be.
        self.parameters = parameters
        self.returns = returns
        # False for what has no signature: a built-in, say.
        self.known = known

    def positional(self, count: int) -> list[Any]:
        """The hints of that many positional arguments."""
        found: list[inspect.Parameter | None] = []
        for parameter in self.parameters:
            if parameter.kind is parameter.VAR_POSITIONAL:
                found += [parameter] * (count - len(found))
            elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                found.append(parameter)
        found += [None] * (count - len(found))
        return [(EMPTY, position + 1) if each is None else (each.annotation, each.name)
                for position, each in enumerate(found[:count])]  # fmt: skip

    def named(self, name: str) -> Any:
        """The hint of the argument of that name."""
        rest = EMPTY
        for parameter in self.parameters:
            if parameter.kind is parameter.VAR_KEYWORD:
                rest = parameter.annotation
            elif parameter.name == name and parameter.kind is not parameter.VAR_POSITIONAL:
                return parameter.annotation
        return rest


def of(function: Any) -> Parameters:
    """Of a function, method, class or anything else that can be called."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return Parameters([], EMPTY, False)
    scope = _Scope(function)
    parameters = [
        parameter.replace(annotation=_with_default(scope.resolved(parameter.annotation), parameter.default))
        for parameter in signature.parameters.values()
    ]
    returns = EMPTY if isinstance(function, type) else scope.resolved(signature.return_annotation)
    return Parameters(parameters, returns, True)


def _with_default(hint: Any, default: Any) -> Any:
    """`x: int = None` takes None as well."""
    if default is None and hint is not EMPTY and hint is not None:
        return typing.Union[hint, None]  # noqa: UP007
    return hint


class _Scope:
    """Where the annotations of a callable that are text find their names."""

    def __init__(self, function: Any) -> None:
        plain = _plain_function(function)
        self.globals: dict[str, Any] = getattr(plain, "__globals__", {})
        self.locals: dict[str, Any] = {}
        owner: Any = function if isinstance(function, type) else getattr(function, "__self__", None)
        if owner is not None:
            kind = owner if isinstance(owner, type) else type(owner)
            self.locals[kind.__name__] = kind
            self.locals.update((each.__name__, each) for each in getattr(kind, "__type_params__", ()))
            if not self.globals:
                self.globals = vars(sys.modules.get(kind.__module__, types.ModuleType("gone")))
        code = getattr(plain, "__code__", None)
        if code is not None:
            for name, cell in zip(code.co_freevars, plain.__closure__ or (), strict=False):
                try:
                    self.locals[name] = cell.cell_contents
                except ValueError:
                    continue
        self.locals.update((each.__name__, each) for each in getattr(plain, "__type_params__", ()))

    def resolved(self, annotation: Any) -> Any:
        if annotation is EMPTY or annotation is inspect.Signature.empty:
            return EMPTY
        return resolved(annotation, self.globals, self.locals)


def resolved(annotation: Any, globals: dict[str, Any], locals: dict[str, Any]) -> Any:
    """One annotation as what it stands for; EMPTY where its names are not to be found here."""
    holder = types.SimpleNamespace(__annotations__={"hint": annotation})
    try:
        return typing.get_type_hints(holder, globals, locals, include_extras=True)["hint"]
    except Exception:  # Annotations are any code.
        return EMPTY


def of_fields(kind: type) -> dict[str, Any]:
    """The fields of a dataclass, TypedDict or NamedTuple, bases first, each with its hint."""
    try:
        return typing.get_type_hints(kind, include_extras=True)
    except Exception:  # One name that is not to be found spoils all of them.
        pass
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        module = sys.modules.get(base.__module__)
        scope = {} if module is None else vars(module)
        try:
            own = inspect.get_annotations(base)
        except Exception:
            continue
        for name, annotation in own.items():
            found[name] = resolved(annotation, scope, {base.__name__: base, kind.__name__: kind})
    return found


def _plain_function(function: Any) -> Any:
    for _ in range(20):
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, types.MethodType):
            function = function.__func__
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        elif isinstance(function, type):
            own = function.__init__ if hasattr(function.__init__, "__code__") else function.__new__  # type: ignore[misc]
            if own is function:
                break
            function = own
        elif isinstance(function, types.FunctionType):
            break
        else:
            inner = getattr(type(function), "__call__", None)  # noqa: B004
            if inner is None or not hasattr(inner, "__code__"):
                break
            function = inner
    return function
