"""Clusters of this session's own, each with a port of its own, and nothing left behind."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import roundhouse as rh

# Set before anything looks: the engine reads it at every use, and so do the processes that tests start. Where other
# folders of tests run in the same session it is theirs.
_state = tempfile.TemporaryDirectory(prefix="rh-doors-")
_cache = tempfile.TemporaryDirectory(prefix="rh-doors-cache-")
if not os.path.basename(os.environ.get("ROUNDHOUSE_STATE", "")).startswith("rh-tests-"):
    os.environ["ROUNDHOUSE_STATE"] = _state.name
    os.environ["XDG_CACHE_HOME"] = _cache.name


@pytest.fixture(scope="session", autouse=True)
def state_folder() -> Iterator[Path]:
    yield Path(os.environ["ROUNDHOUSE_STATE"])
    for row in rh.Cluster.list():
        rh.Cluster(row["name"]).teardown()
    _state.cleanup()


@pytest.fixture(scope="module")
def box(request: pytest.FixtureRequest) -> Iterator[rh.Cluster]:
    """A cluster that all tests of one module share."""
    name = re.sub(r"\W", "-", request.module.__name__.rpartition(".")[2])
    with rh.compute(name) as cluster:
        yield cluster
