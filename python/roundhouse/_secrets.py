"""What a node does with the secrets that it is given: the service here, a Python worker of the node's own.

A secret's values stand in one file in the node's own folder, which only its user can read and which goes with the node;
what the node itself is told, and keeps, is the name."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SERVICE = "roundhouse-secrets"


def act(proof: str, what: str, name: str, record: dict[str, Any] | None = None, path: str | None = None) -> Any:
    """`what` is "keep", "fetch" (its record, or None) or "forget". Of "keep": the paths that something else is at."""
    from roundhouse import _proof, _providers, _secret_files

    _proof.check(proof, SERVICE)
    folder = _secret_files.on_node()
    if what == "fetch":
        return _secret_files.read(folder, name)
    if what == "forget":
        return _secret_files.remove(folder, name)
    assert record is not None
    _secret_files.write(folder, name, record)
    if path is None:
        return []
    return _providers.place(_providers.provider_of(record["provider"]), path, record["values"])
