"""Programs as users write them: scripts with and without a guard, run twice, on stdin, with -c, in a notebook."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest
import roundhouse as rh

Run = Callable[..., CompletedProcess[str]]

UNGUARDED = """
import os, sys
import roundhouse as rh

with open("runs.txt", "a") as file:
    file.write("run\\n")

OFFSET = 100

def work(x):
    return x + OFFSET, os.getpid()

box = rh.compute(sys.argv[1])
value, pid = rh.function(work).to(box)(1)
assert value == 101 and pid != os.getpid()
print(len(open("runs.txt").readlines()))
"""


def test_an_unguarded_script_runs_once(box: rh.Cluster, run_script: Run) -> None:
    assert run_script(UNGUARDED, box.name).stdout == "1\n"


OWN_CLASSES = """
import sys
from dataclasses import dataclass
from enum import Enum
import roundhouse as rh

class MyError(Exception):
    def __init__(self, code, *, reason):
        super().__init__(reason)
        self.code = code

class Color(Enum):
    RED = 1

@dataclass
class Point:
    x: int
    color: Color = Color.RED
    def double(self):
        return Point(2 * self.x)

class Maker:
    def __init__(self, point): self.point = point
    def make(self, x): return Point(x)
    def same(self, other): return type(other) is type(self.point), self.point
    def fail(self): raise MyError(5, reason="asked to")
    def callback(self): return helper

def helper(): return "helped"

box = rh.compute(sys.argv[1])
if len(sys.argv) > 2:
    maker = box.get("maker")
else:
    maker = rh.cls(Maker).to(box)(Point(1), name="maker")
before = Point.double
made = maker.make(3)
assert type(made) is Point and made == Point(3), made
assert made.color is Color.RED
assert made.double() == Point(6)
assert Point.double is before
same, point = maker.same(Point(9))
assert type(point) is Point and point == Point(1)
assert same or len(sys.argv) > 2
assert maker.callback() is helper
try:
    maker.fail()
except MyError as error:
    assert error.code == 5, error.code
print("fine")
"""


def test_classes_of_a_script_come_home_as_themselves(box: rh.Cluster, run_script: Run) -> None:
    assert run_script(OWN_CLASSES, box.name).stdout == "fine\n"
    # Another run of the script, whose classes are other objects, meets the instance that the first one made.
    assert run_script(OWN_CLASSES, box.name, "again").stdout == "fine\n"


STRANGER = """
import sys
import roundhouse as rh
class Point:  # not the same as the other script's
    pass
made = rh.compute(sys.argv[1]).get("maker").make(4)
assert type(made) is not Point and made.x == 4 and type(made).__name__ == "Point"
try:
    rh.compute(sys.argv[1]).get("maker").fail()
except Exception as error:
    assert type(error).__name__ == "MyError" and error.code == 5
print("fine")
"""


def test_another_script_gets_copies(box: rh.Cluster, run_script: Run) -> None:
    run_script(OWN_CLASSES, box.name)
    assert run_script(STRANGER, box.name, name="stranger.py").stdout == "fine\n"


@pytest.mark.parametrize("how", ["-c", "stdin"])
def test_code_without_a_file(box: rh.Cluster, how: str) -> None:
    code = (
        "import sys, roundhouse as rh\n"
        "class E(Exception): pass\n"
        "def f(x):\n"
        "    if x: raise E(x)\n"
        "    return E\n"
        f"remote = rh.function(f).to(rh.compute({box.name!r}), name='nameless')\n"
        "assert remote(0) is E\n"
        "try: remote(1)\n"
        "except E as e: print('caught', e)\n"
    )
    command = [sys.executable, "-c", code] if how == "-c" else [sys.executable]
    done = subprocess.run(
        command,
        input=code if how == "stdin" else None,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("caught 1\n", 0), done.stderr


ON_SYS_PATH_ONLY = """
import sys
sys.path[:0] = [{package!r}, {modules!r}]
import subjects
import roundhouse as rh
print(rh.function(subjects.add).to(rh.compute({name!r}), name="by-path")(1, 2))
"""


def test_what_is_only_on_sys_path_is_found(box: rh.Cluster, tmp_path) -> None:  # type: ignore[no-untyped-def]
    package = os.path.dirname(os.path.dirname(rh.__file__))
    site = [entry for entry in sys.path if entry.endswith("site-packages")]
    code = ON_SYS_PATH_ONLY.format(package=package, modules=os.path.dirname(__file__), name=box.name)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": os.pathsep.join(site)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "3\n", done.stderr


THREADS_AT_EXIT = """
import sys, threading, time
import roundhouse as rh
remote = rh.function(time.sleep).to(rh.compute(sys.argv[1]), name="sleeper")
for _ in range(3):
    threading.Thread(target=lambda: remote(60), daemon=True).start()
calls = [remote.submit(60) for _ in range(3)]
time.sleep(0.3)
print("leaving")
"""


def test_leaving_with_calls_under_way(box: rh.Cluster, run_script: Run) -> None:
    done = run_script(THREADS_AT_EXIT, box.name)
    assert done.stdout == "leaving\n"
    assert "Fatal" not in done.stderr


NESTED = """
import sys
import roundhouse as rh
def inner(x):
    print("inner prints")
    return x + 1
def outer(name, x):
    import roundhouse
    return roundhouse.compute(name).get("inner")(x) * 10
box = rh.compute(sys.argv[1])
rh.function(inner).to(box)
print(rh.function(outer).to(box)(box.name, 1))
"""


def test_a_service_calls_another(box: rh.Cluster, run_script: Run) -> None:
    assert run_script(NESTED, box.name).stdout == "inner prints\n20\n"


def test_notebook_cells(box: rh.Cluster) -> None:
    """What a notebook does: cells that are executed in a `__main__` without a file."""
    pytest.importorskip("ipykernel")
    from jupyter_client.manager import start_new_kernel

    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    manager, client = start_new_kernel()
    try:
        cells = [
            "import roundhouse as rh\nclass CellError(Exception): pass\nfactor = 2",
            "class Model:\n    def __init__(self, k): self.k = k\n    def run(self, x):\n"
            "        print('running', x)\n        return self.k * x * factor\n"
            "    def fail(self): raise CellError('no')",
            f"m = rh.cls(Model).to(rh.compute({box.name!r}), name='cell-model')(3, name='cell')\nprint(m.run(5))",
            "try: m.fail()\nexcept CellError as e: print('caught', e)",
            # The cell is edited and run again.
            "class Model:\n    def run(self): return 'edited'",
            f"print(rh.cls(Model).to(rh.compute({box.name!r}), name='cell-model')().run(), m.run(1))",
        ]
        shown = []
        for cell in cells:
            reply = client.execute_interactive(
                cell,
                timeout=60,
                output_hook=lambda message: shown.append(
                    message["content"].get("text", "") if message["msg_type"] == "stream" else ""
                ),
            )
            assert reply["content"]["status"] == "ok", reply["content"]
        assert "".join(shown) == "running 5\n30\ncaught no\nrunning 1\nedited 6\n"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        del os.environ["PYTHONPATH"]
