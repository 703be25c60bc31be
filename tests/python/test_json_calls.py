"""Calls as the HTTP door makes them: JSON arguments, converted by type hints (protocol/http.md)."""

from __future__ import annotations

import base64
import datetime
import decimal
import io
import json
import pathlib
import pickle
import uuid
from typing import Any

import json_subjects as subjects
import numpy as np
import pytest
from bare_worker import Worker, fresh_worker, value
from hypothesis import given, settings
from hypothesis import strategies as st
from json_subjects import Colour, Level, Line, Pair, Plain, Point
from json_worker import ask, body, raw, refused, said
from roundhouse import _serialize, _strict_json
from roundhouse._worker import convert

worker = pytest.fixture(name="worker")(fresh_worker)

UUID = "12345678-1234-5678-1234-567812345678"


def converted(hint: str, given: Any) -> Any:
    return convert.from_json(given, subjects.HINTS[hint])


@pytest.mark.parametrize(
    ("hint", "given", "wanted"),
    [
        ("int", 2, 2),
        ("int", 2.0, 2),
        ("float", 2, 2.0),
        ("bool", True, True),
        ("str", "x", "x"),
        ("none", None, None),
        ("any", {"a": [1]}, {"a": [1]}),
        ("optional", None, None),
        ("optional", 3, 3),
        ("union", "3", "3"),
        ("union", 3, 3),
        ("literal", "a", "a"),
        ("literal", True, True),
        ("enum", "blue", Colour.BLUE),
        ("enum", "BLUE", Colour.BLUE),
        ("level", 2, Level.HIGH),
        ("ints", [1, 2.0], [1, 2]),
        ("points", [{"x": 1}, {"x": 1, "y": 2}], [Point(1), Point(1, 2)]),
        ("floats", [1, 2.5], [1.0, 2.5]),
        ("set", [1, 1, 2], {1, 2}),
        ("fixed", [1, "a"], (1, "a")),
        ("tuple", [1, 2, 3], (1, 2, 3)),
        ("dict", {"a": 1}, {"a": 1.0}),
        ("by_number", {"1": {"x": 2}}, {1: Point(2)}),
        ("line", {"points": [], "colour": "blue", "tags": ["a"], "parent": {"points": []}},
         Line([], Colour.BLUE, {"a"}, Line([]))),
        ("options", {"depth": 3}, {"depth": 3}),
        ("pair", [1], Pair(1)),
        ("pair", {"left": 1, "right": "x"}, Pair(1, "x")),
        ("model", {"size": 1, "when": "2024-01-02"}, subjects.Model(size=1, when=datetime.date(2024, 1, 2))),
        ("datetime", "2024-01-02T03:04:05Z", datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)),
        ("date", "2024-01-02", datetime.date(2024, 1, 2)),
        ("time", "03:04", datetime.time(3, 4)),
        ("duration", 1.5, datetime.timedelta(seconds=1.5)),
        ("uuid", UUID, uuid.UUID(UUID)),
        ("path", "a/b", pathlib.Path("a/b")),
        ("decimal", "0.10", decimal.Decimal("0.10")),
        ("decimal", 0.1, decimal.Decimal("0.1")),
        ("scalar", 1, np.float64(1)),
        ("annotated", 1, 1),
        ("newtype", 1, 1.0),
    ],
)  # fmt: skip
def test_json_becomes_what_the_hint_asks_for(hint: str, given: Any, wanted: Any) -> None:
    found = converted(hint, given)
    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize(
    ("hint", "given", "words"),
    [
        ("int", "2", "must be int, not the text '2'"),
        ("int", 2.5, "must be int, not 2.5"),
        ("int", True, "must be int, not true"),
        ("int", None, "must be int, not null"),
        ("bool", 1, "must be bool, not 1"),
        ("str", 1, "must be str, not 1"),
        ("float", True, "must be float"),
        ("literal", 2, "must be Literal['a', 1, True], not 2"),
        ("literal", 1.0, "not 1.0"),
        ("enum", "green", "one of 'red', 'blue'"),
        ("ints", [1, "x"], "[1] must be int, not the text 'x'"),
        ("ints", {"a": 1}, "must be list[int], not the object"),
        ("points", [{"x": 1}, {"y": 1}], "[1] must be json_subjects.Point, not the object {'y': 1}: it has no 'x'"),
        ("points", [{"x": 1, "z": 1}], "it has no field 'z', but x, y"),
        ("points", [{"x": "1"}], "[0]['x'] must be float, not the text '1'"),
        ("checked", {"age": -1}, "an age is not negative"),
        ("options", {"depth": "3"}, "['depth'] must be int"),
        ("fixed", [1], "it takes 2 items"),
        ("pair", [], "it has no 'left'"),
        ("model", {"size": 0}, "greater than 0"),
        ("datetime", "yesterday", "must be datetime.datetime, not the text 'yesterday'"),
        ("uuid", "12", "must be uuid.UUID"),
        ("decimal", "NaN", "must be decimal.Decimal"),
        ("array", [[1, 2], [3]], "must be numpy.ndarray"),
        ("array", ["a", {}], "its elements are no numbers"),
        ("floats32", [[1, "x"]], "not the list"),
        ("bytes", "text", "bytes are {\"$bytes\": base64} in JSON"),
        ("plain", {"value": 1}, "must be json_subjects.Plain, not the object {'value': 1}: JSON has no form for it"),
        ("optional", "x", "must be"),
        ("by_number", {"a": {"x": 1}}, "key 'a' must be int"),
    ],
)  # fmt: skip
def test_what_does_not_fit_says_where_and_why(hint: str, given: Any, words: str) -> None:
    with pytest.raises(convert.Unfit) as caught:
        converted(hint, given)
    assert words in caught.value.text("argument 'x'")


@pytest.mark.parametrize(
    ("hint", "text", "wanted"),
    [
        ("int", "12", 12),
        ("int", "1e3", 1000),
        ("float", ".5", 0.5),
        ("bool", "True", True),
        ("bool", "off", False),
        ("str", "12", "12"),
        ("bytes", "ä", "ä".encode()),
        ("none", "null", None),
        ("optional", "none", None),
        ("optional", "4", 4),
        ("union", "4", 4),
        ("union", "4x", "4x"),
        ("literal", "a", "a"),
        ("literal", "1", 1),
        ("enum", "red", Colour.RED),
        ("level", "2", Level.HIGH),
        ("level", "HIGH", Level.HIGH),
        ("ints", "[1, 2]", [1, 2]),
        ("ints", "7", [7]),
        ("set", "7", {7}),
        ("point", '{"x": 1}', Point(1)),
        ("dict", '{"a": 1}', {"a": 1.0}),
        ("date", "2024-01-02", datetime.date(2024, 1, 2)),
        ("uuid", UUID, uuid.UUID(UUID)),
        ("path", "a/b", pathlib.Path("a/b")),
        ("any", "12", 12),
        ("any", "NaN", "NaN"),
        ("any", "twelve", "twelve"),
        ("any", '{"a": [true]}', {"a": [True]}),
    ],
)
def test_text_becomes_what_the_hint_asks_for(hint: str, text: str, wanted: Any) -> None:
    found = convert.from_texts(text, subjects.HINTS[hint])
    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize("hint", ["int", "float", "bool", "none", "enum", "literal", "date", "point", "dict", "plain"])
def test_text_that_does_not_fit(hint: str) -> None:
    with pytest.raises(convert.Unfit):
        convert.from_texts("certainly not", subjects.HINTS[hint])


def test_what_is_said_several_times_is_a_list() -> None:
    assert convert.from_texts(["1", "2"], list[int]) == [1, 2]
    assert convert.from_texts(["1", "2"], tuple[int, str]) == (1, "2")
    assert convert.from_texts(["1", "x"], Any) == [1, "x"]
    with pytest.raises(convert.Unfit, match="given several times"):
        convert.from_texts(["1", "2"], int)


def test_a_call_by_position_and_by_name(worker: Worker) -> None:
    worker.load("add", "function", subjects.add)
    assert said(ask(worker, "add", "call", 20, kwargs={"b": 22})) == 42
    assert said(worker.run("add", "call", _serialize.JSON, body(["20"], {"b": "22"}, texts=True))) == 42
    worker.load("rest", "function", subjects.rest)
    assert said(ask(worker, "rest", "call", 1, 2, 3, kwargs={"yes": True})) == [1, [2.0, 3.0], {"yes": True}]
    worker.load("untyped", "function", subjects.untyped)
    assert said(ask(worker, "untyped", "call", "12", kwargs={"more": {"a": None}})) == ["12", {"a": None}]
    assert said(worker.run("untyped", "call", _serialize.JSON, body(["12", "x"], texts=True))) == [12, "x"]


def test_a_refusal_names_the_argument(worker: Worker) -> None:
    worker.load("add", "function", subjects.add)
    code, message, facts = refused(ask(worker, "add", "call", 1, kwargs={"b": "x"}))
    assert (code, facts["argument"]) == ("bad_arguments", "b")
    assert message == "add(): argument 'b' must be int, not the text 'x'"
    assert refused(ask(worker, "add", "call", "x"))[1].startswith("add(): argument 'a' must be int")
    code, message, _ = refused(ask(worker, "add", "call", kwargs={"c": 1}))
    assert code == "bad_arguments"
    assert "Its signature: add(a: 'int', b: 'int' = 1)" in message


def test_classes_with_text_hints(worker: Worker) -> None:
    worker.load("length", "function", subjects.length)
    line = {"points": [{"x": 0}, {"x": 3, "y": 4}]}
    assert said(ask(worker, "length", "call", line)) == 7.0
    worker.load("Counter", "class", subjects.Counter)
    request = {"class": "Counter", "name": "c", "encoding": _serialize.JSON}
    described = value(worker.own("create", request, body(kwargs={"start": 4, "at": {"x": 1}})))
    assert "add" in described["methods"]
    assert worker.runner.object_of("c").at == Point(1)
    assert said(ask(worker, "c", "add", 2)) == 6
    code, message, _ = refused(worker.own("create", {**request, "name": "d"}, body(kwargs={"start": "4"})))
    assert (code, message) == ("bad_arguments", "Counter(): argument 'start' must be int, not the text '4'")


def test_bytes_and_arrays(worker: Worker) -> None:
    for function in (subjects.size, subjects.mean, subjects.doubled, subjects.same, subjects.shout):
        worker.load(function.__name__, "function", function)
    octets = {"type": "application/octet-stream"}
    encoded = base64.b64encode(b"\x00\xff").decode()
    assert said(ask(worker, "size", "call", {"$bytes": encoded})) == 2
    assert said(ask(worker, "size", "call", {"$part": 1, **octets}, raw=[b"\x00\xff\x01"])) == 3
    assert said(ask(worker, "mean", "call", [[1, 2], [3, 4]])) == 2.5
    file = io.BytesIO()
    np.save(file, np.asfortranarray([[1.0, 2.0], [3.0, 6.0]]))
    npy = {"$part": 1, "type": "application/x-npy"}
    assert said(ask(worker, "mean", "call", npy, raw=[file.getvalue()])) == 3.0
    assert said(ask(worker, "doubled", "call", npy, raw=[file.getvalue()])) == [[2.0, 4.0], [6.0, 12.0]]
    assert said(ask(worker, "doubled", "call", [1, 2])) == [2.0, 4.0]
    text = {"$part": 1, "type": "text/plain; charset=latin-1"}
    assert said(ask(worker, "shout", "call", text, raw=["ä".encode("latin-1")])) == "Ä"
    assert said(ask(worker, "same", "call", text, raw=[b"12"])) == "12"


def test_an_array_that_may_be_missing() -> None:
    array = np.arange(3.0)
    assert convert.from_json(array, np.ndarray | None) is array
    assert convert.from_json([1, 2], np.ndarray | None).tolist() == [1, 2]
    assert convert.from_json([array], list[Any] | str)[0] is array
    assert convert.from_json({"a": [array, 1]}, dict[str, list[Any]] | None)["a"][0] is array
    assert convert.from_json(None, np.ndarray | None) is None


def test_what_is_no_such_part(worker: Worker) -> None:
    worker.load("same", "function", subjects.same)
    octets = "application/octet-stream"
    for marker in ({"$part": 1, "type": octets}, {"$part": 0, "type": octets}, {"$part": -1}, {"$part": "1"}):
        code, message, _ = refused(ask(worker, "same", "call", marker))
        assert code == "bad_arguments"
        assert "no such part came" in message
    npy = {"$part": 1, "type": "application/x-npy"}
    for data in (b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f8'}"):
        assert "is no .npy file" in refused(ask(worker, "same", "call", npy, raw=[data]))[1]
    file = io.BytesIO()
    np.save(file, np.array([{}]), allow_pickle=True)
    assert "Python objects" in refused(ask(worker, "same", "call", npy, raw=[file.getvalue()]))[1]
    for wrong in ("%%", 3):
        assert "not base64" in refused(ask(worker, "same", "call", {"$bytes": wrong}))[1]


class Trap:
    def __reduce__(self) -> Any:
        return pytest.fail, ("an argument was unpickled",)


def test_only_a_whole_call_can_be_a_pickle(worker: Worker) -> None:
    worker.load("add", "function", subjects.add)
    worker.load("same", "function", subjects.same)
    marker = {"$part": 1, "type": "application/x-pickle"}
    data = pickle.dumps(((1,), {"b": 2}))
    assert said(worker.run("add", "call", _serialize.JSON, body(call=marker, raw=[data]))) == 3
    assert (
        "could not be unpickled"
        in refused(worker.run("add", "call", _serialize.JSON, body(call=marker, raw=[b"x"])))[1]
    )
    # Whoever may not run code here can say this much.
    trap = pickle.dumps(Trap())
    assert raw(ask(worker, "same", "call", marker, raw=[trap])) == ("application/octet-stream", trap)
    assert raw(ask(worker, "same", "call", kwargs={"value": marker}, raw=[trap]))[1] == trap


def test_references(worker: Worker) -> None:
    worker.load("numbers", "object", [3, 1, 2])
    worker.load("plain", "object", Plain(5))
    for function in (subjects.same, subjects.take_plain, subjects.nested, subjects.rest):
        worker.load(function.__name__, "function", function)
    held = worker.runner.object_of("numbers")
    seen: list[Any] = []
    worker.load("see", "function", seen.append)
    worker.runner._services["see"].target = seen.append
    ask(worker, "see", "call", {"$ref": "numbers"})
    assert seen[0] is held
    ask(worker, "see", "call", {"a": [{"$ref": "numbers"}, {"b": {"$ref": "plain"}}]})
    assert seen[1]["a"][0] is held
    assert seen[1]["a"][1]["b"] is worker.runner.object_of("plain")
    assert said(ask(worker, "take_plain", "call", {"$ref": "plain"})) == 5
    assert said(ask(worker, "take_plain", "call", {b"\\u0024ref".decode("unicode_escape"): "plain"})) == 5
    escaped = b'{"args": [{"\\u0024ref": "plain"}]}'
    assert said(worker.run("take_plain", "call", _serialize.JSON, [escaped])) == 5
    assert said(ask(worker, "nested", "call", {"a": [0, {"$ref": "plain"}]})) == "Plain"
    texts = body(['{"$ref": "plain"}'], texts=True)
    assert said(worker.run("take_plain", "call", _serialize.JSON, texts)) == 5
    assert "no text" in refused(ask(worker, "same", "call", {"$ref": 3}))[1]


def test_a_list_that_lives_here_is_not_copied_for_its_hint(worker: Worker) -> None:
    worker.load("numbers", "object", [1, "two"])
    held = worker.runner.object_of("numbers")
    assert convert.from_json(convert.Ref(held), list[int]) is held
    assert convert.from_json([convert.Ref(held)], list[Any])[0] is held


@pytest.mark.parametrize(
    "text",
    [
        b"", b"nul", b"{", b'{"args": [1], "args": [2]}', b'{"kwargs": {"a": 1, "a": 2}}', b'{"args": [NaN]}',
        b'{"args": [Infinity]}', b'{"args": [-Infinity]}', b'{"args": [1e999]}', b'{"args": [1]} {}', b'{"args": [01]}',
        b'\xef\xbb\xbf{"args": [1]}', b'{"args": ["\xff"]}', b"{'args': [1]}", b'{"args": [1,]}', b'{"args": ["\n"]}',
        b'{"args": ' + b"[" * 100 + b"1" + b"]" * 100 + b"}", b'{"args": ' + b"[" * 100_000,
        b'{"args": [' + b"9" * 5_000 + b"]}",
    ],
)  # fmt: skip
def test_json_is_strict(worker: Worker, text: bytes) -> None:
    worker.load("same", "function", subjects.same)
    code, message, _ = refused(worker.run("same", "call", _serialize.JSON, [text]))
    assert code == "bad_arguments"
    assert "not JSON" in message


def test_the_depth_is_counted_in_levels_and_not_in_brackets() -> None:
    def nest(levels: int) -> bytes:
        return b"[" * levels + b"1" + b"]" * levels

    assert _strict_json.decode(nest(64)) is not None
    assert len(_strict_json.decode(b"[" + b",".join([nest(60)] * 50) + b"]")) == 50
    with pytest.raises(ValueError, match="deeper than 64"):
        _strict_json.decode(nest(65))


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
).filter(lambda value: '"$' not in json.dumps(value))


@settings(max_examples=200, deadline=None)
@given(json_values)
def test_what_json_can_say_comes_back_as_it_was(value: Any) -> None:
    local = Worker()
    local.load("same", "function", subjects.same)
    encodable = not any(0xD800 <= ord(letter) < 0xE000 for letter in json.dumps(value, ensure_ascii=False))
    assert encodable
    assert said(ask(local, "same", "call", value)) == value


points = st.builds(Point, st.floats(allow_nan=False, allow_infinity=False), st.floats(-1e9, 1e9))
lines = st.recursive(
    st.builds(Line, st.lists(points, max_size=3), st.sampled_from(Colour), st.sets(st.text(max_size=3), max_size=3)),
    lambda inner: st.builds(Line, st.just([]), parent=inner),
    max_leaves=4,
)
ROUND_TRIPS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (Line, lines),
    (Pair, st.builds(Pair, st.integers(), st.text())),
    (datetime.datetime, st.datetimes(timezones=st.none() | st.just(datetime.timezone.utc))),
    (datetime.date, st.dates()),
    (datetime.time, st.times()),
    (uuid.UUID, st.uuids()),
    (decimal.Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (set[int], st.sets(st.integers())),
    (tuple[int, str], st.tuples(st.integers(), st.text())),
    (dict[int, bytes], st.dictionaries(st.integers(), st.binary())),
    (list[Level], st.lists(st.sampled_from(Level))),
]


@pytest.mark.parametrize(("hint", "values"), ROUND_TRIPS, ids=lambda each: getattr(each, "__name__", None))
def test_what_is_returned_can_be_an_argument_again(hint: Any, values: st.SearchStrategy[Any]) -> None:
    @settings(max_examples=60, deadline=None)
    @given(values)
    def go_round(value: Any) -> None:
        local = Worker()
        local.load("same", "function", subjects.same)
        seen: list[Any] = []

        def see(given: Any) -> None:
            seen.append(given)

        see.__annotations__["given"] = hint
        local.load("see", "function", subjects.same)
        local.runner._services["see"].target = see
        local.runner._services["same"].target = lambda: value
        ask(local, "see", "call", said(ask(local, "same")))
        assert seen == [value]

    go_round()
