"""Values that stay on a cluster under a key."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import roundhouse as rh
import subjects


@pytest.fixture(autouse=True)
def empty(box: rh.Cluster) -> None:
    box.clear()


class Point:
    def __init__(self, x: int) -> None:
        self.x = x

    @property
    def doubled(self) -> int:
        return 2 * self.x

    def move(self, by: int = 1) -> int:
        self.x += by
        return self.x


@pytest.mark.parametrize("value", [None, 0, "text", b"bytes" * 100_000, [1, {"a": (2, 3)}], Point(3), len, int])
def test_a_value_comes_back(box: rh.Cluster, value: object) -> None:
    assert box.put("key", value) == "key"
    found = box.get("key", default="default")
    if isinstance(value, Point):
        assert isinstance(found, Point)
        assert found.x == 3
    else:
        assert found == value


def test_it_is_a_copy(box: rh.Cluster) -> None:
    value = [1]
    box.put("key", value)
    value.append(2)
    box.get("key").append(3)
    assert box.get("key") == [1]


def test_a_missing_key(box: rh.Cluster) -> None:
    box.put("there", 1)
    assert box.get("missing") is None
    assert box.get("missing", 7) == 7
    assert box.get("missing", default=None, remote=True) is None
    with pytest.raises(KeyError, match="there") as caught:
        box.get("missing", default=KeyError)
    assert isinstance(caught.value, rh.NotFound)
    with pytest.raises(rh.NotFound):
        box.get("missing", default=rh.NotFound)
    with pytest.raises(ZeroDivisionError):
        box.get("missing", default=ZeroDivisionError("mine"))
    for remove in (lambda: box.delete("missing"), lambda: box.rename("missing", "new")):
        with pytest.raises(KeyError, match="missing"):
            remove()


def test_put_again_replaces(box: rh.Cluster) -> None:
    box.put("key", 1)
    box.put("key", 2)
    assert box.get("key") == 2
    box.put("key", 3, process="another")
    assert box.get("key") == 3
    assert "key" in box.keys("another")
    assert "key" not in box.keys("default_process")
    box.kill_process("another")
    assert box.get("key") is None


def test_a_value_does_not_push_out_a_service(box: rh.Cluster) -> None:
    rh.function(subjects.add).to(box)
    with pytest.raises(rh.NameTaken):
        box.put("add", 1)
    assert box.get("add")(1) == 2


def test_remote_gives_a_stub(box: rh.Cluster) -> None:
    box.put("numbers", [3, 1, 2])
    numbers = box.get("numbers", remote=True)
    numbers.sort()
    numbers.append(4)
    assert box.get("numbers") == [1, 2, 3, 4]
    assert numbers.fetch() == [1, 2, 3, 4]
    box.put("point", Point(1))
    point = box.get("point", remote=True)
    assert point.move(by=4) == 5
    assert point.remote.x == 5
    assert point.doubled == 10
    assert box.get("point").x == 5


def test_services_come_back_as_stubs(box: rh.Cluster) -> None:
    rh.function(subjects.add).to(box)
    RemotePoint = rh.cls(Point).to(box)
    RemotePoint(5, name="five")
    for remote in (True, False):
        assert box.get("add", remote=remote)(1) == 2
        assert box.get("Point", remote=remote)(2).move() == 3
        assert box.get("five", remote=remote).doubled == 10


def test_call_reaches_anything(box: rh.Cluster) -> None:
    box.put("numbers", [3, 1, 2])
    assert list(box.call("numbers", "__iter__")) == [3, 1, 2]
    assert box.call("numbers", "__len__") == 3
    assert box.call("numbers", "index", 2) == 2
    box.put("point", Point(1))
    assert box.call("point", "move", by=2) == 3
    assert box.call("point", "doubled") == 6
    assert box.call("point", "x") == 3
    rh.function(subjects.add).to(box)
    assert box.call("add", "call", 1) == 2
    box.put("resource", rh.compute(box.name))
    assert box.call("resource", "config") == box.config()
    kept = box.call("point", "move", by=2, remote=True, run_name="moved")
    assert kept.fetch() == box.get("moved") == 5
    assert box.call("point", "move", run_async=True).result() == 6
    with pytest.raises(rh.NotFound):
        box.call("point", "no_such_method")
    with pytest.raises(KeyError):
        box.call("missing", "method")


def test_keys_rename_delete_clear(box: rh.Cluster) -> None:
    for key in ("a", "b", "c"):
        box.put(key, key)
    rh.function(subjects.add).to(box)
    assert box.keys() == ["a", "add", "b", "c"]
    assert box.keys("default_process") == ["a", "b", "c"]
    with pytest.raises(KeyError, match="default_process"):
        box.keys("no-such-process")
    box.rename("a", "z")
    box.rename("add", "plus")
    assert box.get("z") == "a"
    assert box.get("plus")(1) == 2
    with pytest.raises(rh.NameTaken):
        box.rename("z", "b")
    box.delete("z")
    box.delete(["b", "c"])
    assert box.keys() == ["plus"]
    box.put("in-it", 1, process="doomed")
    box.delete("doomed")
    assert box.keys() == ["plus"]
    assert "doomed" not in box.list_processes()
    box.clear()
    assert box.keys() == []


def test_put_resource(box: rh.Cluster) -> None:
    assert box.put_resource(rh.compute("resource")) == "resource"
    assert box.get("resource").name == "resource"
    with pytest.raises(ValueError, match="no name"):
        box.put_resource(object())


def test_what_cannot_travel_is_named(box: rh.Cluster) -> None:
    with pytest.raises(rh.NotSerializable):
        box.put("generator", (i for i in range(3)))
    with pytest.raises(rh.InvalidName):
        box.put("not/a/key", 1)
    assert box.keys() == []


def test_another_program_finds_it(box: rh.Cluster) -> None:
    box.put("shared", {"a": 1})
    code = f"import roundhouse as rh; print(rh.compute({box.name!r}).get('shared'))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "{'a': 1}\n"


def test_from_inside_a_call(box: rh.Cluster) -> None:
    box.put("limit", 10)

    def through_here(x: int) -> int:
        import roundhouse

        roundhouse.here.put("last", x)  # type: ignore[union-attr]
        return min(x, roundhouse.here.get("limit"))  # type: ignore[union-attr]

    assert rh.function(through_here).to(box)(20) == 10
    assert box.get("last") == 20
