"""What nobody should send: a typed refusal, bounded memory, no effect."""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import ExitStack

import http_subjects
import pytest
import roundhouse as rh
from http_asking import TIMEOUT, Answer, Node, ask_on, wait_until

STRANGERS_MAX = 512  # limits::k_strangers_max
ADD = "POST /v1/services/add HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
DESCRIBE = "POST /v1/services/describe HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n"


def status_of(heard: bytes) -> int:
    assert heard.startswith(b"HTTP/1.1 "), heard
    return int(heard.split()[1])


@pytest.mark.parametrize(
    "body",
    [
        b"[1,]", b"[1", b"[NaN]", b"[Infinity]", b"[-Infinity]", b"[1] x", b'{"a":1,"a":2}', b'{"a":1,"\\u0061":2}',
        b"[01]", b"[1.]", b"[+1]", b"['a']", b'["\xff"]', b'["\\ud800"]', b'["\n"]', b"[1e999]", b"\xef\xbb\xbf[1]",
        b"nul", b'{"a"}', b"[" * 65 + b"]" * 65, b"[" * 100_000, b'{"a":' * 100_000, b"[" + b"9" * 5000 + b"]",
        b"// c\n[1]", b"5", b'"text"',
    ],
)  # fmt: skip
def test_what_is_not_strict_json_is_400(node: Node, body: bytes) -> None:
    before = node.box.status()["calls"]
    answer = node.post("/v1/services/add", body, Content_Type="application/json")
    assert (answer.status, answer.code) == (400, "protocol")
    assert node.box.status()["calls"] == before


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n[1]", 400),
        ("Content-Length: 3\r\nContent-Length: 4\r\n\r\n[1]", 400),
        ("Content-Length: 3\r\nContent-Length: 3\r\n\r\n[1]", 400),
        ("Content-Length: -3\r\n\r\n[1]", 400),
        ("Content-Length: +3\r\n\r\n[1]", 400),
        ("Content-Length: 0x3\r\n\r\n[1]", 400),
        ("Content-Length: 99999999999999999999999\r\n\r\n[1]", 400),
        ("Content-Length : 3\r\n\r\n[1]", 400),
        ("Transfer-Encoding: gzip, chunked\r\n\r\n3\r\n[1]\r\n0\r\n\r\n", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1]\r\n0\r\n\r\n", 400),
        ("Transfer-Encoding: chunked\r\n\r\nx\r\n[1]\r\n0\r\n\r\n", 400),
        ("Transfer-Encoding: chunked\r\n\r\n-3\r\n[1]\r\n0\r\n\r\n", 400),
        ("Transfer-Encoding: chunked\r\n\r\n2\r\n[1]\r\n0\r\n\r\n", 400),
        ("Transfer-Encoding: chunked\r\n\r\n3\n[1]\r\n0\r\n\r\n", 400),
        ("Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n[1]\r\n0\r\n\r\n", 400),
        ("X: a\rb\r\nContent-Length: 3\r\n\r\n[1]", 400),
        ("X: a\r\n b\r\nContent-Length: 3\r\n\r\n[1]", 400),
        ("X: a\0b\r\nContent-Length: 3\r\n\r\n[1]", 400),
        ("X: a\nContent-Length: 3\r\n\r\n[1]", 400),
        ("no colon\r\nContent-Length: 3\r\n\r\n[1]", 400),
        ("Host: y\r\nContent-Length: 3\r\n\r\n[1]", 400),
        ("Expect: 200-ok\r\nContent-Length: 3\r\n\r\n[1]", 417),
        ("Content-Length: 999999999\r\n\r\n", 413),
        ("X: " + "x" * 20_000 + "\r\n\r\n", 431),
        ("".join(f"X{n}: 1\r\n" for n in range(200)) + "\r\n", 431),
    ],
)
def test_a_head_that_can_be_read_in_two_ways_is_refused(node: Node, head: str, status: int) -> None:
    before = node.box.status()["calls"]
    assert status_of(node.raw((ADD + "Connection: close\r\n" + head).encode(), half_close=True)) == status
    assert node.box.status()["calls"] == before


@pytest.mark.parametrize(
    "target",
    [
        "/v1/services/../check", "/v1/./check", "/v1//check", "/v1/services/%2e%2e/check", "/v1/services/a%2fb",
        "/v1/services/a%00b", "/v1/services/a%5cb", "/v1/services/%", "/v1/services/%zz", "/v1/services/%ff",
        "http://elsewhere/v1/check", "v1/check", "*", "/v1/check#part", "/v1/check?a=%ff",
    ],
)  # fmt: skip
def test_path_tricks_are_refused(node: Node, target: str) -> None:
    heard = node.raw(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert status_of(heard) == 400


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n", b"SSH-2.0-OpenSSH\r\n\r\n", b"GET /\r\n\r\n", b"\r\n" * 20]
)
def test_garbage_is_400(node: Node, data: bytes) -> None:
    assert status_of(node.raw(data, half_close=True)) == 400


def test_a_long_target_is_414(node: Node) -> None:
    assert status_of(node.raw(b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")) == 414
    assert status_of(node.raw(b"GET /" + b"x" * 40_000)) == 414


def test_garbage_behind_a_request_has_no_effect_on_it(node: Node) -> None:
    heard = node.raw((ADD + "Content-Length: 5\r\n\r\n[1,5]GARBAGE\r\n\r\n").encode())
    first, _, rest = heard.partition(b"\r\n\r\n6")
    assert status_of(first) == 200
    assert status_of(rest) == 400


def test_requests_sent_ahead_are_answered_in_their_order(node: Node) -> None:
    requests = "".join(ADD + f"Content-Length: 9\r\n\r\n[{number},100]" for number in range(100, 150))
    heard = node.raw((requests + "GET /v1/check HTTP/1.1\r\nConnection: close\r\n\r\n").encode())
    values = [int(part.split(b"\r\n\r\n")[1].split(b"H")[0]) for part in heard.split(b"TTP/1.1 200 OK")[1:-1]]
    assert values == list(range(200, 250))


def test_a_half_closed_request_is_refused_and_a_whole_one_answered(node: Node) -> None:
    assert status_of(node.raw((ADD + "Content-Length: 5\r\n\r\n[1").encode(), half_close=True)) == 400
    raw = DESCRIBE + "Content-Length: 9000000\r\n\r\n"
    before = node.calls_in_flight()
    assert status_of(node.raw(raw.encode() + b"x" * 3_000_000, half_close=True)) == 400
    wait_until(lambda: node.calls_in_flight() == before, "the end of the unfinished call")


def test_a_huge_body_without_a_length_is_411(node: Node) -> None:
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    head = DESCRIBE + "Transfer-Encoding: chunked\r\n\r\n"
    assert status_of(node.raw(head.encode() + chunk * 200 + b"0\r\n\r\n")) == 411


def test_who_reads_slowly_holds_up_only_its_own_producer(node: Node) -> None:
    with socket.socket(socket.AF_UNIX) as slow:
        slow.settimeout(TIMEOUT)
        slow.connect(node.path)
        body = json.dumps([1000, 1_000_000])
        slow.sendall((ADD.replace("add", "count") + f"Content-Length: {len(body)}\r\n\r\n{body}").encode())
        assert slow.recv(1000).startswith(b"HTTP/1.1 200")
        before = node.resident_bytes()
        for number in range(50):
            assert node.post("/v1/services/add", [number, 1]).json == number + 1
        assert node.resident_bytes() - before < 64 << 20
    wait_until(lambda: node.calls_in_flight() == 0, "the end of the call that nobody reads")


def test_who_sends_a_body_slowly_holds_up_nobody(node: Node) -> None:
    with socket.socket(socket.AF_UNIX) as slow:
        slow.settimeout(TIMEOUT)
        slow.connect(node.path)
        slow.sendall((ADD + "Content-Length: 5\r\n\r\n").encode())
        for byte in b"[1,5]":
            assert node.post("/v1/services/add", [1, 1]).json == 2
            slow.sendall(bytes([byte]))
        assert slow.recv(1000).endswith(b"6")


def test_who_stops_sending_is_hung_up_on(node: Node) -> None:
    """A head after 10 s, without a word, and a body after 30 s; a call that had begun ends with it."""
    before = node.calls_in_flight()
    with (
        socket.socket(socket.AF_UNIX) as head,
        socket.socket(socket.AF_UNIX) as small,
        socket.socket(socket.AF_UNIX) as big,
    ):
        for peer, data in (
            (head, b"GET /v1/check HTTP/1.1\r\nHo"),
            (small, (ADD + "Content-Length: 5\r\n\r\n[1").encode()),
            (big, (DESCRIBE + "Content-Length: 9000000\r\n\r\n").encode() + b"x" * 3_000_000),
        ):
            peer.settimeout(60)
            peer.connect(node.path)
            peer.sendall(data)
        wait_until(lambda: node.calls_in_flight() == before + 1, "the beginning of the call whose body streams")
        assert node.post("/v1/services/add", [1, 1]).json == 2
        assert head.recv(1000) == b""
        for peer in (small, big):
            heard = peer.recv(1000)
            assert status_of(heard) == 408
            assert b'"code":"timeout"' in heard
            assert peer.recv(1000) == b""
    wait_until(lambda: node.calls_in_flight() == before, "the end of the unfinished call")


def test_over_tcp_a_request_needs_a_token_and_the_right_site(node: Node) -> None:
    listener = node.box._link.ask_node("listen", {"host": "127.0.0.1", "port": 0})
    token = node.box._link.ask_node("token_create", {"name": "caller", "scope": "call"})["token"]
    bound = node.box._link.ask_node("token_create", {"name": "bound", "scope": "call", "service": "add"})["token"]
    host = f"127.0.0.1:{listener['port']}"

    def ask(method: str, target: str, body: object = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection(host, timeout=TIMEOUT)
        try:
            return ask_on(connection, method, target, body, {k.replace("_", "-"): v for k, v in headers.items()})
        finally:
            connection.close()

    def bearer(of: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {of}"}

    before = node.box.status()["calls"]
    for headers, status in (
        ({}, 401),
        (bearer("wrong"), 401),
        (bearer(token) | {"Host": "elsewhere.example"}, 421),
        (bearer(token) | {"Origin": "https://elsewhere.example"}, 403),
        (bearer(token) | {"Origin": "null"}, 403),
        (bearer(token) | {"Sec-Fetch-Site": "cross-site"}, 403),
        (bearer(token) | {"Sec-Fetch-Site": "same-site"}, 403),
    ):
        for method, target in (("POST", "/v1/services/add"), ("GET", "/v1/status"), ("DELETE", "/v1/services/add")):
            answer = ask(method, target, [1] if method == "POST" else None, **headers)
            assert answer.status == status, (headers, method)
            assert "access-control-allow-origin" not in answer.headers
        upgrade = {"Connection": "Upgrade", "Upgrade": "roundhouse"}
        assert ask("GET", "/", **headers, **upgrade).status == status
    assert node.box.status()["calls"] == before
    assert ask("GET", "/v1/check").status == 200
    assert ask("POST", "/v1/services/add", [1], **bearer(token)).json == 3
    assert ask("POST", "/v1/services/add", [1], **bearer(token), Origin=f"http://{host}").json == 3
    for method, target, body in (
        ("POST", "/v1/services", {"name": "x", "callable": "f", "text": "def f(): ..."}),
        ("DELETE", "/v1/services/add", None),
        ("POST", "/v1/services/add?remote=true&name=mine", [1]),
        ("POST", "/v1/services/Counter", [1]),
        ("POST", "/v1/processes", {"name": "p"}),
        ("PUT", "/v1/objects/x", [1]),
        ("POST", "/rename", {"key": "add", "new_key": "x"}),
    ):
        answer = ask(method, target, body, **bearer(token))
        assert (answer.status, answer.code) == (403, "not_allowed"), target
        assert "deploy" in answer.json["error"]["message"]
    assert ask("POST", "/v1/services/add", b"x", **bearer(token), Content_Type="application/x-pickle").status == 403
    assert ask("POST", "/v1/services/add", [1], **bearer(bound)).json == 3
    assert ask("GET", "/v1/services/add", **bearer(bound)).status == 200
    for target in ("/v1/services/fail", "/v1/services/count"):
        assert ask("POST", target, [1], **bearer(bound)).status == 403
    assert ask("GET", "/v1/services", **bearer(bound)).status == 403
    node.box._link.ask_node("unlisten", {})


def test_whoever_has_no_token_takes_nobodys_place(node: Node) -> None:
    listener = node.box.listen()
    token = node.box.create_token("early")
    headers = {"Authorization": f"Bearer {token}"}
    place = (listener.host, listener.port)
    early = http.client.HTTPConnection(*place, timeout=TIMEOUT)
    assert ask_on(early, "POST", "/v1/services/add", [1], headers).json == 3
    with ExitStack() as crowd:
        for number in range(STRANGERS_MAX + 1):
            peer = crowd.enter_context(socket.create_connection(place, timeout=TIMEOUT))
            peer.setblocking(False)
            # Some say nothing, some half a request, and some may ask what they ask.
            peer.sendall((b"", b"GET /v1/che", b"GET /v1/check HTTP/1.1\r\nHost: localhost\r\n\r\n")[number % 3])
        peer.settimeout(TIMEOUT)
        assert status_of(peer.recv(1000)) == 503
        assert node.post("/v1/services/add", [1, 1]).json == 2  # by the Unix socket
        assert rh.function(http_subjects.add).to(node.box, name="late")(1, 2) == 3  # a worker found its place
        assert ask_on(early, "POST", "/v1/services/add", [1], headers).json == 3

    def is_let_in() -> bool:
        late = http.client.HTTPConnection(*place, timeout=TIMEOUT)
        try:
            return ask_on(late, "POST", "/v1/services/add", [1], headers).status == 200
        except OSError:  # Refused, and closed before the request was sent.
            return False
        finally:
            late.close()

    wait_until(is_let_in, "a place by TCP")
    early.close()
    node.box.unlisten()
    node.box.revoke_token("early")


def test_many_idle_connections_cost_little(node: Node) -> None:
    before = node.resident_bytes()
    peers = []
    for _ in range(300):
        connection = node.connect()
        assert ask_on(connection, "GET", "/v1/check").status == 200
        peers.append(connection)
    assert node.resident_bytes() - before < 32 << 20
    for connection in peers:
        connection.close()
