"""Programs that Roundhouse is a part of: each test runs real ones, which share one cluster of their module."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import roundhouse as rh
from e2e.conftest import World, world  # noqa: F401  # `world` is a fixture here as well
from jupyter_client.manager import start_new_kernel

from .notebooks import Notebook

# A test whose program takes longer than this hangs; alone, the slowest takes a fifth of it.
SECONDS = 20


@pytest.fixture(scope="module")
def box(world: World) -> Iterator[rh.Cluster]:  # noqa: F811
    """A cluster that all programs of one module share; whatever they leave on it is gone with it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ROUNDHOUSE_STATE", "XDG_RUNTIME_DIR", "ROUNDHOUSE_DAEMON"):
            patch.setenv(name, world.env[name])
        with rh.compute("shared") as cluster:
            yield cluster
        assert world.processes() == []
        assert world.sockets() == []


@pytest.fixture
def script(world: World, box: rh.Cluster, tmp_path: Path) -> Callable[..., CompletedProcess[str]]:  # noqa: F811
    """Runs a program from a file, as a user would; its output is stdout and stderr as they came."""

    def run(source: str, *arguments: object, name: str = "program.py", code: int = 0) -> CompletedProcess[str]:
        path = tmp_path / name
        path.write_text(source)
        done = world.run(sys.executable, path, *arguments, cwd=tmp_path, timeout=SECONDS)
        assert done.returncode == code, done.stdout
        return done

    return run


@pytest.fixture(scope="module")
def notebook(world: World, box: rh.Cluster) -> Iterator[Notebook]:  # noqa: F811
    manager, client = start_new_kernel(startup_timeout=SECONDS, env=world.env, cwd=str(world.folder))
    try:
        made = Notebook(manager, client)
        made.run(f"import time, pathlib, roundhouse as rh\nbox = rh.compute({box.name!r})")
        yield made
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
