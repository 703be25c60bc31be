"""What Runhouse's clusters can do and a local one of this version does not: each name says what to do instead."""

from __future__ import annotations

from roundhouse.exceptions import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from roundhouse._node import Node

_SAME_MACHINE = "a local cluster is this machine: "
_DEN = "it belonged to Runhouse's hosted service, which is gone"

# By the method's name; the class's own methods come first.
INSTEAD = {
    "ssh": _SAME_MACHINE + "open a terminal, or use run_bash()",
    "ssh_tunnel": _SAME_MACHINE + "its ports are yours already",
    "notebook": _SAME_MACHINE + "run `jupyter lab` here",
    "connect_dask": "start a dask.distributed.LocalCluster in your program",
    "kill_dask": "close the dask client that you started",
    "share": _DEN,
    "enable_den_auth": _DEN,
    "disable_den_auth": _DEN,
}


def _method(name: str, instead: str) -> Callable[..., Any]:
    def refuse(self: Node, *args: Any, **kwargs: Any) -> Any:
        raise Unsupported(f"{name}() of cluster {self.name!r} is not supported by this version: {instead}")

    refuse.__name__ = name
    refuse.__qualname__ = f"Cluster.{name}"
    refuse.__doc__ = f"Not supported for a local cluster: {instead}."
    return refuse


class Elsewhere:
    """These methods, each of which raises Unsupported."""


for _name, _instead in INSTEAD.items():
    setattr(Elsewhere, _name, _method(_name, _instead))
