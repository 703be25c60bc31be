"""Whatever is killed, teardown leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import roundhouse as rh
import subjects
from leftovers import processes_of, shared_memory, sockets_of
from patience import wait_until


@pytest.fixture
def fresh(request: pytest.FixtureRequest) -> Iterator[rh.Cluster]:
    """A cluster of the test's own, which must have left nothing once it is torn down."""
    before = shared_memory()
    cluster = rh.compute("teardown-" + str(abs(hash(request.node.name)) % 10_000)).up_if_not()
    yield cluster
    cluster.teardown()
    assert not cluster.is_up()
    assert processes_of(cluster.state_folder) == []
    assert sockets_of(cluster.state_folder) == []
    assert shared_memory() <= before


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_up_twice_and_down_twice(fresh: rh.Cluster) -> None:
    pid = fresh.status()["pid"]
    assert fresh.up_if_not() is fresh
    assert fresh.up().status()["pid"] == pid
    fresh.teardown()
    fresh.teardown()
    with pytest.raises(rh.NodeLost, match="up_if_not"):
        fresh.status()
    assert fresh.up_if_not().status()["pid"] != pid


def test_processes_that_detached_themselves_go_too(fresh: rh.Cluster) -> None:
    grandchild = rh.function(subjects.detach_child).to(fresh)()
    assert alive(grandchild)
    fresh.teardown()
    assert not alive(grandchild)


def test_a_context_gives_back_only_what_it_launched(fresh: rh.Cluster) -> None:
    with rh.compute(fresh.name):
        pass
    assert fresh.is_up()


@pytest.mark.parametrize("victim", ["worker", "daemon", "keeper"])
def test_kill_9(fresh: rh.Cluster, victim: str) -> None:
    remote_pid = rh.function(subjects.pid).to(fresh)
    call = rh.function(subjects.stubborn).to(fresh).submit(60)
    status = fresh.status()
    pids = {"worker": remote_pid(), "daemon": status["pid"], "keeper": status["keeper_pid"]}
    os.kill(pids[victim], signal.SIGKILL)
    wait_until(lambda: not alive(pids[victim]), what=f"the death of the {victim}")
    if victim == "worker":
        # Another worker takes its place; a call before the node knows of the death would die with it.
        wait_until(lambda: pids["worker"] not in [worker["pid"] for worker in fresh.status()["workers"]])
        assert remote_pid() != pids["worker"]
        assert not call.done()
    elif victim == "daemon":
        # The keeper starts another, and everything goes on.
        assert remote_pid() == pids["worker"]
        assert not call.done()
    else:
        with pytest.raises(rh.NodeLost):
            call.result(timeout=20)


def test_kill_9_of_the_client(fresh: rh.Cluster) -> None:
    code = (
        "import time, roundhouse as rh\n"
        f"remote = rh.function(time.sleep).to(rh.compute({fresh.name!r}), name='left')\n"
        "call = remote.submit(600)\nprint('ready', flush=True)\ncall.result()\n"
    )
    client = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert client.stdout is not None
    assert client.stdout.readline() == b"ready\n"
    client.kill()
    client.wait()
    client.stdout.close()
    assert rh.function(subjects.add).to(fresh)(1) == 2


def test_a_cluster_comes_back_after_its_keeper_was_killed(fresh: rh.Cluster) -> None:
    os.kill(fresh.status()["keeper_pid"], signal.SIGKILL)
    wait_until(lambda: not fresh.is_up(), what="the end of the node")
    fresh.up_if_not()
    assert rh.function(subjects.add).to(fresh)(1) == 2


def test_many_starters_at_once(fresh: rh.Cluster) -> None:
    fresh.teardown()
    errors: list[BaseException] = []

    def start() -> None:
        try:
            rh.compute(fresh.name).up_if_not()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not errors
    daemons = [line for line in processes_of(fresh.state_folder) if "roundhoused" in line]
    assert len(daemons) == 2, daemons  # one keeper, one daemon
    assert rh.function(subjects.add).to(fresh)(1) == 2


def test_a_stale_socket_is_no_obstacle(fresh: rh.Cluster) -> None:
    import socket

    fresh.teardown()
    path = fresh._socket_path
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    assert not fresh.is_up()
    fresh.up_if_not()
    assert rh.function(subjects.add).to(fresh)(1) == 2
