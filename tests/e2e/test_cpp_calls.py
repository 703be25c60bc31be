"""What a C++ program serves, called from Python: arguments, results, objects, generators, cancelling, crashes."""

from __future__ import annotations

import dataclasses
import datetime
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roundhouse as rh

Called = Callable[[str], Any]


@pytest.fixture(scope="module")
def called(subjects: Path, cpp_box: rh.Cluster) -> Called:
    """The remote function of that name; all of them live in one process."""
    program = rh.program(subjects)
    return lambda name: program.function(name).get_or_to(cpp_box, process="subjects")


@pytest.fixture(scope="module")
def counter_class(subjects: Path, cpp_box: rh.Cluster) -> Any:
    return rh.program([subjects]).cls("Counter").to(cpp_box)


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Arguments.


def test_by_place_by_name_and_by_default(called: Called) -> None:
    scale = called("scale")
    values = np.array([1.0, 2.0])
    for result in (scale(values), scale(values, 2), scale(values, factor=2), scale(factor=2.0, values=[1, 2])):
        assert isinstance(result, np.ndarray)
        assert result.dtype == "<f8"
        assert result.tolist() == [2, 4]


@pytest.mark.parametrize(
    ("args", "kwargs", "says"),
    [
        ((), {}, '"values" is missing'),
        (([1], 2, 3), {}, "takes 2 arguments, got 3"),
        (([1],), {"fctor": 2}, 'no parameter "fctor" (it has: values, factor)'),
        (([1],), {"values": [2]}, '"values" twice'),
        (("text",), {}, 'argument "values": expected an array or list of numbers, got text'),
        (([1, "two"],), {}, 'argument "values"'),
        (([1],), {"factor": "much"}, 'argument "factor": expected number, got text'),
    ],
)
def test_arguments_that_do_not_fit(called: Called, args: Any, kwargs: Any, says: str) -> None:
    with pytest.raises(rh.WrongArguments) as caught:
        called("scale")(*args, **kwargs)
    assert str(caught.value).startswith("scale() ")
    assert says in str(caught.value)


def test_overloads_by_count_and_by_name(called: Called) -> None:
    area = called("area")
    assert area(2) == 12
    assert area(2, 5) == 10
    assert area(height=2, width=3) == 6
    with pytest.raises(rh.WrongArguments, match="2 forms, none of which") as caught:
        area("wide")
    assert "expected number" in str(caught.value)
    assert '"height" is missing' in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 0, -1, 127, -33, 255, 65536, -(2**31) - 1, 2**63 - 1, -(2**63), 1.5, float("inf")),
        *("", "ü\0", b"\0\xff", [], {}, [1, [2.5, {"a": None}]], {"": [b"x" * 300]}, "x" * 70_000, list(range(70_000))),
    ],
)  # fmt: skip
def test_every_value_comes_back(called: Called, value: Any) -> None:
    result = called("mirror")(value)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize("dtype", ["?", "i1", "u2", "<i4", "<u8", "<f4", ">f8", "<c16", "<f2"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (40, 5, 7), (0, 4)])
def test_every_array_comes_back(called: Called, dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    result = called("mirror")({"array": array, "beside": [array[::-1] if shape else array]})
    assert np.array_equal(result["array"], array)
    assert result["array"].shape == shape
    assert result["array"].dtype == np.dtype(dtype).newbyteorder("<")
    assert result["array"].flags.writeable


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (2**63, "does not fit 64 bits"),
        ({1: 2}, "a key that is no text"),
        (np.array(["a"]), "cannot be sent to a service in another language"),
        (object(), "cannot be sent to a service in another language"),
    ],
)
def test_what_cannot_travel_is_refused(called: Called, value: Any, says: str) -> None:
    with pytest.raises((rh.WrongArguments, rh.NotSerializable), match=says):
        called("mirror")(value)


def test_values_nested_too_deep_are_refused_and_nothing_breaks(called: Called) -> None:
    from roundhouse import _serialize

    deep = b"\x92\x91" + b"\x91" * 200_000 + b"\x80\x80"
    service = called("mirror")._service
    with pytest.raises(rh.WrongArguments, match="nested more than 512"):
        service._link.call("mirror", "call", _serialize.MSGPACK, [deep])
    assert called("mirror")(1) == 1


def test_numbers_are_converted_where_nothing_is_lost(called: Called) -> None:
    matrix = called("matrix")
    expected = [[1.0], [2.0]]
    for value in (np.array([[0, 1], [2, 3]]), [[0, 1], [2, 3]], np.array([[0.0, 1.0], [2.0, 3.0]])):
        result = matrix(value)
        assert result.dtype == "<f4"
        assert result.tolist() == expected
    assert called("rows")(np.array([[1, 2], [3, 4]])) == 3
    assert called("rows")([np.array([1], dtype="u1"), [7]]) == 7
    with pytest.raises(rh.WrongArguments, match="expected an array of <i4, got one of <f8"):
        called("rows")(np.ones((2, 2)))
    with pytest.raises(rh.WrongArguments, match="does not fit <i4"):
        called("rows")(np.array([[2**40], [1]]))
    with pytest.raises(rh.WrongArguments, match="not of one length"):
        matrix([[1, 2], [3]])


def test_structs_and_dataclasses(called: Called) -> None:
    @dataclasses.dataclass
    class Point:
        x: float
        tags: list[str]

    move = called("move")
    assert move({"x": 2}) == {"x": 3.0, "y": 2.0, "tags": []}
    assert move(Point(1.5, ["a"]), by=0.5) == {"x": 2.0, "y": 1.5, "tags": ["a"]}
    with pytest.raises(rh.WrongArguments, match=r'there is no field "z" \(there are: x, y, tags\)'):
        move({"z": 1})
    with pytest.raises(rh.WrongArguments, match=r'argument "point".tags\[1\]: expected text, got integer'):
        move({"tags": ["a", 1]})


def test_enumerations(called: Called) -> None:
    assert called("colour")("red") == ["red", "green"]
    assert called("colour")("green", second="red") == ["green", "red"]
    with pytest.raises(rh.WrongArguments, match='expected one of "red","green", got "blue"'):
        called("colour")("blue")
    assert called("level")(2) == 1


def test_containers(called: Called) -> None:
    result = called("containers")(
        (1, "one"), {3, 2}, [1, 2, 3], {"a": [1], "b": np.array([2, 3])}, 2.5, datetime.timedelta(seconds=1.5)
    )
    named = result.pop(3)
    assert result == [[1, "one"], [2, 3], [1.0, 2.0, 3.0], 2.5, 1.5, [True, False], None]
    assert {key: value.tolist() for key, value in named.items()} == {"a": [1], "b": [2, 3]}
    assert called("length")("four") == 4
    assert called("byte_count")(b"\0\1\2") == called("byte_count")(np.zeros(3, "u1")) == 3


# What comes of a call.


def test_what_is_thrown(called: Called) -> None:
    thrown = called("throw_something")
    with pytest.raises(rh.RemoteError) as caught:
        thrown("far")
    assert (caught.value.type, caught.value.message) == ("std::out_of_range", "far")
    with pytest.raises(rh.RemoteError) as caught:
        thrown("nested")
    assert caught.value.type == "std::logic_error"
    assert "because of std::runtime_error: the disk is full" in str(caught.value.__cause__)
    with pytest.raises(rh.RemoteError) as caught:
        thrown("int")
    assert caught.value.type == "int"
    assert called("refuse")(1) == 1
    with pytest.raises(rh.LimitExceeded, match="that is too few"):
        called("refuse")(-1)


def test_generators_yield_and_throw(called: Called) -> None:
    assert list(called("count")(5)) == [0, 1, 2, 3, 4]
    assert list(called("count").options(prefetch=0)(2)) == [0, 1]
    assert list(called("count")(100_000)) == list(range(100_000))
    stream = called("count")(3)
    with pytest.raises(rh.RemoteError, match="three is too few"):
        list(stream)
    points = list(called("points")(2))
    assert points == [{"x": 1.0, "y": 2.0, "tags": ["p"]}, {"x": 2.0, "y": 2.0, "tags": ["p"]}]


@pytest.mark.parametrize("name", ["count", "points"])
def test_a_dropped_generator_ends(called: Called, name: str) -> None:
    alive = called("alive")
    before = alive()
    stream = called(name)(10**9)
    next(stream)
    assert alive() == before + 1
    del stream
    until(lambda: alive() == before)


def test_cancelling(called: Called) -> None:
    wait = called("wait_for_cancel")
    for throws in (True, False):
        call = wait.submit(throws)
        until(call.running)
        call.cancel()
        with pytest.raises(rh.CallCancelled):
            call.result(20)
        with pytest.raises(rh.CallTimeout):
            wait.options(timeout=0.1)(throws)


def test_at_most_so_many_at_once(called: Called) -> None:
    calls = [called("together").submit(20) for _ in range(8)]
    rh.gather(*calls)
    assert called("most")() == 2


def test_what_it_prints(called: Called, capfd: pytest.CaptureFixture[str]) -> None:
    called("say")("hello")
    out, err = capfd.readouterr()
    assert "hello by print\n" in out
    assert "hello by a thread\n" in out
    assert "hello by print_error\n" in err
    assert "hello by cout\n" in out


def test_descriptions(called: Called) -> None:
    scale = called("scale")
    described = rh.handle(scale).service["methods"]["call"]
    assert described["signature"] == "(values: numpy.ndarray, factor: float = 2.0) -> numpy.ndarray"
    assert described["doc"] == scale.__doc__ == "Multiplies each value."
    assert described["readonly"] is True
    parameters = described["schema"]["parameters"]
    assert parameters["required"] == ["values"]
    assert parameters["properties"]["factor"] == {
        "type": "number",
        "default": 2.0,
    }
    assert described["schema"]["returns"]["type"] == "array"
    point = rh.handle(called("move")).service["methods"]["call"]["schema"]["parameters"]["properties"]["point"]
    assert set(point["properties"]) == {"x", "y", "tags"}
    assert point["additionalProperties"] is False
    assert rh.handle(called("count")).service["methods"]["call"]["kind"] == "generator"
    assert rh.handle(called("points")).service["methods"]["call"]["kind"] == "generator"


# Objects.


def test_an_object_its_methods_and_properties(counter_class: Any) -> None:
    counter = counter_class(5, name="five")
    assert (counter.add(), counter.add(k=2), counter.add("four"), counter.get(), counter.twice(2)) == (6, 8, 12, 12, 48)
    counter.n = 3
    assert (counter.n, counter.fixed, counter.rate, counter.remote.n) == (3, 7, 1.0, 3)
    counter.rate = 2
    assert counter.rate == 2.0
    with pytest.raises(rh.NotAllowed, match="can only be read"):
        counter.fixed = 8
    with pytest.raises(rh.WrongArguments, match='the property "n": expected integer, got text'):
        counter.n = "much"
    with pytest.raises(rh.RemoteError, match="a rate is not negative"):
        counter.rate = -1
    assert counter_class.version() == counter.version() == "1.0"
    with pytest.raises(AttributeError, match="has no method 'ad'"):
        counter.ad()
    with pytest.raises(rh.Unsupported, match="cannot be copied"):
        rh.handle(counter).fetch()


def test_constructors(counter_class: Any, subjects: Path, cpp_box: rh.Cluster) -> None:
    assert counter_class().n == 0
    assert counter_class("abc", {"x": 2}).n == 5
    assert counter_class(point={"x": 1}, text="a").n == 2
    with pytest.raises(rh.WrongArguments, match="2 forms"):
        counter_class([])
    plain = rh.program(subjects).cls("Plain").to(cpp_box)
    plain()
    with pytest.raises(rh.WrongArguments, match="takes no arguments"):
        plain(1)


def test_what_a_call_does_just_now(called: Called, cpp_box: rh.Cluster) -> None:
    call = called("wait_for_cancel").submit(throws=True)
    until(lambda: "not begun yet" not in call.stack())
    _, _, own = call.stack().partition(f"in the call {call.id} of wait_for_cancel  <==\n")
    frames = own.partition("\n\n")[0]
    assert re.search(r"#\d+  \(anonymous namespace\)::wait_for_cancel\(bool\) \+ ", frames)
    assert "CppRunner" not in frames
    call.cancel()


def test_one_call_of_an_object_at_a_time(counter_class: Any) -> None:
    counter = counter_class()
    assert rh.gather(*(counter.together.submit(10) for _ in range(4))) == [1, 1, 1, 1]


def test_names(counter_class: Any, cpp_box: rh.Cluster) -> None:
    counter_class(1, name="first")
    cpp_box.rename("first", "second")
    assert cpp_box.get("second").n == 1
    with pytest.raises(rh.NotFound):
        cpp_box.get("first", KeyError)
    cpp_box.delete("second")
    left = cpp_box.keys()
    assert "second" not in left


def test_results_stay_there_and_values_are_kept(called: Called, cpp_box: rh.Cluster) -> None:
    kept = called("scale").options(remote=True, name="doubled")([1, 2])
    assert rh.handle(kept).name == "doubled"
    assert cpp_box.get("doubled").tolist() == [2, 4]
    cpp_box.delete("doubled")


# Python and C++ call each other.


def test_cpp_calls_python_and_python_that_calls_it(called: Called, cpp_box: rh.Cluster) -> None:
    def describe(value: Any) -> Any:
        return {"type": type(value["a"]).__name__, "sum": float(value["a"].sum()), "back": value["a"] * 2}

    rh.function(describe).to(cpp_box)
    answer = called("relay")("describe", {"a": np.arange(1000.0)})
    assert (answer["type"], answer["sum"]) == ("ndarray", 499500.0)
    assert np.array_equal(answer["back"], np.arange(1000.0) * 2)


# When it dies.


@pytest.mark.parametrize(
    ("how", "number", "names"),
    [
        ("segv", signal.SIGSEGV, ["read_from", "crash_deep", "crash_deep", "crash"]),
        ("abort", signal.SIGABRT, ["abort", "crash"]),
        ("overflow", signal.SIGSEGV, ["overflow", "overflow"]),
        ("terminate", signal.SIGABRT, ["on_terminate"]),
    ],
)
def test_a_crash_says_where(subjects: Path, cpp_box: rh.Cluster, how: str, number: int, names: list[str]) -> None:
    crash = rh.program(subjects).function("crash").to(cpp_box, name=f"crash-{how}")
    crash("not at all")
    with pytest.raises(rh.WorkerDied) as caught:
        crash(how)
    assert caught.value.signal == number
    text = caught.value.backtrace
    assert text.startswith(f"*** crash: {signal.Signals(number).name}")
    assert ("nobody caught std::runtime_error: thrown in a thread" in text) == (how == "terminate")
    assert (f"in the call crash-{how}.call" in text) == (how != "terminate")
    at = 0
    for name in names:
        at = text.find(name, at) + 1
        assert at > 0, text
    assert text.splitlines()[1] in str(caught.value)
    crash("not at all")  # Another worker has taken its place.


# Programs that do not serve.


def test_programs_that_do_not_serve(subjects: Path, cpp_box: rh.Cluster) -> None:
    with pytest.raises(rh.SetupError, match="cannot run /no/such/program: No such file"):
        rh.program("/no/such/program").function("f").to(cpp_box)
    with pytest.raises(rh.SetupError, match="exited with code 9"):
        rh.program([subjects, "leave"]).function("f").to(cpp_box)
    with pytest.raises(
        rh.NotFound, match=r'serves no function "scal" \(its functions: alive, .*its classes: Counter, Plain'
    ):
        rh.program(subjects).function("scal").to(cpp_box)
    with pytest.raises(rh.NotFound, match='serves no class "scale"'):
        rh.program(subjects).cls("scale").to(cpp_box)
    with pytest.raises(TypeError):
        rh.program([])
    with pytest.raises(rh.NotFound):
        cpp_box.get("scal", KeyError)
