"""A C++ service as HTTP calls it: JSON arguments, and answers that JSON can say (protocol/http.md, In the worker)."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roundhouse as rh
from roundhouse import _serialize
from roundhouse._screen import CallScreen

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def ask(subjects: Path, cpp_box: rh.Cluster) -> Ask:
    """Calls with a body of JSON and further parts; the parts of the answer, the first of them read."""
    program = rh.program(subjects)

    def call(name: str, request: Any, *parts: bytes) -> Any:
        service = program.function(name).get_or_to(cpp_box, process="subjects")._service
        text = request if isinstance(request, bytes) else json.dumps(request).encode()
        started = service._link.start(name, "call", _serialize.JSON, [text, *parts], CallScreen(True))
        from roundhouse import _link
        from roundhouse.exceptions import from_engine

        while not started.done():
            started.wait(10)
        try:
            outcome = started.take()
        except rh._engine.EngineError as error:
            raise from_engine(error.code, error.message, error.facts) from None
        if outcome[0]:
            return _link.value_of(outcome)
        answer = [bytes(part) for part in outcome[2]]
        if not answer:
            return None
        assert outcome[1] == _serialize.JSON
        read = json.loads(answer[0])
        return [read, *answer[1:]] if len(answer) > 1 else read

    return call


def test_named_and_positional(ask: Ask) -> None:
    assert ask("scale", {"args": [[1, 2]], "kwargs": {"factor": 0.5}}) == [0.5, 1.0]
    assert ask("scale", {"args": [], "kwargs": {"values": [1.5]}}) == [3.0]
    assert ask("move", {"args": [], "kwargs": {"point": {"x": 1, "tags": ["a"]}}}) == {
        "x": 2.0,
        "y": 2.0,
        "tags": ["a"],
    }


def test_texts_become_what_the_parameter_is(ask: Ask) -> None:
    assert ask("scale", {"args": [], "kwargs": {"values": ["1", "2.5"], "factor": "3"}, "texts": True}) == [3.0, 7.5]
    assert ask("scale", {"args": [], "kwargs": {"values": "4"}, "texts": True}) == [8.0]
    assert ask("length", {"args": ["12"], "kwargs": {}, "texts": True}) == 2
    assert ask("colour", {"args": [], "kwargs": {"first": "red", "second": "None"}, "texts": True}) == ["red", "green"]
    assert ask("move", {"args": ['{"x": 1}', "2"], "kwargs": {}, "texts": True})["x"] == 3.0
    with pytest.raises(rh.WrongArguments, match="expected number, got text"):
        ask("scale", {"args": [[1]], "kwargs": {"factor": "much"}, "texts": True})
    with pytest.raises(rh.WrongArguments, match="expected number, got text"):
        ask("scale", {"args": [[1]], "kwargs": {"factor": "3"}})


def test_bytes_and_arrays(ask: Ask) -> None:
    data = bytes(range(256))
    encoded = {"$bytes": base64.b64encode(data).decode()}
    assert ask("bytes", {"args": [encoded], "kwargs": {}}) == [{"$part": 1, "type": "application/octet-stream"}, data]
    assert ask("bytes", {"args": [{"$part": 1, "type": "application/octet-stream"}], "kwargs": {}}, data)[1] == data
    assert ask("mirror", {"args": [[encoded]], "kwargs": {}}) == [encoded]
    assert ask("length", {"args": [{"$part": 1, "type": "text/plain"}], "kwargs": {}}, b"four") == 4

    array = np.arange(6, dtype="f4").reshape(2, 3)
    file = io.BytesIO()
    np.save(file, array)
    reference = {"$part": 1, "type": "application/x-npy"}
    assert ask("mirror", {"args": [reference], "kwargs": {}}, file.getvalue()) == array.tolist()
    head, answer = ask("mirror", {"args": [reference], "kwargs": {}, "accept": "application/x-npy"}, file.getvalue())
    assert head == reference
    back = np.load(io.BytesIO(answer))
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)


@pytest.mark.parametrize(
    "value", [None, True, 1, -(2**63), 1.0, 1e300, 'ü\0"', [], {}, [{"a": [1, 2.5]}], {"$x": 1, "$bytes": 2}]
)
def test_values_come_back(ask: Ask, value: Any) -> None:
    result = ask("mirror", {"args": [value], "kwargs": {}})
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not well formed"),
        (b'{"args": [1', "not well formed"),
        (b'{"args": [NaN], "kwargs": {}}', "not well formed"),
        (b'{"args": [1e999], "kwargs": {}}', "too large|not well formed"),
        (b'{"args": [], "kwargs": {"a": 1, "a": 2}}', "stands there twice"),
        (b'{"args": [' + b"[" * 100 + b"]" * 100 + b'], "kwargs": {}}', "more than 64 levels"),
        (b'{"args": ' + b"[" * 100_000, "more than 64 levels"),
        (b'{"args": [18446744073709551615], "kwargs": {}}', "does not fit 64 bits"),
        (b'{"args": [{"$bytes": "?"}], "kwargs": {}}', "not base64"),
        (b'{"args": [{"$part": 3}], "kwargs": {}}', "there is no part 3"),
        (b'{"args": {}, "kwargs": {}}', "positional list, named map"),
        (b"3", "positional list, named map"),
    ],
)  # fmt: skip
def test_what_is_no_call(ask: Ask, body: bytes, says: str) -> None:
    with pytest.raises(rh.WrongArguments, match=says):
        ask("mirror", body)
    assert ask("mirror", {"args": [1], "kwargs": {}}) == 1


def test_what_json_cannot_say(ask: Ask) -> None:
    with pytest.raises(rh.NotSerializable, match="has no form in JSON"):
        ask("scale", {"args": [[1e308], 10], "kwargs": {}})


def test_references(ask: Ask, cpp_box: rh.Cluster) -> None:
    cpp_box.put("in-python", np.array([1.0, 2.0]))
    assert ask("scale", {"args": [{"$ref": "in-python"}], "kwargs": {}}) == [2.0, 4.0]
    cpp_box.get("scale").options(remote=True, name="in-cpp")([3.0])
    assert ask("mirror", {"args": [{"deep": [{"$ref": "in-cpp"}]}], "kwargs": {}}) == {"deep": [[6.0]]}
    with pytest.raises(rh.NotFound, match="nothing-there"):
        ask("mirror", {"args": [{"$ref": "nothing-there"}], "kwargs": {}})
