"""`rh.here`: the cluster inside of which this code runs."""

from __future__ import annotations

import os

from roundhouse import _engine
from roundhouse.exceptions import InvalidName

TYPE_CHECKING = False
if TYPE_CHECKING:
    from roundhouse._cluster import Cluster


def here() -> Cluster | str:
    """The enclosing cluster in a worker (and in what it starts), elsewhere the text "file"."""
    socket_path = os.environ.get("ROUNDHOUSE_SOCKET")
    if not socket_path:
        return "file"
    from roundhouse._cluster import Cluster

    state_folder = os.environ.get("ROUNDHOUSE_NODE", "")
    # It may have been renamed since this process was started.
    name = _engine.name_local(state_folder) if os.path.isdir(state_folder) else os.environ["ROUNDHOUSE_CLUSTER"]
    return Cluster._at(name, state_folder, socket_path)


def cluster_here() -> Cluster:
    """What `.to("here")` means; InvalidName, a ValueError, where there is none."""
    found = here()
    if isinstance(found, str):
        raise InvalidName(
            '.to("here") sends to the cluster that this code runs on, and it runs on none. '
            "Try: .to(rh.compute('NAME').up_if_not()), or call it without sending it"
        )
    return found
