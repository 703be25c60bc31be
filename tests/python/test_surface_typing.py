"""A remote function has its own signature for mypy and for pyright: what is right passes, what is wrong is found."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import roundhouse as rh

TYPING = Path(__file__).resolve().parent.parent / "typing"
GOOD = TYPING / "good.py"
BAD = TYPING / "bad.py"
WRONG = {number for number, line in enumerate(BAD.read_text().splitlines(), 1) if line.endswith("# wrong")}


def mypy(path: Path, tmp_path: Path) -> set[int]:
    config = tmp_path / "mypy.ini"
    package = Path(rh.__file__).parent.parent
    config.write_text(f"[mypy]\nstrict = true\nmypy_path = {package}\nfollow_imports = silent\n")
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), "--cache-dir", str(tmp_path), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = re.findall(rf"{path.name}:(\d+): error", done.stdout)
    assert bool(found) == bool(done.returncode), done.stdout
    return {int(line) for line in found}


def pyright(path: Path) -> set[int]:
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    told = json.loads(done.stdout)["generalDiagnostics"]
    return {problem["range"]["start"]["line"] + 1 for problem in told if problem["severity"] == "error"}


def test_mypy_knows_the_signatures(tmp_path: Path) -> None:
    assert mypy(GOOD, tmp_path) == set()


def test_mypy_finds_the_mistakes(tmp_path: Path) -> None:
    assert mypy(BAD, tmp_path) == WRONG
    assert len(WRONG) > 10


def test_pyright_knows_the_signatures() -> None:
    assert pyright(GOOD) == set()


def test_pyright_finds_the_mistakes() -> None:
    assert pyright(BAD) == WRONG
