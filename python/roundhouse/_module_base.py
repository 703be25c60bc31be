"""`rh.Module`: a base class whose instances are made here and sent as they are."""

from __future__ import annotations

from roundhouse._cluster import Cluster, cluster_of
from roundhouse.exceptions import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from typing_extensions import Self


class _Ours:
    """An attribute of ours that gives way to the user's: what an instance sets under that name is found first."""

    def __init__(self, find: Any) -> None:
        self._find = find
        self.__doc__ = find.__doc__

    def __get__(self, module: Any, kind: type | None = None) -> Any:
        return self if module is None else self._find(module)


class Module:
    """A base class for objects that are made here and sent with their state, as Runhouse has it.

    ``to`` copies the object there and returns a stub of the copy; what changes here afterwards does not change there.
    Methods with a parameter ``local=True`` stay here. ``rh.cls`` needs no base class, and constructs there.

    >>> import roundhouse as rh
    >>> class Model(rh.Module):
    ...     def __init__(self, scale: int):
    ...         super().__init__()
    ...         self.scale = scale
    ...     def predict(self, x: int) -> int:
    ...         return self.scale * x
    ...     def describe(self, local: bool = True) -> str:
    ...         return f"a model of scale {self.scale}"
    >>> model = Model(3).to(rh.compute("example").up_if_not(), name="model")
    >>> model.predict(2), model.describe(), model.remote.scale
    (6, 'a model of scale 3', 3)
    """

    def __init__(self, name: str | None = None, system: Any = None, dryrun: bool = False) -> None:
        self.__dict__["_rh_name"] = name

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
    ) -> Self:
        """Copies the object to that cluster, and returns a stub of the copy. It takes what `Function.to` takes."""
        from roundhouse._deploy import Placement, deploy
        from roundhouse._instance import Instance

        placement = Placement(
            name or _name_of(self),
            *(process, workers, memory, cpus, gpus, replace, max_concurrency, max_queue, sync_local),
        )
        return Instance(deploy(cluster_of(box), "object", self, placement), self)  # type: ignore[return-value]

    def get_or_to(
        self, box: Cluster | str, process: str | dict[str, Any] | None = None, name: str | None = None, **placed: Any
    ) -> Self:
        """A stub of what has that name there, whoever sent it, in the state that it has; otherwise as ``to``.

        Of several who ask at once one sends it, and the others wait for that. NameTaken where the name is that of
        something else, or of another class's object.
        """
        from roundhouse import _deploy
        from roundhouse._instance import Instance

        placement = _deploy.Placement(name or _name_of(self), process, **_deploy.wanted(placed))
        found = _deploy.get_or_deploy(cluster_of(box), "object", self, placement)
        return Instance(found, self)  # type: ignore[return-value]

    def fetch(self, item: str | None = None, **_: Any) -> Any:
        """The object itself, or one of its attributes: it was not sent."""
        return self if item is None else getattr(self, item)

    def rename(self, name: str) -> None:
        """Gives it another name to be sent under."""
        self.__dict__["_rh_name"] = name

    def resolve(self) -> Self:
        """The object itself: it was not sent."""
        return self

    def refresh(self) -> Self:
        """The object itself: it was not sent."""
        return self

    def replicate(self, num_replicas: int | None = None, **options: Any) -> list[Any]:
        """Of an object that was sent: independent copies of it."""
        raise Unsupported(f"{type(self).__name__} has not been sent anywhere. Try: .to(box).replicate(...)")

    def distribute(self, distribution: str, **options: Any) -> Any:
        """Of an object that was sent: a pool of copies."""
        raise Unsupported(f"{type(self).__name__} has not been sent anywhere. Try: .to(box).distribute(...)")

    @_Ours
    def name(self) -> str:
        """What it is sent under."""
        return _name_of(self)

    @_Ours
    def remote(self) -> Any:
        """The object itself: it was not sent."""
        return self

    @_Ours
    def local(self) -> Any:
        """The object itself."""
        return self

    @_Ours
    def system(self) -> None:
        """None: it was not sent."""

    @_Ours
    def process(self) -> None:
        """None: it was not sent."""


def _name_of(module: Any) -> str:
    return module.__dict__.get("_rh_name") or type(module).__name__
