"""What a user holds of a service: a function, a class or an instance."""

from __future__ import annotations

from roundhouse._service import Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from roundhouse._cluster import Cluster


def stub_of(cluster: Cluster, description: dict[str, Any]) -> Any:
    """The stub of what the node describes."""
    return stub(Service(cluster, description))


def stub(service: Service, local: Any = None) -> Any:
    """`local` is the code or the object that was sent, where it is here."""
    kind = service.description["kind"]
    if kind == "function":
        from roundhouse._function import Function

        return Function(local, service)
    if kind == "class":
        from roundhouse._module import RemoteClass

        return RemoteClass(local, service)
    from roundhouse._instance import Instance

    return Instance(service, local)


def service_of(remote: Any) -> Service | None:
    """The service that a stub stands for; None for what is not on any cluster."""
    from roundhouse._instance import Instance

    if type(remote) is Instance:
        return remote.__dict__["_rh_service"]  # type: ignore[no-any-return]
    found = getattr(remote, "_service", None)
    return found if isinstance(found, Service) else None
