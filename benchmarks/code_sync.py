"""`sync_same` and `sync_one`: a project of many files sent again, unchanged or with one edited, and `rsync -a` too.

    code_sync.py CLUSTER FILES TIMES

Prints one JSON line of nanoseconds. Both sides have had all files before, and their copies are on the same disk.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import roundhouse as rh

FOLDER_FILES = 50
LINES = 40


def make(root: Path, count: int) -> Path:
    """Of the size that source files have; returns the one to be edited."""
    root.mkdir()
    (root / "pyproject.toml").touch()
    for number in range(count):
        file = (
            root
            / f"package_{number // FOLDER_FILES // 10}"
            / f"part_{number // FOLDER_FILES % 10}"
            / f"module_{number}.py"
        )
        if number % FOLDER_FILES == 0:
            file.parent.mkdir(parents=True)
        file.write_text("".join(f"def function_{line}(x):\n    return x + {number * line}\n" for line in range(LINES)))
    return file


def taken(work, times: int, before) -> list[int]:
    all_ns = []
    for _ in range(times):
        before()
        began = time.perf_counter_ns()
        work()
        all_ns.append(time.perf_counter_ns() - began)
    return all_ns


def main() -> None:
    cluster, count, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    rsync = shutil.which("rsync")
    if rsync is None:
        sys.exit("there is no rsync: tools/setup.sh bench installs it")
    box = rh.compute(cluster).up_if_not()
    with tempfile.TemporaryDirectory(prefix="rh-sync-", dir=os.environ["ROUNDHOUSE_STATE"]) as folder:
        root = Path(folder) / "project"
        edited = make(root, count)
        edits = iter(range(1_000_000))

        def send() -> None:
            box._link.send_code(str(root), [], None, None)

        def copy() -> None:
            subprocess.run([rsync, "-a", "--delete", f"{root}/", f"{folder}/copy/"], check=True)

        def edit() -> None:
            edited.write_text(f"edit = {next(edits)}\n")

        def nothing() -> None:
            pass

        told = {}
        for figure, change in (("same", nothing), ("one", edit)):
            # A file that was edited just now is looked at twice: its time says too little (src/sync/index.h).
            for _ in range(2):
                send()
                copy()
                time.sleep(0.1)
            for name, work in (("sync", send), ("rsync", copy)):
                all_ns = taken(work, times, change)
                told[f"{figure}_{name}_ns"] = statistics.median(all_ns)
                told[f"{figure}_{name}_min_ns"] = min(all_ns)
        print(json.dumps(told))
    box.teardown()


main()
