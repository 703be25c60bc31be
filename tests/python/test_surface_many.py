"""Many calls: map over workers, replicas, pools."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
import roundhouse as rh
import surface_subjects as subjects
from patience import wait_until


def test_map_keeps_the_order(box: rh.Cluster) -> None:
    add = rh.function(subjects.add).to(box, workers=2)
    assert add.map(range(5000)) == list(range(1, 5001))
    assert add.map(iter([1, 2, 3]), (10, 20)) == [11, 22]
    assert add.map([1, 2], b=5) == [6, 7]
    assert add.starmap([(1, 2), [3, 4]]) == [3, 7]
    assert add.map([]) == []
    assert add.options(timeout=30).map([1, 2]) == [2, 3]
    assert add.map([1], stream_logs=False) == [2]
    assert rh.function(subjects.add).map([1, 2]) == [2, 3]
    later = rh.function(subjects.add_later).to(box, workers=2)
    assert later.map([1, 2], [3, 4]) == [4, 6]


def test_map_uses_every_worker_at_once(box: rh.Cluster) -> None:
    burn = rh.function(subjects.burn).to(box, workers=2)
    told = burn.map([0.15] * 6)
    pids = {pid for pid, _, _ in told}
    assert len(pids) == 2
    one, other = ([(begin, end) for pid, begin, end in told if pid == which] for which in pids)
    assert any(begin < end2 and begin2 < end for begin, end in one for begin2, end2 in other)


@pytest.mark.parametrize("items", [10, 5000])
def test_map_raises_the_first_exception_in_order(box: rh.Cluster, items: int) -> None:
    remote = rh.function(subjects.fail_at).to(box, name=f"fail-at-{items}", workers=2)
    with pytest.raises(ValueError, match=f"item {items // 2}") as caught:
        remote.map(range(items), [items // 2] * items)
    assert "surface_subjects.py" in str(caught.value.__cause__)
    with pytest.raises(rh.NotSerializable, match="lock"):
        remote.map([1, subjects.lock], [0, 0])


def test_map_stops_after_an_exception(box: rh.Cluster) -> None:
    taken = 0

    def items():  # type: ignore[no-untyped-def]
        nonlocal taken
        for number in range(100_000):
            taken += 1
            yield number

    remote = rh.function(subjects.fail_at).to(box, name="fail-early")
    with pytest.raises(ValueError, match="item 3"):
        remote.map(items(), [3] * 100_000)
    assert taken < 50_000


def test_map_of_a_method(box: rh.Cluster) -> None:
    shelf = rh.cls(subjects.Shelf).to(box)([])
    assert shelf.put.map(range(50)) == list(range(1, 51))  # type: ignore[attr-defined]
    with pytest.raises(rh.Unsupported, match="generator"):
        shelf.each.map([()])  # type: ignore[attr-defined]


def test_replicas_are_independent(box: rh.Cluster) -> None:
    shelf = rh.cls(subjects.Shelf).to(box)([1], name="shelf")
    replicas = rh.handle(shelf).replicate(2)
    assert [rh.handle(replica).name for replica in replicas] == ["shelf_replica_0", "shelf_replica_1"]
    replicas[0].put(2)
    assert [one.count for one in (shelf, *replicas)] == [1, 2, 1]
    assert len({one.pid() for one in (shelf, *replicas)}) == 3
    nap = rh.function(subjects.nap).to(box)
    several = [nap, *nap.replicate(replicas=2, parallel=True, names=["nap-a", "nap-b"])]
    assert len({one(0) for one in several}) == 3
    with pytest.raises(ValueError, match="names="):
        nap.replicate(3, names=["one"])
    with pytest.raises(ValueError, match="not been sent"):
        rh.function(subjects.nap).replicate(2)


def test_replicas_per_node(box: rh.Cluster) -> None:
    pid = rh.function(os.getpid).to(box, name="pid-of-node")
    replicas = pid.replicate(replicas_per_node=2)
    assert [replica.name for replica in replicas] == ["pid-of-node_replica_0", "pid-of-node_replica_1"]
    assert len({one() for one in (pid, *replicas)}) == 3
    assert len(pid.replicate(1, replicas_per_node=2)) == 1
    pool = pid.distribute("pool", replicas_per_node=2)
    assert len({pool() for _ in range(4)}) == 2
    for refused in (
        lambda: pid.replicate(3, replicas_per_node=2),
        lambda: pid.distribute("pool", num_replicas=4, replicas_per_node=2),
    ):
        with pytest.raises(ValueError, match="need 2 nodes"):
            refused()
    with pytest.raises(rh.Unsupported, match="3 replicas"):
        pid.replicate(3, replicas_per_node=1)
    placed = rh.function(os.getpid).to(box, process={"name": "sized", "compute": {"CPU": 1}}, name="pid-placed")
    with pytest.raises(ValueError, match="compute="):
        placed.replicate(1, replicas_per_node=1)
    box.kill_process("sized")


def test_replicas_in_processes(box: rh.Cluster) -> None:
    nap = rh.function(subjects.nap).to(box, name="nap-there", process={"name": "there", "env_vars": {"WHOSE": "ours"}})
    replicas = nap.replicate(2)
    assert [replica.process for replica in replicas] == ["there_replica_0", "there_replica_1"]
    assert box.list_processes()["there_replica_1"]["env_vars"] == {"WHOSE": "ours"}
    placed = nap.replicate(1, processes=["elsewhere"])
    assert placed[0].process == "elsewhere"


def test_a_pool_gives_each_call_a_free_replica(box: rh.Cluster, tmp_path: Path) -> None:
    go = tmp_path / "go"
    wait_for = rh.function(subjects.wait_for).to(box, name="wait-pooled")
    pool = wait_for.distribute("pool", num_replicas=2)
    assert pool.name == "distributed_wait-pooled"
    calls = [pool.submit(str(go)) for _ in range(3)]
    assert [call.status for call in calls] == ["running", "running", "pending"]
    with pytest.raises(rh.CallTimeout, match="no replica"):
        pool(str(go), timeout=0.05)  # type: ignore[call-arg]
    dropped = pool.submit(str(go))
    assert dropped.cancel()
    assert dropped.cancelled()
    go.touch()
    assert rh.gather(*calls) == ["there"] * 3

    async def main() -> list[str]:
        return await asyncio.gather(*[pool.submit(str(go)) for _ in range(5)])

    assert asyncio.run(main()) == ["there"] * 5


def test_a_pool_survives_exceptions_and_maps(box: rh.Cluster) -> None:
    pool = rh.function(subjects.fail_at).to(box, name="fail-pooled").distribute("pool", num_replicas=2)
    for _ in range(5):
        with pytest.raises(ValueError, match="item 1"):
            pool(1, 1)
    assert pool.map(range(20), [-1] * 20) == list(range(20))
    nap = rh.function(subjects.nap).to(box, name="nap-pooled").distribute("pool", num_replicas=2, name="naps")
    assert nap.name == "naps"
    assert len(set(nap.map([0.05] * 8))) == 2
    assert rh.function(subjects.call_it).to(box)(nap, 0) != os.getpid()


def test_a_pool_of_objects(box: rh.Cluster) -> None:
    shelf = rh.cls(subjects.Shelf).to(box)([1, 2], name="pooled-shelf")
    pool = rh.handle(shelf).distribute("pool", num_replicas=2, max_concurrency=2)
    assert pool.count == 2
    assert len({call.result(timeout=10) for call in [pool.pid.submit() for _ in range(8)]}) == 2


def test_other_distributions(box: rh.Cluster) -> None:
    add = rh.function(subjects.add).to(box)
    for kind in ("pytorch", "ray", "dask", "spark", "tensorflow"):
        with pytest.raises(rh.Unsupported, match=kind):
            add.distribute(kind, num_replicas=2)
    with pytest.raises(ValueError, match="no distribution"):
        add.distribute("pools", num_replicas=2)
    with pytest.raises(ValueError, match="num_replicas"):
        add.distribute("pool")
    with pytest.raises(TypeError, match="worker"):
        add.distribute("pool", num_replicas=2, worker=3)
    with pytest.raises(ValueError, match="not been sent"):
        rh.function(subjects.add).distribute("pool", num_replicas=2)


def test_a_call_in_line_is_told_of_its_end(box: rh.Cluster) -> None:
    pool = rh.function(subjects.nap).to(box, name="nap-line").distribute("pool", num_replicas=1)
    told: list[object] = []
    calls = [pool.submit(0.02) for _ in range(5)]
    for call in calls:
        call.add_done_callback(told.append)
    assert [call.result(timeout=10) for call in calls] == [calls[0].result()] * 5
    wait_until(lambda: len(told) == 5, what="five callbacks")
