"""Remote functions."""

from __future__ import annotations

from roundhouse._cluster import Cluster, cluster_of
from roundhouse._service import Service, deploy
from roundhouse.exceptions import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Generic, ParamSpec, TypeVar

    from roundhouse._call import Call

    P = ParamSpec("P")
    R = TypeVar("R")
else:
    from roundhouse._generic import Generic, P, R


_COPIED = ("__module__", "__name__", "__qualname__", "__doc__")


def function(f: Callable[P, R]) -> Function[P, R]:
    """Makes a function one that can be sent. Until then it runs here. ``rh.fn`` is the same; it is a decorator as well.

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
    if isinstance(f, type):
        raise TypeError(f"{f.__qualname__} is a class. Try: rh.cls({f.__qualname__})")
    if not callable(f):
        raise TypeError(f"rh.function() takes something to call, not {type(f).__name__}")
    return Function(f, None)


class Function(Generic[P, R]):
    """A function that runs where it was sent, with its own signature, called as ever.

    What it prints appears here while it runs; what it raises is raised here. ``Function.to`` sends it, ``submit``
    starts a call and returns at once.

    >>> import roundhouse as rh
    >>> def greet(name: str) -> str:
    ...     print("greeting", name)
    ...     return f"hello {name}"
    >>> remote_greet = rh.function(greet).to(rh.compute("example").up_if_not())
    >>> remote_greet("Ada")
    greeting Ada
    'hello Ada'
    """

    def __init__(self, local: Callable[P, R] | None, service: Service | None) -> None:
        self._service = service
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
            return self.__wrapped__(*args, **kwargs)
        return self._service.call("call", args, kwargs)  # type: ignore[no-any-return]

    def submit(self, /, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """Starts the call and returns it at once."""
        if self._service is None:
            raise Unsupported(f"{self!r} has not been sent anywhere. Try: .to(rh.compute('NAME').up_if_not()) first")
        return self._service.submit("call", args, kwargs)

    def to(self, box: Cluster | str, name: str | None = None, replace: bool = False) -> Function[P, R]:
        """Sends it to a worker process of its own on that cluster, and returns the remote function.

        It is known there as ``name`` (its own, unless given). Sending again replaces it; NameTaken when it has calls in
        flight or the name is an instance's, unless ``replace``.
        """
        local = getattr(self, "__wrapped__", None)
        if local is None:
            raise Unsupported(f"{self!r} was found by name, and its code is not here to be sent elsewhere")
        return Function(local, deploy(cluster_of(box), "function", local, name, replace))

    def __getattr__(self, name: str) -> Any:
        if name == "__signature__" and self.__dict__.get("_service") is not None and "__wrapped__" not in self.__dict__:
            signature = self.__dict__["_service"].signature("call")
            if signature is not None:
                return signature
        raise AttributeError(f"a remote function has no attribute {name!r}")

    def __repr__(self) -> str:
        called = getattr(self, "__qualname__", "?")
        if self._service is None:
            return f"<Function {called}, not sent>"
        return f"<Function {self._service.name!r} on {self._service.cluster.name!r}>"
