"""`rh.secret`, `rh.provider_secret`: credentials, and how they get to a cluster without being seen anywhere."""

from __future__ import annotations

import os

from roundhouse import _providers, _secret_files
from roundhouse._providers import PROVIDERS
from roundhouse.exceptions import NotAllowed, NotFound, RoundhouseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from typing_extensions import Self

    from roundhouse._cluster import Cluster


class NoSecret(NotFound, ValueError):
    """There is no secret of that name, or its values are not here."""


class Secret:
    """Values under a name, such as a token, that travel on purpose only: by ``to`` and ``sync_secrets``.

    Wherever else the object goes (as an argument, in code that is sent, in a run's journal), its name goes, and the
    values are read again where they are used. They are in no ``repr``, configuration or message.

    >>> import roundhouse as rh
    >>> secret = rh.secret("example-token", values={"token": "s3cr3t"})
    >>> secret
    <Secret 'example-token': token>
    >>> box = rh.compute("example").up_if_not()
    >>> sent = secret.to(box)
    >>> rh.function(lambda s: len(s.values["token"])).to(box)(sent)
    6
    >>> sent.delete()
    """

    def __init__(
        self,
        name: str,
        values: dict[str, Any] | None = None,
        provider: str | None = None,
        path: str | None = None,
        env_vars: dict[str, str] | None = None,
    ) -> None:
        self.name = _secret_files.check_name(name)
        self.provider = provider
        self.path = path
        self.env_vars = dict(env_vars or {})
        # None where they are read when they are needed.
        self._values = None if values is None else dict(values)
        self._system: Cluster | None = None

    # Values.

    @property
    def values(self) -> dict[str, Any]:
        """What it holds. Of one that came from elsewhere: from the node that this runs on, from the cluster that it was
        sent to, as it was saved, or where its provider keeps it. NoSecret, a NotFound and a ValueError, otherwise."""
        found = self._values
        if found is None:
            found = self._found()
        if found is None:
            raise NoSecret(
                f"the values of the secret {self.name!r} are not here. Try: .to(box) before it is used there",
                name=self.name,
            )
        return dict(found)

    def _found(self) -> dict[str, Any] | None:
        record = _secret_files.read(_secret_files.on_node(), self.name)
        if record is None and self._system is not None:
            record = _asked(self._system, "fetch", self.name)
        if record is None:
            record = _secret_files.read(_secret_files.saved(), self.name)
        return None if record is None else record["values"]

    def is_present(self) -> bool:
        """True when its values can be had here."""
        try:
            return bool(self.values)
        except (RoundhouseError, OSError, ValueError):
            return False

    def in_local(self) -> bool:
        """True when it is saved on this machine."""
        return _secret_files.read(_secret_files.saved(), self.name) is not None

    @property
    def system(self) -> Cluster | None:
        """The cluster that it was sent to."""
        return self._system

    # Where it goes.

    def to(
        self,
        system: Cluster | str,
        path: str | None = None,
        process: str | None = None,
        values: bool | None = None,
        name: str | None = None,
    ) -> Self:
        """Sends it to a cluster, and returns it as it is there.

        There its values stand in a file that only the cluster's user can read, and that goes with the cluster; with
        ``path`` also at that path, where whatever else is there stays, with a warning. Its provider's variables are set
        in every process, now and later, or in ``process`` alone, which is made where there is none. It travels through
        the Unix socket or TLS; by TCP in the clear it is NotAllowed. (``values`` is Runhouse's, and changes nothing.)
        """
        from roundhouse._cluster import cluster_of
        from roundhouse._processes import DEFAULT_PROCESS

        box = cluster_of(system)
        sent = self._renamed(name)
        record = {**sent._described(), "values": self.values}
        if process is not None and process != DEFAULT_PROCESS:
            box.ensure_process_created(process)
        else:
            process = None
        for left in _asked(box, "keep", sent.name, record, path):
            _warn_left(sent.name, left)
        from roundhouse._secret_variables import variable_of

        box._ask("set_env", {"process": process, "vars": {variable_of(sent.name): sent.name}})
        sent._values = None
        sent._system = box
        sent.path = path or self.path
        return sent

    def write(
        self,
        path: str | None = None,
        env_vars: dict[str, str] | None = None,
        file: bool = False,
        env: bool = False,
        overwrite: bool = False,
        write_config: bool = True,
    ) -> Self:
        """Puts its values where its provider has them on this machine, and returns it: into the file at ``path`` (of
        mode 0600), or with ``env`` into this process's variables. Without a word of that it is the file, where the
        provider has one. A file with something else in it is left, with a warning, unless ``overwrite``."""
        provider = _providers.provider_of(self.provider)
        variables = env_vars or self.env_vars or provider.variables
        path = path or self.path or provider.path
        into_file = file or (not env and env_vars is None and path is not None)
        values = self.values
        if into_file:
            if path is None:
                raise ValueError(f"the secret {self.name!r} has no file. Try: write(path=...), or write(env=True)")
            for left in _providers.place(provider, path, values, overwrite):
                _warn_left(self.name, left)
        else:
            if not variables:
                raise ValueError(f"the secret {self.name!r} has no variables. Try: write(env_vars={{'key': 'NAME'}})")
            os.environ.update(_secret_files.variables({"values": values, "env_vars": variables}))
        return self

    def save(self, name: str | None = None, **_: Any) -> Self:
        """Keeps it on this machine, values included, in a file that only you can read: ``rh.secret(name)`` finds it."""
        if name is not None:
            self.name = _secret_files.check_name(name)
        _secret_files.write(_secret_files.saved(), self.name, {**self._described(), "values": self.values})
        return self

    def delete(self, contents: bool = False) -> None:
        """Forgets it: on the cluster that it was sent to, else what was saved here; with ``contents`` its provider's
        file here as well."""
        if self._system is not None:
            from roundhouse._secret_variables import variable_of

            self._system._ask("set_env", {"process": None, "vars": {variable_of(self.name): None}})
            _asked(self._system, "forget", self.name)
            return
        path = self.path or _providers.provider_of(self.provider).path
        if contents and path is not None and os.path.exists(os.path.expanduser(path)):
            os.unlink(os.path.expanduser(path))
        _secret_files.remove(_secret_files.saved(), self.name)

    # As a description, which never has the values.

    def config(self, condensed: bool = True) -> dict[str, Any]:
        """What describes it, for ``from_config``: everything but the values."""
        return {"resource_type": "secret", "resource_subtype": type(self).__name__, **self._described()}

    @classmethod
    def from_config(cls, config: dict[str, Any], dryrun: bool = False) -> Secret:
        """The secret that ``config()`` described. Its values are those that are found where it is used."""
        return _of_record(config)

    @classmethod
    def from_name(cls, name: str, load_from_den: bool = True, dryrun: bool = False) -> Secret:
        """The one that was saved under that name; NoSecret, a NotFound and a ValueError, where none was."""
        record = _secret_files.read(_secret_files.on_node(), name) or _secret_files.read(_secret_files.saved(), name)
        if record is None:
            raise NoSecret(
                f"no secret is saved as {name!r}. Try: rh.secret({name!r}, values={{...}}).save()", name=name
            )
        return _of_record(record)

    @staticmethod
    def builtin_providers(as_str: bool = False) -> list[Any]:
        """The providers that are known: by name, or (without ``as_str``) a ``ProviderSecret`` of each.

        >>> import roundhouse as rh
        >>> "huggingface" in rh.Secret.builtin_providers(as_str=True)
        True
        """
        if as_str:
            return [*PROVIDERS]
        return [ProviderSecret(name, None, name, None, provider.variables) for name, provider in PROVIDERS.items()]

    @staticmethod
    def local_secrets(names: Sequence[str] | None = None) -> dict[str, Secret]:
        """The secrets that are saved on this machine (of those names), by name."""
        folder = _secret_files.saved()
        return {name: Secret.from_name(name) for name in _secret_files.names(folder) if names is None or name in names}

    @staticmethod
    def extract_provider_secrets(names: Sequence[str] | None = None) -> dict[str, Secret]:
        """Of the providers (of those names), those whose file or variables are on this machine, by name."""
        found: dict[str, Secret] = {}
        for name in PROVIDERS if names is None else names:
            secret = ProviderSecret(name, None, name, None, _providers.provider_of(name).variables)
            if secret.is_present():
                found[name] = secret
        return found

    def _described(self) -> dict[str, Any]:
        variables = self.env_vars or _providers.provider_of(self.provider).variables
        return {"name": self.name, "provider": self.provider, "path": self.path, "env_vars": variables}

    def _renamed(self, name: str | None) -> Self:
        made = type(self)(name or self.name, None, self.provider, self.path, self.env_vars)
        made._system = self._system
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.config() == other.config()

    def __hash__(self) -> int:
        return hash(self.name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive, (self._described(), self._system)

    def __repr__(self) -> str:
        try:
            keys = ", ".join(self._values or ()) or "its values are elsewhere"
        except Exception:
            keys = "?"
        return f"<{type(self).__name__} {self.name!r}: {keys}>"


class ProviderSecret(Secret):
    """The credentials of a well-known service, from where that keeps them.

    >>> import os, roundhouse as rh
    >>> os.environ["OPENAI_API_KEY"] = "sk-example"
    >>> rh.provider_secret("openai").values["api_key"] == os.environ.pop("OPENAI_API_KEY")
    True
    """

    def _found(self) -> dict[str, Any] | None:
        found = super()._found()
        return found if found is not None or self._system is not None else self._at_provider()

    def _at_provider(self) -> dict[str, Any] | None:
        provider = _providers.provider_of(self.provider)
        path = self.path or provider.path
        if path is not None and os.path.exists(os.path.expanduser(path)):
            return provider.read_file(path)
        return provider.from_environment(self.env_vars or provider.variables) or None


def secret(
    name: str | None = None,
    values: dict[str, Any] | None = None,
    provider: str | None = None,
    load_from_den: bool = True,
    dryrun: bool = False,
) -> Secret:
    """A secret of those values; with a name alone the one that was saved, or sent to the node that this runs on.

    >>> import roundhouse as rh
    >>> _ = rh.secret("example-key", values={"key": "1234"}).save()
    >>> rh.secret("example-key").values == {"key": "1234"}
    True
    >>> rh.secret("example-key").delete()
    """
    if provider is not None:
        return provider_secret(provider, name, values)
    if name is None:
        raise ValueError("rh.secret() needs a name. Try: rh.secret('my-token', values={'token': ...})")
    if values is None:
        return Secret.from_name(name)
    return Secret(name, values)


def provider_secret(
    provider: str | None = None,
    name: str | None = None,
    values: dict[str, Any] | None = None,
    path: str | None = None,
    env_vars: dict[str, str] | None = None,
    load_from_den: bool = True,
    dryrun: bool = False,
) -> Secret:
    """The credentials of that provider: from ``values``, the file at ``path``, or ``env_vars`` (each value's variable);
    without any of these from the provider's own file, else its own variables. ValueError where neither is there.

    ``Secret.builtin_providers(as_str=True)`` lists them; ``"custom"``, which has JSON at its path, is any other.

    >>> import roundhouse as rh
    >>> rh.provider_secret("huggingface", values={"token": "hf_example"})
    <ProviderSecret 'huggingface': token>
    """
    given = [argument for argument in (values, path, env_vars) if argument is not None]
    if len(given) > 1:
        raise ValueError("rh.provider_secret() takes one of values=, path= and env_vars=")
    if provider is None and not given:
        if name is None:
            raise ValueError("rh.provider_secret() needs a provider, or a name. Try: rh.provider_secret('huggingface')")
        return Secret.from_name(name)
    known = _providers.provider_of(provider)
    named = name or (provider if provider is not None else "custom")
    made = ProviderSecret(named, values, provider or "custom", path, env_vars or known.variables)
    if path is not None:
        try:
            made._values = known.read_file(path)
        except OSError as error:
            raise ValueError(f"the file of the secret {named!r} cannot be read: {error}. Try: another path=") from None
    elif values is None:
        made._values = made._at_provider()
        if made._values is None:
            places = " or ".join([*([known.path] if known.path else ()), *made.env_vars.values()])
            raise NoSecret(f"there is no {places} on this machine for the secret {named!r}. Try: values=", name=named)
    return made


def found_here(name: str) -> Secret:
    """The saved secret of that name, or the provider's."""
    if not isinstance(name, str):
        raise TypeError(f"a secret is an rh.Secret or its name, not {type(name).__name__}")
    saved = _secret_files.read(_secret_files.saved(), name)
    return _of_record(saved) if saved is not None else provider_secret(name)


def sent(cluster: Cluster, name: str) -> Secret | None:
    """The secret of that name that was sent to that cluster."""
    try:
        cluster._ask("describe", {"name": _service_name()})
        record = _asked(cluster, "fetch", name)
    except RoundhouseError:
        return None
    if record is None:
        return None
    found = _of_record(record)
    found._system = cluster
    return found


def _service_name() -> str:
    from roundhouse._secrets import SERVICE

    return SERVICE


def _asked(
    cluster: Cluster, what: str, name: str, record: dict[str, Any] | None = None, path: str | None = None
) -> Any:
    """Asks the service there, by a way that nobody listens in on."""
    from roundhouse import _deploy, _proof, _secrets
    from roundhouse._function import Function

    if cluster._socket_path.startswith("tcp://"):
        raise NotAllowed(
            f"the secret {name!r} would travel in the clear to cluster {cluster.name!r}, which is reached at "
            f"{cluster._socket_path}. Try: a cluster that is reached by TLS",
            started="no",
        )
    service = _deploy.get_or_deploy(cluster, "function", _secrets.act, _deploy.Own(_secrets.SERVICE))
    act: Function[..., Any] = Function(None, service)
    return act(_proof.of(cluster, _secrets.SERVICE), what, name, record, path)


def _of_record(record: dict[str, Any]) -> Secret:
    kind = Secret if record.get("provider") is None else ProviderSecret
    return kind(record["name"], None, record.get("provider"), record.get("path"), record.get("env_vars"))


def _revive(described: dict[str, Any], system: Cluster | None) -> Secret:
    made = _of_record(described)
    made._system = system
    return made


def _warn_left(name: str, path: str) -> None:
    import warnings

    warnings.warn(
        f"the secret {name!r} was not written to {path}, where something else is. Try: another path, or remove that",
        stacklevel=3,
    )
