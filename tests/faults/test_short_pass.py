"""Each fault once or twice, in an order that its output names: `make faults N=1000` is the long one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(600)
def test_nothing_is_lost_duplicated_or_hung() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", "N=50", "LANES=2"],
        cwd=ROOT, capture_output=True, text=True, timeout=570, check=False,
    )  # fmt: skip
    # Shown by pytest where it fails, and with -s: the seed stands in its first line.
    print(done.stdout, done.stderr)
    assert done.returncode == 0
