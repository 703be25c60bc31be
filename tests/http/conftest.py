"""A real node for each module, with services of http_subjects.py, and requests to it over its Unix socket."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator

import http_subjects as subjects
import pytest
import roundhouse as rh
from http_asking import Node

_state = tempfile.TemporaryDirectory(prefix="rh-http-")
# Other tests of the same session have one already.
os.environ.setdefault("ROUNDHOUSE_STATE", _state.name)


@pytest.fixture(scope="module")
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    name = re.sub(r"\W", "-", request.module.__name__)
    with rh.compute(name) as box:
        for function in (
            subjects.add,
            subjects.count,
            subjects.fail,
            subjects.describe,
            subjects.block,
            subjects.total,
        ):
            rh.function(function).to(box)
        rh.cls(subjects.Counter).to(box)
        yield Node(box)
