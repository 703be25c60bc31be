"""What is saved on this machine, and the settings that are."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import roundhouse as rh
from roundhouse import _engine, _registry


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A registry of the test's own."""
    state = tmp_path / "state"
    monkeypatch.setenv("ROUNDHOUSE_STATE", str(state))
    yield state
    for name, _, _ in _engine.list_local():
        rh.Cluster(name).teardown()


def test_asking_makes_nothing(own_state: Path) -> None:
    assert not rh.exists("anything")
    assert rh.configs.get("no-such-setting") is None
    rh.compute("box")
    assert rh.Cluster.list() == []
    assert not own_state.exists()


def test_save_and_load() -> None:
    box = rh.compute("box", num_cpus="1+")
    assert not rh.exists("box")
    assert box.save() is box
    assert rh.exists("box")
    assert rh.load("box") == box
    assert rh.load("~/box").config() == box.config()
    assert rh.load("box", instantiate=False)["num_cpus"] == "1+"
    assert rh.cluster("box").config() == rh.Cluster.from_name("box").config() == box.config()
    # What is asked for now wins over what was saved.
    assert rh.compute("box", num_cpus=1).config()["num_cpus"] == 1
    box.delete_configs()
    assert not rh.exists("box")
    assert "num_cpus" not in rh.compute("box").config()
    box.delete_configs()


def test_what_another_program_saves_is_seen_at_once() -> None:
    """What was read is kept only for as long as the file is the same."""
    box = rh.compute("box", num_cpus="1+").save()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for asked in ("1", "1+", "1"):
        for _ in range(3):
            rh.compute("box")
        code = f"import roundhouse as rh; rh.compute('box', num_cpus={asked!r}).save()"
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        assert rh.compute("box").config()["num_cpus"] == asked
    for i in range(20):
        rh.compute("box", num_cpus=("1", "1+")[i % 2]).save()
        assert rh.compute("box").config()["num_cpus"] == ("1", "1+")[i % 2]
    box.delete_configs()
    assert "num_cpus" not in rh.compute("box").config()


def test_a_second_name(own_state: Path) -> None:
    box = rh.compute("first", num_cpus="1+").save()
    assert box.save("second").name == "second"
    assert rh.load("second").config() == box.config()
    assert not rh.exists("first"), "saving with another name renames"
    rh.compute("third").save()
    with pytest.raises(ValueError, match="overwrite"):
        box.save("third", overwrite=False)
    assert box.name == "second"
    with pytest.raises(rh.NameTaken):
        box.save(overwrite=False)
    assert box.save("third").name == "third"
    assert [row["name"] for row in rh.Cluster.list()] == ["third"]


def test_config_round_trips() -> None:
    for arguments in ({}, {"num_cpus": "1+"}, {"num_cpus": 1, "gpus": 0}):
        box = rh.compute("box", **arguments)
        for condensed in (True, False):
            config = box.config(condensed)
            assert (config["name"], config["resource_type"], config["resource_subtype"]) == (
                "box",
                "cluster",
                "Cluster",
            )
            assert rh.Cluster.from_config(config) == box
            assert rh.Cluster.from_config(config).config(condensed) == config
    with pytest.raises(rh.LaunchError):
        rh.Cluster.from_config({"name": "box", "host": "10.0.0.1"})


def test_loading_what_is_not_there() -> None:
    rh.compute("box").save()
    with pytest.raises(rh.NotFound, match="'box'"):
        rh.load("bix")
    with pytest.raises(KeyError):
        rh.Cluster.from_name("bix")
    with pytest.raises(ValueError, match="hosted service"):
        rh.load("/somebody/box")


def test_a_saved_service_is_found() -> None:
    box = rh.compute("box").up_if_not().save()
    rh.function(max).to(box, name="largest")
    _registry.save_service("best", "box", "largest", "function")
    assert rh.exists("best")
    assert rh.load("best")(3, 4) == 4
    with pytest.raises(ValueError, match="best"):
        _registry.save_service("best", "box", "other", "class", overwrite=False)
    box.rename("crate")
    assert rh.load("best")(3, 4) == 4
    box.delete("largest")
    with pytest.raises(rh.NotFound, match="largest"):
        rh.load("best")
    assert _registry.forget_service("best")
    assert not rh.exists("best")
    box.teardown_and_delete()


def test_a_damaged_registry_is_named_and_left_alone(own_state: Path) -> None:
    rh.compute("box").save()
    path = own_state / "registry.db"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(rh.RoundhouseError, match=str(path)):
        rh.load("box")
    # What runs does not depend on it.
    with pytest.warns(UserWarning, match=str(path)):
        box = rh.compute("box")
    with pytest.raises(rh.RoundhouseError, match="damaged"):
        box.save()
    box.up_if_not()
    with pytest.warns(UserWarning, match="damaged"):
        assert [row["up"] for row in rh.Cluster.list()] == [True]
    with pytest.warns(UserWarning, match="damaged"):
        box.rename("crate")
    assert box.is_up()
    box.teardown()
    assert path.read_bytes() == b"not a database" * 1000


def test_the_file_is_this_users_alone(own_state: Path) -> None:
    rh.compute("box").save()
    assert (own_state / "registry.db").stat().st_mode & 0o777 == 0o600
    assert own_state.stat().st_mode & 0o777 == 0o700


def test_threads_and_processes_save_at_once() -> None:
    code = (
        "import sys, threading, roundhouse as rh\n"
        "def save(i): rh.compute(f'box-{sys.argv[1]}-{i}').save()\n"
        "threads = [threading.Thread(target=save, args=(i,)) for i in range(4)]\n"
        "[thread.start() for thread in threads]; [thread.join() for thread in threads]\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    children = [subprocess.Popen([sys.executable, "-c", code, str(i)], env=environment) for i in range(4)]
    assert [child.wait(60) for child in children] == [0] * 4
    assert len(rh.Cluster.list()) == 16


def test_a_fork_while_others_save() -> None:
    """The child must not wait for a lock that only its parent's threads hold."""
    stop = threading.Event()

    def save() -> None:
        while not stop.is_set():
            rh.compute("box").save()

    threads = [threading.Thread(target=save) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for i in range(10):
            pid = os.fork()
            if pid == 0:
                try:
                    rh.compute(f"child-{i}").save()
                    os._exit(0 if rh.exists(f"child-{i}") else 2)
                finally:
                    os._exit(1)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert len(rh.Cluster.list()) == 11


def test_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    configs = rh.configs
    assert configs.get("default_autostop") == 60
    assert configs.get("launcher") == "local"
    configs.set("default_autostop", 5)
    configs.set_many({"default_provider": "kubernetes", "use_spot": True})
    assert (configs.get("default_autostop"), configs.get("default_provider"), configs.get("use_spot")) == (
        5,
        "kubernetes",
        True,
    )
    configs.set_nested("secrets", {"aws": "~/.aws"})
    configs.set_nested("secrets", {"gcp": "~/.gcp"})
    assert configs.get("secrets") == {"aws": "~/.aws", "gcp": "~/.gcp"}
    with pytest.raises(ValueError, match="kubernetes"):
        configs.set_nested("default_provider", {"a": 1})
    with pytest.raises(TypeError):
        configs.set_many({"fine": 1, "impossible": object()})
    assert configs.get("fine") is None
    configs.delete("default_autostop")
    configs.delete("never-there")
    assert configs.get("default_autostop") == 60
    configs.disable_observability()
    assert configs.get("disable_observability") is True
    configs.enable_observability()
    assert configs.get("disable_observability") is False
    assert "kubernetes" in repr(configs)

    monkeypatch.setenv("RH_DEFAULT_PROVIDER", "aws")
    monkeypatch.setenv("RH_DEFAULT_AUTOSTOP", "7")
    monkeypatch.setenv("LAUNCHER", "not with this name")
    assert configs.get("default_provider") == "aws"
    assert configs.get("default_autostop") == 7
    assert configs.get("launcher") == "local"


def test_the_engines_registry_says_where_it_is(own_state: Path) -> None:
    assert _engine.Registry().path == str(own_state / "registry.db")
