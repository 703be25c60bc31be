"""The ground that the parts of `Cluster` stand on: a name, and a connection to the node of that name."""

from __future__ import annotations

from roundhouse._link import Link, link_to

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from roundhouse._cluster import Cluster


class Node:
    name: str
    _socket_path: str

    @property
    def _link(self) -> Link:
        return link_to(self.name, self._socket_path)

    def _self(self) -> Cluster:
        return self  # type: ignore[return-value]

    def _ask(self, method: str, request: dict[str, Any], attachments: Sequence[Any] = (), silent: bool = False) -> Any:
        """Asks the node itself (protocol/node.md)."""
        return self._link.ask_node(method, request, attachments, silent=silent)
