"""Where well-known services keep their credentials: the file, the environment variables, and what is in them."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    Values: TypeAlias = dict[str, Any]


class Provider:
    """Of one service. `read` makes values of its file's text, `write` is the inverse."""

    def __init__(
        self,
        name: str,
        path: str | None = None,
        read: Callable[[str], Values] | None = None,
        write: Callable[[Values], str] | None = None,
        **variables: str,
    ) -> None:
        self.name = name
        self.path = path
        self.read = read or _from_json
        self.write = write or _to_json
        # The variable of each value.
        self.variables = variables

    def read_file(self, path: str) -> Values:
        """FileNotFoundError where there is none, ValueError where it is not what it should be."""
        path = os.path.expanduser(path)
        with open(path, encoding="utf-8") as file:
            text = file.read()
        if self.read is _from_key:
            return _key_pair(path, text)
        try:
            return self.read(text)
        except (ValueError, KeyError, TypeError, AttributeError):
            # What was wrong with it may be a part of the secret.
            raise ValueError(f"{path} is not what {self.name} keeps there") from None

    def files(self, path: str, values: Values) -> dict[str, bytes]:
        """What stands where, once it is written."""
        path = os.path.expanduser(path)
        if self.read is _from_key:
            public = {f"{path}.pub": values["public_key"].encode()} if values.get("public_key") else {}
            return {path: values["private_key"].encode(), **public}
        return {path: self.write(values).encode()}

    def from_environment(self, variables: dict[str, str]) -> Values:
        """All of them, or nothing."""
        values = {key: os.environ.get(variable) for key, variable in variables.items()}
        return {} if None in values.values() else values


def _from_json(text: str) -> Values:
    from roundhouse import _json

    found = _json.decode(text.encode())
    if not isinstance(found, dict):
        raise ValueError("no object")
    return found


def _to_json(values: Values) -> str:
    from roundhouse import _json

    return _json.encode(values).decode()


def _section(text: str, section: str) -> Any:
    from configparser import ConfigParser, Error

    parser = ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
    except Error:
        raise ValueError("not of that form") from None
    return parser[section]


def _from_aws(text: str) -> Values:
    section = _section(text, "default")
    return {"access_key": section["aws_access_key_id"], "secret_key": section["aws_secret_access_key"]}


def _to_aws(values: Values) -> str:
    return f"[default]\naws_access_key_id = {values['access_key']}\naws_secret_access_key = {values['secret_key']}\n"


def _from_azure(text: str) -> Values:
    return {"subscription_id": _section(text, "AzureCloud")["subscription"]}


def _to_azure(values: Values) -> str:
    return f"[AzureCloud]\nsubscription = {values['subscription_id']}\n"


def _from_github(text: str) -> Values:
    """Of YAML the two levels that this file has."""
    inside = False
    for line in text.splitlines():
        if line[:1].strip():
            inside = line.rstrip() == "github.com:"
        key, _, value = line.strip().partition(":")
        if inside and key == "oauth_token":
            return {"oauth_token": value.strip().strip("'\"")}
    raise ValueError("no oauth_token")


def _to_github(values: Values) -> str:
    return f"github.com:\n    oauth_token: {values['oauth_token']}\n"


def _from_lambda(text: str) -> Values:
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and key.strip() == "api_key":
            return {"api_key": value.strip()}
    raise ValueError("no api_key")


def _from_key(text: str) -> Values:
    raise AssertionError  # A pair of files, which read_file sees to.


def _key_pair(path: str, private: str) -> Values:
    try:
        with open(path + ".pub", encoding="utf-8") as file:
            return {"private_key": private, "public_key": file.read()}
    except FileNotFoundError:
        return {"private_key": private, "public_key": ""}


PROVIDERS = {
    provider.name: provider
    for provider in (
        Provider(
            *("aws", "~/.aws/credentials", _from_aws, _to_aws),
            access_key="AWS_ACCESS_KEY_ID",
            secret_key="AWS_SECRET_ACCESS_KEY",
        ),
        Provider(*("azure", "~/.azure/clouds.config", _from_azure, _to_azure), subscription_id="AZURE_SUBSCRIPTION_ID"),
        Provider(
            *("gcp", "~/.config/gcloud/application_default_credentials.json"),
            client_id="CLIENT_ID",
            client_secret="CLIENT_SECRET",
        ),
        Provider("github", "~/.config/gh/hosts.yml", _from_github, _to_github),
        Provider(
            "huggingface",
            "~/.cache/huggingface/token",
            lambda text: {"token": text.strip()},
            lambda values: str(values["token"]),
            token="HF_TOKEN",
        ),
        Provider("kubernetes", "~/.kube/config", lambda text: {"config": text}, lambda values: str(values["config"])),
        Provider(
            *("lambda", "~/.lambda_cloud/lambda_keys", _from_lambda),
            lambda values: f"api_key = {values['api_key']}\n",
        ),
        Provider(
            "docker",
            username="SKYPILOT_DOCKER_USERNAME",
            password="SKYPILOT_DOCKER_PASSWORD",
            server="SKYPILOT_DOCKER_SERVER",
        ),
        Provider("ssh", "~/.ssh/id_rsa", _from_key),
        Provider("sky", "~/.ssh/sky-key", _from_key),
        *(
            Provider(name, api_key=f"{name.upper()}_API_KEY")
            for name in ("anthropic", "cohere", "langchain", "openai", "pinecone", "wandb")
        ),
    )
}


def provider_of(name: str | None) -> Provider:
    """ "custom" and None stand for one that is known by what it was given: JSON at a path, or variables."""
    if name is None or name == "custom":
        return Provider("custom")
    if name in PROVIDERS:
        return PROVIDERS[name]
    from difflib import get_close_matches

    close = get_close_matches(name, PROVIDERS, 1)
    hint = f"Did you mean {close[0]!r}?" if close else f"Try: 'custom', or one of {', '.join(sorted(PROVIDERS))}"
    raise ValueError(f"there is no provider {name!r}. {hint}")


def place(provider: Provider, path: str, values: Values, overwrite: bool = False) -> list[str]:
    """Writes the provider's file, for this user alone, and returns the paths that stay as they are, because something
    else is there."""
    from roundhouse import _secret_files

    left = []
    for each, data in provider.files(path, values).items():
        if os.path.exists(each):
            with open(each, "rb") as file:
                if file.read() == data:
                    continue
            if not overwrite:
                left.append(each)
                continue
        os.makedirs(os.path.dirname(os.path.abspath(each)), mode=0o700, exist_ok=True)
        _secret_files.write_private(os.path.realpath(each), data)
    return left
