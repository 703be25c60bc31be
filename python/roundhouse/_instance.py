"""Objects that live in a worker. On them every name is the user's first; ours are always reached by `rh.handle`."""

from __future__ import annotations

from roundhouse._handle import OURS, Handle
from roundhouse._method import Method
from roundhouse._options import DEFAULT
from roundhouse._service import Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Instance:
    """An object that lives in a worker. Its attributes are its class's methods and properties; threads may share it.

    Where its class has no such name, these are ours: ``remote`` (its data: ``t.remote.x``, ``t.remote.x = 1``),
    ``fetch``, ``name``, ``rename``, ``resolve``, ``refresh``, ``system``, ``process``, ``signature``, ``replicate``,
    ``distribute``. ``rh.handle(t)`` has them whatever the class has.

    >>> import roundhouse as rh
    >>> class Shelf:
    ...     def __init__(self): self.things = []
    ...     def put(self, thing): self.things.append(thing)
    ...     @property
    ...     def count(self) -> int: return len(self.things)
    >>> shelf = rh.cls(Shelf).to(rh.compute("example").up_if_not())()
    >>> shelf.put("book")
    >>> shelf.count
    1
    >>> call = shelf.put.submit("lamp")
    >>> call.result()
    >>> shelf.remote.things
    ['book', 'lamp']
    """

    def __init__(self, service: Service, local: Any = None) -> None:
        self.__dict__["_rh_service"] = service
        if local is not None:
            self.__dict__["_rh_local"] = local

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        service: Service | None = own.get("_rh_service")
        if service is None or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(name)
        description = service.description
        if name in service.kinds:
            # Found by ordinary lookup from now on.
            method: Method[..., Any] = Method(service, name)
            own[name] = method
            return method
        if name in description.get("properties", ()):
            return service.call("@get", DEFAULT, (name,), {})
        if "_rh_local" in own and _stays_local(own["_rh_local"], name):
            return getattr(own["_rh_local"], name)
        if name in description.get("attributes", ()):
            raise AttributeError(f"{name!r} is data of {service.name!r}, which lives there. Try: {self._reach(name)}")
        if name in OURS:
            return getattr(Handle(service, self), name)
        raise AttributeError(self._unknown(name))

    def __setattr__(self, name: str, value: Any) -> None:
        service: Service = self.__dict__["_rh_service"]
        if name in service.description.get("properties", ()):
            service.call("@set", DEFAULT, (name, value), {})
            return
        raise AttributeError(
            f"{service.name!r} lives elsewhere, and setting {name!r} here would not reach it. "
            f"Try: {self._reach(name)} = ..."
        )

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{name!r} cannot be deleted from here: the object lives elsewhere. Try: a method")

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        service: Service = self.__dict__["_rh_service"]
        if "__call__" not in service.kinds:
            raise TypeError(f"{service.name!r} cannot be called: its class has no __call__")
        return service.invoke("__call__", DEFAULT, args, kwargs)

    def __dir__(self) -> list[str]:
        description = self.__dict__["_rh_service"].description
        theirs = {*description["methods"], *description.get("properties", ())}
        return sorted({*theirs, *(OURS - {*description.get("attributes", ())})})

    def __reduce__(self) -> tuple[Any, ...]:
        return Instance, (self.__dict__["_rh_service"],)

    def __repr__(self) -> str:
        service: Service = self.__dict__["_rh_service"]
        kind = service.description.get("class") or "Instance"
        return f"<{kind} {service.name!r} on {service.cluster.name!r}>"

    def _repr_html_(self) -> str:
        from roundhouse import _display

        return _display.of_remote(self.__dict__["_rh_service"].description.get("class") or "Instance", self)

    def _reach(self, name: str) -> str:
        """How to write what reaches that attribute."""
        description = self.__dict__["_rh_service"].description
        theirs = (*description["methods"], *description.get("properties", ()), *description.get("attributes", ()))
        return f"rh.handle(t).remote.{name}" if "remote" in theirs else f"t.remote.{name}"

    def _unknown(self, name: str) -> str:
        service: Service = self.__dict__["_rh_service"]
        known = [*service.kinds, *service.description.get("properties", ())]
        from difflib import get_close_matches

        close = get_close_matches(name, [*known, *OURS], 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return (
            f"{service.name!r} has no method {name!r}; it has {', '.join(sorted(known)) or 'none'}.{hint} "
            f"(Its data stays there: {self._reach(name)} reads it.)"
        )


def _stays_local(local: Any, name: str) -> bool:
    """Methods of a `rh.Module` with a parameter ``local=True`` run here."""
    from roundhouse._module_base import Module

    if not isinstance(local, Module):
        return False
    from roundhouse._signature import has_local_default

    for kind in type(local).__mro__:
        if kind is Module:
            return False
        if name in vars(kind):
            attribute = vars(kind)[name]
            return has_local_default(getattr(attribute, "__func__", attribute))
    return False
