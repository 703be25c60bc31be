"""TLS at the port: what it is, whom it trusts, and what it does with bytes that are none of its own."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roundhouse as rh
from roundhouse import _engine
from roundhouse._doors import Listener

from .ports import asked, encrypted, heard, plain, reached, upgrade, wait_until

pytestmark = pytest.mark.timeout(120)


def double(x: Any) -> Any:
    return x * 2


def same(x: Any) -> Any:
    return x


def count(n: int) -> Iterator[int]:
    yield from range(n)


def blocks(n: int, size: int) -> Iterator[bytes]:
    for number in range(n):
        yield bytes([number % 256]) * size


def total(numbers: Iterator[int]) -> int:
    return sum(numbers)


def talk(n: int) -> None:
    for number in range(n):
        print(f"line {number}")


@pytest.fixture(scope="module")
def listener(box: rh.Cluster) -> Iterator[Listener]:
    listener = box.listen(tls=True)
    yield listener
    box.unlisten()


@pytest.fixture(scope="module")
def token(box: rh.Cluster, listener: Listener) -> str:
    return box.create_token("module", scope="admin")


@pytest.fixture(scope="module")
def there(box: rh.Cluster, listener: Listener, token: str) -> rh.Cluster:
    return reached(box, listener, token)


def openssl(*arguments: str, given: str = "") -> str:
    done = subprocess.run(["openssl", *arguments], input=given, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr


# What works as on the socket.


def test_calls_streams_and_output(there: rh.Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert rh.function(double).to(there)(21) == 42
    assert list(rh.function(count).to(there)(20_000)) == list(range(20_000))
    assert rh.function(total).to(there)(number for number in range(3000)) == sum(range(3000))
    rh.function(talk).to(there)(300)
    assert capsys.readouterr().out == "".join(f"line {number}\n" for number in range(300))
    with pytest.raises(ZeroDivisionError):
        rh.function(lambda: 1 / 0).to(there, name="fails")()


def test_big_bodies_both_ways(there: rh.Cluster) -> None:
    remote = rh.function(same).to(there)
    block = os.urandom(100_000_000)
    assert remote(block) == block
    array = np.arange(10_000_000, dtype=np.float64)
    assert np.array_equal(remote(array), array)
    sizes = [len(block) for block in rh.function(blocks).to(there)(50, 1_000_000)]
    assert sizes == [1_000_000] * 50


def test_many_threads_on_one_connection(there: rh.Cluster) -> None:
    """Readers and writers meet in one TLS session."""
    remote = rh.function(same).to(there)
    wrong: list[object] = []

    def work(seed: int) -> None:
        body = bytes([seed]) * (1 + seed * 40_000)
        for _ in range(30):
            if remote(body) != body:
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert wrong == []
    assert [call.result() for call in [remote.submit(number) for number in range(500)]] == list(range(500))


def test_a_forked_child_opens_a_connection_of_its_own(there: rh.Cluster) -> None:
    remote = rh.function(double).to(there)
    assert remote(1) == 2
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if remote(4) == 8 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert remote(2) == 4


# Who is at the other end.


def test_only_tls_1_3(listener: Listener) -> None:
    place = f"{listener.host}:{listener.port}"
    assert "Protocol  : TLSv1.3" in openssl("s_client", "-connect", place, "-tls1_3") or "TLSv1.3" in openssl(
        "s_client", "-connect", place
    )
    for old in ("-tls1_2", "-tls1_1", "-tls1"):
        said = openssl("s_client", "-connect", place, old)
        assert "alert" in said or "no protocols available" in said, said
        assert "BEGIN CERTIFICATE" not in said
    said = openssl("s_client", "-connect", place, "-ign_eof", given="")
    assert "New Session Ticket arrived" not in said
    assert "Early data was not sent" in said


def test_the_certificate_and_its_pin(listener: Listener, state_folder: Path, box: rh.Cluster) -> None:
    folder = Path(box.state_folder) / "tls"
    assert (folder / "key.pem").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    text = openssl("x509", "-in", str(folder / "certificate.pem"), "-noout", "-text")
    assert "DNS:localhost" in text
    assert "IP Address:127.0.0.1" in text
    assert "prime256v1" in text
    public = openssl("x509", "-in", str(folder / "certificate.pem"), "-pubkey", "-noout")
    der = base64.b64decode("".join(public.splitlines()[1:-1]))
    public = base64.b64encode(hashlib.sha256(der).digest()).decode()
    assert listener.pin == f"sha256/{public}"


def test_a_wrong_pin(box: rh.Cluster, listener: Listener, token: str) -> None:
    wrong = "sha256/" + "A" * 43 + "="
    with pytest.raises(rh.NotAllowed) as caught:
        reached(box, listener, token, wrong).ping()
    assert listener.pin is not None
    assert listener.pin in str(caught.value)
    assert wrong in str(caught.value)
    assert caught.value.started == "no"


def test_without_a_pin_the_machine_must_trust_it(
    box: rh.Cluster, listener: Listener, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(rh.NotAllowed, match="not one that this machine trusts") as caught:
        reached(box, listener, token, "").ping()
    assert listener.pin is not None
    assert listener.pin in str(caught.value)
    monkeypatch.setenv("SSL_CERT_FILE", str(Path(box.state_folder) / "tls" / "certificate.pem"))
    assert reached(box, listener, token, "").ping() > 0
    assert reached(box, listener, token, "", host="localhost").ping() > 0


def test_a_given_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    made = openssl(
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate), "-days", "2",
        "-subj", "/CN=given", "-addext", "subjectAltName=DNS:*.given.example,IP:127.0.0.1",
    )  # fmt: skip
    assert certificate.exists(), made
    with rh.compute("given-certificate", ssl_certfile=str(certificate), ssl_keyfile=str(key)) as box:
        listener = box.listening()
        assert listener is not None
        assert listener.tls
        token = box.create_token()
        assert reached(box, listener, token).ping() > 0
        for host, status in (
            ("a.given.example", 101),
            ("a.b.given.example", 421),
            (".given.example", 421),
            ("given.example", 421),
        ):
            assert asked(listener, upgrade(listener, token, host))[0] == status, host
        # Trusted, and for another name.
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert reached(box, listener, token, "").ping() > 0
        with pytest.raises(rh.NotAllowed, match=r"trusts \(hostname mismatch\)"):
            reached(box, listener, token, "", host="localhost").ping()
        # What cannot be used leaves things as they are.
        for wrong in (
            {"certificate": str(key), "key": str(key)},
            {"certificate": str(certificate), "key": str(certificate)},
            {"certificate": "/nowhere", "key": str(key)},
        ):
            with pytest.raises(rh.RoundhouseError, match=r"certificate|key"):
                box.listen(port=listener.port, **wrong)
        with pytest.raises(rh.WrongArguments, match="given together"):
            box.listen(certificate=str(certificate))
        with pytest.raises(rh.WrongArguments, match="turns off"):
            box.listen(tls=False, certificate=str(certificate), key=str(key))
        assert box.listening() == listener
        assert reached(box, listener, token).ping() > 0


def test_other_addresses_are_tls_always() -> None:
    with rh.compute("everywhere") as box:
        with pytest.raises(rh.NotAllowed, match="TLS only"):
            box.listen(host="0.0.0.0", tls=False)
        assert box.listening() is None
        with pytest.raises(rh.WrongArguments, match="numeric address"):
            box.listen(host="example.org")
        with pytest.raises(rh.WrongArguments, match="neither a host name nor"):
            box.listen(tls=True, names=["a,DNS:evil.example"])
        listener = box.listen(host="0.0.0.0", names=["box.example"])
        assert listener.tls
        assert listener.pin
        token = box.create_token()
        at = Listener({"url": "", "host": "127.0.0.1", "port": listener.port, "tls": True, "pin": listener.pin})
        assert reached(box, at, token).ping() > 0
        assert asked(at, upgrade(at, token, f"box.example:{at.port}"))[0] == 101
        # The key, and so the pin, stays while names come and go.
        pin = listener.pin
        assert box.listen(tls=True, names=["other.example"]).pin == pin
        text = openssl("x509", "-in", f"{box.state_folder}/tls/certificate.pem", "-noout", "-text")
        assert "DNS:other.example" in text
        assert "DNS:box.example" in text


def test_a_plain_connection_to_another_machine_is_refused(box: rh.Cluster) -> None:
    there = rh.cluster("far", host="192.0.2.1", server_port=80, server_connection_type="none", token="rh_secret")
    with pytest.raises(rh.NotAllowed, match="in the clear to another machine") as caught:
        there.ping()
    assert "rh_secret" not in str(caught.value)


def test_a_host_that_is_not_there() -> None:
    there = rh.cluster(
        "nowhere", host="no-such-host.invalid", server_port=80, server_connection_type="tls", token="rh_x"
    )
    with pytest.raises(rh.NotFound, match="has no address"):
        there.ping()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_trusts_the_certificate_when_told_to(listener: Listener, there: rh.Cluster, tmp_path: Path) -> None:
    certificate = there.download_cert(str(tmp_path / "certificate.pem"))
    command = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", certificate]
    done = subprocess.run([*command, f"{listener.url}/"], capture_output=True, text=True, timeout=30, check=False)
    assert done.stdout in ("401", "404"), done.stderr
    done = subprocess.run(["curl", "-sS", f"{listener.url}/"], capture_output=True, text=True, timeout=30, check=False)
    assert "self-signed" in done.stderr or "self signed" in done.stderr


def test_a_certificate_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with rh.compute("certified") as box:
        for _ in range(2):
            with pytest.raises(rh.NotFound, match=r"Try: listen\(tls=True\)"):
                box.download_cert()
            assert box.listen().certificate is None
        assert list(tmp_path.iterdir()) == []
        listener = box.listen(tls=True)
        assert box.download_cert() == "certified.pem"
        assert Path("certified.pem").read_text() == listener.certificate == box.listening().certificate


# Bytes that are none of its own.


def test_plain_http_at_the_tls_port(box: rh.Cluster, listener: Listener, token: str) -> None:
    with plain(listener) as connection:
        connection.sendall(upgrade(listener, "rh_not_shown"))
        answer = heard(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"speaks TLS" in answer
    plainly = Listener({"url": "", "host": "127.0.0.1", "port": listener.port, "tls": False, "pin": None})
    with pytest.raises(rh.ProtocolError, match="this port speaks TLS"):
        reached(box, plainly, token).ping()


def test_tls_at_a_plain_port() -> None:
    with rh.compute("plain-port") as box:
        listener = box.listen()
        token = box.create_token()
        with pytest.raises(ssl.SSLError):
            encrypted(listener)
        secure = Listener({"url": "", "host": "127.0.0.1", "port": listener.port, "tls": True, "pin": "sha256/x"})
        with pytest.raises(rh.NodeLost, match=r"Does that port speak TLS 1\.3\?"):
            reached(box, secure, token).ping()


def test_garbage_and_halves_harm_nobody(there: rh.Cluster, listener: Listener, token: str) -> None:
    pid = there.status()["pid"]
    garbage = [
        os.urandom(64),
        b"\x16\x03\x01\xff\xff" + os.urandom(70_000),
        b"\x16\x03\x03\x00\x00" * 5000,
        b"\x80" * 20,
        b"\0",
    ]
    for bytes_ in garbage:
        with plain(listener) as connection:
            try:
                connection.sendall(bytes_)
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                """It hung up before the end of it."""
            heard(connection)
    # Half a handshake, and none at all.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    hands = context.wrap_bio(incoming, outgoing)
    with pytest.raises(ssl.SSLWantReadError):
        hands.do_handshake()
    first = outgoing.read()
    waiting = [plain(listener) for _ in range(3)]
    waiting[0].sendall(first[: len(first) // 2])
    waiting[1].sendall(first)
    with plain(listener) as connection:
        connection.sendall(first[:20])
    # Garbage behind the handshake.
    with encrypted(listener) as connection:
        try:
            connection.sendall(os.urandom(100_000))
        except OSError:
            """It hung up before the end of it."""
        assert heard(connection)[:13] in (b"HTTP/1.1 400 ", b"HTTP/1.1 431 ", b"")
    raw = encrypted(listener)
    raw.sendall(upgrade(listener, token))
    assert heard(raw, lambda text: text.endswith(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    below = socket.socket(fileno=raw.detach())
    below.sendall(b"\x17\x03\x03\x00\x20" + os.urandom(32))
    heard(below)
    below.close()
    assert rh.function(double).to(there)(3) == 6
    assert there.status()["pid"] == pid
    for connection in waiting:
        connection.close()


def test_a_slow_handshake_is_hung_up_on(listener: Listener) -> None:
    """After k_handshake_timeout, whatever of it has come."""
    connections = [plain(listener), plain(listener)]
    connections[1].sendall(b"\x16\x03\x01\x02\x00\x01")
    with encrypted(listener) as shaken:
        shaken.sendall(b"GET / HTTP/1.1\r\n")
        assert heard(shaken) == b""
    for connection in connections:
        heard(connection)
        connection.close()


def test_a_half_closed_client_s_calls_end(box: rh.Cluster, listener: Listener, token: str) -> None:
    raw = encrypted(listener)
    raw.sendall(upgrade(listener, token))
    assert heard(raw, lambda text: text.endswith(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    below = socket.socket(fileno=raw.detach())
    below.shutdown(socket.SHUT_WR)
    heard(below)
    below.close()


def test_a_client_that_does_not_read_pauses_only_itself(
    box: rh.Cluster, there: rh.Cluster, listener: Listener, token: str
) -> None:
    """Its connection's bytes wait at their source: the daemon does not grow with what it is sent."""
    slow = _engine.connect(listener.url, "test", 10.0, token, listener.pin or "")
    rh.function(blocks).to(there, name="blocks")
    from roundhouse import _serialize

    parts = _serialize.dumps(((300, 1_000_000), {}))
    call = slow.start("blocks", "call", _serialize.PICKLE, parts, prefetch=4)
    pid = there.status()["pid"]

    def resident() -> int:
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        assert found is not None
        return int(found[1])

    quick = rh.function(double).to(there, name="quick")
    for number in range(200):
        assert quick(number) == 2 * number
    assert resident() < 100_000
    call.abandon()
    slow.close()
    wait_until(lambda: quick(1) == 2)
