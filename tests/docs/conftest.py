"""A cluster for the tests that call Roundhouse themselves, in a state folder of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import pytest
import roundhouse as rh


@pytest.fixture(scope="module")
def own_state() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="rh-docs-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROUNDHOUSE_STATE", folder)
        yield folder


@pytest.fixture(scope="module")
def box(own_state: str) -> Iterator[rh.Cluster]:
    with rh.compute("runhouse") as cluster:
        yield cluster
