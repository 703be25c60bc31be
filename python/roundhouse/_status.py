"""What a cluster tells about itself: Runhouse's fields beside the node's own, and what a notebook shows."""

from __future__ import annotations

import os

from roundhouse import _engine, _sizes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from roundhouse._cluster import Cluster

_ADDRESS = "127.0.0.1"


def with_runhouse_fields(status: dict[str, Any], config: dict[str, Any], name: str) -> dict[str, Any]:
    """The node's status (protocol/node.md), and what Runhouse's had.

    `workers` are the node's; what Runhouse calls so, one for each machine, are `nodes`."""
    usage = machine_usage()
    return {
        **status,
        # The daemon knows the name that it was launched under.
        "name": name,
        "cluster_config": config,
        "runhouse_version": status["version"],
        "server_pid": status["pid"],
        "is_multinode": False,
        "nodes": [{"ip": _ADDRESS, "server_cpu_usage": usage, "server_gpu_usage": None}],
        "processes": _processes_of(status),
    }


def machine_usage() -> dict[str, Any]:
    """How busy this machine is: memory in bytes, and the share of its CPUs that was wanted over the last minute."""
    memory = _sizes.memory_now()
    busy = min(os.getloadavg()[0] / (os.cpu_count() or 1), 1.0)
    used = memory["used_memory"] / memory["total_memory"] if memory["total_memory"] else 0.0
    return {"utilization_percent": round(100 * busy, 1), **memory, "used_memory_percent": round(100 * used, 1)}


def _processes_of(status: dict[str, Any]) -> dict[str, Any]:
    """By name: the processes that were made, and, named after what lives in them as Runhouse has it, the others."""
    services_in: dict[str, list[dict[str, Any]]] = {}
    for service in status.get("services", ()):
        services_in.setdefault(service["worker"], []).append(service)
    processes = {}
    for name, process in status.get("processes", {}).items():
        services = services_in.pop(process.get("worker", ""), [])
        processes[name] = {**process, **_runhouse_process(process.get("pid"), services)}
    for services in services_in.values():
        first = services[0]
        processes[f"{first['name']}_process"] = _runhouse_process(first["pid"], services)
    return processes


def _runhouse_process(pid: int | None, services: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "pid": pid,
        "node_ip": _ADDRESS,
        "node_name": "head",
        "node_index": 0,
        "process_cpu_usage": _process_usage(pid),
        "process_resource_mapping": {
            service["name"]: {
                "resource_type": service["kind"],
                # The node counts them and does not tell more.
                "active_function_calls": [{"key": service["name"]}] * service["calls"],
            }
            for service in services
        },
    }


def _process_usage(pid: int | None) -> dict[str, Any]:
    """Of one process, without its children; nothing of one that is gone."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except (OSError, ValueError, IndexError):
        return {}
    ticks = int(fields[11]) + int(fields[12])  # utime and stime, proc(5)
    return {"used_memory": resident, "cpu_seconds": ticks / os.sysconf("SC_CLK_TCK")}


def card(cluster: Cluster) -> str:
    """For notebooks. Asks a cluster that is up for its services, and waits only briefly for them."""
    from roundhouse import _display

    up = _engine.is_up_at(cluster._socket_path) if cluster.state_folder else cluster.is_up()
    rows: dict[str, Any] = {
        "launcher": "local" if cluster.state_folder else "none, it is reached",
        "state": "up" if up else "down",
        **cluster._sizes.asked,
    }
    if up:
        try:
            status = cluster._link.ask_node("status", {}, timeout=1.0, silent=True)
            for service in status["services"]:
                rows[service["name"]] = service["kind"] + (f", {service['calls']} calls" if service["calls"] else "")
        except Exception as error:
            rows["services"] = f"could not be asked: {error}"
    return _display.card("Cluster", cluster.name, rows)
