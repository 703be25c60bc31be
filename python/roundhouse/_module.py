"""Remote classes and their instances. On an instance every name is the user's; ours are reached through `rh.handle`."""

from __future__ import annotations

from roundhouse._cluster import Cluster, cluster_of
from roundhouse._service import Service, deploy
from roundhouse.exceptions import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Generic, TypeVar

    from roundhouse._call import Call

    T = TypeVar("T")
else:
    from roundhouse._generic import Generic, T


_COPIED = ("__module__", "__name__", "__qualname__", "__doc__")


def cls(c: type[T]) -> RemoteClass[T]:
    """Makes a class one that can be sent. Until then it constructs here. ``rh.module`` is the same; also a decorator.

    >>> import roundhouse as rh
    >>> class Counter:
    ...     def __init__(self, start: int = 0): self.value = start
    ...     def add(self, n: int = 1) -> int:
    ...         self.value += n
    ...         return self.value
    >>> RemoteCounter = rh.cls(Counter).to(rh.compute("example").up_if_not())
    >>> counter = RemoteCounter(40, name="answer")
    >>> counter.add(2)
    42
    """
    if isinstance(c, RemoteClass):
        return c
    if not isinstance(c, type):
        raise TypeError(f"rh.cls() takes a class, not {type(c).__name__}. Try: rh.function() for a function")
    return RemoteClass(c, None)


class RemoteClass(Generic[T]):
    """A class whose instances live where it was sent. Calling it constructs one there.

    ``name=`` gives the instance a name under which other processes find it (``box.get(name)``). Where the constructor
    has a parameter ``name`` of its own, that one wins, and ours goes through ``options(name=...)``.

    >>> import roundhouse as rh
    >>> class Person:
    ...     def __init__(self, name: str): self.name = name
    ...     def greet(self) -> str: return f"I am {self.name}"
    >>> RemotePerson = rh.cls(Person).to(rh.compute("example").up_if_not())
    >>> ada = RemotePerson.options(name="ada")(name="Ada")
    >>> ada.greet(), rh.handle(ada).name
    ('I am Ada', 'ada')
    """

    def __init__(self, local: type[T] | None, service: Service | None, options: dict[str, Any] | None = None) -> None:
        self._service = service
        self._options = options or {}
        if local is not None:
            self.__wrapped__ = local
            for name in _COPIED:
                setattr(self, name, getattr(local, name))
        elif service is not None:
            self.__name__ = self.__qualname__ = service.name
            self.__doc__ = service.description.get("doc") or None

    def __call__(self, /, *args: Any, **kwargs: Any) -> T:
        if self._service is None:
            return self.__wrapped__(*args, **kwargs)
        options = dict(self._options)
        if "name" in kwargs and "name" not in self._service.parameter_names("__init__"):
            options["name"] = kwargs.pop("name")
        request = {
            "class": self._service.name,
            "name": options.get("name"),
            "replace": bool(options.get("replace", False)),
            "encoding": self._service.encoding,
        }
        parts = self._service.parts_of("__init__", args, kwargs)
        description = self._service.cluster._link.ask_node("create", request, parts)
        return Instance(Service(self._service.cluster, description))  # type: ignore[return-value]

    def options(self, *, name: str | None = None, replace: bool = False) -> RemoteClass[T]:
        """The same class, whose next instances get that name (and take it from whoever has it, with ``replace``)."""
        return RemoteClass(getattr(self, "__wrapped__", None), self._service, {"name": name, "replace": replace})

    def to(self, box: Cluster | str, name: str | None = None, replace: bool = False) -> RemoteClass[T]:
        """Sends the class to a worker process of its own on that cluster, and returns the remote class.

        Its live instances, from an earlier sending, keep the code that they were made from.
        """
        local = getattr(self, "__wrapped__", None)
        if local is None:
            raise Unsupported(f"{self!r} was found by name, and its code is not here to be sent elsewhere")
        return RemoteClass(local, deploy(cluster_of(box), "class", local, name, replace), self._options)

    def __getattr__(self, name: str) -> Any:
        if name == "__signature__" and self.__dict__.get("_service") is not None and "__wrapped__" not in self.__dict__:
            signature = self.__dict__["_service"].signature("__init__")
            if signature is not None:
                return signature
        raise AttributeError(f"a remote class has no attribute {name!r}; its instances have its methods")

    def __repr__(self) -> str:
        called = getattr(self, "__qualname__", "?")
        if self._service is None:
            return f"<RemoteClass {called}, not sent>"
        return f"<RemoteClass {self._service.name!r} on {self._service.cluster.name!r}>"


class Instance:
    """An object that lives in a worker; its attributes are its class's methods. Threads may call it at once.

    >>> import roundhouse as rh
    >>> class Shelf:
    ...     def __init__(self): self.things = []
    ...     def put(self, thing): self.things.append(thing)
    ...     def count(self) -> int: return len(self.things)
    >>> shelf = rh.cls(Shelf).to(rh.compute("example").up_if_not())()
    >>> shelf.put("book")
    >>> shelf.count()
    1
    >>> call = shelf.put.submit("lamp")
    >>> call.result()
    >>> shelf.count()
    2
    """

    def __init__(self, service: Service) -> None:
        self.__dict__["_rh_service"] = service

    def __getattr__(self, name: str) -> RemoteMethod:
        service: Service = self.__dict__["_rh_service"]
        methods = service.description["methods"]
        if name in methods and not (name.startswith("__") and name.endswith("__")):
            # Found by ordinary lookup from now on.
            method = self.__dict__[name] = RemoteMethod(service, name)
            return method
        if name.startswith("__"):
            raise AttributeError(name)
        from difflib import get_close_matches

        close = get_close_matches(name, methods, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise AttributeError(
            f"{service.name!r} has no method {name!r}; it has {', '.join(sorted(methods)) or 'none'}.{hint} "
            "(Its data stays there: a method can return it.)"
        )

    def __setattr__(self, name: str, value: Any) -> None:
        service: Service = self.__dict__["_rh_service"]
        raise AttributeError(
            f"{service.name!r} lives elsewhere, and setting {name!r} here would not reach it. Try: a method"
        )

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        service: Service = self.__dict__["_rh_service"]
        if "__call__" not in service.description["methods"]:
            raise TypeError(f"{service.name!r} cannot be called: its class has no __call__")
        return service.call("__call__", args, kwargs)

    def __dir__(self) -> list[str]:
        return sorted(self.__dict__["_rh_service"].description["methods"])

    def __repr__(self) -> str:
        service: Service = self.__dict__["_rh_service"]
        kind = service.description.get("class") or "Instance"
        return f"<{kind} {service.name!r} on {service.cluster.name!r}>"


class RemoteMethod:
    """A method of a remote object: call it, or ``submit`` it. Its signature and doc are the method's."""

    def __init__(self, service: Service, name: str) -> None:
        described = service.description["methods"][name]
        self._service = service
        self.__name__ = name
        self.__qualname__ = f"{service.description.get('class') or service.name}.{name}"
        self.__doc__ = described.get("doc") or None

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._service.call(self.__name__, args, kwargs)

    def submit(self, /, *args: Any, **kwargs: Any) -> Call[Any]:
        return self._service.submit(self.__name__, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name == "__signature__":
            signature = self._service.signature(self.__name__)
            if signature is not None:
                return signature
        raise AttributeError(f"a remote method has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<method {self.__name__!r} of {self._service.name!r} on {self._service.cluster.name!r}>"


class Handle:
    """What is ours about a remote function, class or instance, out of the way of the user's own names.

    ``name``, ``cluster`` and ``service`` (the node's description, a dict) say what it is.

    >>> import roundhouse as rh
    >>> remote_len = rh.function(len).to(rh.compute("example").up_if_not(), name="length")
    >>> handle = rh.handle(remote_len)
    >>> handle.name, handle.service["kind"]
    ('length', 'function')
    >>> handle.submit("call", "abc").result()
    3
    >>> handle.delete()
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    @property
    def name(self) -> str:
        """Its name on the cluster."""
        return self._service.name

    @property
    def cluster(self) -> Cluster:
        """Where it lives."""
        return self._service.cluster

    @property
    def service(self) -> dict[str, Any]:
        """The node's description: kind, worker, pid, methods (protocol/node.md)."""
        return self._service.description

    def delete(self) -> None:
        """Removes it from the cluster. Deleting a class leaves its instances alive."""
        self._service.cluster._link.ask_node("delete", {"name": self._service.name})

    def submit(self, method: str, /, *args: Any, **kwargs: Any) -> Call[Any]:
        """Starts a call of any of its methods ("call" for a function)."""
        return self._service.submit(method, args, kwargs)

    def __repr__(self) -> str:
        return f"<Handle of {self._service.description['kind']} {self.name!r} on {self.cluster.name!r}>"


def handle(remote: Any) -> Handle:
    """What is ours about a remote function, class or instance, whatever names its user's class has.

    >>> import roundhouse as rh
    >>> class Ours:
    ...     def delete(self) -> str: return "the user's delete"
    >>> ours = rh.cls(Ours).to(rh.compute("example").up_if_not())(name="ours")
    >>> ours.delete()
    "the user's delete"
    >>> rh.handle(ours).delete()
    """
    if isinstance(remote, Instance):
        return Handle(remote.__dict__["_rh_service"])
    service = getattr(remote, "_service", None)
    if not isinstance(service, Service):
        raise TypeError(f"{remote!r} is not on any cluster. Try: .to(rh.compute('NAME').up_if_not()) first")
    return Handle(service)
