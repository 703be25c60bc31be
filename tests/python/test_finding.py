"""What is found or made: several who ask for one name at once, and who finds what instead."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import roundhouse as rh
import surface_subjects as subjects
from node_asking import ask, code_of, deploy, launch, nothing_stays, raw_client, workers  # noqa: F401
from patience import wait_until
from raw_peer import CANCEL, OUTPUT, Client

PROCESSES = 6
# What the processes send: it writes down each construction, which takes long enough for all to come.
KEPT = """
import os, time
import roundhouse as rh

class Kept:
    def __init__(self, log):
        with open(log, "a") as file:
            print(os.getpid(), file=file)
        time.sleep(0.3)

    def pid(self):
        return os.getpid()

    def me(self):
        return id(self)

class Model(rh.Module):
    def pid(self):
        return os.getpid()

    def me(self):
        return id(self)

def place():
    return os.getpid()
"""
RACER = """
import json, os, sys, time
import roundhouse as rh
import kept

box, what, log, go = rh.compute(sys.argv[1]), *sys.argv[2:]
if what == "create":
    remote = rh.cls(kept.Kept).to(box, name=f"Kept-{os.getpid()}") if "apart" in log else box.get("Kept")
print("ready", flush=True)
while not os.path.exists(go):
    time.sleep(0.001)
if what == "create":
    found = remote.get_or_create(log, name="the-one")
    print(json.dumps([found.pid(), found.me()]))
elif what == "function":
    print(json.dumps([rh.function(kept.place).get_or_to(box, name="placed", cpus=2)(), 0]))
elif what == "class":
    found = rh.cls(kept.Kept).get_or_to(box, name="the-class")
    print(json.dumps([found.options()(log).pid(), 0]))
elif what == "process":
    found = rh.function(kept.place).get_or_to(box, process="shared", name="placed-there")
    print(json.dumps([found(), 0]))
else:
    found = kept.Model().get_or_to(box, name="the-model")
    print(json.dumps([found.pid(), found.me()]))
"""


@pytest.fixture(name="sized", scope="module")
def sized_cluster() -> Iterator[rh.Cluster]:
    """As many CPUs as one of the racing functions wants: only one worker can be started for it."""
    with rh.compute("finding-sized", num_cpus=2) as cluster:
        yield cluster


@pytest.fixture(name="race")
def race_of_processes(tmp_path: Path, sized: rh.Cluster) -> Iterator[Callable[[str], list[Any]]]:
    (tmp_path / "kept.py").write_text(KEPT)
    (tmp_path / "racer.py").write_text(RACER)
    racers: list[subprocess.Popen[str]] = []

    def race(what: str) -> list[Any]:
        go, log = tmp_path / f"go-{what}", tmp_path / "log"
        for _ in range(PROCESSES):
            racers.append(
                subprocess.Popen(
                    [sys.executable, str(tmp_path / "racer.py"), sized.name, what, str(log), str(go)],
                    env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n", racer.communicate()[1]
        go.touch()
        told = [racer.communicate(timeout=60) for racer in racers]
        assert [racer.returncode for racer in racers] == [0] * PROCESSES, told
        return [json.loads(out) for out, _ in told]

    yield race
    for racer in racers:
        if racer.poll() is None:
            racer.kill()
            racer.wait()
    ask(sized, "clear")
    for name in ask(sized, "processes"):
        ask(sized, "kill_process", name=name)
    wait_until(lambda: not workers(sized), what="the end of all workers")


@pytest.mark.parametrize("what", ["function", "class", "process", "module"])
def test_who_sends_at_once_gets_one(race: Callable[[str], list[Any]], sized: rh.Cluster, what: str) -> None:
    answers = race(what)
    assert answers == [answers[0]] * PROCESSES
    assert [worker["pid"] for worker in workers(sized).values()] == [answers[0][0]]


def test_who_creates_at_once_gets_one(
    race: Callable[[str], list[Any]], sized: rh.Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kept.py").write_text(KEPT)
    monkeypatch.syspath_prepend(tmp_path)
    import kept  # type: ignore[import-not-found]

    rh.cls(kept.Kept).to(sized)
    answers = race("create")
    assert answers == [answers[0]] * PROCESSES
    assert (tmp_path / "log").read_text().splitlines() == [str(answers[0][0])]
    assert len(workers(sized)) == 1
    del sys.modules["kept"]


# --- what the node says ---------------------------------------------------------------------------------------------


def sought(name: str, kind: str = "function", **more: Any) -> dict[str, Any]:
    return launch(exist_ok=True, name=name, kind=kind, **more)


def test_it_says_whether_it_was_there(box: rh.Cluster) -> None:
    started = ask(box, "start", **sought("f"))
    made = ask(box, "deploy", [b"code"], name="f", kind="function", exist_ok=True, **started)
    assert made["found"] is False
    again = ask(box, "start", **sought("f"))
    assert (again["workers"], again["service"]) == ([], {**made, "found": True})
    # Whoever has a worker already gives it back.
    spare = ask(box, "start", **launch())
    assert ask(box, "deploy", [b"code"], name="f", kind="function", exist_ok=True, **spare) == again["service"]
    wait_until(lambda: list(workers(box)) == [made["worker"]], what="the end of the spare worker")
    assert "found" not in ask(box, "describe", name="f")
    with pytest.raises(rh.WrongArguments, match="name"):
        ask(box, "start", **launch(exist_ok=True, kind="function"))


def test_instances_are_found_by_name_and_class(box: rh.Cluster) -> None:
    deploy(box, "C", "class")
    deploy(box, "D", "class")
    made = ask(box, "create", **{"class": "C"}, name="i", exist_ok=True)
    assert made["found"] is False
    assert ask(box, "create", **{"class": "C"}, name="i", exist_ok=True) == {**made, "found": True}
    with pytest.raises(rh.NameTaken, match='"i" is the name of an instance of C here, not of an instance of D'):
        ask(box, "create", **{"class": "D"}, name="i", exist_ok=True)
    with pytest.raises(rh.NameTaken, match='"C" is the name of a class here, not of an instance'):
        ask(box, "create", **{"class": "C"}, name="C", exist_ok=True)
    with pytest.raises(rh.NameTaken, match='"i" is the name of an instance of C here, not of a function'):
        ask(box, "start", **sought("i"))
    with pytest.raises(rh.NameTaken, match="not of an object of E"):
        ask(box, "start", **sought("i", "object", of_class="E"))
    assert ask(box, "start", **sought("i", "object", of_class="C"))["service"]["pid"] == made["pid"]
    with pytest.raises(rh.WrongArguments, match="name"):
        ask(box, "create", **{"class": "C"}, exist_ok=True)
    assert len(workers(box)) == 2


def test_what_is_dead_is_made_again(box: rh.Cluster) -> None:
    name = deploy(box, kind="object")
    os.kill(ask(box, "describe", name=name)["pid"], signal.SIGKILL)
    wait_until(lambda: not workers(box))
    started = ask(box, "start", **sought(name, "object"))
    assert len(started["workers"]) == 1
    ask(box, "abandon", **started)


@pytest.mark.parametrize("how", ["abandons", "is gone", "fails"])
def test_a_maker_that_does_not_make_it_is_followed_by_the_next(
    box: rh.Cluster, client: Client, tmp_path: Path, how: str
) -> None:
    refuse = tmp_path / "refuse"
    refuse.touch()
    with Client(box._socket_path) as maker:
        env = {"RAW_REFUSE": str(refuse)} if how == "fails" else {}
        started = maker.ask("_node", "start", body=body(sought("late", env=env)))
        waits = client.call("_node", "start", body(sought("late")))
        assert client.is_quiet(0.2)
        if how == "abandons":
            maker.ask("_node", "abandon", body=body(started))
        elif how == "fails":
            failed = maker.call("_node", "deploy", body({"name": "late", "kind": "function", **started}))
            assert code_of(maker.result(failed)) == "setup_failed"
        else:
            maker.socket.close()
    answer = client.result(waits)["json"]
    assert (len(answer["workers"]), answer.get("service")) == (1, None)


def test_who_waits_can_be_cancelled_and_has_a_deadline(box: rh.Cluster, client: Client) -> None:
    held = ask(box, "start", **sought("held"))
    spare = client.ask("_node", "start", body=body(launch()))
    wanted = {"name": "held", "kind": "function", "exist_ok": True, **spare}
    for method, asked in (("start", sought("held")), ("deploy", wanted)):
        late = client.result(client.call("_node", method, body(asked), deadline_ms=50))
        assert code_of(late) == "timeout"
        assert late["facts"]["started"] == "no"
    waits = client.call("_node", "start", body(sought("held")))
    assert client.is_quiet(0.1)
    client.send({"kind": CANCEL, "stream": waits})
    assert code_of(client.result(waits)) == "cancelled"
    with Client(box._socket_path) as impatient:
        impatient.call("_node", "start", body(sought("held")))
        assert impatient.is_quiet(0.1)
    # What came too late to be found is given back, and nobody who has gone makes it.
    ask(box, "abandon", **held)
    wait_until(lambda: not workers(box), what="the end of all workers")
    assert len(client.ask("_node", "start", body=body(sought("held")))["workers"]) == 1


def test_who_wants_a_process_waits_for_its_maker(box: rh.Cluster, client: Client) -> None:
    with Client(box._socket_path) as other:
        slow = client.call("_node", "create_process", body({"name": "p", **launch(env={"RAW_DELAY": "0.3"})}))
        wait_until(lambda: workers(box), what="its worker")
        found = other.ask("_node", "create_process", body=body({"name": "p", "exist_ok": True, **launch()}))
        assert found == client.result(slow)["json"]
    assert len(workers(box)) == 1


def test_nobody_waits_for_itself(box: rh.Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "circular.py").write_text(
        "import os\n"
        "import roundhouse as rh\n"
        "def place(): return os.getpid()\n"
        "def box(): return rh.Cluster(os.environ['ROUNDHOUSE_CLUSTER'])\n"
        "if 'ROUNDHOUSE_WORKER' in os.environ and 'CALM' not in os.environ:\n"
        "    rh.function(place).get_or_to(box(), name='circle')\n"
        "class Circular:\n"
        "    def __init__(self): box().get('Circular').get_or_create(name='itself')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import circular  # type: ignore[import-not-found]

    with pytest.raises(rh.NameTaken, match="would wait for itself"):
        rh.function(circular.place).get_or_to(box, name="circle")
    with pytest.raises(rh.NameTaken, match="would wait for itself"):
        rh.function(circular.place).to(box, name="circle")
    monkeypatch.setenv("CALM", "1")
    remote = rh.cls(circular.Circular).to(box)
    with pytest.raises(rh.NameTaken, match="would wait for itself"):
        remote.get_or_create(name="itself")
    wait_until(lambda: len(workers(box)) == 1, what="the end of the others")


def body(request: dict[str, Any]) -> bytes:
    return json.dumps(request).encode()


# --- several workers load -------------------------------------------------------------------------------------------


def test_every_worker_is_heard_while_it_loads(box: rh.Cluster, client: Client) -> None:
    started = client.ask("_node", "start", body=body(launch(count=3)))
    loads = client.call("_node", "deploy", body({"name": "stuck", "kind": "function", **started}))
    heard = 0
    while heard < 3:
        message, text = client.receive()
        assert (message["kind"], message["stream"], text) == (OUTPUT, loads, b"loading\n")
        heard += 1
    client.send({"kind": CANCEL, "stream": loads})
    assert code_of(client.result(loads)) == "cancelled"
    wait_until(lambda: not workers(box), what="the end of all workers")


def test_one_that_fails_ends_those_that_still_load(box: rh.Cluster, tmp_path: Path) -> None:
    (tmp_path / "here").touch()
    first = ask(box, "start", **launch(env={"RAW_REFUSE": str(tmp_path / "nowhere")}))["workers"]
    second = ask(box, "start", **launch(env={"RAW_REFUSE": str(tmp_path / "here")}))["workers"]
    with pytest.raises(rh.SetupError, match="told to refuse"):
        ask(box, "deploy", name="stuck", kind="function", workers=first + second)
    wait_until(lambda: not workers(box), what="the end of both workers")


@pytest.mark.parametrize("gone", [False, True])
def test_a_deadline_ends_every_load(box: rh.Cluster, client: Client, gone: bool) -> None:
    with Client(box._socket_path) as deployer:
        started = deployer.ask("_node", "start", body=body(launch(count=3)))
        asked = body({"name": "stuck", "kind": "function", **started})
        loads = deployer.call("_node", "deploy", asked, **({} if gone else {"deadline_ms": 300}))
        if not gone:
            assert code_of(deployer.result(loads)) == "timeout"
        else:
            for _ in range(3):
                assert deployer.receive()[0]["kind"] == OUTPUT
    wait_until(lambda: not workers(box), what="the end of all workers")


def test_prints_of_every_import_appear(
    box: rh.Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = 8000  # more than a window of each worker's
    (tmp_path / "noisy.py").write_text(
        "import os\n"
        "if 'ROUNDHOUSE_WORKER' in os.environ:\n"
        f"    for number in range({lines}): print('importing', os.getpid(), number, '.' * 80)\n"
        "def place(): return os.getpid()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import noisy  # type: ignore[import-not-found]

    rh.function(noisy.place).to(box, workers=3)
    heard: dict[str, list[int]] = {}
    for line in capsys.readouterr().out.splitlines():
        _, pid, number, dots = line.split()
        assert dots == "." * 80
        heard.setdefault(pid, []).append(int(number))
    assert {int(pid) for pid in heard} == {worker["pid"] for worker in workers(box).values()}
    assert list(heard.values()) == [list(range(lines))] * 3


# --- as users write it ----------------------------------------------------------------------------------------------


def test_other_kinds_are_refused_by_name(box: rh.Cluster) -> None:
    shelves = rh.cls(subjects.Shelf).to(box)
    shelf = shelves.get_or_create([1], name="a-shelf")
    counted = rh.cls(subjects.Model).to(box, name="Counted")
    with pytest.raises(rh.NameTaken, match="an instance of Shelf here"):
        counted.options(name="a-shelf").get_or_create(1)
    with pytest.raises(rh.NameTaken, match="an instance of Shelf here"):
        rh.function(subjects.add).get_or_to(box, name="a-shelf")
    with pytest.raises(rh.NameTaken, match="an instance of Shelf here"):
        subjects.Model(3).get_or_to(box, name="a-shelf")
    with pytest.raises(rh.NameTaken, match="a class here"):
        rh.function(subjects.add).get_or_to(box, name="Shelf")
    # Classes and instances share their names.
    assert rh.cls(subjects.Shelf).get_or_to(box, name="a-shelf").pid() == shelf.pid()  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="no argument 'worker'"):
        rh.function(subjects.add).get_or_to(box, worker=2)


def test_a_model_finds_itself(box: rh.Cluster) -> None:
    model = subjects.Model(3).get_or_to(box, name="one-model")
    again = subjects.Model(4).get_or_to(box, name="one-model")
    assert again.predict(1) == model.predict(1) == 3
    # Its class, sent by itself, knows the object for one of its own.
    known = rh.cls(subjects.Model).to(box, name="model-class")
    assert known.options(name="one-model").get_or_create(5).predict(1) == 3
