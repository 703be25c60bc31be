"""What a remote function and a remote method have in common: they are called."""

from __future__ import annotations

from roundhouse._options import DEFAULT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable
    from datetime import timedelta
    from os import PathLike
    from typing import Any, Generic, Literal, ParamSpec, TypeVar, overload

    from typing_extensions import Self

    from roundhouse._call import Call
    from roundhouse._cluster import Cluster
    from roundhouse._options import Options
    from roundhouse._service import Service

    P = ParamSpec("P")
    R = TypeVar("R", covariant=True)
    V = TypeVar("V")
else:
    from roundhouse._generic import Generic, P, R


class Method(Generic[P, R]):
    """Something remote that can be called: plainly, with ``submit`` for a Call, or with ``map`` for many.

    >>> import roundhouse as rh
    >>> class Scale:
    ...     def __init__(self, factor): self.factor = factor
    ...     def times(self, x): return self.factor * x
    >>> scale = rh.cls(Scale).to(rh.compute("example").up_if_not())(3)
    >>> scale.times(2), scale.times.submit(4).result(), scale.times.map([1, 2])
    (6, 12, [3, 6])
    >>> scale.times.options(timeout=60)(5)
    15
    """

    _service: Service | None
    _method: str
    _options: Options

    def __init__(self, service: Service, method: str, options: Options = DEFAULT) -> None:
        described = service.description["methods"].get(method, {})
        self._service = service
        self._method = method
        self._options = options
        self.__name__ = method
        self.__qualname__ = f"{service.description.get('class') or service.name}.{method}"
        self.__doc__ = described.get("doc") or None

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._sent().invoke(self._method, self._options, args, kwargs)  # type: ignore[no-any-return]

    if TYPE_CHECKING:

        @overload
        def submit(self: Method[P, Coroutine[Any, Any, V]], /, *args: P.args, **kwargs: P.kwargs) -> Call[V]: ...
        @overload
        def submit(self, /, *args: P.args, **kwargs: P.kwargs) -> Call[R]: ...
        def submit(self, /, *args: Any, **kwargs: Any) -> Any: ...
        @overload
        def map(self: Method[P, Coroutine[Any, Any, V]], /, *iterables: Iterable[Any], **kwargs: Any) -> list[V]: ...
        @overload
        def map(self, /, *iterables: Iterable[Any], **kwargs: Any) -> list[R]: ...
        def map(self, /, *iterables: Iterable[Any], **kwargs: Any) -> Any: ...
        @overload
        def starmap(
            self: Method[P, Coroutine[Any, Any, V]], arguments: Iterable[Iterable[Any]], /, **kwargs: Any
        ) -> list[V]: ...
        @overload
        def starmap(self, arguments: Iterable[Iterable[Any]], /, **kwargs: Any) -> list[R]: ...
        def starmap(self, arguments: Iterable[Iterable[Any]], /, **kwargs: Any) -> Any: ...
    else:

        def submit(self, /, *args, **kwargs):
            """Starts the call and returns it at once: a Call, or the Stream of a generator."""
            return self._sent().submit(self._method, self._options, args, kwargs)

        def map(self, /, *iterables, **kwargs):
            """Calls it for each item, over all of its workers at once: the results in order, as a list.

            With several iterables it takes one argument of each, and ends with the shortest. ``kwargs`` go to every
            call. The first exception (in order) is raised, and what has not begun then never does.
            """
            from roundhouse import _many

            return _many.map_over(self, zip(*iterables, strict=False), kwargs)

        def starmap(self, arguments, /, **kwargs):
            """As ``map``, with each call's arguments in a tuple: ``f.starmap([(1, 2), (3, 4)])``."""
            from roundhouse import _many

            return _many.map_over(self, arguments, kwargs)

    def remote(self, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Calls it and leaves the value there: a stub comes back, whose ``fetch()`` gets it."""
        options = self._options.merged({"remote": True})
        return self._sent().invoke(self._method, options, args, kwargs)

    if TYPE_CHECKING:

        @overload
        def options(self, *, remote: Literal[True], **options: Any) -> Method[P, Any]: ...
        @overload
        def options(self, *, run_async: Literal[True], **options: Any) -> Method[P, Call[R]]: ...
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
            """The same, called with these options from now on.

            ``timeout`` (seconds, then CallTimeout), ``kill`` (at the deadline, end the worker if nothing else helps),
            ``stream_logs=False`` (throw away what it prints), ``run_async=True`` (return a Call at once),
            ``remote=True`` (keep the value there, under ``name``), ``prefetch`` (how far a generator runs ahead).

            ``run_name`` makes the call a run, which the node journals and which outlives this process: asked for
            again by that name it is attached to while it runs, its result is what it returned, and where it failed or
            was lost it is tried anew. RunConflict with other arguments or other code, unless ``replace=True`` (start
            anew) or ``accept_old_code=True``. ``timeout`` is then the run's own; ``keep_for`` (seconds, or a
            timedelta) and ``keep_bytes`` bound how much of it is kept after its end. ``webhook`` is an address that
            the node POSTs to when an attempt has ended. ``run_store`` is where the run is kept beyond its cluster: a
            path (as the node sees it), another cluster, or "s3://BUCKET/PREFIX". What ended there is its result on
            any cluster; what runs on another is RunConflict; ``rh.run_store`` reads it without any.

            ``retries`` (how often the call may be made again) is for failures of which it is known that the code never
            began, with ``idempotent=True`` also for those of a worker or node that died while it ran, and for the
            exceptions named in ``retry_on``. The pause before the next try is ``backoff`` seconds (0.2), then up to
            twice as long each time; ``timeout`` is for all tries together.

            ``debug=True`` has ``breakpoint()`` in the code open pdb on this process's terminal; elsewhere it is passed
            over, with a word on stderr.
            """
            return Method(self._sent(), self._method, self._options.merged(options))

    def _sent(self) -> Service:
        assert self._service is not None
        return self._service

    def __getattr__(self, name: str) -> Any:
        service = self.__dict__.get("_service")
        if name == "__signature__" and service is not None and "__wrapped__" not in self.__dict__:
            signature = service.signature(self._method)
            if signature is not None:
                return signature
        raise AttributeError(f"{self.__dict__.get('__qualname__', 'a remote method')!r} has no attribute {name!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        return Method, (self._service, self._method, self._options)

    def __repr__(self) -> str:
        service = self._sent()
        return f"<method {self._method!r} of {service.name!r} on {service.cluster.name!r}>"
