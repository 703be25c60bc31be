from __future__ import annotations

import inspect
import os
import sys
import threading

import numpy as np
import pytest
import roundhouse as rh
import subjects


@pytest.fixture(scope="module")
def echo(box: rh.Cluster) -> rh.Function:  # type: ignore[type-arg]
    return rh.function(subjects.echo).to(box)


@pytest.fixture(scope="module")
def identity(box: rh.Cluster) -> rh.Function:  # type: ignore[type-arg]
    return rh.function(subjects.identity).to(box)


def test_a_function_runs_there(box: rh.Cluster) -> None:
    remote_pid = rh.function(subjects.pid).to(box)
    assert remote_pid() != os.getpid()
    assert remote_pid() == remote_pid()
    assert rh.function(subjects.pid)() == os.getpid()


def test_arguments_arrive_as_given(echo) -> None:  # type: ignore[no-untyped-def]
    assert echo() == ((), {})
    assert echo(1, "ü", None, k=[1.5], name="n", timeout=3, self=4) == (
        (1, "ü", None),
        {"k": [1.5], "name": "n", "timeout": 3, "self": 4},
    )


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 300_000, 5_000_000])
def test_bodies_of_every_size(identity, size: int) -> None:  # type: ignore[no-untyped-def]
    value = os.urandom(size)
    assert identity(value) == value


def test_arrays_keep_shape_and_are_writable(identity) -> None:  # type: ignore[no-untyped-def]
    array = np.arange(1_000_000, dtype="float32").reshape(1000, 1000)
    odd = np.arange(7, dtype="uint8")
    back, odd_back, many = identity((array, odd, [array[:10], array.T]))
    assert np.array_equal(back, array)
    assert np.array_equal(odd_back, odd)
    assert np.array_equal(many[1], array.T)
    back[0, 0] = odd_back[0] = 1
    assert back.flags.aligned


def test_a_function_keeps_its_face(box: rh.Cluster) -> None:
    remote_add = rh.function(subjects.add).to(box)
    assert remote_add(2) == 3
    assert remote_add(b=5, a=1) == 6
    assert str(inspect.signature(remote_add)) == "(a: 'int', b: 'int' = 1) -> 'int'"
    assert (remote_add.__name__, remote_add.__doc__) == ("add", "The sum.")
    assert repr(remote_add) == f"<Function 'add' on {box.name!r}>"
    found = box.get("add")
    assert found(1, 1) == 2
    assert str(inspect.signature(found)) == "(a: int, b: int = 1) -> int"


def test_lambdas_closures_and_partials(box: rh.Cluster) -> None:
    import functools

    factor = 3
    assert rh.function(lambda x: x * factor).to(box)(5) == 15
    assert rh.function(functools.partial(subjects.add, 10)).to(box, name="ten-more")(5) == 15
    assert rh.function(len).to(box)("four") == 4


def test_local_classes_come_back_as_themselves(box: rh.Cluster, identity) -> None:  # type: ignore[no-untyped-def]
    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

    class LocalError(Exception):
        pass

    def raise_it(x: int) -> None:
        raise LocalError(Point(x))

    back = identity(Point(3))
    assert type(back) is Point
    assert back.x == 3
    with pytest.raises(LocalError) as caught:
        rh.function(raise_it).to(box)(4)
    assert type(caught.value.args[0]) is Point


def test_submit_gives_a_call(box: rh.Cluster) -> None:
    remote_add = rh.function(subjects.add).to(box, name="add-submitted")
    calls = [remote_add.submit(number, 1) for number in range(50)]
    assert [call.result(timeout=10) for call in calls] == list(range(1, 51))
    assert all(call.done() and call.exception() is None for call in calls)
    assert len({call.id for call in calls}) == 50


def test_a_result_that_is_late(box: rh.Cluster) -> None:
    call = rh.function(subjects.stubborn).to(box).submit(0.3)
    with pytest.raises(rh.CallTimeout) as caught:
        call.result(timeout=0.05)
    assert caught.value.still_running
    assert call.result(timeout=10) is None


def test_many_threads_share_one_connection(box: rh.Cluster) -> None:
    remote_add = rh.function(subjects.add).to(box, name="add-threads")
    wrong: list[object] = []

    def work(number: int) -> None:
        for step in range(50):
            if remote_add(number, step) != number + step:
                wrong.append((number, step))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)


def test_status_and_ping(box: rh.Cluster) -> None:
    rh.function(subjects.add).to(box)
    assert 0 < box.ping() < 1
    status = box.status()
    assert status["name"] == box.name
    assert "add" in str(status["services"])
    assert box.is_up()


def test_a_forked_child_opens_its_own_connection(box: rh.Cluster) -> None:
    remote_add = rh.function(subjects.add).to(box, name="add-forked")
    assert remote_add(1) == 2
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if remote_add(2, 3) == 5 else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert remote_add(1) == 2


def test_several_clusters_in_one_program(box: rh.Cluster) -> None:
    with rh.compute("another-one") as other:
        here, there = rh.function(subjects.pid).to(box), rh.function(subjects.pid).to(other)
        assert here() != there()
    assert not other.is_up()
    with pytest.raises(rh.NodeLost, match=r"another-one.*up_if_not"):
        there()


def test_user_code_sees_the_callers_environment(box: rh.Cluster) -> None:
    os.environ["A_VARIABLE_OF_THE_CALLERS"] = "seen"
    read = rh.function(lambda: (os.environ.get("A_VARIABLE_OF_THE_CALLERS"), os.getcwd(), sys.version)).to(
        box, name="env"
    )
    assert read() == ("seen", os.getcwd(), sys.version)


# Bad input: a typed error that names the thing.


def test_unknown_service(box: rh.Cluster) -> None:
    with pytest.raises(rh.NotFound, match="no-such"):
        box.get("no-such", default=KeyError)


def test_unknown_service_that_was_there(box: rh.Cluster) -> None:
    remote = rh.function(subjects.add).to(box, name="short-lived")
    rh.handle(remote).delete()
    with pytest.raises(rh.NotFound, match="short-lived"):
        remote(1)


def test_unknown_method(box: rh.Cluster) -> None:
    remote = rh.function(subjects.add).to(box)
    with pytest.raises(rh.NotFound, match=r"'add' has no method 'cal'.*'call'"):
        rh.handle(remote).submit("cal", 1).result(timeout=10)


def test_wrong_arguments_name_the_signature(box: rh.Cluster) -> None:
    remote = rh.function(subjects.add).to(box)
    for args, kwargs in (((), {}), ((1, 2, 3), {}), ((1,), {"c": 1})):
        with pytest.raises(rh.WrongArguments, match=r"add\(a: ") as caught:
            remote(*args, **kwargs)
        assert isinstance(caught.value, TypeError)


def test_unpicklable_argument_and_result(box: rh.Cluster, identity) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(rh.NotSerializable, match=r"argument 'value'\['k'\] of type _thread.lock"):
        identity({"k": threading.Lock()})
    remote = rh.function(lambda: [threading.Lock()]).to(box, name="locks")
    with pytest.raises(rh.NotSerializable, match=r"the result of locks.call\[0\] of type _thread.lock"):
        remote()
    lock = threading.Lock()
    with pytest.raises(rh.NotSerializable, match="variable 'lock' that"):
        rh.function(lambda: lock).to(box)


def test_a_module_that_is_not_there(box: rh.Cluster) -> None:
    def needs_it() -> None:
        import a_module_that_does_not_exist  # noqa: F401

    with pytest.raises(ModuleNotFoundError, match="a_module_that_does_not_exist"):
        rh.function(needs_it).to(box)()


@pytest.mark.parametrize("name", ["a/b", "", "-x", "_node", "x" * 200, "sp ace"])
def test_bad_service_names(box: rh.Cluster, name: str) -> None:
    with pytest.raises(rh.InvalidName):
        rh.function(subjects.add).to(box, name=name)


@pytest.mark.parametrize("name", ["a/b", "", "..", "x" * 100])
def test_bad_cluster_names(name: str) -> None:
    with pytest.raises(rh.InvalidName):
        rh.compute(name)


def test_arguments_for_other_launchers() -> None:
    with pytest.raises(rh.LaunchError, match="host"):
        rh.compute("x", host="10.0.0.1")
    with pytest.raises(rh.LaunchError, match="instance_type"):
        rh.compute("x", instance_type="big")
    with pytest.raises(TypeError, match=r"takes an rh\.Image, not str"):
        rh.compute("x", image="an-image")
    with pytest.raises(TypeError, match="Did you mean 'instance_type'"):
        rh.compute("x", instance_typ="big")


def test_function_and_cls_take_what_they_say() -> None:
    with pytest.raises(TypeError, match=r"rh\.cls"):
        rh.function(subjects.Counter)
    with pytest.raises(TypeError, match=r"rh\.function"):
        rh.cls(subjects.add)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="something to call"):
        rh.function(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="cluster or its name"):
        rh.function(subjects.add).to(3)  # type: ignore[arg-type]
    with pytest.raises(rh.Unsupported, match="has not been sent"):
        rh.function(subjects.add).submit(1)


def test_calls_in_flight_keep_their_name(box: rh.Cluster) -> None:
    remote = rh.function(subjects.stubborn).to(box, name="busy")
    call = remote.submit(0.5)
    with pytest.raises(rh.NameTaken, match="busy"):
        rh.function(subjects.add).to(box, name="busy")
    added = rh.function(subjects.add).to(box, name="busy", replace=True)
    assert added(1) == 2
    assert call.result(timeout=10) is None
