"""Every example in a docstring is run, against a live cluster."""

from __future__ import annotations

import doctest
import importlib
import sys
import types

import pytest
import roundhouse as rh

MODULES = ["roundhouse", "roundhouse._call", "roundhouse._cluster", "roundhouse._function", "roundhouse._module",
           "roundhouse._doors", "roundhouse._image", "roundhouse._installs",
           "roundhouse._packages", "roundhouse._secret", "roundhouse._program", "roundhouse._reached",
           "roundhouse._handle", "roundhouse._instance", "roundhouse._many", "roundhouse._method",
           "roundhouse._module_base", "roundhouse._stream", "roundhouse._configs",
           "roundhouse._objects", "roundhouse._processes", "roundhouse._registry",
           "roundhouse.exceptions"]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def example() -> object:
    with rh.compute("example") as cluster:
        yield cluster


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(name)
    # The examples are what a user types, so they run in a __main__ of their own.
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    runner = doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF)
    for test in doctest.DocTestFinder().find(module, name):
        test.globs = main.__dict__
        runner.run(test, clear_globs=False)
    assert runner.failures == 0
    assert runner.tries > 0
