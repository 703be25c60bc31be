"""A daemon that has no file descriptors left."""

from __future__ import annotations

import errno
import resource
import socket

from .processes import descriptors, happens, processor_seconds
from .trial import Trial

# So many more than it has open; connections take them all.
_ROOM = 6


def descriptors_exhausted(trial: Trial) -> None:
    box = trial.lane.box
    daemon = trial.lane.daemon_pid()
    trial.ask_some(3, seconds=0.6)
    at_work = trial.await_one_under_way()
    limits = resource.prlimit(daemon, resource.RLIMIT_NOFILE)
    # Numbers are taken from the lowest, so that it is the limit that counts what is open.
    limit = len(descriptors(daemon)) + _ROOM
    resource.prlimit(daemon, resource.RLIMIT_NOFILE, (limit, limits[1]))
    held: list[socket.socket] = []
    try:
        refused = _take_all(box._socket_path, held, daemon, limit)
        used = processor_seconds(daemon)
        # Those that have their connection go on; whoever needs another waits for it.
        trial.ask_some(3, seconds=0.2)
        happens(trial.have_settled, 1.5)
        if refused:
            trial.fired(
                pid=daemon, limit=limit, open=len(descriptors(daemon)), connections=len(held), errno=errno.EMFILE
            )
        else:
            trial.missed("connections were still taken")
        trial.note("meanwhile", calls_before=len(at_work), daemon_cpu_seconds=processor_seconds(daemon) - used)
    finally:
        resource.prlimit(daemon, resource.RLIMIT_NOFILE, limits)
        for each in held:
            each.close()
    # Another connection than this process had before.
    box.disconnect()
    trial.ask_some(3, seconds=0.1)
    trial.settle()
    trial.check(trial.lane.daemon_pid() == daemon, "the daemon lived through it")


def _take_all(path: str, held: list[socket.socket], daemon: int, limit: int) -> bool:
    """Connects until the daemon has as many open as it may, and leaves one more waiting in front of it."""
    for _ in range(limit + 8):
        each = socket.socket(socket.AF_UNIX)
        each.settimeout(2)
        held.append(each)
        try:
            each.connect(path)
            each.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: roundhouse\r\n\r\n")
        except OSError:
            return False
        # An answer means that it was let in.
        each.settimeout(0.3)
        try:
            each.recv(64)
        except TimeoutError:
            return happens(lambda: len(descriptors(daemon)) >= limit - 1, 1)
        except OSError:
            return False
    return False
