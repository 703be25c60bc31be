"""docs/api.md says what signatures and docstrings say."""

from __future__ import annotations

import subprocess
import sys

import roundhouse as rh

from .pages import ROOT

TOOL = ROOT / "tools" / "api_reference.py"


def test_it_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, str(TOOL), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_has_every_name() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    for name in rh.__all__:
        assert f"`rh.{name}`" in text, f"docs/api.md does not mention {name}"
