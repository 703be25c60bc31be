"""The connection to one node, shared by everything in this process that talks to it, and reopened when it was lost."""

from __future__ import annotations

import os
import sys
from _thread import allocate_lock

from roundhouse import _context, _engine, _json, _raised, _serialize
from roundhouse._screen import Screen
from roundhouse.exceptions import NodeLost, RoundhouseError, from_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from roundhouse._screen import CallScreen

_CONNECT_SECONDS = 10.0

# By socket (or endpoint, token and pin), because $ROUNDHOUSE_STATE may change and a name then means another cluster.
_links: dict[str | tuple[str, str, str], Link] = {}
# Connections of the process that forked this one. They have threads that only it has, so they are kept, untouched.
_left_behind: list[_engine.Client] = []


def link_to(cluster_name: str, socket_path: str, token: str = "", pin: str = "") -> Link:
    key = (socket_path, token, pin) if token or pin else socket_path
    link = _links.get(key)
    if link is None:
        link = _links.setdefault(key, Link(cluster_name, socket_path, token, pin))
    return link


def raised_there(parts: Sequence[Any], raised: _engine.Raised | None) -> BaseException:
    """The exception that a call's code let out."""
    exc = _raised.decode(parts, raised)
    if isinstance(exc, RoundhouseError):
        # It may tell of a call that was made there and never began; this one had.
        exc.started = "yes"
    return exc


def value_of(outcome: _engine.Outcome) -> Any:
    """The value that a call returned, or its exception, raised."""
    kind, encoding, parts, raised = outcome
    if kind:
        raise raised_there(parts, raised)
    return _serialize.decode(encoding, parts)


def _never_left(error: _engine.EngineError, client: _engine.Client) -> bool:
    """True when the connection was lost before the call was sent: another may try, and it will not run twice."""
    lost = error.code == _engine.codes["node_lost"] and error.facts.get("started") == "no"
    return lost and not client.alive()


class Link:
    def __init__(self, cluster_name: str, socket_path: str, token: str = "", pin: str = "") -> None:
        self.cluster_name = cluster_name
        # Or the endpoint of a cluster that is reached by TCP or TLS.
        self.socket_path = socket_path
        self.pin = pin
        self._token = token
        # Of the last connection: 32 hexadecimal digits.
        self.session = ""
        self._client: _engine.Client | None = None
        self._pid = os.getpid()
        self._lock = allocate_lock()

    def client(self) -> _engine.Client:
        client = self._client
        if client is not None and client.alive():
            return client
        return self._reopen()

    def _reopen(self) -> _engine.Client:
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._lock = allocate_lock()
            if self._client is not None:
                _left_behind.append(self._client)
                self._client = None
        with self._lock:
            if self._client is not None and self._client.alive():
                return self._client
            software = f"roundhouse {_engine.version} python {sys.version.split()[0]}"
            try:
                self._client = _engine.connect(self.socket_path, software, _CONNECT_SECONDS, self._token, self.pin)
            except _engine.EngineError as error:
                if "://" not in self.socket_path and not _engine.is_up_local(self.cluster_name):
                    raise NodeLost(
                        f"cluster {self.cluster_name!r} is not up. Try: rh.compute({self.cluster_name!r}).up_if_not()",
                        started="no",
                    ) from None
                raise from_engine(error.code, error.message, error.facts) from None
            self.session = self._client.session()
            return self._client

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None and self._pid == os.getpid():
            client.close()

    def call(
        self,
        service: str,
        method: str,
        encoding: int,
        parts: Sequence[Any],
        timeout: float | None = None,
        kill: bool = False,
        silent: bool = False,
    ) -> Any:
        """One call to its end: its value, or its exception."""
        client = self.client()
        # The waiting thread shows the output itself, so that in a worker it belongs to the call that runs here.
        screen = None if silent else Screen.__new__(Screen)
        asked = (service, method, encoding, parts, screen, timeout, kill, _context.parents())
        try:
            kind, answer, answer_parts, raised = client.call(*asked)
        except _engine.EngineError as error:
            if not _never_left(error, client):
                raise from_engine(error.code, error.message, error.facts) from None
            try:
                kind, answer, answer_parts, raised = self.client().call(*asked)
            except _engine.EngineError as again:
                raise from_engine(again.code, again.message, again.facts) from None
        if kind:
            raise raised_there(answer_parts, raised)
        return _serialize.decode(answer, answer_parts)

    def start(
        self,
        service: str,
        method: str,
        encoding: int,
        parts: Sequence[Any],
        screen: CallScreen,
        timeout: float | None = None,
        kill: bool = False,
        prefetch: int = -1,
        observed: bool = True,
    ) -> _engine.Call:
        client = self.client()
        asked = (
            *(service, method, encoding, parts, screen, None, timeout, kill),
            *(_context.parents(), prefetch, observed),
        )
        try:
            return client.start(*asked)
        except _engine.EngineError as error:
            if not _never_left(error, client):
                raise from_engine(error.code, error.message, error.facts) from None
            try:
                return self.client().start(*asked)
            except _engine.EngineError as again:
                raise from_engine(again.code, again.message, again.facts) from None

    def ask_node(
        self,
        method: str,
        request: dict[str, Any],
        attachments: Sequence[Any] = (),
        timeout: float | None = None,
        silent: bool = False,
    ) -> Any:
        """Asks the node itself (protocol/node.md)."""
        if self._token and "env" in request:
            # Tokens of other clusters are nothing for a node that may be somebody else's.
            mine = {name: value for name, value in request["env"].items() if not name.startswith("ROUNDHOUSE_CLUSTER_")}
            request = {**request, "env": mine}
        parts = [_json.encode(request), *attachments]
        return self.call("_node", method, _serialize.JSON, parts, timeout, False, silent)

    def send_code(
        self,
        root: str,
        also: list[str],
        files: list[str] | None,
        on_progress: Callable[[bool, int, int, int, int], None],
    ) -> tuple[str, int, int, int, int, list[tuple[str, str]], int]:
        """Sends what the node lacks of a project (`_engine.Client.send_code`)."""
        try:
            return self.client().send_code(root, also, files, on_progress)
        except _engine.EngineError as error:
            raise from_engine(error.code, error.message, error.facts) from None

    def fetch_code(self, snapshot: str) -> str:
        """The folder where that snapshot's files are now."""
        try:
            return self.client().fetch_code(snapshot)
        except _engine.EngineError as error:
            raise from_engine(error.code, error.message, error.facts) from None

    def ping(self) -> float:
        try:
            return self.client().ping(_CONNECT_SECONDS)
        except _engine.EngineError as error:
            raise from_engine(error.code, error.message, error.facts) from None
