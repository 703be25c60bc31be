"""The C++ client, against a C++ program: cpp_client.cpp checks each thing and says what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import cpp
from .conftest import BUILD, World


@pytest.mark.usefixtures("nothing_left")
def test_the_client(world: World, subjects: Path) -> None:
    cpp.build("cpp_client")
    done = world.run(BUILD / "tests" / "cpp_client", subjects, timeout=90)
    assert done.returncode == 0, done.stdout
    assert done.stdout.rstrip().endswith("all is well")
