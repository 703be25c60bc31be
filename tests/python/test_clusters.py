"""Clusters: where they are, how large, what they are called, and what they say about themselves."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import roundhouse as rh
import subjects
from patience import wait_until


@pytest.fixture(autouse=True)
def gone() -> Iterator[None]:
    before = {row["name"] for row in rh.Cluster.list()}
    yield
    for row in rh.Cluster.list():
        if row["name"] not in before:
            rh.compute(row["name"]).teardown_and_delete()


def in_a_program(code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", "import roundhouse as rh\n" + code], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# Names.


def test_a_live_cluster_is_renamed(box: rh.Cluster) -> None:
    crate = rh.compute("before").up_if_not()
    same = rh.compute("before")
    add = rh.function(subjects.add).to(crate)
    call = rh.function(subjects.talk).to(crate).submit(10, 0.02)
    pid = crate.status()["pid"]
    crate.rename("after")

    assert add(1) == 2
    call.result(timeout=30)
    assert crate.name == "after"
    assert crate.is_up()
    assert repr(crate) == "<Cluster 'after', local, up>"
    for other in (rh.compute("after"), same, pickle.loads(pickle.dumps(crate)), rh.cluster("~/after")):
        assert other == crate
        assert other.is_up()
        assert other.status()["pid"] == pid
        assert other.get("add")(1) == 2
    assert rh.compute("after").status()["name"] == "after"
    assert in_a_program("print(rh.compute('after').get('add')(1), rh.compute('before').is_up())") == "2 False"
    assert rh.function(lambda: rh.here.name).to(crate, name="named")() == "after"  # type: ignore[union-attr]

    # The old name is free, and another cluster's now.
    before = rh.compute("before")
    assert not before.is_up()
    assert before != crate
    with before:
        assert before.status()["pid"] != pid
        assert before.keys() == []
        with pytest.raises(rh.NameTaken, match="before"):
            crate.rename("before")
        names = [row["name"] for row in rh.Cluster.list() if row["up"]]
        assert {"before", "after"} <= set(names)
        assert add(2) == 3
    crate.rename("before")
    assert add(3) == 4

    # Down and up again it is the same name.
    same.teardown()
    assert not crate.is_up()
    assert not rh.compute("before").is_up()
    with pytest.raises(rh.NodeLost, match="'before'"):
        crate.ping()
    crate.up_if_not()
    assert crate.status()["name"] == "before"
    assert crate.keys() == []


def test_another_program_renames_it() -> None:
    crate = rh.compute("here-before").up_if_not()
    add = rh.function(subjects.add).to(crate)
    in_a_program("rh.compute('here-before').rename('here-after')")
    assert add(1) == 2
    assert crate.is_up()
    assert crate.up_if_not() is crate
    crate.teardown()
    assert not rh.compute("here-after").is_up()


def test_from_name(box: rh.Cluster) -> None:
    assert rh.Cluster.from_name(box.name) == box
    with pytest.raises(rh.NotFound, match="never-seen"):
        rh.Cluster.from_name("never-seen")


def test_up_right_behind_the_daemons_death() -> None:
    """A daemon that was killed may still accept for some milliseconds: that is not up."""
    with rh.compute("killed") as crate:
        call = rh.function(subjects.stubborn).to(crate).submit(60)
        for _ in range(5):
            os.kill(crate.status()["pid"], signal.SIGKILL)
            assert rh.function(subjects.add).to(crate.up_if_not())(1) == 2
        assert not call.done()


def test_a_name_of_a_cluster_that_is_down() -> None:
    crate = rh.compute("never-up")
    crate.rename("never-up-either")
    assert crate == rh.compute("never-up-either")
    assert not crate.is_up()
    rh.compute("once-up").up_if_not().teardown()
    rh.compute("once-up").rename("once-up-elsewhere")
    names = [row["name"] for row in rh.Cluster.list()]
    assert "once-up-elsewhere" in names
    assert "once-up" not in names


def test_bad_names() -> None:
    for name in ("file", "s3", "gs", "azure", "here", "not/a/name", "", "/den/name"):
        with pytest.raises(ValueError):  # noqa: PT011 - which names are bad is the point
            rh.compute(name)
        with pytest.raises(ValueError):  # noqa: PT011
            rh.compute("fine").rename(name)
    with pytest.raises(TypeError):
        rh.compute(7)  # type: ignore[arg-type]


def test_delete_leaves_no_folder() -> None:
    crate = rh.compute("to-be-deleted", num_cpus=1).up_if_not().save()
    folder = Path(crate.state_folder)
    assert folder.is_dir()
    crate.teardown_and_delete()
    assert not folder.exists()
    assert not rh.exists("to-be-deleted")
    assert "to-be-deleted" not in [row["name"] for row in rh.Cluster.list()]
    crate.teardown_and_delete()


def test_list(box: rh.Cluster) -> None:
    rh.compute("only-saved").save()
    rh.compute("torn-down").up_if_not().teardown()
    rows = {row["name"]: row for row in rh.Cluster.list()}
    assert rows[box.name]["up"]
    assert rows[box.name]["status"] == "running"
    assert rows[box.name]["state_folder"] == box.state_folder
    assert (rows["only-saved"]["up"], rows["only-saved"]["saved"]) == (False, True)
    assert (rows["torn-down"]["up"], rows["torn-down"]["saved"]) == (False, False)
    assert list(rows) == sorted(rows)
    assert "torn-down" not in [row["name"] for row in rh.Cluster.list(show_all=False)]
    assert box.name not in [row["name"] for row in rh.Cluster.list(status="terminated")]
    rh.compute("only-saved").delete_configs()


# Sizes.


def test_a_node_has_what_was_asked_for() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        crate = rh.compute("sized", num_cpus="1", gpus=0, memory="512MiB")
    assert (crate.config()["num_cpus"], crate.gpus, crate.memory) == ("1", 0, "512MiB")
    with crate:
        resources = crate.status()["resources"]
        assert (len(resources["cpus"]), resources["gpus"], resources["memory"]) == (1, [], 512 << 20)
        assert crate.num_cpus() == 1
        rh.function(subjects.add).to(crate, cpus=1)
        with pytest.raises(rh.LimitExceeded):
            rh.function(subjects.add).to(crate, name="another", cpus=1)

        assert rh.compute("sized", num_cpus="1+", gpus=0).up_if_not() == crate
        for other in ({"num_cpus": 4096}, {"memory": "1GiB"}, {"gpus": 1}, {"num_cpus": "2+"}):
            with pytest.raises(ValueError, match="'sized' is up with") as caught:
                rh.compute("sized", **other)
            assert isinstance(caught.value, rh.LaunchError)
            assert f"{next(iter(other))}={next(iter(other.values()))!r}" in str(caught.value)
        assert rh.compute("sized").up_if_not() == crate


def test_at_least_is_all_there_is() -> None:
    cpus = len(os.sched_getaffinity(0))
    crate = rh.compute("at-least", num_cpus="1+")
    assert crate.num_cpus() == cpus
    with crate:
        assert crate.num_cpus() == cpus


def test_more_than_the_machine_has() -> None:
    for asked in ({"num_cpus": 4096}, {"num_cpus": "4096+"}, {"gpus": 99}, {"memory": "900TiB"}):
        with pytest.raises(rh.LaunchError, match="machine has"):
            rh.compute("too-large", **asked).up_if_not()
    assert not rh.compute("too-large").is_up()


def test_sizes_that_are_none() -> None:
    for asked in (
        {"num_cpus": 0},
        {"num_cpus": "many"},
        {"num_cpus": 1.5},
        {"gpus": -1},
        {"memory": "lots"},
        {"memory": 16},
    ):
        with pytest.raises(ValueError, match=next(iter(asked))):
            rh.compute("nonsense", **asked)
    with pytest.raises(rh.LaunchError, match="make of GPU"):
        rh.compute("nonsense", gpus="L4:8")
    with pytest.raises(TypeError, match="memory"):
        rh.compute("nonsense", memory=[1])


def test_arguments() -> None:
    assert rh.compute("a", den_auth=True, load_from_den=False, dryrun=True, image=None, launcher="local").name == "a"
    assert rh.ondemand_cluster is rh.compute
    for argument in ("host", "instance_type", "kube_namespace"):
        with pytest.raises(rh.LaunchError, match="not yet"):
            rh.compute("a", **{argument: "x"})
    with pytest.raises(rh.LaunchError, match="another launcher"):
        rh.compute("a", launcher="den")
    with pytest.raises(TypeError, match="image"):
        rh.compute("a", image=object())
    for kind in (TypeError, ValueError):
        with pytest.raises(kind, match="num_cpus"):
            rh.compute("a", num_cpu=1)


# What it says.


def test_status(box: rh.Cluster) -> None:
    function = rh.function(subjects.add).to(box)
    box.create_process("p")
    box.put("key", 1, process="p")
    status = box.status()
    assert status["name"] == box.name
    assert status["cluster_config"] == box.config()
    assert status["server_pid"] == status["pid"]
    assert status["runhouse_version"] == status["version"] == rh.__version__
    assert status["is_multinode"] is False
    (node,) = status["nodes"]
    usage = node["server_cpu_usage"]
    assert usage["used_memory"] + usage["free_memory"] == usage["total_memory"] > 0
    assert 0 <= usage["utilization_percent"] <= 100
    assert 0 < usage["used_memory_percent"] <= 100
    own, named = status["processes"]["add_process"], status["processes"]["p"]
    assert own["process_resource_mapping"] == {"add": {"resource_type": "function", "active_function_calls": []}}
    assert own["process_cpu_usage"]["used_memory"] > 1_000_000
    assert list(named["process_resource_mapping"]) == ["key"]
    assert named["pid"] == box.list_processes()["p"]["pid"]
    assert function(1) == 2
    box.delete(["add", "p"])


def test_status_shows_running_calls(box: rh.Cluster) -> None:
    remote = rh.function(subjects.stubborn).to(box)
    calls = [remote.submit(60) for _ in range(3)]

    def active() -> int:
        process = box.status()["processes"]["stubborn_process"]
        return len(process["process_resource_mapping"]["stubborn"]["active_function_calls"])

    wait_until(lambda: active() == 3, what="the start of the calls")
    for call in calls:
        call.cancel()
    box.delete("stubborn")
    assert "stubborn_process" not in box.status()["processes"]


def test_repr_and_notebook(box: rh.Cluster) -> None:
    assert repr(box) == f"<Cluster {box.name!r}, local, up>"
    rh.function(subjects.add).to(box, name="shown")
    html = box._repr_html_()
    assert box.name in html
    assert "shown" in html
    assert "up" in html
    box.delete("shown")
    down = rh.compute("is-down")
    assert "down" in repr(down)
    assert "down" in down._repr_html_()


def test_what_a_local_cluster_has(box: rh.Cluster) -> None:
    assert box.ips == box.internal_ips == ["127.0.0.1"]
    assert box.head_ip == box.server_address == "127.0.0.1"
    assert box.endpoint() is box.endpoint(external=True) is None
    assert box.cluster_status == "running"
    assert rh.compute("is-down").cluster_status == "terminated"
    assert box.keep_warm() is box.keep_warm(mins=5) is box
    assert box.autostop_mins == -1
    box.autostop_mins = -1
    with pytest.raises(rh.Unsupported, match="teardown"):
        box.autostop_mins = 60
    with box.pause_autostop() as paused:
        assert paused is box
    assert box.is_up()
    assert box.rns_address == f"~/{box.name}"
    assert box.creds_values == {}
    assert box.den_auth is False
    assert box.image is box.conda_env_name is box.venv_path is None


def test_a_connection_is_reopened(box: rh.Cluster) -> None:
    box.ping()
    assert box.is_connected()
    box.disconnect()
    assert not box.is_connected()
    assert box.ping() > 0
    assert box.is_connected()


def test_what_is_not_supported_says_what_to_do(box: rh.Cluster) -> None:
    from roundhouse._elsewhere import INSTEAD

    for name, instead in INSTEAD.items():
        with pytest.raises(rh.Unsupported) as caught:
            getattr(box, name)("anything", node="all")
        assert f"{name}()" in str(caught.value)
        assert instead in str(caught.value)
        assert instead in (getattr(rh.Cluster, name).__doc__ or "")


def test_runhouses_server(box: rh.Cluster) -> None:
    crate = rh.compute("server")
    assert crate.start_server(resync_rh=True, restart_ray=False) is crate
    pid = crate.status()["pid"]
    assert crate.start_server().status()["pid"] == pid
    assert crate.restart_server(restart_proxy=True).status()["pid"] != pid
    crate.stop_server(stop_ray=True, cleanup_actors=False)
    assert not crate.is_up()


def test_up_from_a_coroutine(tmp_path: Path) -> None:
    crate = rh.compute("awaited")
    assert asyncio.run(crate.a_up_if_not()) is crate
    assert crate.is_up()
    crate.teardown()
    log = tmp_path / "up.log"
    assert asyncio.run(crate.a_up(capture_output=str(log))).is_up()
    assert "awaited" in log.read_text()


# Here.


def test_here_is_a_file_outside() -> None:
    assert rh.here == "file"
    with pytest.raises(ValueError, match="runs on none"):
        rh.function(subjects.add).to("here")
    with pytest.raises(ValueError, match="runs on none"):
        rh.function(subjects.add).to(rh.here)  # type: ignore[arg-type]


def test_here_is_the_enclosing_cluster_inside(box: rh.Cluster) -> None:
    def inside(name: str) -> tuple[object, ...]:
        import roundhouse

        here = roundhouse.here
        assert isinstance(here, roundhouse.Cluster)
        sent = roundhouse.function(subjects.add).to("here", name="from-inside")
        return (
            here.name,
            here.on_this_cluster(),
            here == roundhouse.compute(name),
            roundhouse.compute("is-down").on_this_cluster(),
            sent(1),
            here.config()["name"],
        )

    assert rh.function(inside).to(box)(box.name) == (box.name, True, True, False, 2, box.name)
    assert box.get("from-inside")(2) == 3
    assert not box.on_this_cluster()
    # What a worker starts is inside as well.
    assert (
        box.run_python(["import roundhouse", "print(roundhouse.here.name)"], stream_logs=False)[0][1].strip()
        == box.name
    )


def test_a_cluster_inside_a_cluster(box: rh.Cluster) -> None:
    """What is launched from a worker outlives it and is a cluster of its own."""

    def launch() -> int:
        import roundhouse

        return roundhouse.compute("inner-one").up_if_not().status()["pid"]  # type: ignore[no-any-return]

    pid = rh.function(launch).to(box)()
    box.delete("launch")
    inner = rh.compute("inner-one")
    assert inner.status()["pid"] == pid
    inner.teardown()


# Several.


def test_three_clusters_in_one_program() -> None:
    with rh.compute("one") as one, rh.compute("two") as two, rh.compute("three") as three:
        boxes = (one, two, three)
        assert len({box.status()["pid"] for box in boxes}) == 3
        assert len({*boxes}) == 3
        for number, box in enumerate(boxes):
            box.put("number", number)
            rh.function(subjects.add).to(box, name=f"add-{number}")
        assert [box.get("number") for box in boxes] == [0, 1, 2]
        assert [box.keys() for box in boxes] == [["add-0", "number"], ["add-1", "number"], ["add-2", "number"]]
        results: dict[str, list[int]] = {}

        def use(number: int, box: rh.Cluster) -> None:
            remote = box.get(f"add-{number}")
            results[box.name] = [remote(i) for i in range(200)]

        threads = [threading.Thread(target=use, args=pair) for pair in enumerate(boxes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert results == {name: list(range(1, 201)) for name in ("one", "two", "three")}
        two.teardown()
        assert [box.is_up() for box in boxes] == [True, False, True]
        assert one.get("number") == 0
        assert three.get("number") == 2
    assert not any(box.is_up() for box in boxes)
