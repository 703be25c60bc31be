"""A script without `if __name__ == "__main__"` works, and is executed once: nothing runs it again to find its code."""

from __future__ import annotations

import sys

import pytest

from .conftest import World

SCRIPT = """
import os, sys
import roundhouse as rh

with open(sys.argv[1], "a") as file:
    print(os.getpid(), file=file)

OFFSET = 40

class Failed(Exception):
    pass

class Counter:
    def __init__(self, start): self.total = start
    def add(self, n):
        if n < 0:
            raise Failed(n)
        self.total += n
        return self.total
    def where(self): return os.getpid()

def plus_offset(n):
    return n + OFFSET

with rh.compute("unguarded") as box:
    counter = rh.cls(Counter).to(box)(1, name="counter")
    try:
        counter.add(-1)
    except Failed as error:
        print("caught", error)
    print(rh.function(plus_offset).to(box)(2), counter.add(1), counter.where() != os.getpid())
"""


@pytest.mark.usefixtures("nothing_left")
def test_it_is_executed_once(world: World) -> None:
    script, count = world.folder / "script.py", world.folder / "count"
    script.write_text(SCRIPT)
    done = world.run(sys.executable, script, count)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines() == ["caught -1", "42 2 True"]
    assert len(count.read_text().splitlines()) == 1
