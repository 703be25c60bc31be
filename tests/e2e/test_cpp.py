"""examples/cpp, called from C++ and from Python; the installed package, and a project of one's own against it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from . import cpp
from .conftest import BUILD, EXAMPLES, World

PROGRAMS = ("dot_service", "dot_client", "digits_trainer", "train_digits", "crash_service")


@pytest.fixture(scope="module")
def built() -> Path:
    """The folder of the example programs, up to date."""
    return cpp.build(*PROGRAMS)


@pytest.mark.usefixtures("nothing_left")
def test_called_from_cpp(world: World, built: Path) -> None:
    done = world.run(built / "dot_client")
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert lines[:2] == ["dot = 32", "dot of a million = 1e+06"]
    assert lines[2] == "raised: std::invalid_argument: dot takes two vectors of one length, got 3 and 1"
    assert "added 4 points, now 4" in lines
    assert lines.count("among 4 points the two are of class 1 and 2") == 4


@pytest.mark.usefixtures("nothing_left")
def test_called_from_python(world: World, built: Path) -> None:
    kept = world.run(built / "dot_client", "--keep")
    assert kept.returncode == 0, kept.stdout
    done = world.run(sys.executable, EXAMPLES / "cpp" / "call_from_python.py")
    assert done.returncode == 0, done.stdout
    assert "dot = 2.5e+11, in NumPy 2.5e+11" in done.stdout
    assert "std::invalid_argument: dot takes two vectors of one length, got 1000000 and 999999" in done.stdout
    assert "added 1437 points, now 1437" in done.stdout
    right = re.search(r"(\d+) of 360 scans read right by their neighbours among 1437", done.stdout)
    assert int(right[1]) > 350


@pytest.mark.usefixtures("nothing_left")
def test_python_is_told_when_the_service_is_not_there(world: World) -> None:
    done = world.run(sys.executable, EXAMPLES / "cpp" / "call_from_python.py")
    assert done.returncode == 1
    assert "cluster 'cpp' is not up: start it with `dot_client --keep`" in done.stdout


def test_a_service_started_by_hand_says_who_starts_it(world: World, built: Path) -> None:
    done = world.run(built / "dot_service")
    assert done.returncode == 2
    assert "a node starts it" in done.stdout


@pytest.mark.usefixtures("nothing_left")
def test_a_trainer_that_both_languages_use(world: World, built: Path) -> None:
    check_the_training(world.run(sys.executable, EXAMPLES / "cpp" / "train_digits.py", built))


def check_the_training(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout
    assert "epoch 12: loss 0." in done.stdout
    assert re.search(r"^C\+\+ finds a trainer after 12 epochs, 9\d\.\d % right$", done.stdout, re.MULTILINE)
    assert "C++ sees epoch 15: loss 0." in done.stdout
    assert "epoch 15: loss 0." in done.stdout
    assert "C++ has 360 scans read, the first as 2" in done.stdout
    assert re.search(r"^Python finds 15 epochs, 9[4-9]\.\d% right$", done.stdout, re.MULTILINE)


@pytest.mark.usefixtures("nothing_left")
def test_a_crash_has_its_backtrace(world: World, built: Path) -> None:
    done = world.run(sys.executable, EXAMPLES / "cpp" / "crash.py", built)
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert lines[0] == lines[-1] == "3.0"
    assert "signal 11" in lines
    crash = next(at for at, line in enumerate(lines) if line.startswith("*** crash: SIGSEGV at address 0x"))
    assert lines[crash].endswith(", in the call smoothed.call ***")
    assert "#0  read(double const*, long) + " in lines[crash + 1]
    assert "#1  smoothed(std::span<double const, " in lines[crash + 2]


@pytest.mark.usefixtures("nothing_left")
def test_examples_are_a_project_of_their_own(world: World, built: Path, tmp_path: Path) -> None:
    """Outside of this tree, against an installed package; and the same by pkg-config."""
    cpp.build("roundhouse_cpp")
    prefix, project = tmp_path / "prefix", tmp_path / "project"
    shutil.copytree(EXAMPLES / "cpp", project)
    commands = [
        ["cmake", "--install", str(BUILD), "--prefix", str(prefix), "--component", "cpp"],
        ["cmake", "-S", str(project), "-B", str(project / "build"), "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={prefix}"],
        ["ninja", "-C", str(project / "build")],
    ]
    for command in commands:
        made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stdout + made.stderr
    assert "warning" not in made.stdout
    done = world.run(project / "build" / "examples" / "dot_client", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("dot = 32\n")
    check_the_training(world.run(sys.executable, project / "train_digits.py", project / "build/examples", cwd=tmp_path))

    listed = {str(path.relative_to(prefix)) for path in prefix.rglob("*") if path.is_file()}
    assert {"include/roundhouse/client.h", "include/roundhouse/worker.h"} <= listed
    assert not any(name.endswith((".cpp", ".so")) or name.startswith("bin/") for name in listed)
    if shutil.which("pkg-config") is None:
        pytest.skip("pkg-config is not there")
    where = next(prefix.rglob("roundhouse.pc")).parent
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "roundhouse"],
        env={**os.environ, "PKG_CONFIG_PATH": str(where)}, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    program = tmp_path / "by_pkg_config"
    made = subprocess.run(
        ["g++", "-O0", str(EXAMPLES / "cpp" / "crash_service.cpp"), *flags, "-o", str(program)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert world.run(program).returncode == 2
