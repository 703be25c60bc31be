"""The loop of an ML engineer: edit a file, run it on the box, look.

A training script that imports torch is edited 20 times. Each edit is run twice: from this process, which keeps its
connection, and from a shell, with `roundhouse run train.py::main --on box`. Each result comes from a process that has
run nothing before, and says so itself: its pid, how often it was called, and how many other edits it has seen.

    python examples/edit_loop.py [EDITS]
"""

from __future__ import annotations

import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import roundhouse as rh

CLUSTER = os.environ.get("EDIT_LOOP_CLUSTER", "edit-loop")

TRAIN = """\
import os

import torch

RATE = {rate}
seen = []


def main():
    seen.append(RATE)
    torch.manual_seed(0)
    x = torch.linspace(-1, 1, 64).unsqueeze(1)
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for _ in range(20):
        loss = torch.nn.functional.mse_loss(model(x), 3 * x + 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {{"rate": RATE, "loss": round(loss.item(), 6), "pid": os.getpid(), "seen": seen}}
"""


class Loop:
    """One file that is edited again and again, and what became of each edit."""

    def __init__(self, box: rh.Cluster, project: Path) -> None:
        self.box = box
        self.file = project / "train.py"
        self.pids: set[int] = set()
        self.written = 0

    def edit(self, rate: float) -> None:
        self.file.write_text(TRAIN.format(rate=rate))
        self.written += 1
        # Python takes a file of the same size and second for the same code, and these edits come faster than a hand's.
        os.utime(self.file, (self.written, self.written))

    def live(self) -> dict[str, Any]:
        import train  # type: ignore[import-not-found]

        importlib.reload(train)
        result: dict[str, Any] = rh.function(train.main).to(self.box)()
        return result

    def shell(self) -> dict[str, Any]:
        # The one that was installed beside this Python.
        roundhouse = Path(sys.executable).with_name("roundhouse")
        command = [roundhouse, "run", f"{self.file}::main", "--on", self.box.name, "--python", sys.executable]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def time_of(self, rate: float, run: Any) -> float:
        """Seconds from the edit to its result, which is shown to be of that edit and of a fresh process."""
        began = time.perf_counter()
        self.edit(rate)
        result = run()
        took = time.perf_counter() - began
        assert (result["rate"], result["seen"]) == (rate, [rate]), f"not of this edit alone: {result}"
        assert result["pid"] not in self.pids, f"process {result['pid']} has run an edit before"
        self.pids.add(result["pid"])
        return took


def import_seconds() -> float:
    """What a new Python takes to import torch: the loop without Roundhouse cannot be faster."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - began


def main(edits: int) -> None:
    with tempfile.TemporaryDirectory() as folder, rh.compute(CLUSTER) as box:
        project = Path(folder).resolve()
        (project / "pyproject.toml").touch()
        sys.path.insert(0, str(project))
        loop = Loop(box, project)
        print(f"python -c 'import torch': {import_seconds() * 1000:.0f} ms")
        # The first edits teach the box what this project imports.
        for rate, run in ((0.001, loop.live), (0.002, loop.shell)):
            print(f"first, {run.__name__}: {loop.time_of(rate, run) * 1000:.0f} ms", flush=True)
        times: dict[str, list[float]] = {"live": [], "shell": []}
        for number in range(1, edits + 1):
            live = loop.time_of(number / 100, loop.live)
            shell = loop.time_of(number / 100 + 0.005, loop.shell)
            times["live"].append(live)
            times["shell"].append(shell)
            print(f"edit {number:2}: live {live * 1000:6.1f} ms, shell {shell * 1000:6.1f} ms", flush=True)
        for way, taken in times.items():
            middle, best = statistics.median(taken) * 1000, min(taken) * 1000
            print(f"{way}: median {middle:.1f} ms, best {best:.1f} ms of {len(taken)} edits")
        print(f"{len(loop.pids)} results, each from a process of its own")


main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
