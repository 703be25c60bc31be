"""What calls over HTTP return: JSON, and what stands beside it (protocol/http.md)."""

from __future__ import annotations

import datetime
import io
import json
import math
import pathlib
import pickle
import threading
import uuid
from collections import OrderedDict, UserDict, deque
from typing import Any

import json_subjects as subjects
import numpy as np
import pandas as pd
import pytest
from bare_worker import RAISED, Worker, fresh_worker
from json_subjects import Colour, Level, Line, Model, Pair, Plain, Point
from json_worker import ask, body, raw, refused, said
from roundhouse import _serialize

worker = pytest.fixture(name="worker")(fresh_worker)


def answer(worker: Worker, value: Any, accept: str = "") -> Any:
    worker.load("give", "function", subjects.make_plain)
    worker.runner._services["give"].target = lambda: value
    return worker.run("give", "call", _serialize.JSON, body(**({"accept": accept} if accept else {})))


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, None),
        ("ä\u2028\x00", "ä\u2028\x00"),
        (True, True),
        (2**70, 2**70),
        (1.5, 1.5),
        ((1, [2]), [1, [2]]),
        ({1: "a", None: 2, 0.5: 3.5}, {"1": "a", "null": 2, "0.5": 3.5}),
        ({Colour.RED: 1, uuid.UUID(int=1): 2}, {"red": 1, "00000000-0000-0000-0000-000000000001": 2}),
        ({np.int64(3): np.int64(4)}, {"3": 4}),
        (OrderedDict(a=1), {"a": 1}),
        (UserDict(a={1}), {"a": [1]}),
        (Colour.RED, "red"),
        (Level.HIGH, 2),
        ({Point(1, 2).x, 0.5}, [0.5, 1.0]),
        (frozenset(["b", "a"]), ["a", "b"]),
        (deque([1, 2]), [1, 2]),
        (range(3), [0, 1, 2]),
        (Point(1, 2), {"x": 1, "y": 2}),
        (
            Line([Point(0)], parent=Line([])),
            {
                "points": [{"x": 0, "y": 0.0}],
                "colour": "red",
                "tags": [],
                "parent": {"points": [], "colour": "red", "tags": [], "parent": None},
            },
        ),
        (Pair(1), [1, "r"]),
        (Model(size=2, when=datetime.date(2024, 1, 2)), {"size": 2, "when": "2024-01-02"}),
        (datetime.datetime(2024, 1, 2, 3, tzinfo=datetime.timezone.utc), "2024-01-02T03:00:00+00:00"),
        (datetime.timedelta(minutes=1), 60.0),
        (pathlib.Path("a/b"), "a/b"),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.datetime64("2024-01-02"), "2024-01-02"),
        (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (np.array(["2024-01-02"], "M8[D]"), ["2024-01-02"]),
        ({"array": np.array([True])}, {"array": [True]}),
        ({"bytes": b"\x00"}, {"bytes": {"$bytes": "AA=="}}),
        ([bytearray(b"a"), memoryview(b"b")], [{"$bytes": "YQ=="}, {"$bytes": "Yg=="}]),
        (pd.DataFrame({"a": [1, 2], "b": ["x", None]}), [{"a": 1, "b": "x"}, {"a": 2, "b": None}]),
        (pd.Series([1.5, math.nan]), [1.5, None]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_have_a_form(worker: Worker, value: Any, wanted: Any) -> None:
    assert said(answer(worker, value)) == wanted


def cyclic() -> list[Any]:
    found: list[Any] = []
    found.append({"again": found})
    return found


@pytest.mark.parametrize(
    ("value", "words", "kind"),
    [
        (
            Plain(),
            "the result of give.call is a json_subjects.Plain, which JSON has no form for",
            "json_subjects.Plain",
        ),
        ({"a": [1, Plain()]}, "the result of give.call['a'][1] is a json_subjects.Plain", "json_subjects.Plain"),
        (math.nan, "the result of give.call is nan, a number that JSON does not have", "float"),
        ({"loss": [1.0, math.inf]}, "the result of give.call['loss'][1] is inf", "float"),
        (np.array([1.0, np.nan]), "the result of give.call[1] is nan", "float"),
        (Point(math.nan), "the result of give.call['x'] is nan", "float"),
        (1 + 2j, "is a complex", "complex"),
        (cyclic(), "contains itself", "list"),
        ({(1, 2): 3}, "the key (1, 2) of the result of give.call", "tuple"),
        ({1: 2, "1": 3}, "two keys that are both '1'", None),
        ({"a": "\ud800"}, "half a character", "str"),
        (threading.Lock(), "which JSON has no form for", "_thread.lock"),
        (Plain, "is a type, which JSON has no form for", "type"),
        (np.array([{}, object()]), "[1] is an object", "object"),
    ],
)
def test_what_has_no_form_says_where_and_what_to_do(worker: Worker, value: Any, words: str, kind: str | None) -> None:
    if kind is None:
        # The C encoder writes both; only the slower way can tell.
        value = {**value, "x": Plain()}
    code, message, facts = refused(answer(worker, value))
    assert (code, facts["of"]) == ("not_serializable", "result")
    assert words in message
    assert "remote=true" in message
    assert kind is None or facts["type"] == kind


def test_a_generator_that_is_returned_is_refused(worker: Worker) -> None:
    code, message, _ = refused(answer(worker, iter([1])))
    assert code == "unsupported"
    assert "yield from" in message


def test_bytes_are_a_body_of_their_own(worker: Worker) -> None:
    for accept in ("", "*/*", "application/json", "application/octet-stream", "text/html, */*;q=0.1"):
        assert raw(answer(worker, b"\x00\xff", accept)) == ("application/octet-stream", b"\x00\xff")
    for accept in ("text/event-stream", "application/x-ndjson"):
        assert said(answer(worker, b"\x00\xff", accept)) == {"$bytes": "AP8="}


def test_what_is_accepted_decides(worker: Worker) -> None:
    array = np.arange(6, dtype="<f4").reshape(2, 3)
    kind, data = raw(answer(worker, array, "application/x-npy"))
    assert kind == "application/x-npy"
    loaded = np.load(io.BytesIO(data))
    assert loaded.dtype == array.dtype
    assert (loaded == array).all()
    assert raw(answer(worker, array.T, "application/json;q=0.5, application/x-npy"))[0] == "application/x-npy"
    assert said(answer(worker, array, "application/json, application/x-npy;q=0.5")) == array.tolist()
    assert said(answer(worker, [1], "application/x-npy, application/json")) == [1]
    assert raw(answer(worker, "text", "text/plain")) == ("text/plain; charset=utf-8", b"text")
    assert (
        raw(answer(worker, np.array([np.nan]), "application/json, application/x-npy;q=0.1"))[0] == "application/x-npy"
    )
    for accept in ("image/png", "application/x-npy", "text/plain", "application/json;q=0"):
        code, message, facts = refused(answer(worker, {"a": 1}, accept))
        assert (code, facts["type"]) == ("not_serializable", "dict")
        assert f"a dict, which cannot be sent as {accept}" in message
    assert said(answer(worker, {"a": 1}, ";;, ,")) == {"a": 1}


def test_a_pickle_only_where_it_is_asked_for(worker: Worker) -> None:
    kind, data = raw(answer(worker, {"plain": Plain(7)}, "application/x-pickle"))
    assert kind == "application/x-pickle"
    assert pickle.loads(data)["plain"].value == 7
    kind, data = raw(answer(worker, np.arange(100_000), "application/x-pickle"))
    assert pickle.loads(data)[-1] == 99_999
    code, message, _ = refused(answer(worker, [threading.Lock()], "application/x-pickle"))
    assert code == "not_serializable"
    assert "the result of give.call[0] of type _thread.lock" in message


def test_async_functions_and_every_method(worker: Worker) -> None:
    worker.load("later", "function", subjects.later)
    assert said(ask(worker, "later", "call", 1)) == 2
    worker.load("data", "object", {"a": np.arange(2)})
    assert said(ask(worker, "data", "@fetch")) == {"a": [0, 1]}
    worker.load("array", "object", np.arange(2))
    assert raw(ask(worker, "array", "@fetch", accept="application/x-npy"))[0] == "application/x-npy"
    worker.load("counter", "object", subjects.Counter(3))
    assert said(ask(worker, "counter", "@get", "value")) == 3
    assert said(ask(worker, "counter", "@set", "value", 5)) is None
    assert said(ask(worker, "counter", "get")) == 5
    assert said(ask(worker, "counter", "other", {"$ref": "counter"})) is True


def test_each_item_is_json(worker: Worker) -> None:
    for function in (subjects.count, subjects.count_async, subjects.items):
        worker.load(function.__name__, "function", function)
    for name, wanted in (("count", [0, 1, 2]), ("count_async", [{"x": n, "y": 0.0} for n in range(3)])):
        stream = worker.host.stream(worker.calls + 1)
        assert said(ask(worker, name, "call", 3)) is None
        assert stream.items == wanted
    for kind, wanted in (("bytes", {"$bytes": "AAE="}), ("array", [0, 1, 2])):
        stream = worker.host.stream(worker.calls + 1)
        # In a stream everything is JSON, whatever is accepted.
        worker.run("items", "call", _serialize.JSON, body([kind], accept="application/x-npy"))
        assert stream.items == [wanted]
    worker.host.stream(worker.calls + 1)
    assert refused(ask(worker, "count", "call", "3"))[0] == "bad_arguments"


def test_a_failed_item_ends_the_stream(worker: Worker) -> None:
    worker.load("items", "function", subjects.items)
    worker.host.stream(worker.calls + 1)
    kind, _, parts, raised, _ = ask(worker, "items", "call", "other")
    assert (kind, parts, raised[0]) == (RAISED, [], "builtins.KeyError")
    assert "json_subjects.py" in raised[2]
    assert "_worker" not in raised[2]


def test_json_as_a_value_to_keep(worker: Worker) -> None:
    request = {"name": "kept", "kind": "object", "encoding": _serialize.JSON}
    worker.own("load", dict(request), [json.dumps({"a": [1, {"$bytes": "AA=="}]}).encode()])
    assert worker.runner.object_of("kept") == {"a": [1, b"\x00"]}
    file = io.BytesIO()
    np.save(file, np.arange(3))
    worker.own("load", dict(request), [b'{"$part": 1, "type": "application/x-npy"}', file.getvalue()])
    assert worker.runner.object_of("kept").tolist() == [0, 1, 2]
    assert refused(worker.own("load", dict(request), [b"{"]))[0] == "bad_arguments"
