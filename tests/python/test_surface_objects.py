"""Classes and objects: whose names win, data and properties, modules, handles as arguments."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest
import roundhouse as rh
import surface_subjects as subjects


@pytest.fixture(scope="module")
def remote_shelf(box: rh.Cluster) -> rh.RemoteClass[..., subjects.Shelf]:
    return rh.cls(subjects.Shelf).to(box)


@pytest.fixture
def shelf(remote_shelf: rh.RemoteClass[..., subjects.Shelf]) -> Iterator[subjects.Shelf]:
    made = remote_shelf(["book"])
    yield made
    rh.handle(made).delete()


def test_properties_run_there(shelf: subjects.Shelf) -> None:
    assert (shelf.count, shelf.title) == (1, "Plain")
    shelf.title = "FANCY"
    assert shelf.title == "Fancy"
    assert shelf.remote.label == "fancy"  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        shelf.count = 3  # type: ignore[misc]


def test_data_is_reached_through_remote(shelf: subjects.Shelf) -> None:
    remote = shelf.remote  # type: ignore[attr-defined]
    assert remote.things == ["book"]
    assert remote._hidden == 1
    assert remote.limit == 3
    remote.things = ["a", "b"]
    remote.new = {"x": 1}
    assert (shelf.count, remote.new) == (2, {"x": 1})
    with pytest.raises(AttributeError, match=r"t\.remote\.things"):
        shelf.things  # noqa: B018
    with pytest.raises(AttributeError, match=r"t\.remote\.things = "):
        shelf.things = []
    with pytest.raises(AttributeError, match="Did you mean 'put'"):
        shelf.putt  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(AttributeError, match="nothing"):
        remote.nothing  # noqa: B018
    with pytest.raises(AttributeError, match="lives elsewhere"):
        del shelf.things


def test_awaitable_access(shelf: subjects.Shelf) -> None:
    handle = rh.handle(shelf)

    async def main() -> None:
        assert await handle.fetch_async("things") == ["book"]
        await handle.set_async("label", "set")
        assert (await handle.fetch_async()).label == "set"
        assert await shelf.put_later("lamp") == 2
        assert (await handle.fetch_async("things", remote=True)).fetch() == ["book", "lamp"]

    asyncio.run(main())


def test_fetch_local_refresh_rename(box: rh.Cluster, remote_shelf: rh.RemoteClass[..., subjects.Shelf]) -> None:
    shelf = remote_shelf([1, 2], name="shelf-old")
    handle = rh.handle(shelf)
    copy = handle.fetch()
    assert type(copy) is subjects.Shelf
    assert copy.things == handle.fetch("things") == [1, 2]
    copy.put(3)
    assert shelf.count == 2
    handle.local.note = "mine"
    assert shelf.local.note == "mine"  # type: ignore[attr-defined]
    shelf.rename("shelf-new")  # type: ignore[attr-defined]
    assert (shelf.count, handle.name, shelf.name) == (2, "shelf-new", "shelf-new")  # type: ignore[attr-defined]
    assert box.get("shelf-new", remote=True).count == 2
    remote_shelf([1, 2, 3], name="shelf-new")
    assert handle.refresh().count == 3


def test_class_and_static_methods(remote_shelf: rh.RemoteClass[..., subjects.Shelf], shelf: subjects.Shelf) -> None:
    assert (remote_shelf.width(), shelf.width()) == (80, 80)
    assert remote_shelf.filled(3).things == [0, 1, 2]
    kept = remote_shelf.filled.remote(4)
    assert (kept.count, kept.put("x")) == (4, 5)
    assert remote_shelf.filled(2, remote=True).count == 2
    assert remote_shelf.remote.limit == 3
    with pytest.raises(AttributeError, match="instances"):
        remote_shelf.put("x")
    unsent = rh.cls(subjects.Shelf)
    assert unsent.filled(2).count == 2
    assert unsent.limit == 3


def test_the_users_names_win(box: rh.Cluster) -> None:
    remote = rh.cls(subjects.Taken).to(box)
    taken = remote.options(name="taken-one")("hers", process="q", timeout=3, remote=True)
    assert taken.tell() == ("hers", "q", 3, True)
    assert taken.save("x", timeout=1, remote="r", process="s") == "saved x 1 r s"
    assert (taken.fetch(), taken.status(), taken.to("y"), taken.options()) == (
        "the user's fetch", "the user's status", "to y", "the user's options",
    )  # fmt: skip
    # Attributes of the user's hide ours as well, and the message says how to reach both.
    with pytest.raises(AttributeError, match=r"rh\.handle\(t\)\.remote\.name"):
        taken.name  # noqa: B018
    handle = rh.handle(taken)
    assert (handle.name, handle.remote.name, handle.remote.remote) == ("taken-one", "hers", True)
    assert handle.fetch().name == "hers"
    assert handle.call("save", "z") == "saved z 0  "
    assert handle.options(timeout=30).call("status") == "the user's status"
    assert handle.submit("fetch").result(timeout=10) == "the user's fetch"
    assert remote("theirs").tell()[0] == "theirs"


def test_get_or_create(box: rh.Cluster, remote_shelf: rh.RemoteClass[..., subjects.Shelf]) -> None:
    one = remote_shelf.get_or_create([1], name="only")
    assert remote_shelf.get_or_create([1, 2], name="only").count == one.count == 1
    assert remote_shelf.options(name="only").get_or_create([1, 2]).count == 1
    with pytest.raises(ValueError, match="name="):
        remote_shelf.get_or_create([1])
    rh.function(subjects.add).to(box, name="no-shelf")
    with pytest.raises(rh.NameTaken, match="no-shelf"):
        remote_shelf.get_or_create([1], name="no-shelf")
    found = rh.cls(subjects.Shelf).get_or_to(box, name="Shelf")
    assert found([1]).pid() == one.pid()


def test_construction_can_be_submitted(remote_shelf: rh.RemoteClass[..., subjects.Shelf]) -> None:
    calls = [remote_shelf.submit([0] * n) for n in range(3)]
    assert [shelf.count for shelf in rh.gather(*calls)] == [0, 1, 2]


def test_an_instance_in_a_process_of_its_own(
    box: rh.Cluster, remote_shelf: rh.RemoteClass[..., subjects.Shelf]
) -> None:
    inside, apart = remote_shelf(), remote_shelf.options(process="apart")()
    assert inside.pid() != apart.pid()
    assert rh.handle(apart).process == "apart"


def test_signatures(shelf: subjects.Shelf, remote_shelf: rh.RemoteClass[..., subjects.Shelf]) -> None:
    import json

    handle = rh.handle(shelf)
    assert set(handle.signature()) == {"put", "put_later", "each", "pid", "filled", "width"}
    rich = json.loads(json.dumps(handle.signature(rich=True)))
    assert rich["put"]["annotations"] == {"thing": "Any", "return": "int"}
    assert (rich["put_later"]["async"], rich["each"]["gen"], rich["put"]["gen"]) == (True, True, False)
    assert handle.method_signature(shelf.put) == rich["put"]
    with pytest.raises(rh.NotFound, match="no method"):
        handle.method_signature("nothing")


def test_displays(box: rh.Cluster, shelf: subjects.Shelf, remote_shelf: rh.RemoteClass[..., subjects.Shelf]) -> None:
    function = rh.function(subjects.add).to(box)
    unsent = rh.function(subjects.add)
    for shown in (shelf, remote_shelf, rh.handle(shelf), function, unsent, rh.cls(subjects.Shelf)):
        html = shown._repr_html_()  # type: ignore[union-attr]
        assert html.startswith("<div")
        assert "http" not in html
        assert "<script" not in html
        assert repr(shown).startswith("<")
    evil = rh.function(lambda: None).to(box, name="evil")
    evil._service.description["methods"]["call"]["signature"] = "<script>"  # type: ignore[union-attr]
    assert "&lt;script&gt;" in evil._repr_html_()
    assert {"put", "count", "remote", "fetch"} <= set(dir(shelf))


# Modules.


def test_a_module_is_copied(box: rh.Cluster) -> None:
    local = subjects.Model(3, name="model-copied")
    assert (local.predict(2), local.name, local.system, local.remote.scale) == (6, "model-copied", None, 3)
    remote = local.to(box)
    assert remote.predict(2) == 6
    assert remote.grow() == 4
    assert (local.scale, remote.remote.scale) == (3, 4)
    assert remote.name == "model-copied"  # type: ignore[comparison-overlap]
    assert remote.pid() != os.getpid()
    assert remote.where() == os.getpid()
    assert remote.kind() == "Model"
    fetched = remote.fetch()
    assert type(fetched) is subjects.Model
    assert fetched.predict(1) == 4
    assert set(remote.signature()) == {"predict", "grow", "pid", "kind"}  # type: ignore[attr-defined]
    found = subjects.Model(9).get_or_to(box, name="model-copied")
    assert found.predict(1) == 4
    assert subjects.Model(9).get_or_to(box, name="model-new").predict(1) == 9


def test_a_module_that_forgets_super(box: rh.Cluster) -> None:
    local = subjects.NoSuper()
    assert local.name == "the user's name"
    remote = local.to(box)
    assert remote.fetch() == "the user's fetch"
    assert rh.handle(remote).name == "NoSuper"
    assert rh.handle(remote).remote.system == "the user's system"


def test_a_module_of_a_script(box: rh.Cluster) -> None:
    class Local(rh.Module):
        def __init__(self) -> None:
            super().__init__()
            self.x = 5

        def get(self) -> int:
            return self.x

    assert Local().to(box).get() == 5


# Remote things as arguments.


def test_remote_functions_and_objects_are_arguments(box: rh.Cluster, shelf: subjects.Shelf) -> None:
    call_it = rh.function(subjects.call_it).to(box)
    add = rh.function(subjects.add).to(box)
    assert call_it(add, 1, 2) == 3
    assert call_it(shelf.put, "lamp") == 2
    assert shelf.count == 2
    assert rh.function(subjects.what_it_is).to(box)(shelf) == "Instance"
    assert call_it(call_it, add, 2, 2) == 4  # It calls itself.


def test_captured_in_code_that_is_sent(box: rh.Cluster, shelf: subjects.Shelf) -> None:
    add = rh.function(subjects.add).to(box)

    def both(x: int) -> tuple[int, int]:
        return add(x, x), shelf.put(x)

    assert rh.function(both).to(box)(4) == (8, 2)


def test_across_clusters(box: rh.Cluster) -> None:
    with rh.compute("another-cluster") as other:
        add = rh.function(subjects.add).to(other)
        assert rh.function(subjects.call_it).to(box)(add, 3, 4) == 7
        back = rh.function(lambda f: f).to(box, name="back")(add)
        assert back.system == other
        assert back(1, 1) == 2


def test_a_module_is_built_and_called_inside(box: rh.Cluster) -> None:
    def build() -> int:
        here = rh.compute(box.name)
        return rh.cls(subjects.Shelf).to(here, name="built-inside")([1, 2]).count

    assert rh.function(build).to(box)() == 2


def test_resolve_gives_the_object_itself(box: rh.Cluster, remote_shelf: rh.RemoteClass[..., subjects.Shelf]) -> None:
    same_pid = rh.function(subjects.same_pid).to(box)
    what = rh.function(subjects.what_it_is).to(box)
    shelf = remote_shelf([1])
    assert not same_pid(shelf)
    # Elsewhere it is a copy.
    assert what(rh.handle(shelf).resolve()) == "Shelf"
    assert same_pid(rh.handle(shelf).resolve())
    together = remote_shelf.options(process="together")([1])
    beside = rh.function(subjects.call_it).to(box, process="together", name="beside")
    # In the same process it is the object.
    beside(subjects.Shelf.put, rh.handle(together).resolve(), "x")
    assert together.count == 2


def test_output_of_nested_calls(box: rh.Cluster, capfd: pytest.CaptureFixture[str]) -> None:
    say = rh.function(subjects.say).to(box)
    outer = rh.function(subjects.submit_and_say).to(box)
    call = outer.submit(say)
    assert call.result(timeout=20) == "nested"
    assert sorted(call.logs.splitlines()) == ["aside", "nested", "outer"]
    assert sorted(capfd.readouterr().out.splitlines()) == ["nested", "outer"]
