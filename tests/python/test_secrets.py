"""Secrets: who gets them, and where they are never found."""

from __future__ import annotations

import json
import os
import pickle
import secrets
import signal
import stat
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import roundhouse as rh
import secret_subjects as subjects
from daemons import kill_daemon
from roundhouse import _run_nodes


@pytest.fixture
def value() -> str:
    """In no file, and in no process but this one."""
    return "planted-" + secrets.token_hex(16)


@pytest.fixture(autouse=True)
def nothing_saved(state_folder: Path) -> Iterator[None]:
    yield
    for name in rh.Secret.local_secrets():
        rh.secret(name).delete()


def openai(value: str) -> rh.Secret:
    return rh.provider_secret("openai", values={"api_key": value})


def length_on(box: rh.Cluster, process: str | None, name: str = "OPENAI_API_KEY") -> int:
    return rh.function(subjects.variable_length).to(box, process=process, name=f"in-{process}")(name)


def test_every_process_now_and_later(value: str) -> None:
    with rh.compute("secrets-all") as box:
        box.create_process("early")
        own = rh.function(subjects.variable_length).to(box, name="own")
        assert (length_on(box, "early"), own("OPENAI_API_KEY")) == (0, 0)
        sent = openai(value).to(box)
        box.create_process("late")
        assert [length_on(box, process) for process in ("early", "late", None)] == [len(value)] * 3
        assert own("OPENAI_API_KEY") == len(value)
        # Also the worker that takes the place of one that dies.
        [pid] = [row["pid"] for row in box.status()["workers"] if row["id"] == own._service.description["worker"]]
        os.kill(pid, signal.SIGKILL)
        assert own.options(retries=3, idempotent=True)("OPENAI_API_KEY") == len(value)
        assert (sent.values, box.get("openai").values) == ({"api_key": value}, {"api_key": value})
        assert rh.function(subjects.by_name).to(box)("openai") == len(value)
        # Another value, and none.
        openai(value + "more").to(box)
        assert (length_on(box, "early"), own("OPENAI_API_KEY")) == (len(value) + 4, len(value) + 4)
        sent.delete()
        assert [length_on(box, process) for process in ("early", "late", None)] == [0, 0, 0]
        assert box.get("openai") is None
        with pytest.raises(rh.NotFound, match="not here"):
            sent.values  # noqa: B018


def test_one_process_alone(value: str, state_folder: Path) -> None:
    with rh.compute("secrets-one") as box:
        box.create_process("other")
        openai(value).to(box, process="mine")
        assert [length_on(box, process) for process in ("mine", "other", None)] == [len(value), 0, 0]
        assert box.run_bash("printf %s ${#OPENAI_API_KEY}", process="mine", stream_logs=False)[1] == str(len(value))
        # What is its child has what it has, which shows that the hunt below could find it.
        child = box.run_bash("sleep 300 >/dev/null 2>&1 & echo $!", process="mine", stream_logs=False)[1].strip()
        assert f"/proc/{child}/environ" in hunt(value, state_folder)
        os.kill(int(child), signal.SIGKILL)
        # A worker that it starts is another process.
        assert rh.function(subjects.from_here).to(box, process="mine")("OPENAI_API_KEY") == 0
        assert box.list_processes()["mine"]["env_vars"] == {"ROUNDHOUSE_SECRET_openai": "openai"}
        kill_daemon(box)
        assert [length_on(box, process) for process in ("mine", "other", None)] == [len(value), 0, 0]


def readable(paths: Iterator[Path]) -> Iterator[tuple[Path, bytes]]:
    for path in paths:
        try:
            yield path, path.read_bytes()
        except OSError:
            continue


def hunt(value: str, state_folder: Path) -> list[str]:
    """Every file of ours, and every process's command line and environment, that has it."""
    planted = value.encode()
    files = (path for path in state_folder.rglob("*") if path.is_file() and "environments" not in path.parts)
    processes = (path for name in ("cmdline", "environ") for path in Path("/proc").glob(f"[0-9]*/{name}"))
    return sorted(str(path) for source in (files, processes) for path, data in readable(source) if planted in data)


def test_it_is_found_nowhere(
    value: str, state_folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    box = rh.compute("secrets-hunt").up_if_not()
    secret = openai(value)
    sent = secret.to(box, process="mine")
    told: list[Any] = [
        repr(secret),
        repr(sent),
        secret.config(),
        sent.config(),
        pickle.dumps(secret),
        pickle.dumps(sent),
    ]
    # As an argument: of a call, of a constructor, of runs; what was never sent travels by its name as well.
    assert rh.function(subjects.digits).to(box, process="mine")(secret) == len(value)
    assert rh.cls(subjects.Holder).to(box)(secret, name="holder").length() == len(value)
    run = rh.function(subjects.digits).to(box, name="digits").options(run_name="counted")
    assert run(sent) == len(value)
    failing = rh.function(subjects.fails_with).to(box)
    for options in ({}, {"run_name": "failed"}):
        with pytest.raises(LookupError) as caught:
            failing.options(**options)(secret)
        told += [str(caught.value), *getattr(caught.value, "__notes__", ()), str(caught.value.__cause__)]
    # In code that travels by value.
    assert rh.function(lambda: len(secret.values["api_key"])).to(box)() == len(value)
    box.put("kept", {"secret": secret})
    told.append(pickle.dumps(box.get("kept")))
    # Through a daemon that dies while a run has it, and a process that does.
    go = state_folder / "go"
    pending = rh.function(subjects.until).to(box).options(run_name="pending").submit(str(go), secret)
    kill_daemon(box)
    go.touch()
    told.append(pending.result(60))
    for name in ("counted", "failed", "pending"):
        described = box.get_run(name).describe()
        about, program, parts = _run_nodes.NodeRuns(box).dispatch(name, 0)
        told += [described, box.get_run(name).logs(), about, *map(bytes, program), *map(bytes, parts)]
    box.listen()
    told += [box.status(), box.list_processes(), box.config(False), box.export(), box.runs(), box._ask("tokens", {})]
    told += [box._ask("describe", {"name": name, "schemas": True}) for name in sorted(box.keys())]
    monkeypatch.setenv("NO_COLOR", "1")
    program_path = str(Path(rh.__file__).parent / "_bin" / "roundhouse")
    for line in (
        "status NAME",
        "ps NAME",
        "logs NAME",
        "list",
        "keys NAME",
        "runs list NAME",
        "runs show NAME failed",
    ):
        words = line.replace("NAME", box.name).split()
        done = subprocess.run([program_path, *words], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, (line, done.stderr)
        told += [done.stdout, done.stderr]
    told += list(capfd.readouterr())
    assert [each for each in told if value in (each if isinstance(each, str) else repr(each))] == []
    kept = Path(box.state_folder) / "kept" / "secrets" / "openai"
    assert hunt(value, state_folder) == [str(kept)]
    assert (stat.S_IMODE(kept.stat().st_mode), stat.S_IMODE(kept.parent.stat().st_mode)) == (0o600, 0o700)
    # Saved: in one more file, and not in the registry. With the node its own is gone.
    secret.save()
    box.save()
    saved = state_folder / "secrets" / "openai"
    assert hunt(value, state_folder) == sorted([str(kept), str(saved)])
    assert (stat.S_IMODE(saved.stat().st_mode), stat.S_IMODE(saved.parent.stat().st_mode)) == (0o600, 0o700)
    box.teardown()
    secret.delete()
    assert hunt(value, state_folder) == []
    box.teardown_and_delete()


def test_it_does_not_travel_in_the_clear(value: str) -> None:
    with rh.compute("secrets-ports") as box:
        listener = box.listen()
        token = box.create_token("admin", scope="admin")
        there = rh.cluster(
            "secrets-tcp", host="127.0.0.1", server_port=listener.port, server_connection_type="none", token=token
        )
        with pytest.raises(rh.NotAllowed, match="in the clear"):
            openai(value).to(there)
        assert length_on(box, None) == 0
        # The service is for those who may deploy, whatever a token lets them call.
        openai(value).to(box)
        call = box.create_token("caller", scope="call")
        for arguments in (["", "fetch", "openai"], ["0" * 64, "fetch", "openai"]):
            body = json.dumps({"args": arguments}).encode()
            headers = {"Authorization": f"Bearer {call}", "Content-Type": "application/json"}
            request = urllib.request.Request(f"{listener.url}/roundhouse-secrets/call", body, headers)
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(request)
            assert value not in caught.value.read().decode()
        box.unlisten()
        listener = box.listen(tls=True)
        there = rh.cluster(
            "secrets-tls",
            host="127.0.0.1",
            server_port=listener.port,
            server_connection_type="tls",
            token=token,
            pin=listener.pin,
        )
        assert rh.secret("by-tls", values={"api_key": value}).to(there).values == {"api_key": value}
        assert rh.function(subjects.by_name).to(box)("by-tls") == len(value)
        there.disconnect()
        box.unlisten()


def test_files_of_the_provider_stay_the_users(value: str, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "token"
    with rh.compute("secrets-paths") as box:
        secret = rh.provider_secret("huggingface", values={"token": value})
        secret.to(box, path=str(path))
        assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (value, 0o600)
        secret.to(box, path=str(path))
        path.write_text("the user's own")
        with pytest.warns(UserWarning, match="something else is"):
            secret.to(box, path=str(path))
    assert path.read_text() == "the user's own"


def test_sync_secrets(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for provider in rh.Secret.builtin_providers():
        for variable in provider.env_vars.values():
            monkeypatch.delenv(variable, raising=False)
    (tmp_path / ".cache" / "huggingface").mkdir(parents=True)
    (tmp_path / ".cache" / "huggingface" / "token").write_text(value + "\n")
    rh.secret("mine", values={"api_key": value}).save()
    with rh.compute("secrets-sync") as box:
        box.sync_secrets(process="p")
        assert length_on(box, "p", "HF_TOKEN") == len(value)
        box.sync_secrets(["mine", rh.secret("given", values={"api_key": value})])
        assert [rh.function(subjects.by_name).to(box)(name) for name in ("mine", "given")] == [len(value)] * 2
        with pytest.raises(ValueError, match="no provider 'mina'"):
            box.sync_secrets(["mina"])
        with pytest.raises(rh.NotFound, match=r"no .*AWS_ACCESS_KEY_ID.* on this machine"):
            box.sync_secrets(["aws"])
    with pytest.raises(rh.SetupError, match=r"step 1 of the image 'lacks', sync_secrets.*, failed: there is"):
        rh.compute("secrets-image", image=rh.Image("lacks").sync_secrets(["aws"])).up_if_not()
    image = rh.Image("with-secrets").sync_secrets(["huggingface", "mine"])
    with rh.compute("secrets-image", image=image) as box:
        assert length_on(box, None, "HF_TOKEN") == len(value)
