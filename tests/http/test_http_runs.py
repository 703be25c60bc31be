"""Runs over HTTP: asked for by headers, looked at by their own routes."""

from __future__ import annotations

from pathlib import Path

import roundhouse as rh
from http_asking import Node, wait_until
from roundhouse._webhooks import deliver


def test_an_idempotency_key_runs_once(node: Node) -> None:
    made = node.post("/v1/services/Counter?name=keyed", {"start": 5})
    assert made.status == 201
    for _ in range(3):
        answer = node.post("/v1/services/keyed/add", {"by": 2}, Idempotency_Key="add-two")
        assert (answer.status, answer.json) == (200, 7)
    assert node.post("/v1/services/keyed/add", {"by": 1}).json == 8
    other = node.post("/v1/services/keyed/add", {"by": 3}, Idempotency_Key="add-two")
    assert (other.status, other.code) == (409, "run_conflict")
    assert (other.json["error"]["facts"]["old"], other.json["error"]["facts"]["differs"]) != ("", "")
    # White space and order are no difference.
    headers = {"Idempotency-Key": "add-two", "Content-Type": "application/json"}
    spaced = node.ask("POST", "/v1/services/keyed/add", b'{ "by" : 2 }', headers)
    assert spaced.json == 7


def test_respond_async_and_a_long_poll(node: Node, tmp_path: Path) -> None:
    mark = tmp_path / "running"
    begun = node.post("/v1/services/block/call", [str(mark)], Prefer="respond-async", Idempotency_Key="blocks")
    assert begun.status == 202
    assert begun.headers["location"] == "/v1/runs/blocks"
    assert begun.headers["preference-applied"] == "respond-async"
    assert begun.json["how"] == "made"
    again = node.post("/v1/services/block/call", [str(mark)], Prefer="respond-async", Idempotency_Key="blocks")
    assert (again.status, again.json["how"], again.json["attempt"]) == (202, "attached", 1)
    wait_until(mark.exists, "the run")
    status = node.ask("GET", begun.headers["location"])
    assert (status.status, status.json["state"]) == (200, "running")
    for wait in ("", "?wait=0.05"):
        early = node.ask("GET", begun.json["result"] + wait)
        assert (early.status, early.json["state"]) == (202, "running")
    assert node.post("/v1/runs/blocks/cancel").json == {"cancelled": True}
    ended = node.ask("GET", begun.json["result"] + "?wait=20")
    assert (ended.status, ended.code) == (409, "cancelled")
    assert node.post("/v1/runs/blocks/cancel").json == {"cancelled": False}
    assert not mark.exists()


def test_results_failures_and_logs(node: Node) -> None:
    begun = node.post("/v1/services/add/call", {"a": 1}, Prefer="respond-async")
    name = begun.json["run"]
    assert name.startswith("add-")
    result = node.ask("GET", begun.json["result"] + "?wait=20")
    assert (result.status, result.json) == (200, 3)
    assert node.ask("GET", begun.json["logs"]).body == b"adding\n"
    assert node.ask("GET", begun.json["logs"] + "?offset=4").body == b"ng\n"
    events = node.ask("GET", begun.json["logs"] + "?follow=true", headers={"Accept": "application/x-ndjson"})
    assert events.body.splitlines()[0] == b'{"stdout":"adding\\n"}'
    assert b'"next":7' in events.body.splitlines()[-1]
    failed = node.post("/v1/services/fail/call", ["oh"], Idempotency_Key="fails")
    assert (failed.status, failed.json["error"]["type"]) == (500, "ValueError")
    assert node.ask("GET", "/v1/runs/fails/result").json["error"]["message"] == "oh"
    listed = {run["name"]: run["state"] for run in node.ask("GET", "/v1/runs").json}
    assert (listed[name], listed["fails"]) == ("succeeded", "failed")
    assert node.ask("DELETE", "/v1/runs/fails").status == 200
    assert node.ask("GET", "/v1/runs/fails").status == 404
    for wrong in ("/x/result?wait=x", "?limit=0.5", "/x/logs?follow=2", "/x/logs?offset=-1"):
        assert node.ask("GET", f"/v1/runs{wrong}").status == 400, wrong


def test_python_and_http_see_the_same_runs(node: Node) -> None:
    node.post("/v1/services/add/call", {"a": 4, "b": 5}, Idempotency_Key="shared")
    assert node.box.get_run("shared").result() == 9
    assert rh.Run(node.box, "shared").logs() == "adding\n"
    remote = node.box.get("add", remote=True)
    assert remote.options(run_name="from-python", stream_logs=False)(1, 1) == 2
    answer = node.ask("GET", "/v1/runs/from-python/result")
    assert (answer.status, answer.code) == (406, "not_serializable")


def test_what_cannot_be_a_run(node: Node) -> None:
    generator = node.post("/v1/services/count/call", {"n": 3}, Idempotency_Key="counts")
    assert (generator.status, generator.code) == (501, "unsupported")
    invalid = node.post("/v1/services/add/call", {"a": 1}, Idempotency_Key="no/name")
    assert (invalid.status, invalid.code) == (400, "invalid_name")


def test_a_webhook_is_told(node: Node) -> None:
    """Here by a node that has no worker which could, and then one; what it sends is in test_webhooks.py."""
    for refused, address in (("unsupported", "http://127.0.0.1:9/done"), ("bad_arguments", "done")):
        answer = node.post("/v1/services/add/call", {"a": 1}, Roundhouse_Webhook=address)
        assert answer.code == refused
    node.box.webhook_secret()
    rh.function(deliver).to(node.box, name="roundhouse-webhooks")
    answer = node.post(
        "/v1/services/add/call", {"a": 1}, Idempotency_Key="tells", Roundhouse_Webhook="http://127.0.0.1:9/done"
    )
    assert (answer.status, answer.json) == (200, 3)
    told = node.ask("GET", "/v1/runs/tells.webhook-1")
    assert told.json["service"] == "roundhouse-webhooks"
    assert node.ask("GET", "/v1/runs/tells").json["webhook"] == "http://127.0.0.1:9/done"
