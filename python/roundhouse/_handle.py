"""What is ours about a remote function, class or instance."""

from __future__ import annotations

from roundhouse._options import DEFAULT
from roundhouse._service import Service, resolve
from roundhouse.exceptions import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from roundhouse._call import Call
    from roundhouse._cluster import Cluster
    from roundhouse._options import Options

# What a stub answers to as well, wherever its user's class has no such name.
OURS = frozenset(
    (
        *("remote", "local", "fetch", "fetch_async", "set_async", "resolve", "refresh", "rename", "signature"),
        *("method_signature", "system", "process", "name", "replicate", "distribute", "save", "endpoint"),
    )
)


class Handle:
    """What is ours about a remote function, class or instance, out of the way of the user's own names.

    ``name``, ``cluster`` (``system`` is the same), ``process`` and ``service`` (the node's description, a dict) say
    what it is; ``remote`` reads and sets attributes, ``fetch`` copies it here, ``call`` and ``submit`` call any method.

    >>> import roundhouse as rh
    >>> class Ship:
    ...     def __init__(self, name): self.name = name
    ...     def fetch(self): return "the user's fetch"
    >>> ship = rh.cls(Ship).to(rh.compute("example").up_if_not()).options(name="ship")("Ada")
    >>> handle = rh.handle(ship)
    >>> ship.fetch(), handle.name, handle.remote.name, type(handle.fetch()).__name__
    ("the user's fetch", 'ship', 'Ada', 'Ship')
    """

    def __init__(self, service: Service, stub: Any = None, options: Options = DEFAULT) -> None:
        self._service = service
        self._stub = stub
        self._options = options

    @property
    def name(self) -> str:
        """Its name on the cluster."""
        return self._service.name

    @property
    def cluster(self) -> Cluster:
        """Where it lives."""
        return self._service.cluster

    @property
    def system(self) -> Cluster:
        """The same, by Runhouse's word."""
        return self._service.cluster

    def endpoint(self, external: bool = False) -> str | None:
        """Its URL for HTTP: methods stand behind it (``/METHOD``), ``/openapi.json`` says what it offers.

        Where the cluster listens on no port it is ``http+unix://`` and the percent-encoded path of the socket, which
        ``curl --unix-socket`` takes; with ``external`` it is None then.

        >>> import roundhouse as rh
        >>> double = rh.function(lambda x: 2 * x).to(rh.compute("example").up_if_not(), name="double")
        >>> double.endpoint().rpartition("/")[2]
        'double'
        """
        from urllib.parse import quote

        base = self.cluster.endpoint(external)
        if base is None:
            if external:
                return None
            base = f"http+unix://{quote(self.cluster._socket_path, safe='')}"
        return f"{base}/v1/services/{quote(self.name, safe='')}"

    @property
    def process(self) -> str | None:
        """The name of the process it lives in; None when that is a worker of its own."""
        return self._service.description.get("process")

    @property
    def service(self) -> dict[str, Any]:
        """The node's description: kind, worker, pid, methods (protocol/node.md)."""
        return self._service.description

    @property
    def remote(self) -> Attributes:
        """Its attributes there: ``handle.remote.x`` reads one, ``handle.remote.x = 1`` sets it."""
        return Attributes(self._service)

    @property
    def local(self) -> Any:
        """What belongs to the stub here, and to nobody else; of a `rh.Module`, the object that was sent."""
        return _local_of(self._stub)

    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Any:
        """Calls any of its methods ("call" for a function) and waits."""
        return self._service.invoke(method, self._options, args, kwargs)

    def submit(self, method: str, /, *args: Any, **kwargs: Any) -> Call[Any]:
        """Starts a call of any of its methods ("call" for a function)."""
        return self._service.submit(method, self._options, args, kwargs)  # type: ignore[no-any-return]

    def options(self, **options: Any) -> Handle:
        """The same handle, whose calls are made with these options (those of ``Method.options``)."""
        return Handle(self._service, self._stub, self._options.merged(options))

    def fetch(self, item: str | None = None, **_: Any) -> Any:
        """A copy of the object itself, or of one attribute."""
        return self._service.call(*_fetched(item))

    async def fetch_async(self, item: str | None = None, remote: bool = False, stream_logs: bool = True) -> Any:
        """The same, awaitable. With ``remote`` an attribute stays there, and a stub of it comes back."""
        method, options, args, kwargs = _fetched(item)
        if remote:
            options = options.merged({"remote": True})
        return await self._service.submit(method, options, args, kwargs)

    async def set_async(self, key: str, value: Any) -> None:
        """Sets one attribute, awaitable."""
        await self._service.submit("@set", DEFAULT, (key, value), {})

    def resolve(self) -> Any:
        """For arguments: the receiver gets the object itself where it lives in the same process, elsewhere a copy."""
        return Resolved(self._service)

    def refresh(self) -> Any:
        """A stub of whatever has this name now."""
        from roundhouse import _stubs

        description = self._service._link.ask_node("describe", {"name": self._service.name})
        return _stubs.stub_of(self._service.cluster, description)

    def rename(self, name: str, replace: bool = False) -> None:
        """Gives it another name; NameTaken when somebody has it, unless ``replace``."""
        request = {"name": self._service.name, "to": name, "replace": replace}
        self._service._link.ask_node("rename", request)
        self._service.name = name
        self._service.description["name"] = name

    def save(self, name: str | None = None, overwrite: bool = True) -> Handle:
        """Remembers it on this machine, as ``name`` (its own, unless given), for ``rh.load(name)`` in other programs.

        What is remembered is where it is: it is not kept alive by that. SavedAlready without ``overwrite``.
        """
        from roundhouse import _registry

        saved = _registry.plain_name(name or self.name)
        _registry.save_service(saved, self.cluster.name, self.name, self._service.description["kind"], overwrite)
        return self

    def delete(self) -> None:
        """Removes it from the cluster. Deleting a class leaves its instances alive."""
        self._service._link.ask_node("delete", {"name": self._service.name})

    def signature(self, rich: bool = False) -> dict[str, Any]:
        """Its public methods: with their `inspect.Signature`, or (``rich``) with what JSON can hold."""
        methods = [name for name in self._service.description.get("methods", {}) if not name.startswith("_")]
        if rich:
            return {name: self.method_signature(name) for name in methods}
        return {name: self._service.signature(name) for name in methods}

    def method_signature(self, method: Any) -> dict[str, Any]:
        """One method, by name or itself: signature, async, gen, doc, annotations; all of it JSON-able."""
        name = method if isinstance(method, str) else getattr(method, "_method", getattr(method, "__name__", ""))
        described = self._service.description.get("methods", {}).get(name)
        if described is None:
            from roundhouse.exceptions import NotFound

            raise NotFound(f"{self._service.name!r} has no method {name!r}; it has {_listed(self._service)}")
        signature = self._service.signature(name)
        parameters = signature.parameters.values() if signature is not None else ()
        kind = described.get("kind", "sync")
        annotations = {p.name: repr(p.annotation) for p in parameters if p.annotation is not p.empty}
        if signature is not None and signature.return_annotation is not signature.empty:
            annotations["return"] = repr(signature.return_annotation)
        return {
            "signature": described.get("signature", "(...)"),
            "async": kind in ("async", "async_generator"),
            "gen": kind in ("generator", "async_generator"),
            "doc": described.get("doc") or None,
            "annotations": annotations,
        }

    def replicate(self, num_replicas: int | None = None, **options: Any) -> list[Any]:
        """Copies it that many times, each into a worker of its own: a list of stubs (`Function.replicate`)."""
        from roundhouse import _replicate

        return _replicate.replicate(self._stub, num_replicas, **options)

    def distribute(
        self, distribution: str, name: str | None = None, num_replicas: int | None = None, **options: Any
    ) -> Any:
        """``distribute("pool", num_replicas=4)``: the same, each call of which goes to one free replica."""
        from roundhouse import _pool

        return _pool.distribute(self._stub, distribution, name, num_replicas, **options)

    def __repr__(self) -> str:
        return f"<Handle of {self._service.description['kind']} {self.name!r} on {self.cluster.name!r}>"

    def _repr_html_(self) -> str:
        from roundhouse import _display

        return _display.of_remote("Handle", self)


class Attributes:
    """The attributes of a remote object, read and set there."""

    __slots__ = ("_service",)
    _service: Service

    def __init__(self, service: Service) -> None:
        object.__setattr__(self, "_service", service)

    def __getattr__(self, name: str) -> Any:
        service = self._service
        if name.startswith("__") and name.endswith("__"):
            # Copying and notebooks ask for what is not there; an answer would be a call.
            raise AttributeError(name)
        if name in service.kinds:
            from roundhouse._method import Method

            return Method(service, name)
        return service.call("@get", DEFAULT, (name,), {})

    def __setattr__(self, name: str, value: Any) -> None:
        self._service.call("@set", DEFAULT, (name, value), {})

    def __repr__(self) -> str:
        return f"<attributes of {self._service.name!r} on {self._service.cluster.name!r}>"


class Resolved:
    """Stands for a remote object among the arguments; the receiver gets the object."""

    __slots__ = ("_service",)

    def __init__(self, service: Service) -> None:
        self._service = service

    def __reduce__(self) -> tuple[Any, ...]:
        return resolve, (self._service,)

    def __repr__(self) -> str:
        return f"<{self._service.name!r} on {self._service.cluster.name!r}, to be resolved>"


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
    from roundhouse import _stubs

    if isinstance(remote, Handle):
        return remote
    service = _stubs.service_of(remote)
    if service is None:
        raise TypeError(f"{remote!r} is not on any cluster. Try: .to(rh.compute('NAME').up_if_not()) first")
    return Handle(service, remote)


def of_function(function: Any, name: str) -> Any:
    """Ours, of a remote function, which may not have been sent yet."""
    if function._service is not None:
        return getattr(Handle(function._service, function), name)
    if name == "name":
        return function._called or function.__dict__.get("__name__")
    if name in ("system", "process"):
        return None
    raise Unsupported(f"{function!r} has no {name!r} yet. Try: .to(rh.compute('NAME').up_if_not()) first")


def _fetched(item: str | None) -> tuple[str, Options, tuple[Any, ...], dict[str, Any]]:
    return ("@fetch", DEFAULT, (), {}) if item is None else ("@get", DEFAULT, (item,), {})


def _listed(service: Service) -> str:
    return ", ".join(sorted(service.description.get("methods", {}))) or "none"


class Local:
    """What a user keeps on a stub."""


def _local_of(stub: Any) -> Any:
    own = getattr(stub, "__dict__", {})
    if "__wrapped__" in own:
        return own["__wrapped__"]
    return own.setdefault("_rh_local", Local())
