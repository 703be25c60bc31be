"""What a node can be asked (protocol/node.md): a real daemon between raw_peer's client and worker."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import roundhouse as rh
from node_asking import (
    ask,
    calls_of,
    code_of,
    deploy,
    kill_worker,
    launch,
    nothing_stays,  # noqa: F401
    raw_client,  # noqa: F401
    workers,
)
from patience import wait_until
from raw_peer import CANCEL, CHUNK, FAILED, ITEM, OUTPUT, Client

# --- several workers ------------------------------------------------------------------------------------------------


def test_calls_go_where_the_fewest_are(box: rh.Cluster, client: Client) -> None:
    name = deploy(box, count=3)
    assert ask(box, "describe", name=name)["workers"] == 3
    first = {client.ask(name, "echo")["pid"] for _ in range(3)}
    assert len(first) == 1
    for _ in range(6):
        client.call(name, "stuck")
    wait_until(lambda: calls_of(box, name) == 6)
    assert sorted(w["calls"] for w in workers(box).values()) == [2, 2, 2]


def test_one_of_several_workers_dies(box: rh.Cluster, client: Client) -> None:
    name = deploy(box, count=2, env={"RAW_DELAY": "2"})
    dying = client.call(name, "die")
    assert code_of(client.result(dying)) == "worker_died"
    pids = set()
    for _ in range(20):
        pids.add(client.ask(name, "echo")["pid"])
    assert len(pids) == 1  # nobody waited for the other
    wait_until(lambda: len(workers(box)) == 2 and all(w["connected"] for w in workers(box).values()))


def test_only_functions_have_several_workers(box: rh.Cluster) -> None:
    with pytest.raises(rh.WrongArguments, match="several workers are for functions only"):
        deploy(box, "many", "class", count=2)
    wait_until(lambda: not workers(box), what="the end of both workers")


def test_workers_can_be_given_back(box: rh.Cluster) -> None:
    started = ask(box, "start", **launch(count=2))
    assert len(set(started["workers"])) == 2
    ask(box, "abandon", **started)
    wait_until(lambda: not workers(box), what="the end of both workers")
    with pytest.raises(rh.WrongArguments, match="not deployed to yet"):
        ask(box, "deploy", name="late", kind="function", **started)
    with pytest.raises(rh.WrongArguments, match="count"):
        ask(box, "start", **launch(count=0))


def test_one_worker_that_cannot_load_ends_all(box: rh.Cluster, tmp_path: Path) -> None:
    refuse = tmp_path / "refuse"
    refuse.touch()
    with pytest.raises(rh.SetupError, match="told to refuse"):
        deploy(box, count=2, env={"RAW_REFUSE": str(refuse)})
    wait_until(lambda: not workers(box), what="the end of both workers")


def test_what_a_deploy_says_reaches_the_worker(box: rh.Cluster, client: Client) -> None:
    name = deploy(box, max_concurrency=3, max_queue=7, encoding=2, source={"sys_path": ["/x"]})
    asked = {"name": name, "kind": "function", "encoding": 2, "max_concurrency": 3, "max_queue": 7}
    described = ask(box, "describe", name=name)
    assert described["asked"] == {**asked, "source": {"sys_path": ["/x"]}}
    assert described["attached"] == [4]
    about = client.ask(name, "echo", kill=True, prefetch=5, parents=["w/1", "v/2"], deadline_ms=60000)
    assert (about["kill"], about["prefetch"], about["parents"], about["deadline_ms"]) == (1, 5, ["w/1", "v/2"], 60000)
    for wrong in ({"max_queue": -1}, {"encoding": 9}, {"max_concurrency": 1.5}):
        with pytest.raises(rh.WrongArguments, match=next(iter(wrong))):
            deploy(box, **wrong)


# --- processes and objects ------------------------------------------------------------------------------------------


def test_a_process_from_its_making_to_its_end(box: rh.Cluster, client: Client) -> None:
    ask(box, "set_env", process=None, vars={"EVERYWHERE": "yes", "HIDDEN": "x"})
    made = ask(box, "create_process", name="p", **launch(vars={"MINE": "1", "HIDDEN": None}, env={"HIDDEN": "y"}))
    assert made["vars"] == {"EVERYWHERE": "yes", "MINE": "1"}
    assert made["services"] == []
    assert ask(box, "processes") == {"p": made}
    assert box._link.ask_node("status", {})["processes"] == {"p": made}
    with pytest.raises(rh.NameTaken, match="exist_ok"):
        ask(box, "create_process", name="p", **launch())
    assert ask(box, "create_process", name="p", exist_ok=True, **launch()) == made

    described = ask(box, "deploy", [b"code"], name="f", kind="function", process="p")
    assert (described["process"], described["worker"], described["pid"]) == ("p", made["worker"], made["pid"])
    ask(box, "deploy", [b"value"], name="thing", kind="object", process="p")
    assert ask(box, "describe", name="thing")["kind"] == "object"
    assert ask(box, "processes")["p"]["services"] == ["f", "thing"]
    env = client.ask("f", "place")["env"]
    assert (env["EVERYWHERE"], env["MINE"], env.get("HIDDEN")) == ("yes", "1", None)
    ask(box, "set_env", process="p", vars={"MINE": None, "THEIRS": "2"})
    env = client.ask("f", "place")["env"]
    assert (env.get("MINE"), env["THEIRS"]) == (None, "2")
    assert ask(box, "processes")["p"]["vars"] == {"EVERYWHERE": "yes", "THEIRS": "2"}

    # Nothing in it is a reason to end it, nor is nothing.
    ask(box, "delete", name="f")
    assert client.ask("thing", "echo")["services"] == ["thing"]
    ask(box, "delete", name="thing")
    assert ask(box, "processes")["p"]["pid"] == made["pid"]
    ask(box, "deploy", [b"code"], name="f", kind="function", process="p")
    waiting = client.call("f", "stuck")
    wait_until(lambda: calls_of(box, "f") == 1)
    assert ask(box, "kill_process", name="p") == {"deleted": ["f"]}
    assert 'process "p" was killed' in client.result(waiting)["error"]["message"]
    assert workers(box) == {}
    with pytest.raises(rh.NotFound, match="no process"):
        ask(box, "kill_process", name="p")
    ask(box, "set_env", process=None, vars={"EVERYWHERE": None, "HIDDEN": None})


def test_a_process_that_died(box: rh.Cluster, client: Client) -> None:
    ask(box, "create_process", name="p", **launch())
    ask(box, "deploy", [b"code"], name="f", kind="function", process="p")
    assert code_of(client.result(client.call("f", "die"))) == "worker_died"
    # It is not made again unasked: its state is lost.
    message = client.result(client.call("f", "echo"))
    assert (code_of(message), message["facts"]["started"]) == ("worker_died", "no")
    with pytest.raises(rh.WorkerDied, match="create it again"):
        ask(box, "deploy", [b"code"], name="g", kind="function", process="p")
    assert ask(box, "processes")["p"]["alive"] is False
    ask(box, "create_process", name="p", **launch())
    ask(box, "deploy", [b"code"], name="f", kind="function", process="p")
    assert client.ask("f", "echo")


def test_commands_in_a_process(box: rh.Cluster, client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    ask(box, "create_process", name="p", **launch())
    assert ask(box, "run", process="p", kind="bash", commands=["ls"], stream=True) == [[0, "out", "err"]]
    assert capsys.readouterr().out == "running ls\n"
    with pytest.raises(rh.WrongArguments, match="perl"):
        ask(box, "run", process="p", kind="perl", commands=["ls"])
    stream = client.call("_node", "run", json.dumps({"process": "p", "commands": ["wait"]}).encode())
    message, body = client.receive()
    assert (message["kind"], body) == (OUTPUT, b"running wait\n")
    client.send({"kind": CANCEL, "stream": stream})
    assert code_of(client.result(stream)) == "cancelled"


def test_a_class_makes_instances_in_a_process(box: rh.Cluster, client: Client) -> None:
    name = deploy(box, kind="class")
    for process in ("p", "q"):
        ask(box, "create_process", name=process, **launch())
    one = ask(box, "create", [b"args"], **{"class": name, "name": "one", "process": "p", "encoding": 2})
    assert (one["process"], one["kind"], one["class"], one["attached"]) == ("p", "instance", name, [4])
    assert one["asked"] == {"class": name, "method": None, "name": "one", "encoding": 2}
    two = ask(box, "create", **{"class": name, "name": "two", "process": "p", "method": "from_file"})
    assert (two["kind"], two["worker"]) == ("object", one["worker"])
    loads = [m for m in client.ask("one", "log") if m.get("method") == "load"]
    assert len(loads) == 1  # the class, once
    home = ask(box, "create", **{"class": name})
    assert (home["process"], home["worker"]) == (None, ask(box, "describe", name=name)["worker"])
    # What an object's method returns can only stay beside it.
    three = ask(box, "create", **{"class": "one", "name": "three", "method": "child"})
    assert three["worker"] == one["worker"]
    with pytest.raises(rh.WrongArguments, match="stays beside it"):
        ask(box, "create", **{"class": "one", "name": "four", "method": "child", "process": "q"})
    with pytest.raises(rh.WrongArguments, match="not a class"):
        ask(box, "create", **{"class": "one"})
    # An idle instance is replaced, in another process too, and forgotten where it was.
    moved = ask(box, "create", **{"class": name, "name": "one", "process": "q"})
    assert moved["process"] == "q"
    assert client.ask("two", "echo")["services"] == sorted([name, "three", "two"])
    # The class goes from every place, and what it made stays.
    ask(box, "delete", name=name)
    assert client.ask("two", "echo")["services"] == ["three", "two"]
    assert client.ask("one", "echo")["services"] == ["one"]
    assert client.ask(home["name"], "echo")["services"] == [home["name"]]


def test_names_of_objects(box: rh.Cluster, client: Client) -> None:
    ask(box, "create_process", name="p", **launch())
    put = {"kind": "object", "process": "p"}
    ask(box, "deploy", [b"1"], name="thing", **put)
    ask(box, "deploy", [b"2"], name="thing", **put)  # idle
    with pytest.raises(rh.NameTaken, match="a live object"):
        ask(box, "deploy", [b"3"], name="thing", kind="function", process="p")
    stream = client.call("thing", "obey")
    wait_until(lambda: calls_of(box, "thing") == 1)
    with pytest.raises(rh.NameTaken, match="1 call in flight"):
        ask(box, "deploy", [b"3"], name="thing", **put)
    ask(box, "deploy", [b"3"], name="thing", replace=True, **put)
    client.send({"kind": CANCEL, "stream": stream})
    assert code_of(client.result(stream)) == "cancelled"
    # One in a worker of its own, which ends with it.
    before = len(workers(box))
    deploy(box, "own", "object")
    ask(box, "delete", name="own")
    wait_until(lambda: len(workers(box)) == before)


def test_rename(box: rh.Cluster, client: Client) -> None:
    name = deploy(box, count=2)
    running = [client.call(name, "obey") for _ in range(2)]
    wait_until(lambda: calls_of(box, name) == 2)
    renamed = ask(box, "rename", name=name, to="other")
    assert renamed["name"] == "other"
    with pytest.raises(rh.NotFound):
        ask(box, "describe", name=name)
    assert client.ask("other", "echo")["services"] == ["other"]
    # Who knows only the old one goes on, until another takes it.
    assert client.ask(name, "echo")["services"] == ["other"]
    deploy(box, name)
    assert client.ask(name, "echo")["services"] == [name]
    ask(box, "delete", name=name)
    # Calls that ran under the old name are none the worse.
    for stream in running:
        client.send({"kind": CANCEL, "stream": stream})
        assert code_of(client.result(stream)) == "cancelled"
    # Its successor knows only the new one.
    pids = {client.ask("other", "place")["pid"]}
    for _ in range(2):
        assert code_of(client.result(client.call("other", "die"))) == "worker_died"
        assert client.ask("other", "echo")["services"] == ["other"]
    assert client.ask("other", "echo")["pid"] not in pids
    deploy(box, "taken")
    with pytest.raises(rh.NameTaken, match="replace=True"):
        ask(box, "rename", name="other", to="taken")
    with pytest.raises(rh.InvalidName):
        ask(box, "rename", name="other", to="_own")
    ask(box, "rename", name="other", to="taken", replace=True)
    assert [s["name"] for s in box.status()["services"]] == ["taken"]
    assert ask(box, "rename", name="taken", to="taken")["name"] == "taken"


def test_clear(box: rh.Cluster, client: Client) -> None:
    ask(box, "create_process", name="p", **launch())
    for name in ("a", "b"):
        ask(box, "deploy", [b"1"], name=name, kind="object", process="p")
    deploy(box, "c", "class")
    ask(box, "create", **{"class": "c", "name": "d"})
    assert ask(box, "clear") == {"deleted": ["a", "b", "c", "d"]}
    wait_until(lambda: [w["process"] for w in workers(box).values()] == ["p"])
    assert box.status()["services"] == []
    ask(box, "deploy", [b"1"], name="a", kind="object", process="p")
    assert client.ask("a", "echo")["services"] == ["a"]


# --- workers that take a dead one's place ---------------------------------------------------------------------------


def test_calls_wait_for_the_next_worker(box: rh.Cluster, client: Client) -> None:
    name = deploy(box, env={"RAW_DELAY": "0.5"})
    lost = client.call(name, "obey")
    place = client.ask(name, "place")
    os.kill(place["pid"], signal.SIGKILL)
    assert code_of(client.result(lost)) == "worker_died"
    # Everything of their streams, in order: a body in pieces, items, a cancel, one that is taken back.
    whole = client.call(name, "echo", b'"12', announce=5)
    items = client.call(name, "bounce")
    client.send({"kind": ITEM, "stream": items, "parts": [4]}, b"1")
    client.send({"kind": CHUNK, "stream": whole}, b'3"')
    client.send({"kind": CHUNK, "stream": items}, b"234")
    dropped, late = client.call(name, "echo"), client.call(name, "obey", deadline_ms=60)
    client.send({"kind": CANCEL, "stream": dropped})
    message = client.result(dropped)
    assert (code_of(message), message["facts"]["started"]) == ("cancelled", "no")
    message = client.result(late)
    assert (code_of(message), message["facts"]["started"]) == ("timeout", "no")
    with Client(box._socket_path) as other:
        other.call(name, "echo")
        wait_until(lambda: calls_of(box, name) == 3)
    wait_until(lambda: calls_of(box, name) == 2)
    came = [client.receive() for _ in range(3)]
    assert [body for message, body in came if message["stream"] == items] == [b"1", b"234"]
    echoed = next(json.loads(body) for message, body in came if message["stream"] == whole)
    assert (echoed["body"], echoed["services"]) == ('"123"', [name])
    assert echoed["pid"] != place["pid"]
    client.send({"kind": ITEM, "stream": items, "last": 1})
    assert client.result(items)["json"] == "bounced"
    methods = [message.get("method") for message in client.ask(name, "log")]
    assert [method for method in methods if method] == ["load", "bounce", "echo", "log"]  # as they were whole
    # With what it was started with, and what it was deployed with.
    again = client.ask(name, "place")
    assert again["env"]["RAW_DELAY"] == "0.5"
    assert ask(box, "describe", name=name)["pid"] == again["pid"]


def test_only_so_many_calls_wait(box: rh.Cluster, client: Client) -> None:
    name = deploy(box, env={"RAW_DELAY": "1"})
    kill_worker(box, client, name)
    streams = [client.call(name, "echo") for _ in range(257)]
    results = {stream: client.receive()[0] for stream in streams}
    ended = {message["stream"]: message for message in results.values()}
    assert set(ended) == set(streams)
    assert [code_of(m) for m in ended.values() if m.get("outcome")] == ["limit_exceeded"]
    assert ended[streams[-1]].get("outcome") == FAILED


def test_three_deaths_are_enough(box: rh.Cluster, client: Client) -> None:
    name = deploy(box)
    for _ in range(2):
        assert code_of(client.result(client.call(name, "die"))) == "worker_died"
    assert client.ask(name, "echo")  # a call that ended in between
    for _ in range(3):
        assert code_of(client.result(client.call(name, "die"))) == "worker_died"
    message = client.result(client.call(name, "echo"))
    assert code_of(message) == "worker_died"
    assert message["facts"]["started"] == "no"
    assert "died 3 times without a call that ended in between" in message["error"]["message"]
    assert "SIGKILL" in message["error"]["message"]
    deploy(box, name)
    assert client.ask(name, "echo")


def test_a_successor_that_cannot_load(box: rh.Cluster, client: Client, tmp_path: Path) -> None:
    refuse, die = tmp_path / "refuse", tmp_path / "die"
    env = {"RAW_REFUSE": str(refuse), "RAW_DIE_AT_ONCE": str(die), "RAW_DELAY": "0.2"}
    name = deploy(box, env=env)
    refuse.touch()
    kill_worker(box, client, name)
    for _ in range(2):  # one that waited, and one that comes later
        message = client.result(client.call(name, "echo"))
        assert (code_of(message), message["facts"]["started"]) == ("worker_died", "no")
        assert "told to refuse" in message["error"]["message"]
    wait_until(lambda: not workers(box))
    refuse.unlink()
    deploy(box, name, env=env)
    die.touch()
    os.kill(client.ask(name, "echo")["pid"], signal.SIGKILL)
    wait_until(lambda: not any(s["alive"] for s in box.status()["services"]), what="three deaths")
    message = client.result(client.call(name, "echo"))
    assert code_of(message) == "worker_died"
    assert "exited with code 9" in message["error"]["message"]
    wait_until(lambda: not workers(box))


def test_what_has_state_stays_dead(box: rh.Cluster, client: Client) -> None:
    klass = deploy(box, kind="class")
    made = ask(box, "create", **{"class": klass})["name"]
    function = deploy(box)
    kept = ask(box, "create", **{"class": function, "name": "kept", "method": "call"})["name"]
    for name in (made, function):
        assert code_of(client.result(client.call(name, "die"))) == "worker_died"
    for name in (klass, made, function, kept):
        message = client.result(client.call(name, "echo"))
        assert (code_of(message), message["facts"]["started"]) == ("worker_died", "no")


def test_a_function_is_deleted_while_its_worker_comes(box: rh.Cluster, client: Client) -> None:
    name = deploy(box, env={"RAW_DELAY": "0.5"})
    for waits in (False, True):
        kill_worker(box, client, name)
        stream = client.call(name, "echo") if waits else 0
        if waits:
            wait_until(lambda: calls_of(box, name) == 1)
        ask(box, "delete", name=name)
        if waits:
            assert client.result(stream)["json"]["services"] == [name]
        wait_until(lambda: not workers(box), what="the end of a worker that nobody needs")
        deploy(box, name, env={"RAW_DELAY": "0.5"})


# --- resources ------------------------------------------------------------------------------------------------------


MIB = 1 << 20


@pytest.fixture
def sized(monkeypatch: pytest.MonkeyPatch) -> Iterator[rh.Cluster]:
    monkeypatch.setenv("ROUNDHOUSE_CPUS", "1")
    monkeypatch.setenv("ROUNDHOUSE_GPUS", "3")
    monkeypatch.setenv("ROUNDHOUSE_MEMORY", str(1000 * MIB))
    with rh.compute("sized") as cluster:
        yield cluster


def test_what_one_worker_has_no_other_gets(sized: rh.Cluster) -> None:
    cpu = min(os.sched_getaffinity(0))
    all_free = sized.status()["resources"]
    assert all_free["memory_enforced_by"] in ("cgroup2", "cgroup1", "monitor")
    assert {key: value for key, value in all_free.items() if key != "memory_enforced_by"} == {
        "cpus": [cpu], "cpus_free": [cpu], "gpus": [0, 1, 2], "gpus_free": [0, 1, 2],
        "memory": 1000 * MIB, "memory_free": 1000 * MIB, "memory_enforced": True,
    }  # fmt: skip
    one = deploy(sized, "one", cpus=1, gpus=2, memory=600 * MIB)
    assert ask(sized, "describe", name=one)["resources"] == {"cpus": [cpu], "gpus": [0, 1], "memory": 600 * MIB}
    with Client(sized._socket_path) as client:
        place = client.ask(one, "place")
        assert place["cpus"] == [cpu]
        assert (place["env"]["CUDA_VISIBLE_DEVICES"], place["env"]["OMP_NUM_THREADS"]) == ("0,1", "1")
        left = sized.status()["resources"]
        assert (left["cpus_free"], left["gpus_free"], left["memory_free"]) == ([], [2], 400 * MIB)
        for asked, words in (
            ({"cpus": 1}, '"one" has 1'),
            ({"gpus": 2}, 'are left .*"one" has 2'),
            ({"memory": 401 * MIB}, f'"one" has {600 * MIB}'),
            ({"gpus": 4}, "this node has 3"),
        ):
            with pytest.raises(rh.LimitExceeded, match=words):
                ask(sized, "start", **launch(**asked))
        for wrong in ({"cpus": -1}, {"gpus": 1.5}, {"memory": "2GiB"}):
            with pytest.raises(rh.WrongArguments, match=next(iter(wrong))):
                ask(sized, "start", **launch(**wrong))
        # Who asks for nothing has no limit, and keeps the deployer's own variables.
        free = deploy(sized, env={"CUDA_VISIBLE_DEVICES": "7"})
        place = client.ask(free, "place")
        assert place["cpus"] == sorted(os.sched_getaffinity(0))
        assert place["env"]["CUDA_VISIBLE_DEVICES"] == "7"
        # A successor has as much.
        kill_worker(sized, client, one)
        place = client.ask(one, "place")
        assert (place["cpus"], place["env"]["CUDA_VISIBLE_DEVICES"]) == ([cpu], "0,1")
    # Deleted is given back, also when the next one asks at once.
    ask(sized, "delete", name=one)
    made = ask(sized, "create_process", name="p", **launch(cpus=1, gpus=3, env={"OMP_NUM_THREADS": "5"}))
    assert made["resources"] == {"cpus": [cpu], "gpus": [0, 1, 2], "memory": 0}
    with pytest.raises(rh.LimitExceeded, match='process "p" has 3'):
        ask(sized, "start", **launch(gpus=1))
    ask(sized, "deploy", [b"x"], name="in-p", kind="object", process="p")
    with Client(sized._socket_path) as client:
        assert client.ask("in-p", "place")["env"]["OMP_NUM_THREADS"] == "5"
    ask(sized, "kill_process", name="p")
    # All of them or none.
    with pytest.raises(rh.LimitExceeded):
        ask(sized, "start", **launch(gpus=2, count=2))
    wait_until(lambda: sized.status()["resources"] == all_free)
