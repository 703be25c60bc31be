"""The programs of docs/cpp.md, compiled and run; the other pieces of the page are at least compiled."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from . import cpp
from .conftest import ROOT, World

PAGE = (ROOT / "docs" / "cpp.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def code_of(language: str, word: str) -> str:
    """The one block of the page in that language that holds the word."""
    found = [block for block in blocks(language) if word in block]
    assert len(found) == 1, word
    return found[0]


@pytest.mark.usefixtures("nothing_left")
def test_the_programs_of_the_page(world: World) -> None:
    cpp.build("roundhouse_cpp")
    for name in ("my_service", "my_client"):
        source = world.folder / f"{name}.cpp"
        source.write_text(code_of("cpp", f"// {name}.cpp"))
        cpp.compile_program(source, world.folder / name)
    (world.folder / "page.py").write_text(code_of("python", "rh.program"))
    asked = world.run(sys.executable, "page.py", cwd=world.folder)
    assert asked.stdout.split() == ["11.0", "2"], asked.stdout
    done = world.run(world.folder / "my_client", cwd=world.folder)
    assert done.returncode == 0, done.stdout
    assert done.stdout.split() == ["11", "one", "two"]


# What the page takes for granted in its pieces.
_BEFORE = """
#include <cstdio>
#include <chrono>
#include <memory>
#include <ostream>
#include <string>
#include <thread>
#include "roundhouse/client.h"
#include "roundhouse/worker.h"

inline std::vector<double> scale(std::vector<double> values, double) { return values; }
inline double area(double radius) { return radius; }
inline double area(double width, double height) { return width * height; }
inline void save(bool, std::string_view) {}
struct Model {
    explicit Model(int) {}
    explicit Model(std::string) {}
    explicit Model(std::vector<double>) {}
    double predict(double x) const { return x + bias; }
    static int version() { return 1; }
    double rate() const { return 1; }
    void set_rate(double) {}
    double bias = 0;
};
"""


def test_the_pieces_of_the_page_compile(tmp_path: Path) -> None:
    pieces = [block for block in blocks("cpp") if "int main()" not in block]
    # Those that declare something stand outside of functions.
    outside = [block for block in pieces if re.match(r"(struct|class|template|roundhouse::Generator)", block)]
    inside = [block for block in pieces if block not in outside]
    assert len(outside) == 3
    assert len(inside) >= 8
    parameters = (
        "[[maybe_unused]] roundhouse::Worker& worker, [[maybe_unused]] const roundhouse::Service& service, "
        "[[maybe_unused]] const roundhouse::Service& trainer, [[maybe_unused]] const std::vector<double>& values, "
        "[[maybe_unused]] const std::string& token, [[maybe_unused]] const std::string& pin"
    )
    functions = [f"void piece{number}({parameters}) {{\n{block}}}\n" for number, block in enumerate(inside)]
    source = tmp_path / "pieces.cpp"
    source.write_text(_BEFORE + "".join(outside) + "".join(functions))
    made = subprocess.run(
        ["g++", "-std=c++20", "-Wall", "-Wextra", "-Werror", "-Wno-unused-variable", "-Wno-unused-but-set-variable",
         f"-I{ROOT / 'include'}", "-fsyntax-only", str(source)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr


def test_the_projects_of_the_page() -> None:
    """The installed package is tested with the examples; here, that the page says the same."""
    assert "find_package(roundhouse REQUIRED)" in code_of("cmake", "find_package")
    assert "--component cpp" in code_of("sh", "cmake --install")
    assert "roundhouse::roundhouse" in (ROOT / "examples" / "cpp" / "CMakeLists.txt").read_text()
