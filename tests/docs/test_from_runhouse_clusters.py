"""What docs/from-runhouse.md says is kept or fixed: clusters, replicas, processes, objects."""

from __future__ import annotations

import os

import pytest
import roundhouse as rh

from . import runhouse_subjects as subjects

# Clusters.


def test_an_unknown_name_is_a_local_cluster(own_state: str) -> None:
    cluster = rh.cluster("never-heard-of")
    assert cluster.name == "never-heard-of"
    assert not cluster.is_up()


def test_unknown_keywords_of_a_cluster(own_state: str) -> None:
    with pytest.raises(TypeError, match="instance_type"):
        rh.compute("box", instance_typ="large")
    with pytest.raises(rh.LaunchError):
        rh.compute("box", host="10.0.0.1")
    assert rh.compute("box", den_auth=False, load_from_den=True, dryrun=False).name == "box"


def test_resources_of_a_cluster(own_state: str) -> None:
    with rh.compute("small", num_cpus=1) as cluster:
        rh.function(subjects.pid).to(cluster, name="first", cpus=1)()
        with pytest.raises(rh.LimitExceeded, match="first"):
            rh.function(subjects.pid).to(cluster, name="second", cpus=1)


@pytest.mark.parametrize("name", ["file", "s3", "gs", "azure", "here"])
def test_reserved_names(own_state: str, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        rh.compute(name)


def test_short_names(box: rh.Cluster) -> None:
    assert rh.function(subjects.add).to(box, name="f")(1, 2) == 3


def test_up_and_down(own_state: str) -> None:
    cluster = rh.cluster("up-and-down")
    assert cluster.up_if_not(verbose=False) is cluster
    assert cluster.is_up()
    assert cluster.up() is cluster
    worker = rh.function(subjects.pid).to(cluster)()
    cluster.teardown()
    assert not cluster.is_up()
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_here(box: rh.Cluster) -> None:
    assert rh.here == "file"
    assert rh.function(subjects.here).to(box)() == box.name


def test_keeping_it_warm(box: rh.Cluster) -> None:
    assert box.keep_warm(60) is box
    with box.pause_autostop():
        assert box.is_up()


def test_status(box: rh.Cluster) -> None:
    rh.function(subjects.pid).to(box, name="listed")
    status = box.status()
    assert status["name"] == box.name
    assert "listed" in [service["name"] for service in status["services"]]


def test_list(box: rh.Cluster) -> None:
    assert box.name in str(rh.Cluster.list())


def test_on_this_cluster(box: rh.Cluster) -> None:
    assert not box.on_this_cluster()
    assert rh.function(lambda: rh.here.on_this_cluster()).to(box, name="on-it")()


def test_saved_clusters(own_state: str) -> None:
    cluster = rh.compute("to-save").save()
    assert rh.exists("to-save")
    assert rh.load("to-save") == cluster
    cluster.delete_configs()
    assert not rh.exists("to-save")
    cluster.save()
    cluster.teardown_and_delete()
    assert not rh.exists("to-save")


def test_configurations(box: rh.Cluster) -> None:
    config = box.config()
    assert config["name"] == box.name
    assert rh.Cluster.from_config(config) == box
    assert rh.Cluster.from_name(box.save().name) == box


def test_run_bash(box: rh.Cluster) -> None:
    assert box.run_bash("echo out; echo err >&2; exit 3") == [3, "out\n", "err\n"]
    assert box.run_bash(["echo one", "echo two"]) == [[0, "one\n", ""], [0, "two\n", ""]]
    assert box.run_bash(["true", "false"], require_outputs=False) == [0, 1]
    assert box.run("echo old") == [0, "old\n", ""]
    assert box.run_bash_over_ssh("echo without") == [[0, "without\n", ""]]


def test_run_python(box: rh.Cluster) -> None:
    assert box.run_python(["text = '\"it\\'s\" $HOME'", "print(text)"]) == [[0, '"it\'s" $HOME\n', ""]]


def test_calling_by_name(box: rh.Cluster) -> None:
    rh.module(subjects.Account).to(box)(5, name="called-by-name")
    assert box.call("called-by-name", "deposit", 2) == 7
    box.put("a-list", [1, 2, 3])
    assert box.call("a-list", "__len__") == 3


# Replicas.


def test_replicas(box: rh.Cluster) -> None:
    account = rh.module(subjects.Account).to(box)(5, name="replicated")
    copies = account.replicate(2)
    assert [copy.deposit(1) for copy in copies] == [6, 6]
    assert account.deposit(0) == 5
    assert len({account.pid(), *[copy.pid() for copy in copies]}) == 3
    assert box.get("replicated_replica_0", remote=True).deposit(0) == 6
    add = rh.function(subjects.add).to(box, name="replicated-function")
    (named,) = add.replicate(1, names=["a-replica"], processes=["a-replicas-process"])
    assert named(1, 2) == box.get("a-replica")(1, 2) == 3
    assert "a-replicas-process" in box.list_processes()
    with pytest.raises(ValueError, match="names"):
        add.replicate(2, names=["only-one"])


def test_pools(box: rh.Cluster) -> None:
    pool = rh.function(subjects.add).to(box, name="pooled").distribute("pool", num_replicas=2)
    assert pool(1, b=2) == 3
    assert pool.map([1, 2, 3], [1, 1, 1]) == [2, 3, 4]
    for _ in range(5):  # more often than there are replicas
        with pytest.raises(TypeError):
            pool("text", 1)
    assert pool(1) == 1
    naps = rh.function(subjects.nap).to(box, name="pooled-naps").distribute("pool", num_replicas=1)
    with pytest.raises(TimeoutError):
        naps.options(timeout=0.1)(60)
    with pytest.raises(ValueError, match="num_replicas"):
        rh.function(subjects.add).to(box, name="pooled-by-none").distribute("pool")


def test_other_distributions(box: rh.Cluster) -> None:
    add = rh.function(subjects.add).to(box, name="distributed")
    for kind in ("pytorch", "ray", "dask", "spark", "tensorflow"):
        with pytest.raises(rh.Unsupported, match=kind):
            add.distribute(kind)
    with pytest.raises(ValueError, match="no-such-kind"):
        add.distribute("no-such-kind")


# Processes.


def test_named_processes(box: rh.Cluster) -> None:
    first = rh.function(subjects.pid).to(box, name="first-in", process="shared")
    second = rh.function(subjects.pid).to(box, name="second-in", process="shared")
    account = rh.module(subjects.Account).to(box, process="shared")(1)
    assert first() == second() == account.pid()
    described = {"name": "described", "env_vars": {"COLOUR": "red"}}
    assert rh.function(subjects.variable).to(box, process=described)("COLOUR") == "red"


def test_processes(box: rh.Cluster) -> None:
    assert box.create_process("made", env_vars={"A": "1"}) == "made"
    assert box.create_process("made", env_vars={"A": "1"}) == "made"
    with pytest.raises((ValueError, rh.NameTaken), match="made"):
        box.create_process("made", env_vars={"A": "2"})
    assert box.ensure_process_created("made", env_vars={"A": "3"}) == "made"
    assert "made" in box.list_processes()
    lives = rh.function(subjects.variable).to(box, name="lives-in", process="made")
    assert lives("A") == "1"
    box.kill_process("made")
    assert "made" not in box.list_processes()
    assert not {"lives-in"} & set(box.keys())
    with pytest.raises(LookupError):
        box.kill_process("made")


def test_environment_of_processes(box: rh.Cluster) -> None:
    box.create_process("with-variables", env_vars={"OWN": "1"})
    variable = rh.function(subjects.variable).to(box, name="variable", process="with-variables")
    box.set_process_env_vars("with-variables", {"LATER": "2"})
    assert (variable("OWN"), variable("LATER")) == ("1", "2")
    other = rh.function(subjects.variable).to(box, name="other-variable")
    assert other("LATER") is None
    box.set_env_vars_globally({"EVERYWHERE": "3"})
    assert variable("EVERYWHERE") == "3"
    later = rh.function(subjects.variable).to(box, name="later-variable", process="made-later")
    assert later("EVERYWHERE") == "3"


def test_gpus(own_state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that was told that it has four GPUs gives each worker its own."""
    monkeypatch.setenv("ROUNDHOUSE_GPUS", "4")
    with rh.compute("gpus", gpus=4) as cluster:
        two = rh.function(subjects.variable).to(cluster, name="two", gpus=2)
        one = rh.function(subjects.variable).to(cluster, name="one", gpus=1)
        assert [len(f("CUDA_VISIBLE_DEVICES").split(",")) for f in (two, one)] == [2, 1]
        assert not set(two("CUDA_VISIBLE_DEVICES").split(",")) & set(one("CUDA_VISIBLE_DEVICES").split(","))


# Objects.


def test_objects(box: rh.Cluster) -> None:
    box.put("numbers", [1, 2, 3])
    assert box.get("numbers") == [1, 2, 3]
    box.put("numbers", [4])
    assert box.get("numbers") == [4]
    assert {"numbers"} <= set(box.keys())
    assert box.get("no-such-key", default="instead") == "instead"
    assert box.get("no-such-key", default=None) is None
    with pytest.raises(KeyError):
        box.get("no-such-key", default=KeyError)
    box.rename("numbers", "digits")
    assert box.get("digits") == [4]
    assert not {"numbers"} & set(box.keys())
    box.put("letters", "abc")
    box.delete(["digits", "letters"])
    assert not {"digits", "letters"} & set(box.keys())
    with pytest.raises(LookupError):
        box.delete("digits")
    account = rh.module(subjects.Account).to(box)(5, name="an-account")
    assert box.get("an-account", remote=True).deposit(1) == account.deposit(0) == 6
    assert box.get("an-account").fetch().balance == 6


def test_clear(own_state: str) -> None:
    with rh.compute("cleared") as cluster:
        cluster.put("one", 1)
        rh.module(subjects.Account).to(cluster)(1, name="two")
        cluster.clear()
        assert cluster.keys() == []
