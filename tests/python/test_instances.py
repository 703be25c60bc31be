from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from subprocess import CompletedProcess

import pytest
import roundhouse as rh
import subjects
from patience import wait_until


@pytest.fixture(scope="module")
def remote_counter(box: rh.Cluster) -> rh.RemoteClass[subjects.Counter]:
    return rh.cls(subjects.Counter).to(box)


@pytest.fixture
def counter(remote_counter: rh.RemoteClass[subjects.Counter]) -> Iterator[subjects.Counter]:
    made = remote_counter(5)
    yield made
    rh.handle(made).delete()


def test_an_instance_keeps_its_state(counter: subjects.Counter) -> None:
    assert counter.add(2) == 7
    assert counter.add() == 8
    assert counter.get() == 8
    assert counter(100) == 108
    assert counter.fixed() == "static"
    assert counter.named() == "Counter"


def test_instances_are_apart(remote_counter: rh.RemoteClass[subjects.Counter]) -> None:
    one, two = remote_counter(1), remote_counter(2)
    one.add()
    assert (one.get(), two.get()) == (2, 2)
    assert rh.handle(one).name != rh.handle(two).name


def test_the_constructor_prints_and_raises_here(
    remote_counter: rh.RemoteClass[subjects.Counter], capsys: pytest.CaptureFixture[str]
) -> None:
    remote_counter(3)
    assert capsys.readouterr().out == "counting from 3\n"
    with pytest.raises(ValueError, match="below zero") as caught:
        remote_counter(-1)
    assert "subjects.py" in str(caught.value.__cause__)
    with pytest.raises(rh.WrongArguments, match=r"Counter\(start: "):
        remote_counter(1, 2)


def test_attributes_are_the_methods(counter: subjects.Counter) -> None:
    theirs = {"__call__", "add", "count_inside", "die", "doubled", "fixed", "get", "let_go", "named", "spin", "wait"}
    assert theirs < set(dir(counter))
    assert str(inspect.signature(counter.add)) == "(n: int = 1) -> int"
    assert counter.add.__doc__ == "Adds n, and returns the value."
    with pytest.raises(AttributeError, match="Did you mean 'add'"):
        counter.ad  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match="setting 'value' here"):
        counter.value = 3
    assert counter.doubled == 2 * counter.get()
    assert repr(counter).startswith("<Counter 'Counter")


def test_the_users_names_win(box: rh.Cluster) -> None:
    remote = rh.cls(subjects.Colliding).to(box)
    made = remote(name="the user's")
    assert made.name() == "the user's"
    assert (made.delete(), made.submit(), made.service(), made.cluster()) == (
        "user's delete", "user's submit", "user's service", "user's cluster",
    )  # fmt: skip
    ours = remote.options(name="ours")(name="theirs")
    assert (ours.name(), rh.handle(ours).name, rh.handle(ours).cluster) == ("theirs", "ours", box)
    assert rh.handle(ours).service["kind"] == "instance"
    assert rh.handle(ours).submit("name").result(timeout=10) == "theirs"
    rh.handle(ours).delete()
    with pytest.raises(rh.NotFound, match="ours"):
        ours.name()


def test_methods_can_be_submitted(counter: subjects.Counter) -> None:
    calls = [counter.add.submit(1) for _ in range(20)]  # type: ignore[attr-defined]
    assert sorted(call.result(timeout=10) for call in calls) == list(range(6, 26))


def test_several_threads_are_inside_one_object_at_once(counter: subjects.Counter) -> None:
    results: list[int] = []
    threads = [threading.Thread(target=lambda: results.append(counter.wait())) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: counter.count_inside() == 4, what="four threads inside")
    counter.let_go()
    for thread in threads:
        thread.join(10)
    assert results == [4, 4, 4, 4]


SECOND_PROCESS = """
import sys
import roundhouse as rh
box = rh.compute(sys.argv[1])
counter = box.get("shared", remote=True)
print(counter.get(), counter.add(10), counter, sep="|")
"""


def test_a_second_process_finds_it_by_name(
    box: rh.Cluster,
    remote_counter: rh.RemoteClass[subjects.Counter],
    run_script: Callable[..., CompletedProcess[str]],
) -> None:
    shared = remote_counter(1, name="shared")
    inside = shared.wait.submit()  # type: ignore[attr-defined]
    wait_until(lambda: shared.count_inside() == 1)
    # While a call of ours is inside, so that both see one live object.
    done = run_script(SECOND_PROCESS, box.name)
    assert done.stdout == f"1|11|<Counter 'shared' on {box.name!r}>\n"
    assert not inside.done()
    assert shared.get() == 11
    shared.let_go()
    assert inside.result(timeout=10) == 1


def test_names(remote_counter: rh.RemoteClass[subjects.Counter], box: rh.Cluster) -> None:
    first = remote_counter(1, name="n")
    # Constructing again under an idle instance's name replaces it.
    second = remote_counter(2, name="n")
    assert (first.get(), second.get()) == (2, 2)
    with pytest.raises(rh.InvalidName, match="a/b"):
        remote_counter(1, name="a/b")
    inside = second.wait.submit()  # type: ignore[attr-defined]
    wait_until(lambda: second.count_inside() == 1)
    with pytest.raises(rh.NameTaken, match='"n"'):
        remote_counter(3, name="n")
    second.let_go()
    assert inside.result(timeout=10) == 1
    with pytest.raises(rh.NotFound, match="'get'"):
        rh.handle(second).submit("gte").result(timeout=10)


def test_redeploying_a_class_leaves_its_instances_alone(box: rh.Cluster) -> None:
    def version(number: int) -> type:
        class Versioned:
            def number(self) -> int:
                return number

        return Versioned

    old = rh.cls(version(1)).to(box, name="versioned")(name="old")
    new = rh.cls(version(2)).to(box, name="versioned")(name="new")
    assert (old.number(), new.number()) == (1, 2)


def test_an_instance_dies_with_its_worker(box: rh.Cluster) -> None:
    remote = rh.cls(subjects.Counter).to(box, name="mortal-class")
    one, two = remote(name="mortal-1"), remote(name="mortal-2")
    with pytest.raises(rh.WorkerDied) as caught:
        one.die()
    assert caught.value.signal == 9
    for left in (one, two):
        with pytest.raises((rh.WorkerDied, rh.NotFound), match="mortal"):
            left.get()


def test_unsent_it_is_the_class_itself() -> None:
    local = rh.cls(subjects.Counter)
    assert isinstance(local(3), subjects.Counter)
    with pytest.raises(TypeError, match="not on any cluster"):
        rh.handle(local)
