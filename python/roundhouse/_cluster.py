"""Named compute. In this version every cluster is local: a keeper and a daemon of its own on this machine."""

from __future__ import annotations

import os

from roundhouse import _engine
from roundhouse._link import Link, link_to
from roundhouse.exceptions import LaunchError, Unsupported, from_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

_UP_SECONDS = 30.0
_DOWN_SECONDS = 30.0

# Arguments that ask for compute elsewhere, by the launcher that they mean.
_LAUNCHERS = {
    "SSH": "host ips ssh_creds ssh_port client_port server_port server_host server_connection_type ssl_keyfile "
    "ssl_certfile domain",
    "a cloud": "instance_type num_nodes provider pool region use_spot autostop_mins open_ports vpc_name disk_size "
    "sky_kwargs",
    "Kubernetes": "kube_namespace kube_config_path kube_context",
    "another launcher": "launcher",
}
_LAUNCHED = {argument: meant for meant, arguments in _LAUNCHERS.items() for argument in arguments.split()}
# What shapes a local cluster too, one day.
_SHAPING = ("num_cpus", "gpus", "memory", "image")
# Runhouse's, which changed nothing that matters here.
_IGNORED = ("den_auth", "load_from_den", "dryrun")


def compute(name: str, **arguments: Any) -> Cluster:
    """The cluster of that name on this machine, up or not. ``rh.cluster`` is the same function.

    Raises InvalidName for a name that a cluster cannot have, LaunchError for arguments that ask for compute elsewhere
    and Unsupported for those that this version does not act on.

    >>> import roundhouse as rh
    >>> box = rh.compute("example").up_if_not()
    >>> rh.function(len).to(box)([1, 2, 3])
    3
    """
    for argument, value in arguments.items():
        if value is None or argument in _IGNORED:
            continue
        if argument in _SHAPING:
            raise Unsupported(
                f"rh.compute({name!r}, {argument}=...) is not yet supported by this version: "
                f"nothing would enforce it. Try: leave {argument!r} out"
            )
        if argument in _LAUNCHED:
            raise LaunchError(
                f"rh.compute({name!r}, {argument}=...) means {_LAUNCHED[argument]}, "
                f"which is not yet supported by this version. Try: rh.compute({name!r}) for a cluster on this machine"
            )
        known = [*_LAUNCHED, *_SHAPING]
        from difflib import get_close_matches

        close = get_close_matches(argument, known, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise TypeError(f"rh.compute() has no argument {argument!r}.{hint}")
    return Cluster(name)


class Cluster:
    """Compute with a name. All clusters of one name in a process share one connection.

    As a context manager it launches what is not up, and on the way out gives back only what it launched.

    >>> import roundhouse as rh
    >>> with rh.compute("example-for-a-moment") as box:
    ...     print(box.is_up())
    True
    >>> box.is_up()
    False
    """

    def __init__(self, name: str) -> None:
        if not isinstance(name, str):
            raise TypeError(f"the name of a cluster is text, not {type(name).__name__}")
        self.name = name
        try:
            self.state_folder, self._socket_path = _engine.locate_local(name)
        except _engine.EngineError as error:
            raise from_engine(error.code, error.message, error.facts) from None
        self._launched_here = False

    @property
    def _link(self) -> Link:
        return link_to(self.name, self._socket_path)

    def up_if_not(self, verbose: bool = True) -> Cluster:
        """Launches the cluster unless it is up, and returns it. LaunchError says why it could not be."""
        try:
            if not _engine.is_up_local(self.name):
                # A connection that is left from before belongs to a daemon that is gone.
                self._link.close()
                _engine.up_local(self.name, _daemon_binary(), _UP_SECONDS)
        except _engine.EngineError as error:
            raise from_engine(error.code, error.message, error.facts) from None
        return self

    def up(self, verbose: bool = True) -> Cluster:
        """The same as ``up_if_not``: a local cluster that is up has nothing to launch."""
        return self.up_if_not(verbose)

    def teardown(self, verbose: bool = True) -> None:
        """Ends the cluster and every process on it, and leaves nothing behind. Fine when it is down already."""
        self._link.close()
        try:
            _engine.down_local(self.name, _DOWN_SECONDS)
        except _engine.EngineError as error:
            raise from_engine(error.code, error.message, error.facts) from None

    def is_up(self) -> bool:
        """True when its daemon answers."""
        try:
            return _engine.is_up_local(self.name)
        except _engine.EngineError as error:
            raise from_engine(error.code, error.message, error.facts) from None

    def status(self) -> dict[str, Any]:
        """What is there: pid, version, services, workers, running calls (protocol/node.md)."""
        status: dict[str, Any] = self._link.ask_node("status", {})
        return status

    def ping(self) -> float:
        """Seconds to the daemon and back."""
        return self._link.ping()

    def get(self, name: str, remote: bool = True) -> Any:
        """The service of that name, whoever made it: something to call. NotFound names those that are there."""
        if not remote:
            raise Unsupported(
                f"get({name!r}, remote=False), which would copy the object here, is not yet supported by this version. "
                f"Try: get({name!r}, remote=True), and a method that returns what you need"
            )
        from roundhouse import _stubs

        return _stubs.stub_of(self, self._link.ask_node("describe", {"name": name}))

    def __enter__(self) -> Cluster:
        self._launched_here = not self.is_up()
        return self.up_if_not()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._launched_here:
            self._launched_here = False
            self.teardown()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cluster) and self._socket_path == other._socket_path

    def __hash__(self) -> int:
        return hash(self._socket_path)

    def __repr__(self) -> str:
        try:
            state = "up" if self.is_up() else "down"
        except Exception:
            state = "unreachable"
        return f"<Cluster {self.name!r}, local, {state}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Cluster, (self.name,)


def cluster_of(box: Cluster | str) -> Cluster:
    """What `.to()` was given."""
    if isinstance(box, Cluster):
        return box
    if isinstance(box, str):
        return Cluster(box)
    raise TypeError(
        f".to() takes a cluster or its name, not {type(box).__name__}. Try: .to(rh.compute('NAME').up_if_not())"
    )


def _daemon_binary() -> str:
    packaged = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_bin", "roundhoused")
    if os.access(packaged, os.X_OK):
        return packaged
    named = os.environ.get("ROUNDHOUSE_DAEMON", "")
    if named and os.access(named, os.X_OK):
        return named
    raise LaunchError(
        f"there is no roundhoused at {packaged}"
        + (f", and ROUNDHOUSE_DAEMON={named} cannot be run" if named else "")
        + ". Try: pip install roundhouse again, or set ROUNDHOUSE_DAEMON to its path"
    )
