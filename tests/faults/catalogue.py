"""Every fault there is, by the name that the table shows. Its code is given a trial, and leaves the verdict to the
oracle; what it finds broken beside that it raises."""

from __future__ import annotations

from collections.abc import Callable

from . import clients, cuts, deaths, descriptors, disk, memory, power, runs, services, teardown
from .trial import Trial

FAULTS: dict[str, Callable[[Trial], None]] = {
    "daemon-killed": deaths.daemon_killed,
    "worker-killed": deaths.worker_killed,
    "both-killed": deaths.both_killed,
    "keeper-killed": deaths.keeper_killed,
    "node-preempted": deaths.node_preempted,
    "response-dropped": cuts.response_dropped,
    "cut-at-boundary": cuts.cut_at_boundary,
    "cut-inside-chunk": cuts.cut_inside_chunk,
    "connection-stalls": cuts.connection_stalls,
    "disk-full": disk.disk_full,
    "child-out-of-memory": memory.child_out_of_memory,
    "grandchild-out-of-memory": memory.grandchild_out_of_memory,
    "detached-child": teardown.detached_child,
    "descriptors-exhausted": descriptors.descriptors_exhausted,
    "hundred-services": services.hundred_services,
    "mutual-calls": services.mutual_calls,
    "worker-stopped": services.worker_stopped,
    "daemon-stopped": services.daemon_stopped,
    "client-killed": clients.client_killed,
    "client-stopped": clients.client_stopped,
    "slow-reader": clients.slow_reader,
    "run-outlives-node": runs.run_outlives_node,
    "run-outlives-client": runs.run_outlives_client,
    "run-on-full-disk": runs.run_on_full_disk,
    "record-damaged": runs.record_damaged,
    "power-cut": power.power_cut,
    "clock-moved": power.clock_moved,
}
