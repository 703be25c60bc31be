"""A shell with curl and a token file, and nothing else of ours; and what nobody may do over TCP without a token."""

from __future__ import annotations

import http.client
import json
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roundhouse as rh
from roundhouse._doors import Listener

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 30

# What curl deploys.
FILE = """
def greet(name: str, loud: bool = False) -> str:
    return f"hello {name}".upper() if loud else f"hello {name}"
"""


def double(x: int) -> int:
    return 2 * x


def steps(count: int) -> Iterator[int]:
    for step in range(count):
        print("step", step)
        yield step * step


class Arrays:
    """Says in which process it is, and hands out an array that says so as well."""

    def __init__(self) -> None:
        self.made: list[int] = []

    def make(self, count: int) -> np.ndarray[Any, Any]:
        array = np.arange(count, dtype=float)
        self.made.append(id(array))
        return array

    def total(self, array: np.ndarray[Any, Any]) -> list[Any]:
        """Its sum, and whether it is the very array that `make` returned."""
        return [float(array.sum()), id(array) in self.made]


@dataclass
class Shell:
    """curl, as it is at a prompt: no argument is a token."""

    listener: Listener
    folder: Path

    def curl(self, *arguments: str, token: str | None = "call", lines: bool = False) -> str:
        """What it prints; `token` is the file of its header."""
        command = ["curl", "-sS", "--max-time", str(SECONDS)]
        if self.listener.pin:
            command += ["--insecure", "--pinnedpubkey", self.listener.pin.replace("sha256/", "sha256//", 1)]
        if token is not None:
            command += ["-H", f"@{self.folder / token}"]
        command += [
            word.replace("URL", self.listener.url, 1) if word.startswith("URL/") else word for word in arguments
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=2 * SECONDS, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def status(self, *arguments: str, token: str | None = "call") -> tuple[int, str]:
        """The status of the answer, and its body."""
        body, _, status = self.curl("-w", "\n%{http_code}", *arguments, token=token).rpartition("\n")
        return int(status), body


@pytest.fixture(scope="module", params=["loopback", "tls"])
def shell(request: pytest.FixtureRequest, box: rh.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp(request.param)
    listener = box.listen(tls=request.param == "tls")
    for function in (double, steps):
        rh.function(function).to(box)
    rh.cls(Arrays).to(box)(name="arrays")
    for scope in ("call", "deploy"):
        file = folder / scope
        file.touch(0o600)
        file.write_text(f"Authorization: Bearer {box.create_token(f'{request.param}-{scope}', scope=scope)}\n")
    yield Shell(listener, folder)
    box.unlisten()
    for scope in ("call", "deploy"):
        box.revoke_token(f"{request.param}-{scope}")


def test_a_call(shell: Shell) -> None:
    assert shell.curl("--json", "[21]", "URL/v1/services/double") == "42"
    assert shell.curl("--json", '{"x": 21}', "URL/v1/services/double/call") == "42"
    assert shell.curl("--json", '{"x": 21}', "URL/double/call") == "42"


def test_the_certificate_is_there_for_all(shell: Shell) -> None:
    status, body = shell.status("URL/cert", token=None)
    if not shell.listener.tls:
        assert status == 404
        return
    assert status == 200
    shown = ssl.get_server_certificate((shell.listener.host, shell.listener.port))
    assert ssl.PEM_cert_to_DER_cert(body) == ssl.PEM_cert_to_DER_cert(shown)
    assert "KEY" not in body


def test_a_deploy_wants_its_scope(shell: Shell, box: rh.Cluster) -> None:
    file = shell.folder / "deploy.json"
    file.write_text(json.dumps({"name": "greet", "callable": "greet", "text": FILE, "python": sys.executable}))
    deploy = ("--json", f"@{file}", "URL/v1/services")
    status, body = shell.status(*deploy)
    assert (status, json.loads(body)["error"]["code"]) == (403, "not_allowed")
    assert "deploy" in body
    assert shell.status(*deploy, token=None)[0] == 401
    assert "greet" not in list(box.keys())
    status, body = shell.status(*deploy, token="deploy")
    assert status == 201, body
    assert shell.curl("--json", '{"name": "Ada", "loud": true}', "URL/greet/call") == '"HELLO ADA"'
    assert shell.status("-X", "DELETE", "URL/v1/services/greet")[0] == 403
    assert shell.status("-X", "DELETE", "URL/v1/services/greet", token="deploy")[0] == 200
    assert shell.status("--json", '{"name": "Ada"}', "URL/greet/call")[0] == 404


def test_a_stream(shell: Shell) -> None:
    assert shell.curl("--json", "[3]", "URL/steps/call") == "[0,1,4]"
    events = shell.curl("-N", "-H", "Accept: text/event-stream", "--json", "[2]", "URL/steps/call?logs=false")
    assert events == "event: item\ndata: 0\n\nevent: item\ndata: 1\n\nevent: result\ndata: null\n\n"
    lines = [json.loads(line) for line in shell.curl(
        "-N", "-H", "Accept: application/x-ndjson", "--json", "[2]", "URL/steps/call").splitlines()]  # fmt: skip
    assert [line["item"] for line in lines if "item" in line] == [0, 1]
    assert "".join(line.get("stdout", "") for line in lines) == "step 0\nstep 1\n"
    assert lines[-1] == {"result": None}


def test_two_calls_pass_data_by_reference(shell: Shell, box: rh.Cluster) -> None:
    # A name of one's own could be another's: to choose it is a deploy.
    assert shell.status("--json", "[1000]", "URL/arrays/make?remote=true&name=mine")[0] == 403
    kept = shell.curl("--json", "[1000]", "URL/arrays/make?remote=true")
    reference = json.loads(kept)
    assert list(reference) == ["$ref"]
    # The next step needs no more than what the step before printed, and gets the very same array.
    assert json.loads(shell.curl("--json", f'{{"array": {kept}}}', "URL/arrays/total")) == [499500.0, True]
    key = reference["$ref"]
    assert shell.status("-X", "DELETE", f"URL/v1/objects/{key}", token="deploy")[0] == 200
    status, body = shell.status("--json", f"[{kept}]", "URL/arrays/total")
    assert status == 404
    assert key in body
    assert key not in list(box.keys())


def test_another_key_ends_the_connection_before_the_token_is_sent(shell: Shell) -> None:
    if not shell.listener.tls:
        pytest.skip("there is no key to compare without TLS")
    other = "sha256//" + "A" * 43 + "="
    command = ["curl", "-sS", "--insecure", "--pinnedpubkey", other, "-v", "-H", f"@{shell.folder / 'call'}"]
    done = subprocess.run(
        [*command, f"{shell.listener.url}/v1/status"], capture_output=True, text=True, timeout=2 * SECONDS, check=False
    )
    assert done.returncode == 90, done.stderr  # CURLE_SSL_PINNEDPUBKEYNOTMATCH
    assert "Bearer" not in done.stderr
    assert done.stdout == ""


# What nobody may do.

ROUTES = re.findall(r'^    \{"([A-Z]+)", "(/[^"]*)",(.*)\},$', (ROOT / "src/http/routes.cpp").read_text(), re.MULTILINE)
OPEN = {("GET", pattern) for method, pattern, rest in ROUTES if rest.endswith(", true")}
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "QUERY")
# Something that each would do, were it let in.
BODIES: dict[str, Any] = {
    "/v1/services": {"name": "intruder", "callable": "greet", "text": FILE},
    "/v1/processes": {"name": "intruder"},
    "/create_process": {"process_name": "intruder"},
    "/kill_process": {"process_name": "double"},
    "/object": {"key": "intruder", "serialized_data": "1"},
    "/rename": {"key": "double", "new_key": "intruder"},
    "/delete_object": {"keys": []},
    "/env_vars": {"env_vars": {"INTRUDER": "1"}},
    "/run_bash": {"command": "touch intruder"},
}


def targets() -> list[str]:
    """Every route's path, as one that exists."""
    paths = []
    for pattern in dict.fromkeys(pattern for _, pattern, _ in ROUTES):
        path = pattern
        for name in ("double", "call"):
            path = path.replace("*", name, 1)
        paths.append(path)
    return paths


def test_the_routes_were_found() -> None:
    assert len(ROUTES) > 35
    assert {("GET", "/v1/check"), ("GET", "/docs"), ("GET", "/*/docs"), ("GET", "/check"), ("GET", "/cert")} == OPEN


class Asker:
    """Requests one behind the other, on a connection that is opened anew where the node ends it."""

    def __init__(self, listener: Listener) -> None:
        if listener.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                listener.host, listener.port, timeout=SECONDS, context=context
            )
        else:
            self.connection = http.client.HTTPConnection(listener.host, listener.port, timeout=SECONDS)

    def ask(self, method: str, target: str, headers: dict[str, str]) -> tuple[int, dict[str, str]]:
        body = json.dumps(BODIES.get(target, [1])) if method not in ("GET", "HEAD", "TRACE") else None
        sent = headers | ({"Content-Type": "application/json"} if body is not None else {})
        self.connection.request(method, target, body, sent)
        answer = self.connection.getresponse()
        answer.read()
        if answer.will_close:
            self.connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}


def what_is_there(box: rh.Cluster) -> Any:
    """Everything that a request could have changed."""
    status = box.status()
    workers = sorted((worker["pid"], worker["calls"]) for worker in status["workers"])
    tokens = sorted(token["id"] for token in box.tokens())
    return [status["calls"], workers, sorted(box.keys()), box.list_processes(), tokens, box.listening()]


@pytest.fixture(scope="module")
def admin(box: rh.Cluster, shell: Shell) -> Iterator[str]:
    name = f"admin-{shell.listener.tls}"
    yield f"Bearer {box.create_token(name, scope='admin')}"
    box.revoke_token(name)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param({}, 401, id="no token"),
        pytest.param({"Authorization": "Bearer rh_wrong"}, 401, id="wrong token"),
        pytest.param({"Host": "evil.example"}, 421, id="foreign Host"),
        pytest.param({"Origin": "http://evil.example"}, 403, id="foreign Origin"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, 403, id="cross-site"),
    ],
)
def test_every_route_and_method_and_upgrade_is_refused(
    box: rh.Cluster, shell: Shell, admin: str, headers: dict[str, str], expected: int
) -> None:
    # A browser that somebody lured has no token of its own; even one that had is refused.
    sent = headers if expected == 401 else {"Authorization": admin} | headers
    upgrade = {"Connection": "Upgrade", "Upgrade": "roundhouse"}
    requests = [("GET", "/", sent | upgrade)]
    for pattern, target in zip(dict.fromkeys(pattern for _, pattern, _ in ROUTES), targets(), strict=True):
        own = {method for method, each, _ in ROUTES if each == pattern}
        methods = [m for m in METHODS if m in own or not (shell.listener.tls and expected == 401)]  # it takes its time
        methods = [m for m in methods if expected != 401 or ("GET" if m == "HEAD" else m, pattern) not in OPEN]
        requests += [(method, target, sent) for method in methods]
        requests += [("GET", target, sent | upgrade)] if "GET" in methods else []
    before = what_is_there(box)

    def ask(request: tuple[str, str, dict[str, str]]) -> tuple[int, dict[str, str]]:
        return Asker(shell.listener).ask(*request)

    # Guessing is made slow for whoever guesses, so many wait at once (fewer than may).
    with ThreadPoolExecutor(60 if expected == 401 else 4) as pool:
        for request, (status, answered) in zip(requests, pool.map(ask, requests), strict=True):
            assert status == expected, request[:2]
            assert (expected == 401) == ("www-authenticate" in answered), request[:2]
            assert not any(name.startswith("access-control") for name in answered), request[:2]
    assert what_is_there(box) == before


def test_what_needs_no_token_is_still_no_other_site_s(shell: Shell) -> None:
    asker = Asker(shell.listener)
    for target in ("/v1/check", "/docs", "/double/docs", "/check"):
        assert asker.ask("GET", target, {})[0] == 200, target
        assert asker.ask("GET", target, {"Sec-Fetch-Site": "cross-site"})[0] == 403, target


def test_the_same_requests_are_let_in_with_the_token(shell: Shell, admin: str) -> None:
    """Were the requests above refused for another reason, this would fail."""
    asker = Asker(shell.listener)
    assert asker.ask("POST", "/v1/services/double/call", {"Authorization": admin})[0] == 200
    assert asker.ask("GET", "/v1/status", {"Authorization": admin, "Sec-Fetch-Site": "same-origin"})[0] == 200
    assert asker.ask("GET", "/keys", {"Authorization": admin, "Origin": shell.listener.url})[0] == 200
