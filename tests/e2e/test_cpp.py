"""examples/cpp, called from C++ and from Python, and the programs of docs/cpp.md, compiled and run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import BUILD, EXAMPLES, ROOT, World

PAGE = (ROOT / "docs" / "cpp.md").read_text()


@pytest.fixture(scope="module")
def built() -> Path:
    """The folder of the example programs, up to date."""
    if not (BUILD / "build.ninja").exists():
        pytest.skip("build/release is not configured: run `make build`")
    command = ["ninja", "-C", str(BUILD), "dot_service", "dot_client"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout
    return BUILD / "examples"


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


def code_of(language: str, word: str) -> str:
    """The one block of the page in that language that holds the word."""
    blocks = [block for block in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if word in block]
    assert len(blocks) == 1, word
    return blocks[0]


def compile_program(source: str, program: Path) -> None:
    """As the page says: the headers, C++20, the library and protobuf's lite runtime."""
    path = program.with_suffix(".cpp")
    path.write_text(source)
    command = [
        "g++", "-std=c++20", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}", str(path), "-o", str(program),
        str(BUILD / "libroundhouse.a"), "-l:libprotobuf-lite.a", "-pthread",
    ]  # fmt: skip
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr


@pytest.mark.usefixtures("nothing_left")
def test_the_programs_of_the_page(world: World, built: Path) -> None:
    service, client = world.folder / "my_service", world.folder / "my_client"
    compile_program(code_of("cpp", "roundhouse::Worker worker"), service)
    source = code_of("cpp", "Cluster::up")
    # The other pieces of the page, in a function that is only compiled, and Python comes before the end.
    pieces = "#include <optional>\n" + code_of("cpp", "struct Point")
    pending = code_of("cpp", "roundhouse::Pending pending")
    pieces += f"[[maybe_unused]] static void later(roundhouse::Service dot, Point a, Point b) {{\n{pending}}}\n"
    source = source.replace("/path/to/my_service", str(service)).replace("int main()", pieces + "int main()")
    ask_python = f'std::fflush(stdout);\nstd::system("{sys.executable} page.py");\n'
    source = source.replace("box.down().value();", ask_python + "box.down().value();")
    compile_program("#include <cstdlib>\n" + source, client)
    (world.folder / "page.py").write_text(code_of("python", "rh.compute"))

    done = world.run(client, cwd=world.folder)
    assert done.returncode == 0, done.stdout
    assert done.stdout.split() == ["11", "2", "one", "two", "11.0", "['first',", "'second']"]


def test_a_project_of_ones_own_finds_the_library(tmp_path: Path) -> None:
    """The page's CMake lines are accepted, and say how to build both programs; to compile it all would take long."""
    lines = code_of("cmake", "add_subdirectory")
    (tmp_path / "CMakeLists.txt").write_text(lines.replace("path/to/roundhouse", str(ROOT)))
    (tmp_path / "my_service.cpp").write_text(code_of("cpp", "roundhouse::Worker worker"))
    (tmp_path / "my_client.cpp").write_text(code_of("cpp", "Cluster::up"))
    for command in (
        ["cmake", "-S", ".", "-B", "build", "-G", "Ninja"],
        ["ninja", "-C", "build", "-n", "my_service", "my_client"],
    ):
        made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stdout + made.stderr
