"""Signatures as text, without `inspect`: importing it costs a starting worker as much as the interpreter itself.

The worker writes the text into a service's description; `parse` makes it an `inspect.Signature` again where somebody
looks. Defaults and annotations stay text on the way, because nothing that a node says is ever evaluated."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import inspect
    from collections.abc import Callable
    from typing import Any

_DEFAULT_TEXT_MAX = 60
_VAR_POSITIONAL = 0x04
_VAR_KEYWORD = 0x08
_GENERATOR = 0x20
_COROUTINE = 0x80
_ITERABLE_COROUTINE = 0x100
_ASYNC_GENERATOR = 0x200


def kind_of(function: Any) -> str:
    """What a call of it gives: "sync", "async", "generator" or "async_generator"."""
    flags = getattr(getattr(_innermost(function), "__code__", None), "co_flags", 0)
    if flags & _ASYNC_GENERATOR:
        return "async_generator"
    if flags & (_COROUTINE | _ITERABLE_COROUTINE):
        return "async"
    return "generator" if flags & _GENERATOR else "sync"


def takes_sent(function: Any) -> bool:
    """True when a generator function uses the value of a `yield`, which is what was sent to it."""
    import opcode

    code = getattr(_innermost(function), "__code__", None)
    if code is None:
        return False
    names = opcode.opname
    after_yield = False
    for operation in code.co_code[::2]:
        name = names[operation]
        if after_yield and name not in ("RESUME", "CACHE", "EXTENDED_ARG", "NOP"):
            # `yield from` and `await` jump back for the next one.
            if name != "POP_TOP" and not name.startswith("JUMP"):
                return True
            after_yield = False
        elif name == "YIELD_VALUE":
            after_yield = True
    return False


def has_local_default(function: Any) -> bool:
    """True for a method with a parameter `local=True`: Runhouse's mark for one that stays on the caller's side."""
    function = _innermost(function)
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    positional = code.co_varnames[: code.co_argcount]
    defaults = dict(zip(reversed(positional), reversed(function.__defaults__ or ()), strict=False))
    return {**defaults, **(function.__kwdefaults__ or {})}.get("local") is True


def _innermost(function: Any) -> Any:
    """The function in a partial, a bound method or an object that can be called."""
    for _ in range(20):
        if hasattr(function, "__code__"):
            return function
        inner = getattr(function, "__func__", None) or getattr(function, "func", None)
        if inner is None and not isinstance(function, type):
            inner = getattr(type(function), "__call__", None)  # noqa: B004
        if inner is None or inner is function:
            break
        function = inner
    return function


def text_of(function: Any, *, skip_first: bool = False) -> str:
    """As `str(inspect.signature(function))`; "(...)" for what has none."""
    code = getattr(function, "__code__", None)
    if code is None or hasattr(function, "__wrapped__") or hasattr(function, "__signature__"):
        return _text_by_inspect(function, skip_first)
    annotations: dict[str, Any] = _annotations(function)
    names = code.co_varnames
    positional = list(names[: code.co_argcount])
    named = list(names[code.co_argcount : code.co_argcount + code.co_kwonlyargcount])
    following = iter(names[code.co_argcount + code.co_kwonlyargcount :])
    defaults = dict(zip(reversed(positional), reversed(function.__defaults__ or ()), strict=False))
    defaults.update(function.__kwdefaults__ or {})

    def parameter(name: str, stars: str = "") -> str:
        text = stars + name
        if name in annotations:
            text += f": {hint_text(annotations[name])}"
        if name in defaults and not stars:
            text += f" = {_short(defaults[name])}" if name in annotations else f"={_short(defaults[name])}"
        return text

    shown: list[str] = []
    for position, name in enumerate(positional, 1):
        if not (skip_first and position == 1):
            shown.append(parameter(name))
        if position == code.co_posonlyargcount and shown:
            shown.append("/")
    if code.co_flags & _VAR_POSITIONAL:
        shown.append(parameter(next(following), "*"))
    elif named:
        shown.append("*")
    shown += [parameter(name) for name in named]
    if code.co_flags & _VAR_KEYWORD:
        shown.append(parameter(next(following), "**"))
    result = f" -> {hint_text(annotations['return'])}" if "return" in annotations else ""
    return f"({', '.join(shown)}){result}"


def _annotations(function: Any) -> dict[str, Any]:
    try:
        return getattr(function, "__annotations__", {})
    except Exception:  # Python 3.14 evaluates them only now.
        return {}


def hint_text(annotation: Any) -> str:
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, type) and not hasattr(annotation, "__origin__"):
        module, name = annotation.__module__, annotation.__qualname__
        return name if module in ("builtins", "__main__", "__mp_main__") else f"{module}.{name}"
    return "None" if annotation is None else repr(annotation).replace("typing.", "")


def _short(default: Any) -> str:
    try:
        text = repr(default)
    except Exception:
        return "..."
    return text if len(text) <= _DEFAULT_TEXT_MAX and "\n" not in text and " at 0x" not in text else "..."


def _text_by_inspect(function: Any, skip_first: bool) -> str:
    import inspect

    try:
        signature = inspect.signature(function)
        if skip_first:
            signature = signature.replace(parameters=list(signature.parameters.values())[1:])
        return str(signature)
    except (TypeError, ValueError):
        return "(...)"


class Text:
    """A default or an annotation of which only the text is known."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def parse(text: str) -> inspect.Signature | None:
    """The signature that the text describes; None where it is not Python's."""
    import ast
    import inspect

    try:
        definition = ast.parse(f"def f{text}: pass").body[0]
    except (SyntaxError, ValueError):
        return None
    if not isinstance(definition, ast.FunctionDef):
        return None
    given = definition.args

    def unparsed(node: ast.expr | None) -> Any:
        return inspect.Parameter.empty if node is None else Text(ast.unparse(node))

    def parameter(arg: ast.arg, kind: Any, default: ast.expr | None = None) -> inspect.Parameter:
        return inspect.Parameter(arg.arg, kind, default=unparsed(default), annotation=unparsed(arg.annotation))

    plain = [*given.posonlyargs, *given.args]
    defaults: list[ast.expr | None] = [None] * (len(plain) - len(given.defaults)) + list(given.defaults)
    parameters = [
        parameter(
            arg,
            inspect.Parameter.POSITIONAL_ONLY if arg in given.posonlyargs else inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default,
        )
        for arg, default in zip(plain, defaults, strict=True)
    ]
    if given.vararg:
        parameters.append(parameter(given.vararg, inspect.Parameter.VAR_POSITIONAL))
    for arg, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        parameters.append(parameter(arg, inspect.Parameter.KEYWORD_ONLY, default))
    if given.kwarg:
        parameters.append(parameter(given.kwarg, inspect.Parameter.VAR_KEYWORD))
    return inspect.Signature(parameters, return_annotation=unparsed(definition.returns))


def names_of(function: Callable[..., Any] | None) -> tuple[str, ...]:
    """The names of the positional parameters, where they are known."""
    code = getattr(function, "__code__", None)
    return code.co_varnames[: code.co_argcount] if code is not None else ()
