"""What a cluster could leave behind: processes, sockets, shared memory."""

from __future__ import annotations

import os
from pathlib import Path


def processes_of(state_folder: str) -> list[str]:
    """Every live process that belongs to the state folder, whoever its parent is now."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            environment = (entry / "environ").read_bytes()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, ValueError):
            continue
        # Zombies of ours are for pytest to reap; they hold nothing.
        if state == "Z":
            continue
        if f"ROUNDHOUSE_NODE={state_folder}".encode() in environment or state_folder in command:
            found.append(f"{entry.name} {command}")
    return found


def sockets_of(state_folder: str) -> list[str]:
    """Unix sockets that are still bound, by their paths."""
    name = os.path.basename(state_folder)
    lines = Path("/proc/net/unix").read_text().splitlines()
    return [
        path for line in lines if (path := line.split()[-1]).startswith("/") and (state_folder in path or name in path)
    ]


def shared_memory() -> set[str]:
    return set(os.listdir("/dev/shm"))
