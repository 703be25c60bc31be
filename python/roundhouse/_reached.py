"""Clusters that are known by where they answer: at a host and a port, with a token, by TLS or in the clear."""

from __future__ import annotations

import os

from roundhouse import _json
from roundhouse._arguments import variable_for
from roundhouse._cluster import Cluster
from roundhouse._link import Link, link_to
from roundhouse._sizes import Sizes
from roundhouse.exceptions import LaunchError, NodeLost, Unsupported, WrongArguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Runhouse's.
_PORTS = {"tls": 443, "none": 80}
_SCHEMES = {"tls": "tls", "none": "tcp"}


class Reached(Cluster):
    """A cluster that somebody else launched, and that listens. It is not up to us to launch it.

    >>> import roundhouse as rh
    >>> box = rh.compute("example").up_if_not()
    >>> listener = box.listen()
    >>> there = rh.cluster("example-by-tcp", host="127.0.0.1", server_port=listener.port,
    ...                    server_connection_type="none", token=box.create_token("by-tcp", scope="admin"))
    >>> there.is_up(), there.listening() == listener
    (True, True)
    >>> box.revoke_token("by-tcp")
    >>> box.unlisten()
    """

    def __init__(self, name: str, host: str, port: int, connection: str, pin: str, token: str) -> None:
        self.name = name
        self.state_folder = ""
        self._host, self._port, self._connection, self._pin, self._token = host, port, connection, pin, token
        # Its identity, as a local cluster's is its socket.
        self._socket_path = f"{_SCHEMES[connection]}://{f'[{host}]' if ':' in host else host}:{port}"
        self._sizes = Sizes({})
        self._listens = {}
        self._image = None
        self._launched_here = False

    @property
    def _link(self) -> Link:
        return link_to(self.name, self._socket_path, self._token, self._pin)

    def _follow(self) -> None:
        """Its name is ours alone."""

    def _locate(self) -> None:
        """It is where it is."""

    # Up and down.

    def is_up(self) -> bool:
        """True when its daemon answers. NotAllowed when it does not know the token, or is not the one with the pin."""
        try:
            self._link.client()
        except NodeLost:
            return False
        return True

    def up_if_not(self, verbose: bool = True) -> Cluster:
        """Returns the cluster when it answers. LaunchError otherwise: whoever launched it has to do it again."""
        try:
            self._link.client()
        except NodeLost as error:
            raise LaunchError(
                f"cluster {self.name!r} is reached at {self._socket_path} and cannot be launched from here: {error}"
            ) from None
        return self

    def teardown(self, verbose: bool = True) -> None:
        """Ends the node and everything on it (scope "admin"). Fine when it is down already."""
        try:
            self._ask("stop", {})
        except NodeLost:
            pass
        self._link.close()

    def teardown_and_delete(self, verbose: bool = True) -> None:
        """``teardown``, and what was saved of it here goes as well."""
        self.teardown()
        self.delete_configs()

    def rename(self, name: str, new: str | None = None, replace: bool = False) -> None:
        """With ``new``, the object ``name`` on it gets that name. The cluster's own name is its launcher's."""
        if new is None:
            raise Unsupported(f"cluster {self.name!r} is known here by what it was called here. Try: save(name)")
        self._rename_object(name, new, replace)

    # What it is.

    @property
    def ips(self) -> list[str]:
        """Its host."""
        return [self._host]

    def endpoint(self, external: bool = False) -> str | None:
        """The URL that it is reached by."""
        scheme = "https" if self._connection == "tls" else "http"
        return scheme + self._socket_path[self._socket_path.index("://") :]

    def export(self, *_: Any, **__: Any) -> dict[str, str]:
        """What another process needs in its environment to reach it as this one does, with the same token."""
        found = {"url": self.endpoint(), "pin": self._pin or None, "token": self._token}
        return {variable_for(self.name): _json.encode(found).decode()}

    def config(self, condensed: bool = True) -> dict[str, Any]:
        """What describes it, for ``from_config``. The token is not part of it; ``save`` keeps that as well."""
        config: dict[str, Any] = {
            "name": self.name,
            "resource_type": "cluster",
            "resource_subtype": "Cluster",
            "host": self._host,
            "server_port": self._port,
            "server_connection_type": self._connection,
            "pin": self._pin or None,
        }
        return {key: value for key, value in config.items() if value is not None or not condensed}

    def save(self, name: str | None = None, overwrite: bool = True, folder: str | None = None) -> Cluster:
        """Keeps how it is reached, token included, on this machine: ``rh.compute(name)`` alone brings it back."""
        from roundhouse import _registry

        self.name = self.name if name is None else _registry.plain_name(name)
        _registry.save_cluster(self.name, self.config(), "", overwrite, self._token)
        return self

    def __repr__(self) -> str:
        try:
            state = "up" if self.is_up() else "down"
        except Exception:
            state = "unreachable"
        return f"<Cluster {self.name!r} at {self._socket_path}, {state}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return revive, (self.name, self._socket_path, self._pin)


def reached(name: str, asked: dict[str, Any]) -> Reached:
    """What ``rh.compute`` was asked for."""
    if "host" in asked and "ips" in asked:
        raise ValueError(f"rh.compute({name!r}) takes host= or ips=, not both")
    host = asked["host"] if "host" in asked else asked["ips"]
    if isinstance(host, (list, tuple)):
        if len(host) != 1:
            raise Unsupported(f"rh.compute({name!r}, host=...) of {len(host)} nodes is not yet supported: name one")
        host = host[0]
    connection = asked["server_connection_type"]
    port = asked.get("client_port") or asked.get("server_port") or _PORTS[connection]
    if not isinstance(host, str) or isinstance(port, bool) or not isinstance(port, int):
        raise WrongArguments(f"rh.compute({name!r}): host= is text and server_port= a number, not {host!r}, {port!r}")
    return Reached(name, host.strip("[]"), port, connection, asked.get("pin") or "", asked.get("token") or "")


def from_environment(name: str) -> Reached:
    """The cluster that the environment says how to reach (``Cluster.export``)."""
    variable = variable_for(name)
    try:
        found = _json.decode(os.environ[variable].encode())
        return at(name, found["url"], found.get("pin") or "", found.get("token") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        # Its text has a token, and is not shown.
        raise LaunchError(
            f'the environment variable {variable} is not what Cluster.export() makes: {{"url", "pin", "token"}}'
        ) from None


def at(name: str, url: str, pin: str, token: str) -> Reached:
    """The cluster at "https://HOST:PORT" ("tls://..") or, in the clear, "http://.." ("tcp://..")."""
    scheme, _, place = url.partition("://")
    host, _, port = place.rstrip("/").rpartition(":")
    connection = {"https": "tls", "tls": "tls", "http": "none", "tcp": "none"}[scheme]
    return Reached(name, host.strip("[]"), int(port), connection, pin, token)


def saved(name: str, config: dict[str, Any]) -> Reached:
    """The one that was saved under that name."""
    from roundhouse import _registry

    return reached(name, {**config, "token": _registry.token_of(name)})


def revive(name: str, endpoint: str, pin: str) -> Reached:
    """One that came as an argument, or in code that was sent. Tokens do not travel: this process needs its own."""
    from roundhouse import _registry

    there = from_environment(name) if os.environ.get(variable_for(name)) else None
    if there is None:
        config = _registry.warned(lambda: _registry.find_cluster(name), None)
        there = saved(name, config) if config is not None and "host" in config else None
    if there is not None and there._socket_path == endpoint:
        return there
    return at(name, endpoint, pin, "")


def is_endpoint(text: str) -> bool:
    """False for a socket's path."""
    return "://" in text


def home_of(service: str, worker: str) -> Cluster | None:
    """The cluster that this very code runs on, where that service lives there in that worker."""
    from roundhouse import _here
    from roundhouse.exceptions import RoundhouseError

    here = _here.here()
    if isinstance(here, str):
        return None
    try:
        return here if here._ask("describe", {"name": service}, silent=True)["worker"] == worker else None
    except RoundhouseError:
        return None
