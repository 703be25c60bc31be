"""What each provider keeps where, both ways."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import roundhouse as rh

# Each provider's file, what is in it, and its values.
FILES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "aws": (
        ".aws/credentials",
        "[other]\naws_access_key_id = no\n[default]\naws_access_key_id = AK\naws_secret_access_key = S%K\n",
        {"access_key": "AK", "secret_key": "S%K"},
    ),
    "azure": (".azure/clouds.config", "[AzureCloud]\nsubscription = sub-1\n", {"subscription_id": "sub-1"}),
    "gcp": (
        ".config/gcloud/application_default_credentials.json",
        '{"client_id": "me", "client_secret": "s"}',
        {"client_id": "me", "client_secret": "s"},
    ),
    "github": (
        ".config/gh/hosts.yml",
        "other.com:\n    oauth_token: no\ngithub.com:\n    user: me\n    oauth_token: gho_1\n",
        {"oauth_token": "gho_1"},
    ),
    "huggingface": (".cache/huggingface/token", "hf_1\n", {"token": "hf_1"}),
    "kubernetes": (".kube/config", "apiVersion: v1\nusers: []\n", {"config": "apiVersion: v1\nusers: []\n"}),
    "lambda": (".lambda_cloud/lambda_keys", "api_key = l1\n", {"api_key": "l1"}),
    "ssh": (".ssh/id_rsa", "PRIVATE\n", {"private_key": "PRIVATE\n", "public_key": "PUBLIC\n"}),
    "sky": (".ssh/sky-key", "PRIVATE\n", {"private_key": "PRIVATE\n", "public_key": "PUBLIC\n"}),
}
VARIABLES: dict[str, dict[str, str]] = {
    "aws": {"access_key": "AWS_ACCESS_KEY_ID", "secret_key": "AWS_SECRET_ACCESS_KEY"},
    "azure": {"subscription_id": "AZURE_SUBSCRIPTION_ID"},
    "gcp": {"client_id": "CLIENT_ID", "client_secret": "CLIENT_SECRET"},
    "huggingface": {"token": "HF_TOKEN"},
    "docker": {
        "username": "SKYPILOT_DOCKER_USERNAME",
        "password": "SKYPILOT_DOCKER_PASSWORD",
        "server": "SKYPILOT_DOCKER_SERVER",
    },
    **{name: {"api_key": f"{name.upper()}_API_KEY"} for name in ("anthropic", "cohere", "langchain", "openai")},
    **{name: {"api_key": f"{name.upper()}_API_KEY"} for name in ("pinecone", "wandb")},
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("HOME", str(tmp_path))
    for variables in VARIABLES.values():
        for variable in variables.values():
            monkeypatch.setenv(variable, "")
            monkeypatch.delenv(variable)
    yield tmp_path
    for name in rh.Secret.local_secrets():
        rh.secret(name).delete()


def test_all_are_known() -> None:
    assert {*FILES, *VARIABLES} == {*rh.Secret.builtin_providers(as_str=True)}
    assert [secret.name for secret in rh.Secret.builtin_providers()] == rh.Secret.builtin_providers(as_str=True)
    assert rh.Secret.extract_provider_secrets() == {}


@pytest.mark.parametrize("name", FILES)
def test_files(name: str, home: Path) -> None:
    path, text, values = FILES[name]
    with pytest.raises(ValueError, match="on this machine"):
        rh.provider_secret(name)
    file = home / path
    file.parent.mkdir(parents=True)
    file.write_text(text)
    if "public_key" in values:
        file.with_name(file.name + ".pub").write_text(values["public_key"])
    secret = rh.provider_secret(name)
    assert secret.values == values
    assert [*rh.Secret.extract_provider_secrets()] == [name]
    # Written elsewhere it reads the same.
    secret.write(path=str(home / "new" / "place"))
    assert rh.provider_secret(name, path=str(home / "new" / "place")).values == values
    assert stat.S_IMODE((home / "new" / "place").stat().st_mode) == 0o600
    # And where something else is, that stays.
    (home / "new" / "place").write_text("another's")
    with pytest.warns(UserWarning, match="something else is"):
        secret.write(path=str(home / "new" / "place"))
    assert (home / "new" / "place").read_text() == "another's"
    secret.write(path=str(home / "new" / "place"), overwrite=True)
    assert rh.provider_secret(name, path=str(home / "new" / "place")).values == values
    secret.delete(contents=True)
    assert not file.exists()


@pytest.mark.parametrize("name", VARIABLES)
def test_variables(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {key: f"value of {key}" for key in VARIABLES[name]}
    for key, variable in VARIABLES[name].items():
        assert not rh.Secret.extract_provider_secrets([name])
        monkeypatch.setenv(variable, values[key])
    assert rh.provider_secret(name).values == values
    for variable in VARIABLES[name].values():
        monkeypatch.delenv(variable)
    rh.provider_secret(name, values=values).write(env=True)
    assert {key: os.environ.get(variable) for key, variable in VARIABLES[name].items()} == values
    if name not in FILES:
        monkeypatch.setenv(next(iter(VARIABLES[name].values())), "changed")
        rh.provider_secret(name, values=values).write()
        assert {key: os.environ.get(variable) for key, variable in VARIABLES[name].items()} == values


def test_what_is_wrong_is_not_shown(home: Path) -> None:
    for name, (path, _, _) in FILES.items():
        if name in ("kubernetes", "huggingface", "ssh", "sky"):
            continue
        (home / path).parent.mkdir(parents=True)
        (home / path).write_text("hidden: {")
        with pytest.raises(ValueError, match="is not what") as caught:
            rh.provider_secret(name)
        assert "hidden" not in str(caught.value)
        assert not rh.Secret.extract_provider_secrets([name])
    with pytest.raises(ValueError, match="one of values"):
        rh.provider_secret("aws", values={}, path="x")
    with pytest.raises(ValueError, match="Did you mean 'openai'"):
        rh.provider_secret("open-ai")
    with pytest.raises(ValueError, match="cannot be called"):
        rh.secret("../up", values={})
    with pytest.raises(ValueError, match="no secret is saved"):
        rh.secret("never-saved")


def test_custom_ones(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "mine.json").write_text(json.dumps({"key": "k"}))
    assert rh.provider_secret("custom", path=str(home / "mine.json")).values == {"key": "k"}
    monkeypatch.setenv("MY_KEY", "k2")
    mine = rh.provider_secret(name="mine", env_vars={"key": "MY_KEY"})
    assert (mine.values, mine.name) == ({"key": "k2"}, "mine")
    monkeypatch.delenv("MY_KEY")
    mine.write(env=True)
    assert os.environ["MY_KEY"] == "k2"


def test_saved_ones() -> None:
    secret = rh.secret("mine", values={"a": "1"})
    assert (secret.in_local(), secret.is_present()) == (False, True)
    secret.save()
    assert secret.in_local()
    assert [*rh.Secret.local_secrets()] == ["mine"]
    assert rh.Secret.local_secrets(["other"]) == {}
    assert rh.secret("mine").values == {"a": "1"}
    assert rh.Secret.from_config(secret.config()).values == {"a": "1"}
    assert "1" not in json.dumps(secret.config())
    secret.save("second")
    assert [*rh.Secret.local_secrets()] == ["mine", "second"]
    rh.secret("mine").delete()
    assert not rh.Secret("mine").is_present()
