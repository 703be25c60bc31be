"""C++ programs for tests: compiled as a user's would be, with the headers and the library of the build."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .conftest import BUILD, ROOT


def build(*targets: str) -> Path:
    """Brings targets of the build up to date; the folder of the example programs."""
    if not (BUILD / "build.ninja").exists():
        pytest.skip("build/release is not configured: run `make build`")
    made = subprocess.run(["ninja", "-C", str(BUILD), *targets], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout
    return BUILD / "examples"


def compile_program(source: Path, program: Path, *flags: str) -> None:
    """As the page says: the headers, C++20, the library, protobuf's lite runtime, OpenSSL and zstd."""
    command = [
        *("g++", "-std=c++20", "-O1", "-g", "-Wall", "-Wextra", "-Wshadow", "-Werror", *flags),
        *(f"-I{ROOT / 'include'}", str(source), "-o", str(program)),
        *(str(BUILD / "libroundhouse.a"), "-l:libprotobuf-lite.a", "-l:libssl.a", "-l:libcrypto.a", "-l:libzstd.a"),
        "-pthread",
    ]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
