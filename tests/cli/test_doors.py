"""server, token, export, and clusters that a variable tells of."""

from __future__ import annotations

import json
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .shell import Shell


@pytest.fixture(scope="module")
def port(rh: Shell) -> Iterator[str]:
    rh("run", "digits.py::train", "--on", "door", "--keep", "--quiet")
    listener = rh("server", "start", "door", "--port", "0", "--json").value
    yield listener["url"]
    rh("down", "door")


def test_the_server_says_where_it_is(rh: Shell, port: str) -> None:
    assert rh("server", "status", "door", "--json").value["url"] == port
    assert port in rh("server", "status", "door").out
    assert port in rh("status", "door").out
    assert rh("status", "door", "--json").value["listening"]["url"] == port


def test_a_token_is_shown_once(rh: Shell, port: str, tmp_path: Path) -> None:
    token = rh("token", "create", "door", "--name", "shown", "--scope", "deploy", "--expires", "30d").out.strip()
    assert len(token) >= 40
    listed = rh("token", "list", "door", "--json").value
    assert token not in json.dumps(listed)
    assert [(row["scope"], row["expires_s"] > 0) for row in listed if row["name"] == "shown"] == [("deploy", True)]
    assert token not in rh("token", "list", "door").out
    assert rh("token", "revoke", "door", "shown").out == "shown is revoked\n"
    assert not [row for row in rh("token", "list", "door", "--json").value if row["name"] == "shown"]
    rh("token", "revoke", "door", "shown", code=3)


def test_a_token_in_a_file(rh: Shell, port: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    done = rh("token", "create", "door", "--out", file, "--json")
    assert "token" not in done.value
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().strip() not in done.out + done.err
    rh("token", "create", "door", "--header", "--out", file)
    assert re.fullmatch(r"Authorization: Bearer \S+\n", file.read_text())


def test_a_token_that_cannot_be_written_is_taken_back(rh: Shell, port: str) -> None:
    before = rh("token", "list", "door", "--json").value
    rh("token", "create", "door", "--out", "/no/such/folder/token", code=1)
    assert rh("token", "list", "door", "--json").value == before


def test_bad_options(rh: Shell, port: str) -> None:
    rh("token", "create", "door", "--scope", "everything", code=2)
    rh("token", "create", "door", "--expires", "soon", code=2)
    rh("server", "start", "door", "--port", "65536", code=2)
    rh("server", "start", "door", "--key", "x", code=2)


@pytest.mark.parametrize("tls", [False, True])
def test_an_exported_cluster_is_called_from_elsewhere(rh: Shell, port: str, tmp_path: Path, tls: bool) -> None:
    rh("server", "start", "door", "--port", "0", *(["--tls"] if tls else []))
    file = tmp_path / "door.env"
    done = rh("export", "door", "--out", file)
    assert done.out == f"wrote {file}: ROUNDHOUSE_CLUSTER_DOOR\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    value = shlex.split(file.read_text())[1].partition("=")[2]
    told = json.loads(value)
    assert told["url"].startswith("https://" if tls else "http://")
    # Another home, where nothing is known of it.
    (tmp_path / "state").mkdir(mode=0o700)
    there = {"ROUNDHOUSE_STATE": str(tmp_path / "state"), "ROUNDHOUSE_CLUSTER_DOOR": value}
    assert rh("call", "--prints", "none", "door", "train", "2", **there).value["epochs"] == 2
    assert rh("status", "door", "--json", **there).value["up"]
    refused = rh("delete", "door", "train", code=1, **there)
    assert "not_allowed" in refused.err
    assert told["token"] not in refused.err
    wrong = json.dumps({**told, "token": "rh_wrong"})
    assert "not_allowed" in rh("call", "door", "train", code=1, **{**there, "ROUNDHOUSE_CLUSTER_DOOR": wrong}).err
    if tls:
        unpinned = json.dumps({**told, "pin": "sha256/" + "A" * 43 + "="})
        rh("call", "door", "train", code=1, **{**there, "ROUNDHOUSE_CLUSTER_DOOR": unpinned})
    assert rh("list", "--json", **there).value[0]["launcher"] == "elsewhere"


def test_a_cluster_that_python_saved_is_called_too(rh: Shell, port: str, tmp_path: Path) -> None:
    listener = rh("server", "start", "door", "--port", "0", "--json").value
    token = tmp_path / "token"
    rh("token", "create", "door", "--out", token)
    script = (
        "import roundhouse as rh, sys\n"
        f"there = rh.cluster('saved-door', host='127.0.0.1', server_port={listener['port']},\n"
        f"                   server_connection_type='none', token=open({str(token)!r}).read().strip())\n"
        "there.save()\n"
    )
    subprocess.run([sys.executable, "-c", script], env=rh.env, check=True)
    assert rh("call", "--prints", "none", "saved-door", "train", "1").value["epochs"] == 1
    row = next(row for row in rh("list", "--json").value if row["name"] == "saved-door")
    assert (row["url"], row["saved"]) == (listener["url"], True)


def test_a_server_from_start_to_stop(rh: Shell) -> None:
    url = rh("server", "start", "served", "--port", "0", "--json").value["url"]
    assert rh("server", "restart", "served", "--json").value["url"] == url
    rh("server", "stop", "served")
    rh("server", "status", "served", code=3)
    rh("up", "served")
    assert rh("server", "status", "served", "--json").value["url"] is None
    assert "server start" in rh("export", "served", code=3).err
    rh("down", "served")
