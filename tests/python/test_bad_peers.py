"""Peers that break the protocol, on the socket of a living daemon: they are told so or hung up on, and nobody else
notices. The frames are those of tests/golden."""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import roundhouse as rh
import subjects

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
UPGRADE = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: roundhouse\r\n\r\n"


def golden(name: str) -> bytes:
    lines = (GOLDEN / f"{name}.hex").read_text().splitlines()
    return bytes.fromhex("".join(line.split("#")[0] for line in lines))


def connect(box: rh.Cluster) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(20)
    peer.connect(box._socket_path)
    return peer


def read_to_the_end(peer: socket.socket) -> bytes:
    answer = b""
    try:
        while more := peer.recv(65536):
            answer += more
    except ConnectionResetError:
        # The daemon had not read everything when it hung up.
        pass
    return answer


@pytest.fixture
def neighbour(box: rh.Cluster) -> Iterator[None]:
    """Calls all the while, and every call must be answered rightly."""
    add = rh.function(subjects.add).to(box, name="neighbour", replace=True)
    pid = box.status()["pid"]
    stop, wrong, calls = threading.Event(), [], [0]

    def call() -> None:
        while not stop.is_set():
            try:
                assert add(calls[0]) == calls[0] + 1
            except BaseException as error:
                wrong.append(error)
                return
            calls[0] += 1

    thread = threading.Thread(target=call)
    thread.start()
    yield
    stop.set()
    thread.join(20)
    assert not wrong
    assert calls[0] > 0
    assert box.status()["pid"] == pid


@pytest.mark.usefixtures("neighbour")
@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"\x00" * 64, b"400 Bad Request"),
        (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", b"404 Not Found"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000, b"431 Request Header Fields Too Large"),
        (UPGRADE + golden("call"), b"must be HELLO"),
        (UPGRADE + struct.pack("<II", 1 << 31, 0), b"header of 2147483648 bytes"),
        (UPGRADE + struct.pack("<II", 8, 1 << 31) + b"x" * 8, b"body of 2147483648 bytes"),
        (UPGRADE + struct.pack("<II", 8, 0) + b"\xff" * 8, b"not a valid message"),
        (UPGRADE + golden("hello_worker"), b"has started no worker"),
        (UPGRADE + golden("hello_client") + golden("result_returned"), b"a client has no results"),
    ],
    ids=[
        "zeros",
        "no-upgrade",
        "huge-head",
        "no-hello",
        "huge-header",
        "huge-body",
        "garbage",
        "false-worker",
        "a-result",
    ],
)
def test_what_breaks_the_protocol_is_told_so(box: rh.Cluster, sent: bytes, said: bytes) -> None:
    with connect(box) as peer:
        try:
            peer.sendall(sent)
        except BrokenPipeError:
            # It was refused before all of it was sent.
            pass
        assert said in read_to_the_end(peer)


@pytest.mark.usefixtures("neighbour")
def test_random_bytes(box: rh.Cluster) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    whole = golden("hello_client") + golden("call") + golden("call_begins") + golden("cancel")
    for _ in range(200):
        frames = bytearray(whole)
        for _ in range(dice.randrange(1, 8)):
            frames[dice.randrange(len(frames))] = dice.randrange(256)
        with connect(box) as peer:
            try:
                peer.sendall(UPGRADE + frames[: dice.randrange(len(frames))])
                peer.shutdown(socket.SHUT_WR)
            except OSError:
                continue
            read_to_the_end(peer)


@pytest.mark.usefixtures("neighbour")
def test_a_peer_that_dies_in_the_middle_of_a_body(box: rh.Cluster) -> None:
    service = rh.function(subjects.identity).to(box, name="f", replace=True)
    for _ in range(20):
        with connect(box) as peer:
            peer.sendall(UPGRADE + golden("hello_client") + golden("call_begins"))
            # Answered means read: the call has begun, and its body never comes.
            assert b"101 Switching Protocols" in peer.recv(65536)
    assert service("still here") == "still here"
    assert [s["calls"] for s in box.status()["services"] if s["name"] == "f"] == [0]


def test_a_frame_in_pieces_is_understood(box: rh.Cluster) -> None:
    with connect(box) as peer:
        for byte in UPGRADE + golden("hello_client") + golden("ping"):
            peer.sendall(bytes([byte]))
        answer = b""
        while bytes([0x08, 9]) not in answer:  # The kind PONG.
            more = peer.recv(65536)
            assert more
            answer += more
