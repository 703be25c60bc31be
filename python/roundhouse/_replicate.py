"""Copies of a remote function, class or object, independent of it and of each other."""

from __future__ import annotations

from roundhouse import _stubs
from roundhouse._deploy import Placement, deploy
from roundhouse._options import DEFAULT, whole
from roundhouse.exceptions import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from roundhouse._service import Service


def replicate(
    remote: Any,
    num_replicas: int | None = None,
    replicas_per_node: int | None = None,
    names: Sequence[str] | None = None,
    processes: Sequence[Any] | None = None,
    parallel: bool = False,
    replicas: int | None = None,
) -> list[Any]:
    """`num_replicas` (or `replicas`) stubs of copies: `replicas_per_node` on each node, of which there is one now."""
    service = _stubs.service_of(remote)
    if service is None:
        raise ValueError(f"{remote!r} has not been sent anywhere. Try: .to(rh.compute('NAME').up_if_not()) first")
    if num_replicas is not None and replicas is not None and num_replicas != replicas:
        raise ValueError(f"num_replicas={num_replicas} and replicas={replicas} mean the same. Try: one of them")
    count = whole("num_replicas", num_replicas if num_replicas is not None else replicas, 1)
    per_node = whole("replicas_per_node", replicas_per_node, 1)
    # Without a number of replicas every node gets as many as one is to have.
    count = count or per_node or 1
    if per_node is not None:
        _check_fits(service, count, per_node)
    for what, given in (("names", names), ("processes", processes)):
        if given is not None and len(given) != count:
            raise ValueError(f"{what}= has {len(given)} entries for {count} replicas. Try: as many as replicas")
    kind, target = _what(remote, service)
    placements = [_placement(service, index, names, processes) for index in range(count)]

    def one(placement: Placement) -> Any:
        return _stubs.stub(deploy(service.cluster, kind, target, placement), local=_local(kind, target))

    if not parallel or count == 1:
        return [one(placement) for placement in placements]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(count, 8)) as threads:
        return list(threads.map(one, placements))


class NodesMissing(Unsupported, ValueError):
    """More replicas than the cluster's nodes are to have."""


def _check_fits(service: Service, count: int, per_node: int) -> None:
    known = service.cluster.list_processes().get(service.description.get("process") or "", {})
    if known.get("compute"):
        raise ValueError(
            f"replicas_per_node= says where replicas go, and the process of {service.name!r} has compute= for that. "
            "Try: leave replicas_per_node= out, or processes="
        )
    if count > per_node:
        raise NodesMissing(
            f"{count} replicas of {service.name!r}, {per_node} on each node, need {-(-count // per_node)} nodes, and "
            f"{service.cluster.name!r} has one (clusters of several come with a later version). "
            f"Try: replicas_per_node={count}, or leave it out"
        )


def _what(remote: Any, service: Service) -> tuple[str, Any]:
    kind = service.description["kind"]
    if kind in ("function", "class"):
        local = remote.__dict__.get("__wrapped__")
        return kind, local if local is not None else service.call("@fetch", DEFAULT, (), {})
    if not service.description.get("language", "python").startswith("python"):
        raise Unsupported(f"{service.name!r} is not a Python object, and cannot be copied")
    return "object", service.call("@fetch", DEFAULT, (), {})


def _local(kind: str, target: Any) -> Any:
    if kind != "object":
        return target
    from roundhouse._module_base import Module

    return target if isinstance(target, Module) else None


def _placement(service: Service, index: int, names: Sequence[str] | None, processes: Sequence[Any] | None) -> Placement:
    name = names[index] if names is not None else f"{service.name}_replica_{index}"
    if processes is not None:
        return Placement(name, processes[index])
    original = service.description.get("process")
    if original is not None:
        known = service.cluster.list_processes().get(original, {})
        arguments = {key: known[key] for key in ("env_vars", "compute") if known.get(key)}
        return Placement(name, {"name": f"{original}_replica_{index}", **arguments})
    promised = service.description.get("resources") or {}
    return Placement(
        name,
        memory=promised.get("memory") or None,
        cpus=len(promised.get("cpus") or ()) or None,
        gpus=len(promised.get("gpus") or ()) or None,
    )
