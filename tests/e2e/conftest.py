"""What every end-to-end test stands on: a state folder of its own, and a look at what is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest
import roundhouse as rh

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "release"
EXAMPLES = ROOT / "examples"


@dataclass
class World:
    """A state folder, a folder for sockets and one for results: what runs with `env` sees no cluster but its own."""

    folder: Path
    env: dict[str, str]

    def run(
        self, *command: object, timeout: float = 60, cwd: Path = ROOT, stdin: int | IO[str] = subprocess.DEVNULL
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(word) for word in command], env=self.env, cwd=cwd, timeout=timeout, check=False, stdin=stdin,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def start(self, *command: object, cwd: Path = ROOT) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(word) for word in command], env=self.env, cwd=cwd, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def processes(self) -> list[int]:
        """Everything that lives on a node of this state folder."""
        mark = f"ROUNDHOUSE_NODE={self.env['ROUNDHOUSE_STATE']}/".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    environ = (entry / "environ").read_bytes()
                except OSError:  # Gone meanwhile, or another user's.
                    continue
                if any(line.startswith(mark) for line in environ.split(b"\0")):
                    found.append(int(entry.name))
        return found

    def sockets(self) -> list[str]:
        return [str(path) for path in Path(self.env["XDG_RUNTIME_DIR"]).rglob("*") if path.is_socket()]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    # Not pytest's own folder: the path of a socket may have 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="rh-e2e-"))
    for name in ("state", "run", "out"):
        (folder / name).mkdir(mode=0o700)
    if not (BUILD / "bin" / "roundhoused").exists():
        pytest.skip("build/release/bin/roundhoused is not built: run `make build`")
    env = {name: value for name, value in os.environ.items() if not name.startswith("ROUNDHOUSE_")}
    env |= {
        "ROUNDHOUSE_STATE": str(folder / "state"),
        "XDG_RUNTIME_DIR": str(folder / "run"),
        "ROUNDHOUSE_DAEMON": str(BUILD / "bin" / "roundhoused"),
        "IPYTHONDIR": str(folder / "ipython"),
    }
    made = World(folder, env)
    yield made
    left = made.processes()
    for process in left:
        with suppress(ProcessLookupError):  # It went meanwhile.
            os.kill(process, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)
    assert left == [], "processes were still there after the last test"


@pytest.fixture
def nothing_left(world: World) -> Iterator[None]:
    """Fails the test when, after it, any process or socket of its clusters is left."""
    yield
    commands = {process: _command_of(process) for process in world.processes()}
    assert commands == {}
    assert world.sockets() == []


def _command_of(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return "(gone meanwhile)"


@pytest.fixture(scope="session")
def subjects() -> Path:
    """The program of cpp_subjects.cpp."""
    from . import cpp

    cpp.build("cpp_subjects")
    return BUILD / "tests" / "cpp_subjects"


@pytest.fixture(scope="module")
def cpp_box(world: World) -> Iterator[rh.Cluster]:
    """A cluster of this process's own, in the world of the module."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ROUNDHOUSE_STATE", "XDG_RUNTIME_DIR", "ROUNDHOUSE_DAEMON"):
            patch.setenv(name, world.env[name])
        with rh.compute("cpp-subjects") as box:
            yield box
