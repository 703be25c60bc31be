"""JSON calls, schemas and source texts through a real node (protocol/http.md, protocol/node.md)."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import json_subjects as subjects
import pytest
import roundhouse as rh
from json_worker import body
from roundhouse import _deploy, _engine, _serialize


def call(box: rh.Cluster, service: str, method: str = "call", *args: Any, **more: Any) -> Any:
    """The value of a call in JSON; what the engine raises where it fails."""
    client = box._link.client()
    kind, encoding, parts, raised = client.call(service, method, _serialize.JSON, body(args, **more))
    assert (kind, raised) == (0, None), raised
    assert encoding in (_serialize.JSON, _serialize.EMPTY)
    return json.loads(bytes(parts[0])) if parts else None


def refused(box: rh.Cluster, service: str, *args: Any, **more: Any) -> tuple[str, _engine.EngineError]:
    with pytest.raises(_engine.EngineError) as caught:
        call(box, service, "call", *args, **more)
    names = {number: name for name, number in _engine.codes.items()}
    return names[caught.value.code], caught.value


def deploy_text(box: rh.Cluster, name: str, text: str, file: str, **more: Any) -> Any:
    command = more.pop("command", None) or _deploy.command()
    starting = {"command": command, "env": dict(os.environ), "cwd": "/", "count": more.pop("count", 1)}
    started = box._link.ask_node("start", starting)
    source = {"file": file, "callable": more.pop("callable", name)}
    request = {"name": name, "source": source, "encoding": _serialize.EMPTY, **started, **more}
    return box._link.ask_node("deploy", request, [text.encode()])


def test_a_reference_is_the_object_itself_or_a_copy_from_beside(box: rh.Cluster) -> None:
    rh.function(subjects.take_plain).to(box, name="take")
    counter = rh.cls(subjects.Counter).to(box, name="Counter")(name="counter")
    counter.add(3)
    # In the same worker: the very object.
    assert call(box, "counter", "other", {"$ref": "counter"}) is True
    # In another one: fetched through the node.
    box.put("plain", subjects.Plain(8))
    assert call(box, "take", "call", {"$ref": "plain"}) == 8
    code, error = refused(box, "take", {"$ref": "no such key"})
    assert code == "not_found"
    assert "there is no object 'no such key' here" in error.message
    code, error = refused(box, "take", {"value": 8})
    assert (code, error.facts["argument"]) == ("bad_arguments", "plain")
    box.clear()


def test_what_stays_is_an_argument_of_the_next_call(box: rh.Cluster) -> None:
    """As two steps of an orchestrator share data by HTTP alone."""
    rh.function(subjects.make_plain).to(box, name="make")
    rh.function(subjects.take_plain).to(box, name="take")
    request = {"class": "make", "method": "call", "name": "kept", "encoding": _serialize.JSON}
    described = box._link.ask_node("create", request, body(kwargs={"value": 12}))
    assert (described["kind"], described["name"]) == ("object", "kept")
    assert call(box, "take", kwargs={"plain": {"$ref": "kept"}}) == 12
    code, error = refused(box, "make", 1)
    assert (code, error.facts["of"]) == ("not_serializable", "result")
    box.clear()


def test_schemas_only_where_they_are_asked_for(box: rh.Cluster) -> None:
    rh.function(subjects.length).to(box, name="length")
    assert "schema" not in box._link.ask_node("describe", {"name": "length"})["methods"]["call"]
    described = box._link.ask_node("describe", {"name": "length", "schemas": True})
    schema = described["methods"]["call"]["schema"]
    assert schema["returns"] == {"type": "number"}
    assert set(schema["parameters"]["$defs"]) == {"Line", "Point", "Colour"}
    box.rename("length", "renamed")
    assert "schema" in box._link.ask_node("describe", {"name": "renamed", "schemas": True})["methods"]["call"]
    with pytest.raises(rh.WrongArguments):
        box._link.ask_node("describe", {"name": "renamed", "schemas": 1})
    box.clear()


TEXT = """
def triple(x: int) -> int:
    return 3 * x

class Tally:
    def __init__(self, start: int = 0):
        self.value = start
    def add(self, by: int) -> int:
        self.value += by
        return self.value

if __name__ == "__main__":
    raise SystemExit("run as a script")
"""


def test_the_text_of_a_file_is_a_service(box: rh.Cluster, tmp_path: Path) -> None:
    file = str(tmp_path / "tallies.py")
    described = deploy_text(box, "triple", TEXT, file)
    assert described["kind"] == "function"
    assert call(box, "triple", "call", 14) == 42
    # As whoever knows no more of it than an interpreter starts one.
    command = [sys.executable, "-m", "roundhouse._worker"]
    described = deploy_text(box, "Tally", TEXT, file, kind=None, command=command)
    assert described["kind"] == "class"
    request = {"class": "Tally", "name": "tally", "encoding": _serialize.JSON}
    box._link.ask_node("create", request, body(kwargs={"start": 40}))
    assert call(box, "tally", "add", 2) == 42
    # Whoever has Python uses it as ever.
    assert box.get("tally", remote=True).add(1) == 43
    assert deploy_text(box, "twice", TEXT, file, callable="triple", count=2)["workers"] == 2
    with pytest.raises(rh.WrongArguments, match="several workers are for functions only"):
        deploy_text(box, "Many", TEXT, file, callable="Tally", count=2)
    with pytest.raises(rh.WrongArguments, match="it has triple, Tally"):
        deploy_text(box, "nothing", TEXT, file)
    with pytest.raises(SyntaxError):
        deploy_text(box, "broken", "def broken(:", file)
    assert set(box.keys()) == {"triple", "Tally", "tally", "twice"}
    box.clear()
