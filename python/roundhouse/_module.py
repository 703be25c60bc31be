"""Remote classes."""

from __future__ import annotations

from roundhouse import _deploy, _handle
from roundhouse._cluster import Cluster, cluster_of
from roundhouse._deploy import Placement, deploy
from roundhouse._method import Method
from roundhouse._options import DEFAULT
from roundhouse._service import result_of
from roundhouse.exceptions import NotFound, Unsupported, WorkerDied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Generic, ParamSpec, TypeVar, overload

    from roundhouse._call import Call
    from roundhouse._options import Options
    from roundhouse._service import Service

    P = ParamSpec("P")
    T = TypeVar("T")
else:
    from roundhouse._generic import Generic, P, T


_COPIED = ("__module__", "__name__", "__qualname__", "__doc__")


if TYPE_CHECKING:

    @overload
    def cls(
        c: Callable[P, T], name: str | None = None, load_from_den: bool = True, dryrun: bool = False
    ) -> RemoteClass[P, T]: ...

    @overload
    def cls(c: str, name: None = None, load_from_den: bool = True, dryrun: bool = False) -> Any: ...

    @overload
    def cls(c: None = None, *, name: str, load_from_den: bool = True, dryrun: bool = False) -> Any: ...


def cls(c: Any = None, name: str | None = None, load_from_den: bool = True, dryrun: bool = False) -> Any:
    """Makes a class one that can be sent. Until then it constructs here. ``rh.module`` is the same; also a decorator.

    ``name`` is what the class will be known as where it is sent. A name alone, ``rh.cls("saved")``, is what ``save``
    was told, of a class or of an instance, as in ``rh.load("saved")``; where neither is saved under it, that is a
    NotFound. (The rest are Runhouse's, and change nothing.)

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
    if isinstance(c, str) or (c is None and name is not None):
        from roundhouse._instance import Instance
        from roundhouse._registry import load_saved, one_name

        return load_saved(one_name("rh.cls", c, name), (RemoteClass, Instance), "class or instance")
    if not isinstance(c, type):
        raise TypeError(f"rh.cls() takes a class, not {type(c).__name__}. Try: rh.function() for a function")
    made: RemoteClass[Any, Any] = RemoteClass(c, None)
    made._called = name
    return made


class RemoteClass(Generic[P, T]):
    """A class whose instances live where it was sent. Calling it constructs one there; its class methods run there.

    ``name=`` gives the instance a name under which other processes find it (``box.get(name)``). Where the constructor
    has a parameter ``name`` of its own, that one wins, and ours goes through ``options(name=...)``.

    >>> import roundhouse as rh
    >>> class Person:
    ...     def __init__(self, name: str): self.name = name
    ...     def greet(self) -> str: return f"I am {self.name}"
    ...     @classmethod
    ...     def kind(cls) -> str: return cls.__name__
    >>> RemotePerson = rh.cls(Person).to(rh.compute("example").up_if_not())
    >>> ada = RemotePerson.options(name="ada")(name="Ada")
    >>> ada.greet(), rh.handle(ada).name, RemotePerson.kind()
    ('I am Ada', 'ada', 'Person')
    """

    def __init__(self, local: type[T] | None, service: Service | None, options: Options = DEFAULT) -> None:
        self._service = service
        self._options = options
        self._called: str | None = None
        self._kept: dict[str, str | None] = {}
        if local is not None:
            self.__wrapped__ = local
            for name in _COPIED:
                setattr(self, name, getattr(local, name))
        elif service is not None:
            self.__name__ = self.__qualname__ = service.name
            self.__doc__ = service.description.get("doc") or None

    if TYPE_CHECKING:

        @overload
        def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> T: ...
        @overload
        def __call__(self, /, *args: Any, name: str, **kwargs: Any) -> T: ...
        def __call__(self, /, *args: Any, **kwargs: Any) -> Any: ...
    else:

        def __call__(self, /, *args, **kwargs):
            if self._service is None:
                return self._construct_here(args, kwargs)
            return result_of(self.submit(*args, **kwargs))

    def submit(self, /, *args: Any, **kwargs: Any) -> Call[T]:
        """Starts to construct an instance, and returns at once: the Call of its stub."""
        service = self._sent()
        options, kwargs = self._split(service, kwargs)
        return service.keep(None, options, args, kwargs)

    def options(
        self,
        *,
        name: str | None = None,
        replace: bool = False,
        process: str | dict[str, Any] | None = None,
        **others: Any,
    ) -> RemoteClass[P, T]:
        """The same class, whose next instances get that name (taken from whoever has it, with ``replace``).

        With ``process`` they live in that process instead of their class's; ``timeout`` bounds their construction.
        """
        given = {"name": name, "replace": replace, "process": process, **others}
        made: RemoteClass[P, T] = RemoteClass(
            self.__dict__.get("__wrapped__"), self._service, self._options.merged(given)
        )
        made._called = self._called
        return made

    def get_or_create(self, /, *args: Any, **kwargs: Any) -> T:
        """The instance of that name (``name=``, or ``options(name=...)``) where there is one; a new one otherwise.

        Of several who ask at once one constructs it, and the others wait for that. NameTaken where the name is that of
        something else, or of another class's instance.

        >>> import roundhouse as rh
        >>> class Cache:
        ...     def __init__(self, size: int): self.size = size
        ...     def get_size(self) -> int: return self.size
        >>> RemoteCache = rh.cls(Cache).to(rh.compute("example").up_if_not())
        >>> first = RemoteCache.get_or_create(1, name="cache")
        >>> RemoteCache.get_or_create(2, name="cache").get_size()
        1
        """
        service = self._sent()
        options, arguments = self._split(service, kwargs)
        if options.name is None:
            raise ValueError("get_or_create finds by name. Try: get_or_create(..., name='my-instance')")

        from roundhouse import _stubs

        # Arguments travel only where they are needed; what to make of anything but such an instance the node knows.
        try:
            there = service._link.ask_node("describe", {"name": options.name})
        except (NotFound, WorkerDied):
            there = {}
        if there.get("kind") == "instance" and there.get("class") == service.name:
            return _stubs.stub_of(service.cluster, there)  # type: ignore[no-any-return]
        return result_of(service.keep(None, options, args, arguments, exist_ok=True))  # type: ignore[no-any-return]

    def to(
        self,
        box: Cluster | str,
        process: str | dict[str, Any] | None = None,
        name: str | None = None,
        *,
        workers: int = 1,
        memory: int | str | None = None,
        cpus: int | None = None,
        gpus: int | None = None,
        replace: bool = False,
        max_concurrency: int | None = None,
        max_queue: int | None = None,
        sync_local: bool = True,
        keep_state: bool = False,
    ) -> RemoteClass[P, T]:
        """Sends the class to that cluster, and returns the remote class. Its instances live in its worker.

        That worker is promised ``cpus``, ``gpus`` and ``memory``; with ``process`` (a name, or create_process's
        arguments in a dict) the class joins that one instead. Live instances, from an earlier sending, keep the code
        that they were made from.

        With ``keep_state`` those that are idle become instances of the class as it is now, under their names: what
        ``__getstate__`` gives (or the attributes) goes to ``__setstate__`` (or becomes the attributes), and the
        constructor is not called. ``kept`` of what is returned says of each by its name: None, or why it stays what
        it was; so does a line on stderr.

        >>> import roundhouse as rh
        >>> box = rh.compute("example").up_if_not()
        >>> class Tally:
        ...     def __init__(self): self.count = 0
        ...     def add(self): self.count += 1
        >>> tally = rh.cls(Tally).to(box)(name="votes")
        >>> tally.add()
        >>> class Tally:
        ...     def total(self) -> str: return f"{self.count} so far"
        >>> RemoteTally = rh.cls(Tally).to(box, keep_state=True)
        >>> RemoteTally.kept
        {'votes': None}
        >>> box.get("votes", remote=True).total()
        '1 so far'
        """
        local = self.__dict__.get("__wrapped__")
        if local is None:
            raise Unsupported(f"{self!r} was found by name, and its code is not here to be sent elsewhere")
        placement = Placement(
            name if name is not None else self._called,
            *(process, workers, memory, cpus, gpus, replace, max_concurrency, max_queue, sync_local),
        )
        cluster = cluster_of(box)
        if not keep_state:
            return RemoteClass(local, deploy(cluster, "class", local, placement), self._options)
        from roundhouse import _state

        before = _state.instances_of(cluster, placement.name or local.__name__)
        made: RemoteClass[P, T] = RemoteClass(local, deploy(cluster, "class", local, placement), self._options)
        made._kept = _state.carry_over(made._sent(), DEFAULT, before)
        return made

    def get_or_to(
        self, box: Cluster | str, process: str | dict[str, Any] | None = None, name: str | None = None, **placed: Any
    ) -> RemoteClass[P, T]:
        """The class of that name where it is there already, whoever sent it; otherwise as ``to``.

        Of several who ask at once one sends it, and the others wait for that. NameTaken where the name is something
        else's.
        """
        local = self.__dict__.get("__wrapped__")
        if local is None:
            raise Unsupported(f"{self!r} was found by name, and its code is not here to be sent elsewhere")
        placement = Placement(name or self._called or self.__name__, process, **_deploy.wanted(placed))
        service = _deploy.get_or_deploy(cluster_of(box), "class", local, placement, ("instance", "object"))
        if service.description["kind"] != "class":
            from roundhouse import _stubs

            # Runhouse's classes and instances share their names, so this finds either.
            return _stubs.stub(service)  # type: ignore[no-any-return]
        return RemoteClass(local, service, self._options)

    def _split(self, service: Service, kwargs: dict[str, Any]) -> tuple[Options, dict[str, Any]]:
        """Our ``name``, ``process`` and ``replace`` out of the constructor's arguments, where it leaves them free."""
        options = self._options
        accepted = service.accepts("__init__")
        ours = {}
        if "name" in kwargs and "name" not in service.parameter_names("__init__"):
            ours["name"] = kwargs["name"]
        if "dryrun" in kwargs and accepted is not None and "dryrun" not in accepted:
            kwargs = {key: value for key, value in kwargs.items() if key != "dryrun"}
        if not ours:
            return options, kwargs
        return options.merged(ours), {key: value for key, value in kwargs.items() if key not in ours}

    def _construct_here(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        if "name" in kwargs or "dryrun" in kwargs:
            import inspect

            try:
                accepted = inspect.signature(self.__wrapped__).parameters
            except (TypeError, ValueError):
                accepted = {}  # type: ignore[assignment]
            if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values()):
                kwargs = {
                    key: value for key, value in kwargs.items() if key in accepted or key not in ("name", "dryrun")
                }
        return self.__wrapped__(*args, **kwargs)

    def _sent(self) -> Service:
        if self._service is None:
            raise Unsupported(f"{self!r} has not been sent anywhere. Try: .to(rh.compute('NAME').up_if_not()) first")
        return self._service

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        service: Service | None = own.get("_service")
        if service is None:
            if "__wrapped__" in own and not name.startswith("__") and hasattr(own["__wrapped__"], name):
                # Class methods and constants of a class that was not sent are the class's own.
                return getattr(own["__wrapped__"], name)
            if name in ("name", "system", "process") and "__wrapped__" in own:
                return (own["_called"] or own["__wrapped__"].__name__) if name == "name" else None
            raise AttributeError(f"a class that was not sent has no attribute {name!r}. Try: .to(...) first")
        if name == "__signature__" and "__wrapped__" not in own:
            signature = service.signature("__init__")
            if signature is not None:
                return signature
        described = service.description["methods"].get(name)
        if described is not None and not name.startswith("__"):
            if described.get("binding", "instance") != "instance":
                return Method(service, name)
            raise AttributeError(
                f"{name!r} is for the instances of {service.name!r}. Try: make one, and call its {name}"
            )
        if name == "kept":
            return self._kept
        if name in _handle.OURS:
            return getattr(_handle.Handle(service, self), name)
        raise AttributeError(f"remote class {service.name!r} has no attribute {name!r}; its instances have its methods")

    def __reduce__(self) -> tuple[Any, ...]:
        local = None if self._service is not None else self.__wrapped__
        return RemoteClass, (local, self._service, self._options)

    def __repr__(self) -> str:
        if self._service is None:
            return f"<RemoteClass {getattr(self, '__qualname__', '?')}, not sent>"
        return f"<RemoteClass {self._service.name!r} on {self._service.cluster.name!r}>"

    def _repr_html_(self) -> str:
        from roundhouse import _display

        return _display.of_remote("RemoteClass", self)
