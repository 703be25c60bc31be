"""Every test session has clusters of its own, in a state folder of its own, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import roundhouse as rh

# Set before anything looks: the engine reads it at every use, and so do the processes that tests start.
_state = tempfile.TemporaryDirectory(prefix="rh-tests-")
_cache = tempfile.TemporaryDirectory(prefix="rh-tests-cache-")
os.environ["ROUNDHOUSE_STATE"] = _state.name
os.environ["XDG_CACHE_HOME"] = _cache.name


@pytest.fixture(scope="session", autouse=True)
def state_folder() -> Iterator[Path]:
    yield Path(_state.name)
    for row in rh.Cluster.list():
        rh.Cluster(row["name"]).teardown()
    _state.cleanup()


@pytest.fixture(scope="module")
def box(request: pytest.FixtureRequest) -> Iterator[rh.Cluster]:
    """A cluster that all tests of one module share."""
    name = re.sub(r"\W", "-", request.module.__name__)
    with rh.compute(name) as cluster:
        yield cluster


@pytest.fixture
def run_script(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a script as a user would: a file, in a process of its own, in a folder of its own."""

    def run(
        source: str, *arguments: str, name: str = "script.py", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        path = tmp_path / name
        path.write_text(source)
        done = subprocess.run(
            [sys.executable, str(path), *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run
