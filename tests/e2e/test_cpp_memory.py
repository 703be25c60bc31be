"""An array is copied once at most on its way to and from a C++ function, whatever its size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roundhouse as rh

_MEGABYTES = 200
_KIB = _MEGABYTES * 1000 * 1000 // 1024
_COUNT = _MEGABYTES * 1000 * 1000 // 8
# What else a worker may need meanwhile: windows, buffers, threads.
_SLACK_KIB = 30 * 1024


@pytest.fixture
def peak_of(subjects: Path, cpp_box: rh.Cluster) -> Callable[..., float]:
    """How many copies of the array the worker had at once, at most, while it ran that function."""
    program = rh.program(subjects)
    measure = program.function("memory").get_or_to(cpp_box, process="memory")

    def peak(name: str, *args: Any) -> float:
        called = program.function(name).get_or_to(cpp_box, process="memory")
        _, before = measure(True)
        result = called(*args)
        del result
        most, _ = measure()
        return (most - before) / _KIB

    return peak


def slack() -> float:
    return _SLACK_KIB / _KIB


def test_an_argument_is_looked_at_where_it_was_received(peak_of: Callable[..., float]) -> None:
    # The one copy is what came off the socket.
    assert 0.9 < peak_of("sum", np.ones(_COUNT)) < 1 + slack()


def test_arrays_in_maps_are_looked_at_too(peak_of: Callable[..., float]) -> None:
    half = np.ones(_COUNT // 2)
    assert 0.9 < peak_of("sum_nested", {"a": half, "b": half}) < 1 + slack()


def test_a_result_is_sent_from_where_it_lies(peak_of: Callable[..., float]) -> None:
    # The function's own vector, and what is on its way.
    assert 1.9 < peak_of("ones", _COUNT) < 2 + slack()
