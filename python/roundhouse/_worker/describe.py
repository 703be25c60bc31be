"""What a service offers: the public methods of a class, or the one of a function."""

from __future__ import annotations

from roundhouse._signature import has_local_default, kind_of, takes_sent, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# The method that calls a function.
CALL = "call"


class _Slotted:
    __slots__ = ("slot",)


# What a slot is in its class: an attribute of the instance, and no property.
_Slot = type(_Slotted.slot)  # type: ignore[attr-defined]


def of_function(function: Callable[..., Any]) -> dict[str, Any]:
    method = _described(function, "static", skip_first=False)
    return {"methods": {CALL: method}, "doc": method["doc"], "properties": [], "attributes": []}


def of_class(kind: type) -> dict[str, Any]:
    """Its constructor and its public methods, in the order of their definition, bases first."""
    methods: dict[str, Any] = {"__init__": _constructor(kind)}
    properties: dict[str, None] = {}
    ours = [base for base in kind.__mro__ if _is_ours(base)]
    for base in reversed(kind.__mro__[:-1]):
        if base in ours:
            continue  # rh.Module's own are for the caller's side.
        for name, attribute in vars(base).items():
            if name.startswith("_") and name != "__call__":
                continue
            # A base's method may be something else here.
            methods.pop(name, None)
            properties.pop(name, None)
            described = _method(attribute)
            if described is not None:
                if not (ours and has_local_default(getattr(attribute, "__func__", attribute))):
                    methods[name] = described
            elif type(attribute) is not _Slot and not isinstance(attribute, type) and hasattr(attribute, "__get__"):
                properties[name] = None
    return {
        "methods": methods,
        "doc": _doc(kind),
        "class": kind.__qualname__,
        "properties": list(properties),
        "attributes": [],
    }


def of_object(value: Any) -> dict[str, Any]:
    """An instance of a class of the user's, or any other value: its class's methods and its own attributes."""
    kind = type(value)
    if kind.__module__ == "builtins":
        described: dict[str, Any] = {
            "methods": {},
            "doc": "",
            "class": kind.__qualname__,
            "properties": [],
            "attributes": [],
        }
    else:
        described = of_class(kind)
        del described["methods"]["__init__"]
        described["attributes"] = _attributes(value)
    return described


def of_iteration(value: Any) -> dict[str, Any]:
    """`__iter__` of a value, where it has one: over there it streams the items."""
    methods: dict[str, Any] = {}
    for name, kind in (("__iter__", "generator"), ("__aiter__", "async_generator")):
        if hasattr(type(value), name):
            methods[name] = {"signature": "()", "doc": "", "kind": kind, "binding": "instance", "sends": False}
    return methods


def _is_ours(base: type) -> bool:
    return base.__module__.startswith("roundhouse.")


def _constructor(kind: type) -> dict[str, Any]:
    for name in ("__init__", "__new__"):
        function = getattr(kind, name)
        if hasattr(function, "__code__"):
            signature = text_of(function, skip_first=True)
            return {"signature": signature, "doc": _doc(function), "kind": "sync", "binding": "class"}
    # Neither is its own, so it takes nothing, unless it is built in.
    plain = all(getattr(kind, name) is getattr(object, name) for name in ("__init__", "__new__"))
    return {"signature": "()" if plain else "(...)", "doc": "", "kind": "sync", "binding": "class"}


def _method(attribute: Any) -> dict[str, Any] | None:
    if isinstance(attribute, staticmethod):
        return _described(attribute.__func__, "static", skip_first=False)
    if isinstance(attribute, classmethod):
        return _described(attribute.__func__, "class", skip_first=True)
    if isinstance(attribute, type) or not callable(attribute):
        return None
    return _described(attribute, "instance", skip_first=True)


def _described(function: Any, binding: str, *, skip_first: bool) -> dict[str, Any]:
    kind = kind_of(function)
    described: dict[str, Any] = {
        "signature": text_of(function, skip_first=skip_first),
        "doc": _doc(function),
        "kind": kind,
        "binding": binding,
    }
    if getattr(function, "__roundhouse_readonly__", None) is True:  # _readonly.py
        described["readonly"] = True
    if kind == "generator" or kind == "async_generator":
        described["sends"] = takes_sent(function)
    return described


def _attributes(value: Any) -> list[str]:
    names = dict.fromkeys(getattr(value, "__dict__", ()))
    for base in type(value).__mro__:
        slots = vars(base).get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, slot):
                names[slot] = None
    return [name for name in names if isinstance(name, str) and not name.startswith("_")]


def _doc(documented: Any) -> str:
    text = getattr(documented, "__doc__", None)
    if not isinstance(text, str):
        return ""
    if "\n" not in text:
        return text.strip()
    from textwrap import dedent

    first, _, rest = text.partition("\n")
    return (first.strip() + "\n" + dedent(rest)).strip()
