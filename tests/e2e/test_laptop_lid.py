"""examples/laptop_lid.py, as a user runs it."""

from __future__ import annotations

import sys

from .conftest import EXAMPLES, World


def test_the_run_is_picked_up_whole(world: World) -> None:
    done = world.run(sys.executable, EXAMPLES / "laptop_lid.py", timeout=120)
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert "laptop sees: epoch 2: loss 0.343" in lines
    assert "laptop sees: epoch 7: loss 0.058" not in lines
    # By then it may have ended, where this machine is busy.
    there = lines[[line.startswith("picked up digits-2026, which is ") for line in lines].index(True) + 1 :]
    epochs = [line for line in there if line.startswith("epoch ")]
    assert [line.partition(":")[0] for line in epochs] == [f"epoch {number}" for number in range(8)]
    assert "result: {'epochs': 8, 'loss': 0.058} after 1 attempt" in there
