"""examples/edit_loop.py, as a user runs it, with fewer edits."""

from __future__ import annotations

import re
import sys

from .conftest import EXAMPLES, World


def test_each_edit_is_seen_by_a_process_of_its_own(world: World) -> None:
    done = world.run(sys.executable, EXAMPLES / "edit_loop.py", "3", timeout=240)
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert [bool(re.fullmatch(r"edit +\d+: live +[\d.]+ ms, shell +[\d.]+ ms", line)) for line in lines].count(
        True
    ) == 3
    assert lines[-1] == "8 results, each from a process of its own"
