"""How a node relays items and ends calls (protocol/wire.md): a real daemon between raw_peer's client and
worker, which do what well-behaved ones would not."""

from __future__ import annotations

import json
from typing import Any

import pytest
import roundhouse as rh
from node_asking import (
    ask,
    calls_of,
    code_of,
    deploy,
    nothing_stays,  # noqa: F401
    raw_client,  # noqa: F401
)
from patience import wait_until
from raw_peer import ABORT, CANCEL, CHUNK, CREDIT, ITEM, ITEMS, JSON, RESULT, Client

# --- items ----------------------------------------------------------------------------------------------------------


def test_items_go_both_ways(box: rh.Cluster, client: Client) -> None:
    name = deploy(box)
    stream = client.call(name, "bounce", prefetch=0)
    about = {"stream": stream, "source": 3}
    client.send({**about, "kind": ITEM, "encoding": JSON, "parts": [2, 3], "batch": 1}, b"12345")
    message, body = client.receive()
    assert body == b"12345"
    assert {k: message[k] for k in ("kind", "source", "batch", "parts")} == {
        "kind": ITEM, "source": 3, "batch": 1, "parts": [2, 3],
    }  # fmt: skip
    # One beyond a chunk, and another of the same stream behind it.
    for _ in range(2):
        client.send({**about, "kind": ITEM, "encoding": JSON, "parts": [100_000]}, b"a" * 60_000)
        client.send({"stream": stream, "kind": CHUNK}, b"b" * 40_000)
    came = [client.receive() for _ in range(4)]
    assert [message["kind"] for message, _ in came] == [ITEM, CHUNK, ITEM, CHUNK]
    assert b"".join(body for _, body in came) == (b"a" * 60_000 + b"b" * 40_000) * 2
    # Credit of items, to the worker and from it; it sends back what it gets.
    client.send({**about, "kind": CREDIT, "channel": ITEMS, "number": 77})
    message, _ = client.receive()
    assert (message["kind"], message["channel"], message["number"], message["source"]) == (CREDIT, ITEMS, 77, 3)
    client.send({**about, "kind": ITEM, "last": 1})
    assert client.result(stream)["json"] == "bounced"


def test_a_worker_can_drop_an_argument(box: rh.Cluster, client: Client) -> None:
    name = deploy(box)
    stream = client.call(name, "bounce")
    # The raw worker cannot be made to send a CANCEL by one, which is the node's to act on; so it is sent an item.
    client.send({"kind": ITEM, "stream": stream, "source": 2, "encoding": JSON, "parts": [1]}, b"1")
    assert client.receive()[0]["kind"] == ITEM
    drop = client.call(name, "drop", parents=[str(stream)])
    message, _ = client.receive()
    assert (message["kind"], message["stream"], message["source"]) == (CANCEL, drop, 2)
    assert client.result(drop)["json"] == "dropped"
    # Towards the worker there is no such thing.
    client.send({"kind": CANCEL, "stream": stream, "source": 2})
    client.send({"kind": ITEM, "stream": stream, "last": 1})
    assert client.result(stream)["json"] == "bounced"


@pytest.mark.parametrize(
    "wrong",
    [
        [({"kind": ITEM, "parts": [3]}, b"1"), ({"kind": ITEM, "parts": [1]}, b"1")],
        [({"kind": ITEM, "parts": [3]}, b"12345")],
        [({"kind": ITEM, "parts": [3]}, b"1"), ({"kind": CHUNK}, b"12345")],
        [({"kind": CHUNK}, b"12345")],
        [({"kind": ITEM, "parts": [1] * 5000}, b"")],
        [({"kind": ITEM, "parts": [1 << 50]}, b"")],
    ],
    ids=["two-at-once", "too-much", "chunk-too-long", "chunk-of-nothing", "too-many-parts", "too-large"],
)
def test_items_that_break_the_protocol(box: rh.Cluster, client: Client, wrong: list[tuple[Any, bytes]]) -> None:
    name = deploy(box)
    stream, other = client.call(name, "obey"), client.call(name, "obey")
    for message, body in wrong:
        client.send({"stream": stream, "encoding": JSON, **message}, body)
    assert code_of(client.result(stream)) == "protocol"
    # It was cancelled there, and the call beside it was not.
    wait_until(lambda: calls_of(box, name) == 1)
    client.send({"kind": CANCEL, "stream": other})
    assert code_of(client.result(other)) == "cancelled"


def test_a_worker_that_breaks_the_protocol_with_items(box: rh.Cluster, client: Client) -> None:
    name = deploy(box)
    stream = client.call(name, "overrun")
    assert client.receive()[0]["kind"] == ITEM
    message = client.result(stream)
    # In the middle of a body the stream ends with that.
    assert (message["kind"], code_of(message)) == (ABORT, "protocol")
    assert client.ask(name, "echo")


def test_a_client_goes_in_the_middle_of_an_item(box: rh.Cluster, client: Client) -> None:
    name = deploy(box)
    with Client(box._socket_path) as other:
        stream = other.call(name, "obey")
        other.send({"kind": ITEM, "stream": stream, "source": 1, "parts": [10]}, b"12")
        wait_until(lambda: calls_of(box, name) == 1)
    wait_until(lambda: calls_of(box, name) == 0)
    kinds = [message["kind"] for message in client.ask(name, "log")]
    assert kinds[-4:-1] == [ITEM, ABORT, CANCEL]


# --- deadlines and cancels ------------------------------------------------------------------------------------------


def test_a_deadline_is_the_nodes_to_keep(box: rh.Cluster, client: Client) -> None:
    name = deploy(box)
    for method in ("obey", "late"):
        message = client.result(client.call(name, method, deadline_ms=50))
        assert code_of(message) == "timeout"
        assert message["facts"] == {"still_running": "False", "started": "yes"}
        assert name in message["error"]["message"]
    # One that ends in time hears nothing of it, and one with much time is answered at once.
    assert client.ask(name, "echo", deadline_ms=1 << 62)["deadline_ms"] == 1 << 62
    assert all(message["kind"] != CANCEL for message in client.ask(name, "log")[-2:])
    # A body that does not come in time: the worker never sees the call.
    message = client.result(client.call(name, "echo", b"12", announce=10, deadline_ms=50))
    assert (code_of(message), message["facts"]["started"]) == ("timeout", "no")
    wait_until(lambda: calls_of(box, name) == 0)


def test_a_call_alone_is_ended_with_its_worker(box: rh.Cluster, client: Client) -> None:
    name = deploy(box)
    pid = client.ask(name, "echo")["pid"]
    message = client.result(client.call(name, "stuck", deadline_ms=50))
    assert (code_of(message), message["facts"]["still_running"]) == ("timeout", "False")
    # The function has another worker, as after any death.
    assert client.ask(name, "echo")["pid"] != pid
    cancelled = client.call(name, "stuck")
    client.send({"kind": CANCEL, "stream": cancelled})
    message = client.result(cancelled)
    assert (code_of(message), message["facts"]["still_running"]) == ("cancelled", "False")
    # No call has ended by itself, and yet none of these deaths counts.
    for _ in range(2):
        assert code_of(client.result(client.call(name, "stuck", deadline_ms=50))) == "timeout"
    assert client.ask(name, "echo")


def test_a_call_beside_others_is_released(box: rh.Cluster, client: Client) -> None:
    name = deploy(box)
    pid = client.ask(name, "echo")["pid"]
    neighbour, late, gone = (
        client.call(name, "obey"),
        client.call(name, "stuck", deadline_ms=50),
        client.call(name, "stuck"),
    )
    client.send({"kind": CANCEL, "stream": gone})
    for stream, code in ((gone, "cancelled"), (late, "timeout")):
        message = client.result(stream)
        assert (code_of(message), message["facts"]["still_running"]) == (code, "True")
        assert "thrown away" in message["error"]["message"]
    # They still run there, and count; the worker's answer ends that.
    assert calls_of(box, name) == 3
    client.ask(name, "let_go")
    assert calls_of(box, name) == 1
    client.send({"kind": CANCEL, "stream": neighbour})
    assert code_of(client.result(neighbour)) == "cancelled"
    assert client.ask(name, "echo")["pid"] == pid
    assert client.is_quiet(0.05)


def test_kill_ends_the_worker_whoever_is_there(box: rh.Cluster, client: Client) -> None:
    name = deploy(box)
    neighbour, killed = client.call(name, "obey"), client.call(name, "stuck", deadline_ms=50, kill=True)
    results: dict[int, Any] = {}
    for _ in range(2):
        message, _ = client.receive()
        assert message["kind"] == RESULT
        results[message["stream"]] = message
    assert code_of(results[killed]) == "timeout"  # type: ignore[arg-type]
    hurt = results[neighbour]
    assert code_of(hurt) == "worker_died"  # type: ignore[arg-type]
    assert f'because a call of "{name}" passed its deadline' in hurt["error"]["message"]  # type: ignore[index]
    # What comes meanwhile waits for the next worker.
    killed = client.call(name, "stuck")
    client.send({"kind": CANCEL, "stream": killed, "kill": 1})
    assert code_of(client.result(killed)) == "cancelled"
    assert client.ask(name, "echo")


def test_an_object_is_not_killed_for_one_caller(box: rh.Cluster, client: Client) -> None:
    name = deploy(box, kind="class")
    made = ask(box, "create", **{"class": name})["name"]
    stream = client.call(made, "stuck", deadline_ms=50)
    message = client.result(stream)
    assert (code_of(message), message["facts"]["still_running"]) == ("timeout", "True")
    assert client.ask(made, "let_go") is None
    assert client.ask(made, "echo")


def test_a_caller_that_went_away(box: rh.Cluster, client: Client) -> None:
    name = deploy(box)
    pid = client.ask(name, "echo")["pid"]
    with Client(box._socket_path) as other:
        other.call(name, "stuck")
        wait_until(lambda: calls_of(box, name) == 1)
    wait_until(lambda: calls_of(box, name) == 0, what="the end of a call that nobody waits for")
    assert client.ask(name, "echo")["pid"] != pid


def test_a_constructor_that_does_not_end(box: rh.Cluster, client: Client) -> None:
    name = deploy(box, "slow-class", "class")
    request = json.dumps({"class": name, "name": "never"}).encode()
    stream = client.call("_node", "create", request, deadline_ms=50)
    message = client.result(stream)
    assert (code_of(message), message["facts"]["still_running"]) == ("timeout", "True")
    # Its name is not free before it has ended, and then there is no such instance.
    with pytest.raises(rh.NameTaken, match="being made"):
        ask(box, "create", **{"class": name, "name": "never"})
    client.ask(name, "let_go")
    wait_until(lambda: client.ask(name, "echo")["services"] == [name])
    with pytest.raises(rh.NotFound):
        ask(box, "describe", name="never")
    assert client.is_quiet(0.05)
