"""Projects for tests of code sync: real folders, and programs in them that run as a user's would."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import roundhouse as rh

# What a program in a project begins with.
_HEAD = """\
import sys, os, pathlib
sys.path.insert(0, {path!r})
import roundhouse as rh
import json
box = rh.compute({box!r})
told = {{}}
"""


_times = itertools.count(1_600_000_000, 10)


class Project:
    def __init__(self, root: Path, box: rh.Cluster) -> None:
        self.root = root
        self.box = box
        self.env = {"PYTHONDONTWRITEBYTECODE": ""}
        root.mkdir(parents=True, exist_ok=True)

    def write(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
        # Two edits within a second, to the same size, are one to Python's own byte-code.
        time = next(_times)
        os.utime(file, (time, time))
        return file

    def run(self, source: str, path: str = "", check: bool = True, cwd: Path | None = None) -> Any:
        """Runs that text in a process of its own, with `path` beneath the root first on its path; returns `told`."""
        done = self.process(source, path, cwd)
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        lines = done.stdout.splitlines()
        return json.loads(lines[-1]) if done.returncode == 0 else done.stdout + done.stderr

    def process(self, source: str, path: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        head = _HEAD.format(path=str(self.root / path), box=self.box.name)
        program = head + textwrap.dedent(source) + "\nprint()\nprint(json.dumps(told))\n"
        return subprocess.run(
            [sys.executable, "-c", program],
            cwd=cwd or self.root,
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def snapshots(box: rh.Cluster) -> set[str]:
    folder = Path(box.state_folder) / "code" / "snapshots"
    return set(os.listdir(folder)) if folder.is_dir() else set()
