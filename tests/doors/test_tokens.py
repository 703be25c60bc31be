"""Who may do what over TCP: tokens, their scopes and their ends."""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
import sqlite3
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roundhouse as rh
from roundhouse import _engine, _serialize
from roundhouse._doors import Listener

from .ports import asked, heard, plain, reached, upgrade, wait_until


def double(x: Any) -> Any:
    return x * 2


def secret_environment() -> dict[str, str]:
    return dict(os.environ)


class Counter:
    def __init__(self) -> None:
        self.count = 0

    def add(self, n: int) -> int:
        self.count += n
        return self.count


@pytest.fixture(scope="module")
def listener(box: rh.Cluster) -> Iterator[Listener]:
    listener = box.listen()
    rh.function(double).to(box, name="double")
    rh.cls(Counter).to(box, name="Counter")(name="counter")
    yield listener
    box.unlisten()


# The methods of the node with what they need, and a request that gets past the scope (it may fail for another reason).
NODE = {
    "describe": "call", "status": "call", "processes": "call",
    "listening": "deploy", "start": "deploy", "abandon": "deploy", "deploy": "deploy", "create": "deploy",
    "rename": "deploy", "delete": "deploy", "create_process": "deploy", "kill_process": "deploy", "set_env": "deploy",
    "run": "deploy", "no-such-method": "deploy",
    "listen": "admin", "token_create": "admin", "tokens": "admin", "token_revoke": "admin",
}  # fmt: skip
# These would end what the others need; that they are refused is enough.
ENDS = {"clear": "deploy", "stop": "admin", "unlisten": "admin"}
SCOPES = ("call", "deploy", "admin")
REQUESTS: dict[str, dict[str, Any]] = {"describe": {"name": "double"}, "listen": {"host": "no-address"}}


@pytest.fixture(scope="module", params=SCOPES)
def held(request: pytest.FixtureRequest, box: rh.Cluster, listener: Listener) -> Iterator[tuple[str, rh.Cluster]]:
    scope = request.param
    yield scope, reached(box, listener, box.create_token(f"matrix-{scope}", scope=scope))
    box.revoke_token(f"matrix-{scope}")


@pytest.mark.parametrize("method", [*NODE, *ENDS])
def test_every_method_of_the_node_has_its_scope(held: tuple[str, rh.Cluster], method: str) -> None:
    scope, there = held
    wanted = {**NODE, **ENDS}[method]
    allowed = SCOPES.index(scope) >= SCOPES.index(wanted)
    if allowed and method in ENDS:
        pytest.skip("it would end what the other tests use")
    refused = None
    try:
        there._ask(method, REQUESTS.get(method, {}))
    except rh.NotAllowed as error:
        refused = str(error)
    except rh.RoundhouseError:
        """It got past the scope."""
    assert (refused is None) == allowed
    assert refused is None or (f"the scope {scope}," in refused and f"needs {wanted} " in refused)


def test_a_call_token_calls(box: rh.Cluster, listener: Listener) -> None:
    there = reached(box, listener, box.create_token("caller"))
    assert there.get("double")([1, "two", {"three": 3.0}]) == [1, "two", {"three": 3.0}] * 2
    before = there.get("counter").add(1)
    assert box.get("counter").add(1) == before + 1
    with pytest.raises(rh.NotAllowed, match="needs deploy to"):
        rh.function(double).to(there, name="another")
    box.revoke_token("caller")


def test_a_call_token_keeps_what_a_call_gives(box: rh.Cluster, listener: Listener) -> None:
    """Under a name that nobody chose, and from arguments that run no code; anything more is a deploy."""
    there = reached(box, listener, box.create_token("keeper"))
    kept = {"class": "double", "method": "call", "encoding": 0}
    with pytest.raises(rh.WrongArguments, match="double"):  # It got as far as the function, which wants an argument.
        there._ask("create", kept)
    for more in (
        {"name": "mine"},
        {"process": "p"},
        {"method": None},
        {"method": "@fetch"},
        {"encoding": 1},
        {"encoding": None},
    ):
        with pytest.raises(rh.NotAllowed, match="needs deploy"):
            there._ask("create", {**kept, **more})
    bound = reached(box, listener, box.create_token("bound-keeper", service="counter"))
    with pytest.raises(rh.NotAllowed, match='"counter" only'):
        bound._ask("create", kept)
    box.revoke_token("keeper")
    box.revoke_token("bound-keeper")


def numbers(n: int) -> Iterator[int]:
    yield from range(n)


def refuse(why: str) -> None:
    raise LookupError(why)


async def later(x: int) -> int:
    return x + 1


def test_a_call_token_has_streams_arrays_and_exceptions(box: rh.Cluster, listener: Listener) -> None:
    for function in (numbers, refuse, later):
        rh.function(function).to(box, name=function.__name__)
    there = reached(box, listener, box.create_token("data"))
    assert list(there.get("numbers")(5)) == [0, 1, 2, 3, 4]
    assert there.get("later").submit(1).result() == 2
    assert there.get("double")(np.arange(3.0)).tolist() == [0.0, 2.0, 4.0]
    assert there.get("counter").remote.count == box.get("counter").remote.count
    with pytest.raises(LookupError, match="not here") as caught:
        there.get("refuse")("not here")
    assert type(caught.value) is LookupError
    assert "in refuse" in str(caught.value.__cause__)
    with pytest.raises(rh.NotSerializable):
        there.get("double")(object())
    box.revoke_token("data")


def test_a_call_token_sends_no_pickles(box: rh.Cluster, listener: Listener) -> None:
    token = box.create_token("pickler")
    client = _engine.connect(listener.url, "test", 10.0, token)
    with pytest.raises(_engine.EngineError, match="a pickle runs code") as caught:
        client.call("double", "call", _serialize.PICKLE, _serialize.dumps(((2,), {})))
    assert caught.value.facts["started"] == "no"
    # Nor one that comes behind the call, as the item of a generator argument.
    call = client.start("double", "call", _serialize.JSON, [b"[[1], {}]"])
    call.send_item(1, 0, _serialize.PICKLE, _serialize.dumps("x"))
    call.wait(20)
    client.close()
    box.revoke_token("pickler")


def test_a_call_token_ends_no_worker(box: rh.Cluster, listener: Listener) -> None:
    there = reached(box, listener, box.create_token("killer"))
    with pytest.raises(rh.NotAllowed, match="needs deploy to end a worker"):
        there.get("double").options(kill=True)(1)
    box.revoke_token("killer")


def test_a_token_for_one_service_calls_that_one(box: rh.Cluster, listener: Listener) -> None:
    there = reached(box, listener, box.create_token("only-double", service="double"))
    assert there.get("double")(4) == 8
    with pytest.raises(rh.NotAllowed, match='for calling the service "double" only'):
        there._ask("describe", {"name": "counter"})
    for method in ("status", "processes", "deploy", "tokens", "stop"):
        with pytest.raises(rh.NotAllowed, match='"double" only'):
            there._ask(method, {})
    client = _engine.connect(listener.url, "test", 10.0, there._link._token)
    with pytest.raises(_engine.EngineError, match='not "counter"'):
        client.call("counter", "add", _serialize.JSON, [b"[[1], {}]"])
    client.close()
    with pytest.raises(rh.WrongArguments, match="has the scope call, not deploy"):
        box.create_token("too-much", scope="deploy", service="double")
    box.revoke_token("only-double")


def test_missing_and_wrong_tokens(box: rh.Cluster, listener: Listener) -> None:
    with pytest.raises(rh.NotAllowed, match="wants a token, and none was given"):
        reached(box, listener).is_up()
    for wrong in ("rh_wrong", "x", "rh_" + "A" * 43, "é"):
        with pytest.raises(rh.NotAllowed):
            reached(box, listener, wrong).is_up()
    for request in (upgrade(listener), upgrade(listener, ""), upgrade(listener, "rh_" + "A" * 2000)):
        status, message = asked(listener, request)
        assert status == 401
        assert "create_token" in message
    # A right one in another scheme, or elsewhere, is none.
    token = box.create_token("elsewhere", scope="admin")
    for line in (f"Authorization: Basic {token}", f"Authorization: {token}", f"X-Token: {token}"):
        assert asked(listener, upgrade(listener, None, None, line))[0] == 401
    status, _ = asked(listener, upgrade(listener, token))
    assert status == 101
    box.revoke_token("elsewhere")


def test_wrong_tokens_hold_nobody_else_up(box: rh.Cluster, listener: Listener) -> None:
    """Guessing gets slow, and whoever has a token does not notice."""
    guesses = [plain(listener) for _ in range(30)]
    for guess in guesses:
        guess.sendall(upgrade(listener, "rh_guess"))
    there = reached(box, listener, box.create_token("patient"))
    assert there.get("double")(1) == 2
    for guess in guesses:
        assert b" 401 " in heard(guess).partition(b"\r\n")[0]
        guess.close()
    box.revoke_token("patient")


def test_revoking_ends_what_the_token_let_in(box: rh.Cluster, listener: Listener) -> None:
    there = reached(box, listener, box.create_token("short-lived", scope="deploy"))
    stays = reached(box, listener, box.create_token("stays", scope="deploy"))
    assert there.ping() > 0
    assert stays.ping() > 0
    call = rh.function(time.sleep).to(there, name="sleep").submit(60)
    client, other = there._link.client(), stays._link.client()
    [described] = [token for token in box.tokens() if token["name"] == "short-lived"]
    box.revoke_token(described["id"])
    with pytest.raises(rh.NodeLost):
        call.result(timeout=20)
    wait_until(lambda: not client.alive(), what="the end of the connection")
    with pytest.raises(rh.NotAllowed, match="knows no such token"):
        there.ping()
    assert other.alive()
    assert stays.ping() > 0
    box.revoke_token("stays")
    with pytest.raises(rh.NotFound, match='no token with the id or name "stays"'):
        box.revoke_token("stays")


def test_a_token_expires(box: rh.Cluster, listener: Listener) -> None:
    for seconds in (1, 2, 4, 8, 16, 32):
        there = reached(box, listener, box.create_token("brief", expires=timedelta(seconds=seconds)))
        try:
            client = there._link.client()
            break
        except rh.NotAllowed:  # A machine that is so busy gets more time.
            box.revoke_token("brief")
    assert client.alive()
    wait_until(lambda: not client.alive(), 60, what="the end of the connection")
    with pytest.raises(rh.NotAllowed, match='the token "brief" has expired'):
        there.ping()
    [described] = [token for token in box.tokens() if token["name"] == "brief"]
    assert described["expires_s"] - described["created_s"] == seconds
    box.revoke_token("brief")
    with pytest.raises(ValueError, match="expires after some time"):
        box.create_token(expires=0)


def test_what_is_said_of_tokens(box: rh.Cluster, listener: Listener) -> None:
    token = box.create_token("described", scope="deploy", expires=3600)
    assert token.startswith("rh_")
    assert len(token) == 3 + 43
    reached(box, listener, token).ping()
    [described] = [each for each in box.tokens() if each["name"] == "described"]
    assert described["scope"] == "deploy"
    assert described["service"] is None
    assert abs(described["used_s"] - time.time()) < 60
    assert abs(described["expires_s"] - time.time() - 3600) < 60
    assert set(described) == {"id", "name", "scope", "service", "created_s", "expires_s", "used_s"}
    with pytest.raises(rh.NameTaken):
        box.create_token("described")
    with pytest.raises(rh.WrongArguments, match="call, deploy and admin"):
        box.create_token(scope="everything")
    with pytest.raises(rh.InvalidName):
        box.create_token("not a name")
    box.revoke_token("described")


def test_another_site_s_page_is_refused(box: rh.Cluster, listener: Listener) -> None:
    token = box.create_token("browser", scope="admin")
    own = f"http://127.0.0.1:{listener.port}"
    for host in (
        "evil.example",
        "127.0.0.1.evil.example:80",
        "",
        "127.0.0.2",
        "localhost.evil.example",
        "[::2]",
        "a:b:c",
    ):
        request = upgrade(listener, token, host or " ")
        assert asked(listener, request)[0] == 421, host
    for header in (
        "Origin: http://evil.example",
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
    ):
        assert asked(listener, upgrade(listener, token, None, header))[0] == 403, header
    for host, header in (
        ("localhost", "A: b"),
        (f"LOCALHOST:{listener.port}", "A: b"),
        (None, f"Origin: {own}"),
        (None, "Sec-Fetch-Site: same-origin"),
    ):
        assert asked(listener, upgrade(listener, token, host, header))[0] == 101, (host, header)
    box.revoke_token("browser")


def test_the_port_and_the_tokens_outlive_the_daemon(box: rh.Cluster, listener: Listener) -> None:
    there = reached(box, listener, box.create_token("durable", scope="deploy"))
    pid = there.status()["pid"]
    os.kill(pid, signal.SIGKILL)

    def is_another() -> bool:
        try:
            return bool(there.status()["pid"] != pid)
        except rh.NodeLost:
            return False

    wait_until(is_another, what="another daemon at the same port")
    assert there.listening() == listener == box.listening()
    box.revoke_token("durable")
    rh.function(double).to(box, name="double")
    rh.cls(Counter).to(box, name="Counter")(name="counter")


def test_a_token_is_kept_nowhere(
    box: rh.Cluster, listener: Listener, state_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted, used, and hunted for in every file, command line, environment and status of the node."""
    token = box.create_token("planted", scope="admin")
    there = reached(box, listener, token)
    monkeypatch.setenv("ROUNDHOUSE_CLUSTER_ANOTHER", token)
    environment = rh.function(secret_environment).to(there, name="environment")()
    reached(box, listener, token + "x")
    with pytest.raises(rh.NotAllowed):
        reached(box, listener, token + "x").ping()
    status = there.status()
    for text in (
        environment,
        status,
        there.tokens(),
        there.config(),
        there.config(condensed=False),
        there,
        there.listening(),
        there.__reduce__(),
    ):
        assert token not in repr(text)
    processes = [status["pid"], status["keeper_pid"], *(worker["pid"] for worker in status["workers"])]
    for process in processes:
        for name in ("cmdline", "environ"):
            assert token.encode() not in Path(f"/proc/{process}/{name}").read_bytes()
    files = [path for path in state_folder.rglob("*") if path.is_file()]
    assert any(path.name == "store.db" for path in files)
    for path in files:
        assert token.encode() not in path.read_bytes(), path
    [store] = [path for path in files if path.name == "store.db" and box.name in str(path)]
    assert store.stat().st_mode & 0o777 == 0o600
    [(kept,)] = sqlite3.connect(store).execute("SELECT hash FROM tokens WHERE name = 'planted'").fetchall()
    assert kept == hashlib.sha256(token.encode()).digest()
    box.revoke_token("planted")


def test_a_saved_cluster_keeps_its_token(box: rh.Cluster, listener: Listener) -> None:
    token = box.create_token("saved", scope="deploy")
    there = reached(box, listener, token).save("kept-here")
    again = rh.compute("kept-here")
    assert again == there
    assert again.ping() > 0
    assert rh.load("kept-here").ping() > 0
    assert token not in repr(rh.load("kept-here", instantiate=False))
    again.delete_configs()
    box.revoke_token("saved")


def test_the_environment_names_a_cluster(box: rh.Cluster, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    exported = box.export("for-a-pod", scope="deploy", expires=600)
    [variable] = exported
    monkeypatch.setenv(variable, exported[variable])
    there = rh.compute(box.name)
    assert there != box
    assert there.endpoint() == listener.url
    assert there.ping() > 0
    assert there.export() == exported
    monkeypatch.setenv(variable, "{")
    with pytest.raises(rh.LaunchError, match=variable):
        rh.compute(box.name)
    monkeypatch.delenv(variable)
    assert rh.compute(box.name) == box
    box.revoke_token("for-a-pod")


def test_a_handle_is_an_argument_on_its_own_node(box: rh.Cluster, listener: Listener) -> None:
    there = reached(box, listener, box.create_token("passer", scope="deploy"))
    remote = rh.function(lambda f, x: f(x) + 1).to(there, name="calls-another")
    assert remote(there.get("double"), 20) == 41
    assert remote(box.get("double"), 20) == 41
    box.revoke_token("passer")


def test_a_handle_without_a_token_says_so(box: rh.Cluster, listener: Listener) -> None:
    there = reached(box, listener, box.create_token("sender", scope="deploy"))
    revived = pickle.loads(pickle.dumps(there.get("double")))
    with pytest.raises(rh.NotAllowed, match="wants a token"):
        revived(1)
    box.revoke_token("sender")


def test_up_listens_as_asked() -> None:
    with rh.compute("listens-at-once", server_port=0, server_connection_type="tls") as listens:
        listener = listens.listening()
        assert listener is not None
        assert listener.tls
        assert listens.endpoint() == listener.url
        assert listens.up_if_not().listening() == listener
        assert rh.Cluster.from_config(listens.config()).config() == listens.config()
    assert rh.compute("listens-at-once").endpoint() is None


def test_a_reached_cluster_is_nobody_s_to_launch(box: rh.Cluster, listener: Listener) -> None:
    with plain(listener) as taken:
        nobody = Listener({"url": "", "host": "127.0.0.1", "port": taken.getsockname()[1], "tls": False, "pin": None})
    there = reached(box, nobody, "rh_x")
    assert not there.is_up()
    with pytest.raises(rh.LaunchError, match="cannot be launched from here"):
        there.up_if_not()
    with pytest.raises(rh.NodeLost):
        there.ping()
    there.teardown()


def test_an_admin_ends_the_node_from_afar() -> None:
    with rh.compute("ended-from-afar") as ended:
        there = reached(ended, ended.listen(), ended.create_token(scope="admin"))
        there.teardown()
        wait_until(lambda: not ended.is_up() and not there.is_up(), what="the end of the node")


def test_runs_of_others(box: rh.Cluster, listener: Listener) -> None:
    """Whoever may call may start runs and look at those of its service; ending another's needs more."""
    rh.function(double).to(box, name="other")
    box.get("other").options(run_name="of-other")(1)
    box.get("double").options(run_name="of-owner")(3)
    there = reached(box, listener, box.create_token("runner", service="double"))
    remote = there.get("double")
    assert remote.options(run_name="of-runner")(2) == 4
    assert remote.options(run_name="of-runner")(2) == 4
    assert there.get_run("of-owner").status == "succeeded"
    assert {run["name"] for run in there.runs()} == {"of-runner", "of-owner"}
    with pytest.raises(rh.NotAllowed, match="double"):
        there.get_run("of-other")
    with pytest.raises(rh.NotAllowed, match="of-owner"):
        there.get_run("of-owner").forget()
    with pytest.raises(rh.NotAllowed, match="end a worker"):
        remote.options(run_name="kills", kill=True)(1)
    there.get_run("of-runner").forget()
    box.get_run("of-owner").forget()
