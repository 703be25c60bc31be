"""Remote functions."""

from __future__ import annotations

from roundhouse import _deploy, _options
from roundhouse._cluster import Cluster, cluster_of
from roundhouse._deploy import Placement, deploy
from roundhouse._method import Method
from roundhouse._options import DEFAULT
from roundhouse.exceptions import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta
    from os import PathLike
    from typing import Any, Literal, ParamSpec, TypeVar, overload

    from typing_extensions import Self

    from roundhouse._call import Call
    from roundhouse._options import Options
    from roundhouse._service import Service

    P = ParamSpec("P")
    R = TypeVar("R", covariant=True)
else:
    from roundhouse._generic import P, R


_COPIED = ("__module__", "__name__", "__qualname__", "__doc__")


if TYPE_CHECKING:

    @overload
    def function(
        f: Callable[P, R],
        name: str | None = None,
        load_from_den: bool = True,
        dryrun: bool = False,
        serialize_notebook_fn: bool = False,
    ) -> Function[P, R]: ...

    @overload
    def function(f: str, name: None = None, load_from_den: bool = True, dryrun: bool = False) -> Function[..., Any]: ...

    @overload
    def function(
        f: None = None, *, name: str, load_from_den: bool = True, dryrun: bool = False
    ) -> Function[..., Any]: ...


def function(
    f: Any = None,
    name: str | None = None,
    load_from_den: bool = True,
    dryrun: bool = False,
    serialize_notebook_fn: bool = False,
) -> Any:
    """Makes a function one that can be sent. Until then it runs here. ``rh.fn`` is the same; it is a decorator as well.

    ``name`` is what it will be known as where it is sent. A name alone, ``rh.function("saved")``, is what ``save`` was
    told, as in ``rh.load("saved")``; where no function is saved under it, that is a NotFound. (The other arguments are
    Runhouse's, and change nothing.)

    >>> import roundhouse as rh
    >>> @rh.function
    ... def double(x: int) -> int:
    ...     return 2 * x
    >>> double(4)
    8
    >>> double.to(rh.compute("example").up_if_not())(21)
    42
    """
    if isinstance(f, Function):
        return f
    if isinstance(f, str) and "://" in f:
        raise Unsupported(
            f"rh.function({f!r}): this version does not fetch functions from repositories. Try: import it, and pass it"
        )
    if isinstance(f, str) or (f is None and name is not None):
        from roundhouse._registry import load_saved, one_name

        return load_saved(one_name("rh.function", f, name), (Function,), "function")
    if isinstance(f, type):
        raise TypeError(f"{f.__qualname__} is a class. Try: rh.cls({f.__qualname__})")
    if not callable(f):
        raise TypeError(f"rh.function() takes something to call, not {type(f).__name__}")
    made: Function[Any, Any] = Function(f, None)
    made._called = name
    return made


class Function(Method[P, R]):
    """A function that runs where it was sent, with its own signature, called as ever.

    What it prints appears here while it runs; what it raises is raised here. ``to`` sends it, ``submit`` starts a call
    and returns at once, ``map`` spreads many over its workers.

    >>> import roundhouse as rh
    >>> def greet(name: str) -> str:
    ...     print("greeting", name)
    ...     return f"hello {name}"
    >>> remote_greet = rh.function(greet).to(rh.compute("example").up_if_not(), workers=2)
    >>> remote_greet("Ada")
    greeting Ada
    'hello Ada'
    >>> remote_greet.options(stream_logs=False).map(["Bob", "Eve"])
    ['hello Bob', 'hello Eve']
    """

    __wrapped__: Callable[P, R]

    def __init__(self, local: Callable[P, R] | None, service: Service | None, options: Options = DEFAULT) -> None:
        self._service = service
        self._method = "call"
        self._options = options
        self._called: str | None = None
        if local is not None:
            self.__wrapped__ = local
            for name in _COPIED:
                if hasattr(local, name):
                    setattr(self, name, getattr(local, name))
        elif service is not None:
            self.__name__ = self.__qualname__ = service.name
            self.__doc__ = service.description.get("doc") or None

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if self._service is None:
            if kwargs and not _options.KEYWORDS.isdisjoint(kwargs):
                kwargs = _without_ours(self.__wrapped__, kwargs)  # type: ignore[assignment]
            return self.__wrapped__(*args, **kwargs)
        return self._service.invoke("call", self._options, args, kwargs)  # type: ignore[no-any-return]

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
    ) -> Function[P, R]:
        """Sends it to that cluster, and returns the remote function.

        It is known there as ``name`` (its own, unless given). Sending again replaces it; NameTaken when it has calls in
        flight or the name is an instance's, unless ``replace``. It gets ``workers`` processes of its own, each promised
        ``cpus``, ``gpus`` and ``memory``; with ``process`` (a name, or create_process's arguments in a dict) it joins
        that one instead. A worker that takes more memory is ended, and its callers get OutOfMemory. ``max_concurrency``
        calls run at once in each worker, ``max_queue`` wait; more are LimitExceeded.

        What the cluster lacks of its project travels too (CodeSyncError where that cannot be), and the worker imports
        from a snapshot of it that never changes. With ``sync_local=False`` it imports the files where they are.
        """
        placement = Placement(
            name if name is not None else self._called,
            *(process, workers, memory, cpus, gpus, replace, max_concurrency, max_queue, sync_local),
        )
        return Function(self._local(), deploy(cluster_of(box), "function", self._local(), placement), self._options)

    def get_or_to(
        self, box: Cluster | str, process: str | dict[str, Any] | None = None, name: str | None = None, **placed: Any
    ) -> Function[P, R]:
        """The function of that name where it is there already, whoever sent it; otherwise as ``to``.

        Of several who ask at once one sends it, and the others wait for that. NameTaken where the name is something
        else's.
        """
        placement = Placement(name or self._called or self.__name__.strip("<>"), process, **_deploy.wanted(placed))
        local = self._local()
        return Function(local, _deploy.get_or_deploy(cluster_of(box), "function", local, placement), self._options)

    if TYPE_CHECKING:

        @overload
        def options(self, *, remote: Literal[True], **options: Any) -> Function[P, Any]: ...
        @overload
        def options(self, *, run_async: Literal[True], **options: Any) -> Function[P, Call[R]]: ...
        @overload
        def options(
            self,
            *,
            timeout: float | None = ...,
            kill: bool = ...,
            name: str | None = ...,
            replace: bool = ...,
            process: str | dict[str, Any] | None = ...,
            stream_logs: bool = ...,
            run_async: bool | None = ...,
            remote: bool = ...,
            prefetch: int | None = ...,
            retries: int = ...,
            backoff: float = ...,
            retry_on: type[Exception] | tuple[type[Exception], ...] = ...,
            idempotent: bool = ...,
            debug: bool = ...,
            run_name: str | None = ...,
            accept_old_code: bool = ...,
            keep_for: float | timedelta | None = ...,
            keep_bytes: int | None = ...,
            webhook: str | None = ...,
            run_store: str | PathLike[str] | Cluster | None = ...,
        ) -> Self: ...
        def options(self, **options: Any) -> Any: ...
    else:

        def options(self, **options):
            """The same, called with these options from now on: those of ``Method.options``."""
            made = Function(self.__dict__.get("__wrapped__"), self._service, self._options.merged(options))
            made._called = self._called
            return made

    def run(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """Starts a run and returns its name at once: ``options(run_name=)``, or one that is made. ``get`` waits for it.

        >>> import roundhouse as rh
        >>> remote_len = rh.function(len).to(rh.compute("example").up_if_not())
        >>> key = remote_len.run("four")
        >>> remote_len.get(key)
        4
        """
        from os import urandom

        service = self._sent()
        name = self._options.run_name or f"{service.name[:100]}-{urandom(4).hex()}"
        started = self.options(run_name=name, stream_logs=False).submit(*args, **kwargs)
        # Nobody looks on from here.
        started._abandon()
        return name

    def get(self, run_key: str) -> R:
        """Waits for that run: its result, or what it raised, as ``box.get_run(run_key).result()``."""
        from roundhouse._runs import Run

        return Run(self._sent().cluster, run_key).result()  # type: ignore[no-any-return]

    def get_or_call(self, run_name: str, load_from_den: bool = True, *args: Any, **kwargs: Any) -> R:
        """The result of the run of that name, which is started where there is none: ``options(run_name=...)(...)``."""
        return self.options(run_name=run_name)(*args, **kwargs)

    def replicate(self, num_replicas: int | None = None, **options: Any) -> list[Function[P, R]]:
        """Sends it again that many times, each to a worker of its own: a list of independent remote functions.

        ``names`` and ``processes`` name them; otherwise they are ``NAME_replica_0`` and so on.
        """
        from roundhouse import _replicate

        return _replicate.replicate(self, num_replicas, **options)

    def distribute(
        self, distribution: str, name: str | None = None, num_replicas: int | None = None, **options: Any
    ) -> Function[P, R]:
        """``distribute("pool", num_replicas=4)``: the same function, each call of which goes to one free replica."""
        from roundhouse import _pool

        return _pool.distribute(self, distribution, name, num_replicas, **options)  # type: ignore[no-any-return]

    def _local(self) -> Callable[P, R]:
        local = self.__dict__.get("__wrapped__")
        if local is None:
            raise Unsupported(f"{self!r} was found by name, and its code is not here to be sent elsewhere")
        return local  # type: ignore[no-any-return]

    def _sent(self) -> Service:
        if self._service is None:
            raise Unsupported(f"{self!r} has not been sent anywhere. Try: .to(rh.compute('NAME').up_if_not()) first")
        return self._service

    def __getattr__(self, name: str) -> Any:
        from roundhouse import _handle

        if name in _handle.OURS and "_service" in self.__dict__:
            return _handle.of_function(self, name)
        return super().__getattr__(name)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._service is None:
            return _revive_local, (self.__wrapped__, self._called, self._options)
        # The code stays here: whoever gets this calls the service.
        return Function, (None, self._service, self._options)

    def __repr__(self) -> str:
        if self._service is None:
            return f"<Function {getattr(self, '__qualname__', '?')}, not sent>"
        return f"<Function {self._service.name!r} on {self._service.cluster.name!r}>"

    def _repr_html_(self) -> str:
        from roundhouse import _display

        return _display.of_remote("Function", self)


def _revive_local(local: Callable[P, R], called: str | None, options: Options) -> Function[P, R]:
    made: Function[P, R] = Function(local, None, options)
    made._called = called
    return made


def _without_ours(local: Callable[..., Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Runhouse's keywords mean nothing to a function that was not sent."""
    import inspect

    try:
        accepted = _options.keywords_of(inspect.signature(local))
    except (TypeError, ValueError):
        return kwargs
    if accepted is None:
        return kwargs
    return {name: value for name, value in kwargs.items() if name in accepted or name not in _options.KEYWORDS}
