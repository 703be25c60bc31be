"""Calls, from the request to the answer (protocol/http.md)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from http_asking import Node, ask_on, wait_until


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ([1, 5], 6),
        ({"a": 1, "b": 7}, 8),
        ({"*": [1], "b": 7}, 8),
        ({"b": 7, "*": [1]}, 8),
        ({"*": [1, 2]}, 3),
        ([1], 3),
    ],
)
def test_named_and_positional_arguments(node: Node, body: object, value: int) -> None:
    answer = node.post("/v1/services/add/call", body)
    assert (answer.status, answer.json) == (200, value)
    assert answer.headers["content-type"] == "application/json"
    assert node.post("/v1/services/add", body).json == value
    assert node.post("/add/call", body).json == value


def test_curl(node: Node) -> None:
    assert node.curl("--json", "[1, 5]", "http://localhost/v1/services/add") == "6"


def test_requests_share_a_connection(node: Node) -> None:
    connection = node.connect()
    for number in range(20):
        assert ask_on(connection, "POST", "/v1/services/add", [number, 1]).json == number + 1
        assert ask_on(connection, "POST", "/v1/services/nothing", [1]).status == 404
    connection.close()


def test_what_the_function_raises_is_500_with_its_traceback(node: Node) -> None:
    answer = node.post("/v1/services/fail", {"message": "because"})
    error = answer.json["error"]
    assert (answer.status, error["type"], error["code"], error["message"]) == (500, "ValueError", "raised", "because")
    assert "in fail" in error["traceback"]


def test_refusals_have_their_status(node: Node) -> None:
    assert node.post("/v1/services/nothing").status == 404
    assert node.post("/v1/services/add/nothing", [1]).status == 404
    assert node.post("/v1/services/add", {"c": 1}).status == 422
    assert node.post("/v1/services/add", ["text"]).status == 422
    get = node.ask("GET", "/v1/services/add/call")
    assert (get.status, get.headers["allow"]) == (405, "POST")
    delete = node.ask("DELETE", "/v1/services/add/call")
    assert delete.status == 405
    assert "POST" in delete.headers["allow"]
    assert node.ask("GET", "/v1/nothing/at/all").status == 404
    assert node.post("/v1/services/add?extra=1", [1]).status == 400
    assert node.post("/v1/services/add?timeout=soon", [1]).status == 400
    assert node.post("/v1/services/add", [1], Accept="image/png").status == 406
    assert node.post("/v1/services/add", b"a=1", Content_Type="application/x-www-form-urlencoded").status == 415


def test_an_array_of_items(node: Node) -> None:
    answer = node.post("/v1/services/count", [3])
    assert answer.json == [0, 1, 2]
    assert answer.headers["transfer-encoding"] == "chunked"
    assert node.post("/v1/services/count", [0]).json == []
    # Larger than every window.
    assert node.post("/v1/services/count", [40, 100_000]).json == ["x" * 100_000] * 40


def test_events(node: Node) -> None:
    text = node.post("/v1/services/count", [2], Accept="text/event-stream").body.decode()
    assert text == "event: item\ndata: 0\n\nevent: item\ndata: 1\n\nevent: result\ndata: null\n\n"
    text = node.post("/v1/services/add", [1], Accept="text/event-stream").body.decode()
    assert text == 'event: stdout\ndata: "adding\\n"\n\nevent: result\ndata: 3\n\n'
    text = node.post("/v1/services/add?logs=false", [1], Accept="text/event-stream").body.decode()
    assert text == "event: result\ndata: 3\n\n"
    text = node.post("/v1/services/fail", Accept="text/event-stream").body.decode()
    assert text.startswith("event: error\ndata: {")
    assert node.post("/v1/services/nothing", Accept="text/event-stream").status == 404


def test_lines(node: Node) -> None:
    lines = node.post("/v1/services/count", [2], Accept="application/x-ndjson").body.splitlines()
    assert [json.loads(line) for line in lines] == [{"item": 0}, {"item": 1}, {"result": None}]


@pytest.mark.parametrize("size", [0, 1, 65_536, 5_000_000])
def test_raw_bodies_stream_to_the_worker(node: Node, size: int) -> None:
    body = b"x" * size
    if size:
        assert node.post("/v1/services/describe", body, Content_Type="application/octet-stream").json == ["bytes", size]
    assert node.curl(
        "-H", "Content-Type: application/octet-stream", "-H", "Transfer-Encoding: chunked", "--data-binary", "@-",
        "http://localhost/v1/services/describe", data=body,
    ) == json.dumps(["bytes", size], separators=(",", ":"))  # fmt: skip


def test_text_and_forms(node: Node) -> None:
    assert node.post("/v1/services/describe", "grün".encode(), Content_Type="text/plain").json == ["str", 4]
    assert (
        node.curl("-F", "value=@-;filename=x.bin", "http://localhost/v1/services/describe", data=b"12345")
        == '["bytes",5]'
    )
    assert node.curl("-F", "a=4", "-F", "b=5", "http://localhost/v1/services/add") == "9"


def test_references_are_passed_from_call_to_call(node: Node) -> None:
    made = node.post("/v1/services/add?remote=true&name=six", [1, 5])
    assert (made.status, made.headers["location"], made.json) == (201, "/v1/objects/six", {"$ref": "six"})
    assert node.post("/v1/services/add", [{"$ref": "six"}, 1]).json == 7
    assert node.post("/v1/services/total", [[{"$ref": "six"}, {"$ref": "six"}]]).json == 12
    assert node.ask("GET", "/v1/objects/six").json == 6
    assert node.ask("GET", "/v1/objects").json["six"] == "int"
    assert node.ask("DELETE", "/v1/objects/six").status == 200
    missing = node.post("/v1/services/add", [{"$ref": "six"}])
    assert (missing.status, missing.json["error"]["facts"]["name"]) == (404, "six")


def test_instances(node: Node) -> None:
    made = node.post("/v1/services/Counter?name=mine", [10])
    assert (made.status, made.headers["location"], made.json["kind"]) == (201, "/v1/services/mine", "instance")
    assert node.post("/v1/services/mine/add").json == 11
    assert node.post("/v1/services/mine/add", [5]).json == 16
    assert node.ask("DELETE", "/v1/services/mine").status == 200


def test_a_hang_up_cancels_the_call(node: Node, tmp_path: Path) -> None:
    flag = tmp_path / "running"
    connection = node.connect()
    connection.request("POST", "/v1/services/block", json.dumps([str(flag)]), {"Content-Type": "application/json"})
    wait_until(flag.exists, "the call's beginning")
    connection.close()
    wait_until(lambda: not flag.exists(), "the cancel")
    wait_until(lambda: node.calls_in_flight() == 0, "the call's end")


def test_a_deadline(node: Node, tmp_path: Path) -> None:
    answer = node.post("/v1/services/block?timeout=0.3", [str(tmp_path / "running")])
    assert (answer.status, answer.code) == (504, "timeout")


def test_a_file_is_deployed_and_deleted(node: Node) -> None:
    wanted = {
        "name": "twice",
        "callable": "f",
        "text": "def f(x: int) -> int:\n    return 2 * x\n",
        "python": sys.executable,
    }
    made = node.post("/v1/services", wanted)
    assert (made.status, made.headers["location"], made.json["kind"]) == (201, "/v1/services/twice", "function"), (
        made.json
    )
    assert node.post("/v1/services/twice", [4]).json == 8
    assert node.ask("DELETE", "/v1/services/twice").status == 200
    assert node.post("/v1/services/twice", [4]).status == 404
    assert node.post("/v1/services", wanted | {"text": "def f(:"}).status == 500
    assert node.post("/v1/services", wanted | {"callable": "g"}).status == 422
    reserved = node.post("/v1/services", wanted | {"name": "metrics"})
    assert (reserved.status, reserved.code) == (400, "invalid_name")
    assert node.post("/v1/services", wanted | {"colour": "red"}).status == 422
    assert node.post("/v1/services", {"name": "twice"}).status == 422


def test_processes_and_objects_in_them(node: Node) -> None:
    made = node.post("/v1/processes", {"name": "p", "python": sys.executable})
    assert (made.status, made.json["name"]) == (201, "p"), made.json
    assert "p" in node.ask("GET", "/v1/processes").json
    assert node.post("/v1/processes/p/run", {"commands": ["echo hi"]}).json == [[0, "hi\n", ""]]
    put = node.ask("PUT", "/v1/objects/numbers?process=p", [1, 2])
    assert (put.status, put.json) == (201, {"$ref": "numbers"}), put.json
    assert node.ask("GET", "/v1/objects/numbers").json == [1, 2]
    assert node.post("/v1/services/total", [{"$ref": "numbers"}]).json == 3
    assert node.ask("DELETE", "/v1/processes/p").json == {"deleted": ["numbers"]}


def test_the_node_itself(node: Node) -> None:
    assert node.ask("GET", "/v1/check").json["status"] == "ok"
    assert node.ask("GET", "/v1/status").json["name"] == node.box.name
    assert {service["name"] for service in node.ask("GET", "/v1/services").json} >= {"add", "count"}
    assert "call" in node.ask("GET", "/v1/services/add").json["methods"]
    metrics = node.ask("GET", "/metrics")
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "\nroundhouse_calls_total " in metrics.body.decode()
    head = node.ask("HEAD", "/v1/check")
    assert (head.status, head.body) == (200, b"")


def test_documents(node: Node) -> None:
    assert node.ask("GET", "/v1/openapi.json").json["openapi"].startswith("3.1")
    assert "/v1/services/add/call" in json.dumps(node.ask("GET", "/v1/services/add/openapi.json").json)
    page = node.ask("GET", "/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_what_runhouse_sent_is_still_understood(node: Node) -> None:
    answer = node.post("/add/call", {"data": {"args": [1], "kwargs": {"b": 4}}, "serialization": None, "run_name": "r"})
    assert answer.json == 5
    answer = node.post("/add/call", {"data": json.dumps({"args": [1, 2]}), "serialization": "json"})
    assert answer.json == {"data": "3", "output_type": "result_serialized", "serialization": "json"}
    # The canonical route takes it for what it is.
    assert node.post("/v1/services/add/call", {"data": {"args": [1]}}).status == 422
    assert "rh_version" in node.ask("GET", "/check").json
    assert "add" in node.ask("GET", "/keys").json


def test_runhouses_routes(node: Node) -> None:
    answer = node.post("/add/call", {"data": "", "serialization": "pickle"})
    assert answer.status == 400
    assert "application/x-pickle" in answer.json["error"]["message"]
    refused = node.ask("DELETE", "/add/call")
    assert (refused.status, refused.headers["allow"]) == (405, "POST")
    assert node.ask("GET", "/add/call?a=1").status == 405
    assert node.ask("GET", "/status").json["pid"] == node.box.status()["pid"]

    node.box.put("old", [1])
    assert node.post("/rename", {"key": "old", "new_key": "new"}).status == 200
    assert node.box.get("new") == [1]
    assert node.post("/delete_object", {"keys": ["new"]}).json == ["new"]
    assert node.box.get("new") is None

    for key, given in (
        ("text-of-json", {"serialized_data": '[1, {"a": null}]'}),
        ("itself", {"serialized_data": [1, {"a": None}], "serialization": "none"}),
    ):
        put = node.post("/object", {"key": key, **given}, **{"Roundhouse-Python": sys.executable})
        assert (put.status, put.json) == (201, {"$ref": key}), put.body
        assert node.box.get(key) == [1, {"a": None}]
    assert node.post("/object", {"key": "bad", "serialized_data": "[1,"}).status == 400
    assert node.post("/object", {"key": "bad", "serialized_data": "", "serialization": "pickle"}).status == 400
    assert node.ask("GET", "/cert").status == 404  # a Unix socket has none
    kept = node.post("/add/call", {"data": {"args": [20, 22]}, "remote": True})
    assert (kept.status, list(kept.json)) == (201, ["$ref"])
    assert node.box.get(kept.json["$ref"]) == 42

    created = node.post(
        "/create_process", {"process_name": "side", "env_vars": {"SIDE": "1"}, "python": sys.executable}
    )
    assert created.status == 200, created.body
    assert node.post("/env_vars", {"process_name": "side", "env_vars": {"SIDE": "2"}}).status == 200
    ran = node.post("/run_bash", {"command": "echo $SIDE", "process": "side", "require_outputs": True})
    assert '"2\\n"' in ran.body.decode()
    assert node.post("/kill_process", {"process_name": "side"}).status == 200
    assert "side" not in node.box.list_processes()
