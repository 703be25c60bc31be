#!/usr/bin/env python3
"""Builds the wheel, looks at what is in it, installs it into a fresh environment and makes a call there.

The build goes through pip and scikit-build-core as a user's does, except that it takes its tools from .venv and keeps
its folder (build/wheel), so that the second time compiles nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

REQUIRED = [
    r"roundhouse/__init__\.py",
    r"roundhouse/py\.typed",
    r"roundhouse/_engine\.[^/]+\.so",
    r"roundhouse/_bin/roundhoused",
    r"roundhouse/_bin/roundhouse",
    r"roundhouse-[^/]+\.data/scripts/roundhouse",
    r"roundhouse-[^/]+\.data/scripts/rh",
    r"roundhouse-[^/]+\.data/data/share/man/man1/roundhouse\.1",
]
ALLOWED = [*REQUIRED, r"roundhouse/(?:\w+/)*\w+\.pyi?", r"roundhouse-[^/]+\.dist-info/.+"]

CALL = """
import pathlib, sys
import roundhouse as rh
assert pathlib.Path(rh.__file__).is_relative_to(sys.prefix), rh.__file__
def double(x):
    return 2 * x
box = rh.compute("wheel-test").up_if_not()
try:
    assert rh.function(double).to(box)(21) == 42
finally:
    box.teardown()
print("called from", rh.__file__)
"""


def run(*command: str | Path, **options: object) -> None:
    done = subprocess.run([str(word) for word in command], text=True, capture_output=True, **options)  # type: ignore[call-overload]
    if done.returncode != 0:
        print(done.stdout[-4000:], done.stderr[-4000:], sep="\n", file=sys.stderr)
        raise SystemExit(f"check_wheel: failed with {done.returncode}: {' '.join(map(str, command[:6]))}")
    lines = done.stdout.strip().splitlines()
    if lines:
        print("  ", lines[-1])


def content_problems(names: list[str]) -> list[str]:
    missing = [f"{wanted} is missing" for wanted in REQUIRED if not any(re.fullmatch(wanted, name) for name in names)]
    surplus = [f"{name} should not be there" for name in names if not any(re.fullmatch(rule, name) for rule in ALLOWED)]
    return missing + surplus


def main() -> int:
    python = ROOT / ".venv/bin/python"
    dist = ROOT / "build/dist"
    shutil.rmtree(dist, ignore_errors=True)
    pip = (python, "-m", "pip", "--disable-pip-version-check", "-q")
    build_dir = f"--config-settings=build-dir={ROOT / 'build/wheel'}"
    compilers = os.environ | {"CC": "gcc", "CXX": "g++"}  # as in the Makefile, so that ccache knows the objects
    run(*pip, "wheel", "--no-build-isolation", "--no-deps", "-w", dist, build_dir, ROOT, cwd=ROOT, env=compilers)
    (wheel,) = dist.glob("roundhouse-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        problems = content_problems([name for name in archive.namelist() if not name.endswith("/")])
    for problem in problems:
        print(f"{wheel.name}: {problem}", file=sys.stderr)
    if problems:
        return 1
    print(f"   {wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB, contents as they should be")

    with tempfile.TemporaryDirectory(prefix="roundhouse-wheel-") as folder:
        venv = Path(folder) / "venv"
        run(python, "-m", "venv", "--without-pip", venv)
        run(*pip, "--python", venv / "bin/python", "install", wheel)
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ROUNDHOUSE"))
        }
        environment["ROUNDHOUSE_STATE"] = str(Path(folder) / "state")
        run(venv / "bin/roundhouse", "--version", cwd=folder, env=environment)
        # The daemon that belongs to it stands elsewhere in the environment, and is found.
        run(venv / "bin/rh", "up", "from-the-shell", cwd=folder, env=environment)
        run(venv / "bin/rh", "down", "from-the-shell", cwd=folder, env=environment)
        script = Path(folder) / "call.py"
        script.write_text(CALL, encoding="utf-8")
        run(venv / "bin/python", script, cwd=folder, env=environment, timeout=120)
    return 0


if __name__ == "__main__":
    sys.exit(main())
