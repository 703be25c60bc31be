"""A service as its callers hold it: node, name, what it offers. Functions, classes and instances share it."""

from __future__ import annotations

import os
import sys

from roundhouse import _serialize
from roundhouse._call import Call
from roundhouse.exceptions import NotSerializable, RoundhouseError, SetupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from roundhouse._cluster import Cluster


class Service:
    __slots__ = ("_link", "cluster", "description", "encoding", "local", "name")

    def __init__(self, cluster: Cluster, description: dict[str, Any], local: Callable[..., Any] | None = None) -> None:
        self.cluster = cluster
        self.description = description
        self.name: str = description["name"]
        self.local = local
        python = description.get("language", "python").startswith("python")  # "python 3.11.7"
        self.encoding = _serialize.PICKLE if python else _serialize.MSGPACK
        self._link = cluster._link

    def __reduce__(self) -> tuple[Any, ...]:
        raise NotSerializable(
            f"service {self.name!r} cannot be an argument, nor used by code that is sent, in this version. "
            f"Try: send its name, and rh.compute({self.cluster.name!r}).get({self.name!r}) there"
        )

    def call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._link.call(self.name, method, self.encoding, self.parts_of(method, args, kwargs))

    def submit(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call[Any]:
        parts = self.parts_of(method, args, kwargs)
        return Call(self._link, self.name, method, self._link.start(self.name, method, self.encoding, parts))

    def parts_of(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        try:
            return _serialize.encode_call(self.encoding, args, kwargs)
        except RoundhouseError:
            if self.encoding != _serialize.PICKLE:
                raise
            error = sys.exc_info()[1]
        except Exception as caught:
            error = caught
        from roundhouse import _blame

        assert error is not None
        raise _blame.call_not_serializable(args, kwargs, self.parameter_names(method), error) from None

    def parameter_names(self, method: str) -> Sequence[str]:
        signature = self.signature(method)
        return [] if signature is None else list(signature.parameters)

    def signature(self, method: str) -> Any:
        """The method's `inspect.Signature`, from the node's description; None where that has none."""
        from roundhouse import _signature

        text = self.description.get("methods", {}).get(method, {}).get("signature")
        return _signature.parse(text) if text else None


def deploy(cluster: Cluster, kind: str, target: Any, name: str | None, replace: bool) -> Service:
    """Sends a function or a class to a worker of its own, and returns the service that it is there."""
    if not sys.executable:
        raise SetupError(
            "sys.executable is empty, so the worker's interpreter is not known. Try: set it before sending"
        )
    called = getattr(target, "__name__", None) or type(target).__name__
    link = cluster._link
    started = link.ask_node("start", {"command": _command(target), "env": dict(os.environ), "cwd": _folder()})
    try:
        # While the worker starts.
        parts = _serialize.dumps(target)
    except BaseException as error:
        link.ask_node("abandon", started)
        if not isinstance(error, Exception):
            raise
        from roundhouse import _blame

        raise _blame.not_serializable(f"{kind} {called!r}", target, error) from None
    request = {
        "name": name if name is not None else called.strip("<>"),
        "kind": kind,
        "workers": started["workers"],
        "source": {"sys_path": [os.path.abspath(entry) for entry in sys.path if isinstance(entry, str)]},
        "replace": replace,
    }
    return Service(cluster, link.ask_node("deploy", request, parts), target)


def _command(target: Any) -> list[str]:
    worker = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_worker", "__main__.py")
    # Code that travels by value needs cloudpickle there, which the worker can import while the code is encoded here.
    by_value = getattr(target, "__module__", None) == "__main__" or "<" in getattr(target, "__qualname__", "")
    return [sys.executable, worker, *(["cloudpickle"] if by_value else [])]


def _folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # Deleted under us; the worker needs some folder.
        return "/"
