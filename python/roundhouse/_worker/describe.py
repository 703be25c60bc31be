"""What a service offers: the public methods of a class, or the one of a function."""

from __future__ import annotations

from roundhouse._signature import kind_of, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# The method that calls a function.
CALL = "call"


def of_function(function: Callable[..., Any]) -> dict[str, Any]:
    doc = _doc(function)
    method = {"signature": text_of(function), "doc": doc, "kind": kind_of(function)}
    return {"methods": {CALL: method}, "doc": doc}


def of_class(kind: type) -> dict[str, Any]:
    """Its constructor and its public methods, in the order of their definition, bases first."""
    methods: dict[str, Any] = {"__init__": _constructor(kind)}
    for base in reversed(kind.__mro__[:-1]):
        for name, attribute in vars(base).items():
            if name.startswith("_") and name != "__call__":
                continue
            described = _method(attribute)
            if described is None:
                methods.pop(name, None)  # A base's method that is something else here.
            else:
                methods[name] = described
    return {"methods": methods, "doc": _doc(kind)}


def of_instance(instance: Any) -> dict[str, Any]:
    described = of_class(type(instance))
    del described["methods"]["__init__"]
    return described


def _constructor(kind: type) -> dict[str, Any]:
    for name in ("__init__", "__new__"):
        function = getattr(kind, name)
        if hasattr(function, "__code__"):
            return {"signature": text_of(function, skip_first=True), "doc": _doc(function), "kind": "sync"}
    # Neither is its own, so it takes nothing, unless it is built in.
    plain = all(getattr(kind, name) is getattr(object, name) for name in ("__init__", "__new__"))
    signature = "()" if plain else "(...)"
    return {"signature": signature, "doc": "", "kind": "sync"}


def _method(attribute: Any) -> dict[str, Any] | None:
    skip_first = True
    if isinstance(attribute, staticmethod):
        attribute, skip_first = attribute.__func__, False
    elif isinstance(attribute, classmethod):
        attribute = attribute.__func__
    if isinstance(attribute, type) or not callable(attribute):
        return None
    return {"signature": text_of(attribute, skip_first=skip_first), "doc": _doc(attribute), "kind": kind_of(attribute)}


def _doc(documented: Any) -> str:
    text = getattr(documented, "__doc__", None)
    if not isinstance(text, str):
        return ""
    if "\n" not in text:
        return text.strip()
    from textwrap import dedent

    first, _, rest = text.partition("\n")
    return (first.strip() + "\n" + dedent(rest)).strip()
