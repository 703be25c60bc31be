"""`redeploy` and `workers_100`: what a fresh worker costs once the node is warm.

Prints one JSON line of nanoseconds. `redeploy edit` changes a file and sends its function again, from a client that
lives; `redeploy shell` does so with `roundhouse run`. Each result has to come from a process that nobody has seen.
`workers COUNT` sends a function to so many workers at once and asks each; beside it, that many bare forks of an
interpreter that has imported the same."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HEAVY = "torch" if importlib.util.find_spec("torch") else "numpy"
WARM_SECONDS = 120.0
SOURCE = """
import os
import {heavy}

def step():
    return {version}, os.getpid(), {heavy}.__name__
"""


def await_warm(box: Any, module: str) -> None:
    """Until workers like those that ran are forked from what has imported it."""
    deadline = time.monotonic() + WARM_SECONDS
    while not any(each["ready"] and module in each["modules"] for each in box.status()["fork_servers"]):
        if time.monotonic() > deadline:
            sys.exit(f"no fork server has imported {module} within {WARM_SECONDS:.0f} s")
        time.sleep(0.05)


def edited(file: Path, version: int) -> None:
    file.write_text(SOURCE.format(heavy=HEAVY, version=version))


def redeploy(box: Any, folder: Path, rounds: int, send: Callable[[], list[Any]]) -> list[int]:
    file, took, seen = folder / "train.py", [], set()
    for version in range(1, rounds + 2):
        edited(file, version)
        start = time.perf_counter_ns()
        result = send()
        took.append(time.perf_counter_ns() - start)
        if result[0] != version or result[1] in seen:
            sys.exit(f"{result} is not of version {version}, or not of a fresh process")
        seen.add(result[1])
        if version == 1:
            await_warm(box, HEAVY)
    return took[1:]


def from_client(box: Any, folder: Path, rounds: int) -> list[int]:
    import roundhouse as rh

    edited(folder / "train.py", 0)
    sys.path.insert(0, str(folder))
    train = importlib.import_module("train")

    def send() -> list[Any]:
        importlib.invalidate_caches()
        importlib.reload(train)
        return list(rh.function(train.step).to(box)())

    return redeploy(box, folder, rounds, send)


def from_shell(box: Any, folder: Path, rounds: int, program: str) -> list[int]:
    command = [program, "--json", "run", f"{folder}/train.py::step", "--on", box.name, "--python", sys.executable]

    def send() -> list[Any]:
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # type: ignore[no-any-return]

    return redeploy(box, folder, rounds, send)


def bare_forks(count: int) -> int:
    """From the first fork to the last one's answer."""
    __import__("numpy")
    start = time.perf_counter_ns()
    reader, writer = os.pipe()
    children = []
    for _ in range(count):
        child = os.fork()
        if child == 0:
            os.write(writer, b"x")
            os._exit(0)
        children.append(child)
    left = count
    while left:
        left -= len(os.read(reader, left))
    took = time.perf_counter_ns() - start
    for child in children:
        os.waitpid(child, 0)
    return took


def about() -> tuple[int, str]:
    import numpy

    return os.getpid(), numpy.__name__


def workers(box: Any, count: int) -> int:
    import roundhouse as rh

    rh.function(about).to(box, name="warms")()
    await_warm(box, "numpy")
    start = time.perf_counter_ns()
    pool = rh.function(about).to(box, workers=count)
    took = time.perf_counter_ns() - start
    pids = {call.result()[0] for call in [pool.submit() for _ in range(count)]}
    if not pids:
        sys.exit("nobody answered")
    box.delete("about")
    return took


def main() -> None:
    import roundhouse as rh

    what, how = sys.argv[1:3]
    sys.dont_write_bytecode = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # Two edits within one second may have the same size.
    with tempfile.TemporaryDirectory(prefix="rh-bench-") as made, rh.compute(f"fresh-{what}") as box:
        if what == "workers":
            raw = bare_forks(int(how))
            print(json.dumps({"ns": [workers(box, int(how))], "raw_ns": raw}))
            return
        start = time.perf_counter_ns()
        subprocess.run([sys.executable, "-c", f"import {HEAVY}"], check=True)
        raw = time.perf_counter_ns() - start
        rounds = int(sys.argv[3])
        folder = Path(made)
        took = from_client(box, folder, rounds) if how == "edit" else from_shell(box, folder, rounds, sys.argv[4])
        print(json.dumps({"ns": took, "middle_ns": statistics.median(took), "raw_ns": raw, "heavy": HEAVY}))


if __name__ == "__main__":
    main()
