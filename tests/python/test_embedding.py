"""Inside what people already run: packages, archives, process pools, other test runners, other native libraries."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zipapp
from collections.abc import Callable
from pathlib import Path

import pytest
import roundhouse as rh

Run = Callable[..., subprocess.CompletedProcess[str]]

MAIN = """
import sys
import roundhouse as rh

def double(x):
    return 2 * x

def main():
    print(rh.function(double).to(rh.compute(sys.argv[1]), name={name!r})(21))

if __name__ == "__main__":
    main()
"""


def run_program(command: list[str], folder: Path, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def test_a_module_of_a_package(box: rh.Cluster, tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").write_text("")
    (tmp_path / "shop" / "work.py").write_text(MAIN.format(name="of-a-package"))
    done = run_program(["-m", "shop.work", box.name], tmp_path)
    assert done.stdout == "42\n", done.stderr
    # And as a package's module that another program imports.
    done = run_program(["-c", f"import sys; sys.argv[1:] = [{box.name!r}]; import shop.work as w; w.main()"], tmp_path)
    assert done.stdout == "42\n", done.stderr


def test_an_archive(box: rh.Cluster, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "__main__.py").write_text(MAIN.format(name="of-an-archive"))
    (source / "tools.py").write_text("def triple(x):\n    return 3 * x\n")
    zipapp.create_archive(source, tmp_path / "app.pyz")
    done = run_program(["app.pyz", box.name], tmp_path)
    assert done.stdout == "42\n", done.stderr
    imported = (
        "import sys; sys.path.insert(0, 'app.pyz'); import tools, roundhouse as rh; "
        f"print(rh.function(tools.triple).to(rh.compute({box.name!r}))(5))"
    )
    done = run_program(["-c", imported], tmp_path)
    assert done.stdout == "15\n", done.stderr


POOLS = """
import multiprocessing, os, sys
from concurrent.futures import ProcessPoolExecutor
import roundhouse as rh

class Counter:
    def __init__(self): self.n = 0
    def add(self):
        self.n += 1
        return self.n

def add(name):
    return rh.compute(name).get("pool-counter", remote=True).add(), os.getpid()

if __name__ == "__main__":
    name, how = sys.argv[1:]
    counter = rh.cls(Counter).to(rh.compute(name), replace=True)(name="pool-counter")
    counter.add()
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(how)) as pool:
        results = list(pool.map(add, [name] * 8, timeout=50))
    counted, pids = sorted(n for n, _ in results), {pid for _, pid in results}
    print(counted == list(range(2, 10)), os.getpid() in pids, counter.add())
"""


@pytest.mark.parametrize("how", ["fork", "spawn", "forkserver"])
def test_process_pools(box: rh.Cluster, run_script: Run, how: str) -> None:
    assert run_script(POOLS, box.name, how).stdout == "True False 10\n"


LEAVING = """
import sys, threading, time
import roundhouse as rh

def numbers():
    n = 0
    while True:
        yield n
        n += 1

def take(items):
    for item in items:
        if item > 3: time.sleep(60)

def endless():
    n = 0
    while True:
        yield n
        n += 1

box = rh.compute(sys.argv[1])
stream = rh.function(numbers).to(box, name="leaving-numbers")()
print(next(stream), next(stream))
taking = rh.function(take).to(box, name="leaving-take").submit(endless())
sleep = rh.function(time.sleep).to(box, name="leaving-sleep")
threading.Thread(target=sleep, args=(60,), daemon=True).start()
calls = [sleep.submit(60) for _ in range(4)]
calls[0].add_done_callback(print)
time.sleep(0.3)
sys.exit(7)
"""


def test_leaving_with_streams_open(box: rh.Cluster, run_script: Run) -> None:
    done = run_script(LEAVING, box.name, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("0 1\n", "", 7)


SHARED = """
import os
import roundhouse as rh

def square(x): return x * x

def test_one(): assert rh.compute({name!r}).get("xdist-square", remote=True)(3) == 9
def test_two(): assert rh.compute({name!r}).get("xdist-square", remote=True)(4) == 16
def test_three():
    assert os.environ["PYTEST_XDIST_WORKER"]
    assert rh.function(square).to(rh.compute({name!r}), name="own-" + os.environ["PYTEST_XDIST_WORKER"])(5) == 25
"""


def test_pytest_xdist(box: rh.Cluster, tmp_path: Path) -> None:
    rh.function(lambda x: x * x).to(box, name="xdist-square")
    (tmp_path / "test_shared.py").write_text(SHARED.format(name=box.name))
    done = run_program(["-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "test_shared.py"], tmp_path)
    assert "3 passed" in done.stdout, done.stdout + done.stderr


NATIVE = {
    "google.protobuf": (
        "from google.protobuf import struct_pb2 as other",
        "m = other.Struct(); m['x'] = 1.5; assert other.Struct.FromString(m.SerializeToString())['x'] == 1.5",
    ),
    "grpc": (
        "import grpc as other; from concurrent import futures",
        "handler = other.method_handlers_generic_handler('s', {'m': other.unary_unary_rpc_method_handler("
        "lambda request, context: request + b'!')})\n"
        "server = other.server(futures.ThreadPoolExecutor(1)); server.add_generic_rpc_handlers((handler,))\n"
        "port = server.add_insecure_port('127.0.0.1:0'); server.start()\n"
        "with other.insecure_channel(f'127.0.0.1:{port}') as channel:\n"
        "    assert channel.unary_unary('/s/m')(b'hi', timeout=20) == b'hi!'\n"
        "server.stop(0).wait(10)",
    ),
    "torch": (
        "import torch as other",
        "t = rh.function(other.neg).to(box, name='torch-neg')(other.ones(3)); assert t.tolist() == [-1, -1, -1]",
    ),
}


@pytest.mark.parametrize("first", ["ours", "theirs"])
@pytest.mark.parametrize("library", NATIVE)
def test_beside_other_native_libraries(box: rh.Cluster, tmp_path: Path, library: str, first: str) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    theirs, use = NATIVE[library]
    ours = f"import roundhouse as rh\nbox = rh.compute({box.name!r})\nassert rh.function(len).to(box)('abc') == 3"
    begin = [ours, theirs] if first == "ours" else [theirs, ours]
    code = "\n".join([*begin, use, "assert rh.function(len).to(box)('ab') == 2", "print('both')"])
    done = run_program(["-c", code], tmp_path, 120)
    assert done.stdout == "both\n", done.stderr
