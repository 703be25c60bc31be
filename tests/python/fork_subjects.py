"""What is deployed to see where its worker comes from."""

from __future__ import annotations

import importlib
import os
import random
import subprocess
import sys
import threading
import time
from typing import Any


def about(*modules: str) -> dict[str, Any]:
    """Of this process; and which of the modules were here before anything was asked of it."""
    from roundhouse import _context

    known = _context.local_object.__self__.known  # type: ignore[union-attr, attr-defined]
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "session": os.getsid(0),
        "before": [name for name in modules if name in known],
        "main": threading.main_thread() is threading.enumerate()[0],
        "argv": sys.argv,
        "cwd": os.getcwd(),
        "shown": open("/proc/self/environ", "rb").read(),
        "files": sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 1, 2)),
        "paths": list(sys.path),
        "variables": dict(os.environ),
        "inherited": subprocess.run(["env", "-0"], capture_output=True, check=True).stdout,
    }


def value_of(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def call_in(module: str, name: str, *args: Any) -> Any:
    return getattr(importlib.import_module(module), name)(*args)


def leave(module: str, name: str, value: Any = 1) -> None:
    """A mark in a module, which nobody else may ever see."""
    setattr(importlib.import_module(module), name, value)


def has(module: str, name: str) -> bool:
    return hasattr(importlib.import_module(module), name)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def drawn() -> list[float]:
    import numpy

    return [random.random(), float(numpy.random.rand())]


def key_of_children() -> bytes:
    import multiprocessing

    return bytes(multiprocessing.current_process().authkey)


def multiply(size: int) -> float:
    import numpy

    return float((numpy.ones((size, size)) @ numpy.ones((size, size))).sum())


def torch_drawn(size: int) -> list[float]:
    import torch

    ones = torch.ones(size, size)
    return [float((ones @ ones).sum()), *torch.rand(3).tolist()]


def take(mebibytes: int) -> int:
    held = bytearray(mebibytes << 20)
    for at in range(0, len(held), 4096):
        held[at] = 1
    return len(held)


def say_and_wait(text: str) -> None:
    os.write(2, text.encode())
    time.sleep(300)


def start_children() -> list[int]:
    """In sessions of their own, and one without an environment."""
    own = subprocess.Popen(["sleep", "300"], start_new_session=True)
    bare = subprocess.Popen(["setsid", "env", "-i", "sleep", "300"])
    copied = os.fork()
    if copied == 0:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        time.sleep(300)
        os._exit(0)
    os.waitpid(copied, 0)
    return [own.pid, bare.pid]


def slow(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()
