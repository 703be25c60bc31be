"""examples/bigger_box.py, as a user runs it."""

from __future__ import annotations

import re
import sys

from .conftest import EXAMPLES, World


def test_it_takes_a_larger_box_and_finishes(world: World) -> None:
    done = world.run(sys.executable, EXAMPLES / "bigger_box.py", timeout=180)
    assert done.returncode == 0, done.stdout
    first, *others = done.stdout.splitlines()
    # What is suggested depends on how fast it grew.
    assert re.fullmatch(r"it may have 256 MiB; try \d+ MiB or more", first)
    assert others == ["words: 22075290", "with 256MiB", "with 2GiB", "again: 22075290"]
