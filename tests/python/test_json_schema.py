"""JSON Schemas of services: valid, and true of what is taken and returned."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import json_subjects as subjects
import jsonschema
import numpy as np
import pytest
from bare_worker import Worker, fresh_worker, value
from hypothesis import given, settings
from hypothesis import strategies as st
from json_subjects import Colour, Level, Line, Model, Options, Pair, Point
from json_worker import ask, refused, said
from roundhouse import _serialize
from roundhouse._worker import convert, hints, schema

worker = pytest.fixture(name="worker")(fresh_worker)


def schemas(worker: Worker, name: str) -> Any:
    return value(worker.own("schema", {"name": name}, []))["methods"]


def checked(found: Any) -> Any:
    jsonschema.Draft202012Validator.check_schema(found)
    return found


def validator(found: Any) -> Callable[[Any], bool]:
    return jsonschema.Draft202012Validator(checked(found)).is_valid


def fits(found: Any, instance: Any) -> bool:
    return validator(found)(instance)


def of_hint(hint: Any, results: bool = False) -> Any:
    made = schema._Schemas(results)
    return checked(made.finished(made.of(hint)))


def test_a_function(worker: Worker) -> None:
    worker.load("add", "function", subjects.add)
    told = schemas(worker, "add")["call"]
    assert told == {
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "default": 1}},
            "required": ["a"],
            "additionalProperties": False,
        },
        "returns": {"type": "integer"},
    }
    worker.load("untyped", "function", subjects.untyped)
    told = schemas(worker, "untyped")["call"]
    assert told["parameters"]["properties"] == {"value": {}, "more": {"default": None}}
    assert told["returns"] == {}


def test_a_class_and_its_instance(worker: Worker) -> None:
    worker.load("Counter", "class", subjects.Counter)
    told = schemas(worker, "Counter")
    assert set(told) == {"__init__", "fixed", "named"}
    assert fits(told["__init__"]["parameters"], {"start": 1, "at": {"x": 2}})
    assert fits(told["__init__"]["parameters"], {"at": None})
    assert not fits(told["__init__"]["parameters"], {"start": "1"})
    worker.own("create", {"class": "Counter", "name": "c", "encoding": _serialize.EMPTY}, [])
    told = schemas(worker, "c")
    assert told["add"]["returns"] == {"type": "integer"}
    assert set(told) == {"add", "get", "fixed", "named", "other"}
    # An instance of the user's own class can be said by reference only.
    assert fits(told["other"]["parameters"], {"counter": {"$ref": "c"}})


def test_deploying_makes_no_schema(worker: Worker) -> None:
    described = worker.load("add", "function", subjects.add)
    assert "schema" not in described["methods"]["call"]


def test_readonly_is_told(worker: Worker) -> None:
    methods = worker.load("Counter", "class", subjects.Counter)["methods"]
    assert {name for name, told in methods.items() if told.get("readonly")} == {"get", "fixed", "named"}
    assert worker.load("look", "function", subjects.look)["methods"]["call"]["readonly"] is True
    assert "readonly" not in worker.load("add", "function", subjects.add)["methods"]["call"]
    assert subjects.look(3) == "000"


def test_no_such_service(worker: Worker) -> None:
    assert refused(worker.own("schema", {"name": "none"}, []))[0] == "not_found"


@pytest.mark.parametrize("name", sorted(subjects.HINTS))
def test_every_hint_has_a_valid_schema(name: str) -> None:
    for results in (False, True):
        of_hint(subjects.HINTS[name], results)


def test_generators_and_coroutines_return_what_comes_out(worker: Worker) -> None:
    for function in (subjects.count, subjects.count_async, subjects.later):
        worker.load(function.__name__, "function", function)
    assert schemas(worker, "count")["call"]["returns"] == {"type": "integer"}
    assert schemas(worker, "count_async")["call"]["returns"]["$ref"] == "#/$defs/Point"
    assert schemas(worker, "later")["call"]["returns"] == {"type": "integer"}


def test_a_class_that_holds_itself_and_docstrings() -> None:
    found = of_hint(Line)
    assert found["$ref"] == "#/$defs/Line"
    assert found["$defs"]["Line"]["properties"]["parent"] == {
        "anyOf": [{"$ref": "#/$defs/Line"}, {"type": "null"}],
        "default": None,
    }
    assert found["$defs"]["Point"]["description"] == "A place."
    assert "description" not in found["$defs"]["Line"]
    assert found["$defs"]["Line"]["properties"]["colour"]["default"] == "red"


def test_two_classes_of_one_name() -> None:
    class Point:
        pass

    import dataclasses

    other = dataclasses.make_dataclass("Point", [("z", int)])
    found = of_hint(tuple[subjects.Point, other])  # type: ignore[valid-type]
    assert len(found["$defs"]) == 2
    assert fits(found, [{"x": 1}, {"z": 1}])
    assert not fits(found, [{"z": 1}, {"x": 1}])


def test_hints_that_cannot_be_resolved_say_nothing() -> None:
    def broken(a: NoSuchName, b: int, c: 1 / 0 = 3) -> Nowhere:  # type: ignore[name-defined,valid-type] # noqa: F821
        return a

    found = schema.of_method(broken, "sync")
    assert found["parameters"]["properties"] == {"a": {}, "b": {"type": "integer"}, "c": {"default": 3}}
    assert found["returns"] == {}
    known = hints.of(broken)
    assert [hint for hint, _ in known.positional(4)] == [hints.EMPTY, int, hints.EMPTY, hints.EMPTY]


class Unhashable(type):
    __hash__ = None  # type: ignore[assignment]


class Odd:
    def good(self, a: int) -> int:
        return a

    def bad(self, a: Any) -> Any:
        return a


Odd.bad.__annotations__["a"] = Unhashable("Hint", (), {})


def test_one_method_without_a_schema_spoils_no_other(worker: Worker) -> None:
    worker.load("odd", "object", [])
    worker.runner._services["odd"].target = Odd()
    worker.runner._services["odd"].methods = {"good": "sync", "bad": "sync"}
    assert set(schemas(worker, "odd")) == {"good"}


def test_local_classes_and_builtins() -> None:
    class Local:
        def method(self, other: Local | None = None, *, n: int = 0) -> Iterator[Local]:
            yield self

    known = hints.of(Local().method)
    assert known.named("other") == Local | None
    assert known.named("n") is int
    assert hints.of(len).known
    assert not hints.of(print).known or schema.of_method(print, "sync")
    assert schema.of_method(dict, "sync")["parameters"]["type"] == "object"

    async def coroutine() -> Awaitable[int]:
        raise NotImplementedError

    assert schema.of_method(coroutine, "async")["returns"] == {"type": "integer"}


points = st.builds(Point, st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
VALUES: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "line": (Line, st.builds(Line, st.lists(points), st.sampled_from(Colour), st.sets(st.text()))),
    "options": (Options, st.fixed_dictionaries({}, optional={"depth": st.integers(), "name": st.text()})),
    "pair": (Pair, st.builds(Pair, st.integers(), st.text())),
    "model": (Model, st.builds(Model, size=st.integers(1, 9), when=st.none() | st.dates())),
    "levels": (list[Level], st.lists(st.sampled_from(Level))),
    "datetime": (datetime.datetime, st.datetimes()),
    "decimal": (decimal.Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    "by_id": (dict[uuid.UUID, int | None], st.dictionaries(st.uuids(), st.none() | st.integers())),
    "array": (np.ndarray, st.lists(st.floats(-1e9, 1e9)).map(np.array)),
    "union": (int | str | list[int], st.integers() | st.text() | st.lists(st.integers())),
}


@pytest.mark.parametrize("name", sorted(VALUES))
def test_what_is_returned_is_what_the_schema_says_and_is_taken_again(name: str) -> None:
    hint, values = VALUES[name]
    returned, taken = validator(of_hint(hint, results=True)), validator(of_hint(hint))
    local = Worker()
    local.load("give", "function", subjects.make_plain)
    service = local.runner._services["give"]

    @settings(max_examples=60, deadline=None)
    @given(values)
    def check(value: Any) -> None:
        service.target = lambda: value
        instance = said(ask(local, "give"))
        assert returned(instance)
        assert taken(instance)
        again = convert.from_json(json.loads(json.dumps(instance)), hint)
        assert np.array_equal(again, value) if hint is np.ndarray else again == value

    check()


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from([0.5, 1e9]) | st.sampled_from(["a", "red", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["x", "y", "points", "depth", "left", "size"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    "name",
    [
        *("int", "float", "bool", "str", "none", "optional", "union", "literal", "enum", "level", "ints", "points"),
        *("floats", "set", "fixed", "tuple", "dict", "point", "line", "options", "pair", "bytes"),
    ],
)
def test_whatever_the_schema_allows_is_taken_and_nothing_else(name: str) -> None:
    hint = subjects.HINTS[name]
    allowed = validator(of_hint(hint))

    @settings(max_examples=150, deadline=None)
    @given(json_values)
    def check(value: Any) -> None:
        try:
            convert.from_json(json.loads(json.dumps(value)), hint)
            taken = True
        except convert.Unfit:
            taken = False
        assert taken == allowed(value)

    check()
