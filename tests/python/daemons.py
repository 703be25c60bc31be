"""A node whose daemon dies."""

from __future__ import annotations

import os
import signal
import time

import roundhouse as rh

PATIENCE = 60.0


def kill_daemon(cluster: rh.Cluster) -> None:
    """Ends when the keeper has started another."""
    before = cluster.status()["pid"]
    os.kill(before, signal.SIGKILL)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if cluster.status()["pid"] != before:
                return
        except rh.NodeLost:
            time.sleep(0.02)
    raise TimeoutError("no other daemon came")
