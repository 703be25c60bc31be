"""What is done to modules once user code has imported them."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from roundhouse._worker import hooks


def test_a_module_is_met_as_it_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rh_met_later.py").write_text("x = 1\ndef f():\n    return x\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    met = []
    hooks.when_imported("rh_met_later", lambda module: met.append(module.x))
    hooks.when_imported("rh_never_there", lambda module: met.append("never"))
    assert met == []
    module = importlib.import_module("rh_met_later")
    assert met == [1]
    # Nothing of ours is left on it.
    assert type(module.__loader__).__module__ != hooks.__name__
    assert module.__spec__ is not None
    assert module.__spec__.loader is module.__loader__
    assert "return x" in inspect.getsource(module.f)
    hooks.when_imported("rh_met_later", lambda module: met.append("again"))
    assert met == [1, "again"]
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("rh_never_there")


LOGGING = """
import sys
from roundhouse._worker import logs
assert "logging" not in sys.modules
logs.configure(20)
assert "logging" not in sys.modules
import logging
logging.getLogger("mine").info("first")
logging.basicConfig(level=logging.DEBUG, format="%(message)s")
logging.getLogger("mine").debug("second")
"""


def test_logging_is_set_up_when_it_is_imported_and_can_be_set_up_again() -> None:
    python = Path(hooks.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(python)!r})\n{LOGGING}"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stderr == "INFO:mine:first\nsecond\n"
