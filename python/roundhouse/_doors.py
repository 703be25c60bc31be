"""Who else may come in: the TCP port that a cluster listens on, and the tokens that open it."""

from __future__ import annotations

from roundhouse._cluster_runs import ClusterRuns
from roundhouse.exceptions import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import timedelta
    from typing import Any


class Listener:
    """Where a cluster listens: ``url`` ("https://10.0.0.7:32300"), ``host``, ``port``, ``tls``, the ``pin`` by which
    clients know it, and its ``certificate`` as PEM (both None without TLS).

    >>> import roundhouse as rh
    >>> box = rh.compute("example").up_if_not()
    >>> listener = box.listen()
    >>> listener.host, listener.tls, listener.url == f"http://127.0.0.1:{listener.port}"
    ('127.0.0.1', False, True)
    >>> box.unlisten()
    """

    __slots__ = ("certificate", "host", "pin", "port", "tls", "url")

    def __init__(self, described: dict[str, Any]) -> None:
        self.url: str = described["url"]
        self.host: str = described["host"]
        self.port: int = described["port"]
        self.tls: bool = described["tls"]
        self.pin: str | None = described["pin"]
        self.certificate: str | None = described.get("certificate")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Listener) and (self.url, self.pin) == (other.url, other.pin)

    def __hash__(self) -> int:
        return hash((self.url, self.pin))

    def __repr__(self) -> str:
        return f"<Listener {self.url}{f', pin {self.pin}' if self.pin else ''}>"


class Doors(ClusterRuns):
    if TYPE_CHECKING:

        def is_up(self) -> bool: ...

    def listen(
        self,
        port: int = 0,
        host: str = "127.0.0.1",
        tls: bool | None = None,
        certificate: str | None = None,
        key: str | None = None,
        names: str | list[str] | tuple[str, ...] = (),
        runhouse: bool = False,
    ) -> Listener:
        """Opens a TCP port besides the cluster's socket, for whoever has a token, and again whenever its daemon starts.

        ``port`` 0 takes a free one. ``host`` is a numeric address: this machine's loopback, where ``tls`` is off unless
        asked for, or "0.0.0.0" and others, which are TLS always. Without ``certificate`` and ``key`` (PEM files on the
        node) the node makes a certificate of its own, whose ``pin`` clients compare; ``names`` are further host names
        that it is reached by. With ``runhouse`` a GET may call methods, as Runhouse's did.

        Listening anew takes the place of the port before; open connections stay. NameTaken when somebody has the port,
        NotAllowed for ``tls=False`` anywhere but on loopback.

        >>> import roundhouse as rh
        >>> box = rh.compute("example").up_if_not()
        >>> listener = box.listen(tls=True)
        >>> token = box.create_token(scope="deploy")
        >>> here = rh.cluster("example-by-tls", host=listener.host, server_port=listener.port,
        ...                   server_connection_type="tls", pin=listener.pin, token=token)
        >>> rh.function(len).to(here, name="len-by-tls")([1, 2, 3])
        3
        >>> box.unlisten()
        """
        request = {
            "host": host,
            "port": port,
            "tls": tls,
            "certificate": certificate,
            "key": key,
            "names": [names] if isinstance(names, str) else list(names),
            "runhouse": runhouse,
        }
        return Listener(self._ask("listen", request))

    def _open_asked(self, asked: dict[str, Any]) -> None:
        """What ``rh.compute(server_port=, ...)`` asks for, unless the cluster listens so already."""
        connection = asked.get("server_connection_type")
        tls = {"tls": True, "none": False}.get(connection) if connection is not None else None
        port, host = asked.get("server_port", 0), asked.get("server_host", "127.0.0.1")
        host = "127.0.0.1" if host == "localhost" else host
        now = self.listening()
        if now is not None and port in (0, now.port) and host == now.host and tls in (None, now.tls):
            return
        names = [asked["domain"]] if "domain" in asked else []
        self.listen(port, host, tls, asked.get("ssl_certfile"), asked.get("ssl_keyfile"), names)

    def unlisten(self) -> None:
        """Closes the port, for this daemon and those after it. Open connections stay; fine when there is none."""
        self._ask("unlisten", {})

    def listening(self) -> Listener | None:
        """Where the cluster listens besides its socket; None where it does not."""
        described = self._ask("listening", {})
        return Listener(described) if described else None

    def download_cert(self, path: str | None = None) -> str:
        """Writes the certificate of the cluster's TLS port to a file, and returns that file's path: for programs that
        know no pins (``curl --cacert``). Without ``path`` it is NAME.pem in the current folder.

        NotFound where the cluster does not listen, or not by TLS.

        >>> import roundhouse as rh, tempfile
        >>> box = rh.compute("example").up_if_not()
        >>> listener = box.listen(tls=True)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     open(box.download_cert(f"{folder}/box.pem")).readline()
        '-----BEGIN CERTIFICATE-----\\n'
        >>> box.unlisten()
        """
        listener = self.listening()
        if listener is None or listener.certificate is None:
            raise NotFound(
                f"cluster {self.name!r} listens by no TLS, which a certificate is for. Try: listen(tls=True)"
            )
        path = f"{self.name}.pem" if path is None else path
        with open(path, "w") as file:
            file.write(listener.certificate)
        return path

    def create_token(
        self,
        name: str | None = None,
        scope: str = "call",
        service: str | None = None,
        expires: float | timedelta | None = None,
    ) -> str:
        """Makes a token for the port of ``listen``, and returns it: the only time that anybody sees it.

        ``scope`` is "call", "deploy" (which is to run any code) or "admin"; ``service`` the only one that it may call;
        ``expires`` seconds from now, or a timedelta. The node keeps a hash. With the scope "call" arguments travel as
        plain data (numbers, text, lists, dicts, NumPy arrays), because a pickle could run code.

        >>> import roundhouse as rh
        >>> box = rh.compute("example").up_if_not()
        >>> box.create_token("ci", scope="call", expires=3600)[:3]
        'rh_'
        >>> box.revoke_token("ci")
        """
        from math import ceil

        seconds: Any = 0 if expires is None else expires
        if hasattr(seconds, "total_seconds"):
            seconds = seconds.total_seconds()
        if expires is not None and seconds <= 0:
            raise ValueError(f"a token expires after some time, not {expires!r}. Try: seconds from now, or None")
        request = {"name": name or "", "scope": scope, "service": service, "expires_s": ceil(seconds)}
        return str(self._ask("token_create", request)["token"])

    def tokens(self) -> list[dict[str, Any]]:
        """The node's tokens, without themselves: ``id``, ``name``, ``scope``, ``service``, and when they were created,
        expire and were last used (``created_s``, ``expires_s``, ``used_s``: seconds since 1970; 0 is never).

        >>> import roundhouse as rh
        >>> box = rh.compute("example").up_if_not()
        >>> token = box.create_token("nightly", scope="deploy")
        >>> [(each["name"], each["scope"]) for each in box.tokens() if each["name"] == "nightly"]
        [('nightly', 'deploy')]
        >>> box.revoke_token("nightly")
        """
        return list(self._ask("tokens", {}))

    def revoke_token(self, id: str) -> None:
        """Ends a token, by its id or name, and the connections that it let in. NotFound where there is none."""
        self._ask("token_revoke", {"id": id})

    def endpoint(self, external: bool = False) -> str | None:
        """The URL of the port that it listens on; None where it does not."""
        if not self.is_up():
            return None
        listener = self.listening()
        return listener.url if listener is not None else None

    def export(
        self,
        name: str | None = None,
        scope: str = "call",
        service: str | None = None,
        expires: float | timedelta | None = None,
    ) -> dict[str, str]:
        """What another process needs in its environment to find this cluster by its name: a variable, whose value has
        the URL, the pin and a new token (``create_token`` says what the arguments mean).

        NotFound where the cluster does not listen.

        >>> import roundhouse as rh
        >>> box = rh.compute("example").up_if_not()
        >>> listener = box.listen()
        >>> list(box.export("for-a-pod", expires=3600))
        ['ROUNDHOUSE_CLUSTER_EXAMPLE']
        >>> box.revoke_token("for-a-pod")
        >>> box.unlisten()
        """
        from roundhouse import _arguments, _json

        listener = self.listening()
        if listener is None:
            raise NotFound(
                f"cluster {self.name!r} listens on no port by which others could reach it. Try: listen() first"
            )
        token = self.create_token(name, scope, service, expires)
        found = {"url": listener.url, "pin": listener.pin, "token": token}
        return {_arguments.variable_for(self.name): _json.encode(found).decode()}
