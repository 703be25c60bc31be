"""The real program against real daemons, in a state folder of this session's own."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .shell import DIGITS, PROGRAM, Shell


@pytest.fixture(scope="session")
def rh() -> Iterator[Shell]:
    folder = Path(tempfile.mkdtemp(prefix="rh-cli-"))  # Short: the path of a socket may have 107 bytes.
    dropped = ("ROUNDHOUSE_STATE", "ROUNDHOUSE_CLUSTER", "ROUNDHOUSE_SOCKET", "NO_COLOR", "COLUMNS", "VIRTUAL_ENV")
    env = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    (folder / "state").mkdir(mode=0o700)
    (folder / "work").mkdir()
    (folder / "work" / "digits.py").write_text(DIGITS)
    env |= {
        "ROUNDHOUSE_STATE": str(folder / "state"),
        "XDG_RUNTIME_DIR": str(folder / "state"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "VIRTUAL_ENV": sys.prefix,
        "PATH": os.pathsep.join([str(PROGRAM.parent), env.get("PATH", os.defpath)]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    shell = Shell(folder / "work", env)
    try:
        yield shell
    finally:
        shell("down", "--all", "--yes")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def box(rh: Shell) -> str:
    """A cluster with the functions of digits.py on it, each under its own name."""
    rh("up", "box")
    # All at once: each is a worker that takes a moment to start.
    names = ["train", "show", "typed", "countdown", "slowly", "fail", "blob", "text", "nothing", "native"]
    calls = [("--json", "{}")] * len(names)
    runs = [
        rh.start("run", f"digits.py::{name}", "--on", "box", "--keep", "--quiet", *call)
        for name, call in zip(names, calls, strict=True)
    ]
    for name, run in zip(names, runs, strict=True):
        _, err = run.communicate(timeout=60)
        # Some cannot be called without arguments, or raise; they stay all the same.
        assert run.returncode in (0, 2, 4), f"{name}: {err.decode()}"
    rh("run", "digits.py::Counter", "--on", "box", "--keep")
    return "box"
