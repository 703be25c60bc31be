"""Named compute. In this version every cluster is local: a keeper and a daemon of its own on this machine."""

from __future__ import annotations

import os

from roundhouse import _arguments, _engine, _prepared
from roundhouse._arguments import DESCRIBED, IGNORED, LISTENS, SIZES
from roundhouse._doors import Doors
from roundhouse._elsewhere import Elsewhere
from roundhouse._installs import Installs
from roundhouse._sizes import Sizes
from roundhouse.exceptions import InvalidName, LaunchError, NodeLost, NotFound, Unsupported, from_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import TracebackType
    from typing import Any, TypeAlias, overload

    from roundhouse._image import Image

    # Within the class `list` is its method.
    Rows: TypeAlias = list[dict[str, Any]]
    Texts: TypeAlias = list[str]

_UP_SECONDS = 30.0
_DOWN_SECONDS = 30.0
_LOOK_AGAIN_SECONDS = 0.002

# What is kept of what rh.compute() was given.
_ASKED = (*SIZES, *LISTENS, "image")
# They mean something else wherever Runhouse takes a cluster's name.
_RESERVED = ("file", "s3", "gs", "azure", "here")


def compute(name: str, **arguments: Any) -> Cluster:
    """The cluster of that name on this machine, up or not. ``rh.cluster`` is the same function.

    ``num_cpus``, ``gpus`` and ``memory`` ("2GiB", or bytes) say how much of the machine it has to give to its workers
    once it is launched: a number, or "4+" for all of a machine that has as many. Without them it is what was saved
    under that name, and else the machine. What its workers take together beyond ``memory`` is ended: rh.OutOfMemory.

    ``image`` (an rh.Image) is what its workers run with; the steps of it are carried out when it is launched.

    With ``server_port`` (0: a free one), ``server_host``, ``ssl_keyfile`` or ``ssl_certfile`` it listens there once it
    is up, as ``listen`` says. With ``host``, ``server_port`` and ``server_connection_type`` "tls" (or "none", on
    loopback) it is a cluster that somebody else launched and that listens there; ``token`` is one of its
    ``create_token``, ``pin`` its listener's (without it the certificate must be one that this machine trusts). One
    that ``ROUNDHOUSE_CLUSTER_NAME`` in the environment describes (``export``) needs nothing but its name.

    Raises InvalidName for a name that a cluster cannot have, LaunchError for arguments that ask for compute elsewhere,
    ValueError when it is up with other sizes than those, and Unsupported for what this version does not act on.

    >>> import roundhouse as rh
    >>> box = rh.compute("example").up_if_not()
    >>> rh.function(len).to(box)([1, 2, 3])
    3
    """
    from roundhouse import _registry

    name = _registry.plain_name(name)
    if name in _RESERVED:
        raise InvalidName(f"a cluster cannot be called {name!r}, which means something else. Try: another name")
    given = _arguments.given(arguments)
    _arguments.check(name, given)
    if _arguments.is_reached(given):
        from roundhouse import _reached

        return _reached.reached(name, given)
    if os.environ.get(_arguments.variable_for(name)):
        from roundhouse import _reached

        return _reached.from_environment(name)
    asked = {size: given[size] for size in _ASKED if size in given}
    saved = _registry.warned(lambda: _registry.find_cluster(name), None) or {}
    if "host" in saved and not asked:
        from roundhouse import _reached

        return _reached.saved(name, saved)
    box = Cluster(name, {**{size: saved[size] for size in _ASKED if size in saved}, **asked})
    sizes = {size: asked[size] for size in SIZES if size in asked}
    if sizes and box.is_up():
        box._check_sizes(Sizes(sizes))
    return box


class Cluster(Doors, Installs, Elsewhere):
    """Compute with a name. All clusters of one name in a process share one connection.

    As a context manager it launches what is not up, and on the way out gives back only what it launched.

    >>> import roundhouse as rh
    >>> with rh.compute("example-for-a-moment") as box:
    ...     print(box.is_up())
    True
    >>> box.is_up()
    False
    """

    def __init__(self, name: str, asked: dict[str, Any] | None = None) -> None:
        if not isinstance(name, str):
            raise TypeError(f"the name of a cluster is text, not {type(name).__name__}")
        self.name = name
        asked = asked or {}
        self._sizes = Sizes({size: value for size, value in asked.items() if size not in LISTENS})
        self._image = _image_of(asked)
        self._listens = {argument: asked[argument] for argument in LISTENS if argument in asked}
        self._launched_here = False
        self._locate()

    @classmethod
    def _at(cls, name: str, state_folder: str, socket_path: str) -> Cluster:
        """One that is known by its socket, whatever this process's environment makes of its name."""
        box = cls.__new__(cls)
        box.name, box.state_folder, box._socket_path = name, state_folder, socket_path
        box._sizes = Sizes({})
        box._listens = {}
        box._image = None
        box._launched_here = False
        return box

    def _locate(self) -> None:
        try:
            self.state_folder, self._socket_path = _engine.locate_local(self.name)
        except _engine.EngineError as error:
            raise from_engine(error.code, error.message, error.facts) from None

    def _follow(self) -> None:
        """Takes the name that the cluster has now: any process may have renamed it."""
        if os.path.isdir(self.state_folder):
            self.name = self._link.cluster_name = _engine.name_local(self.state_folder)

    # Up and down.

    def up_if_not(self, verbose: bool = True) -> Cluster:
        """Launches the cluster unless it is up, and returns it. LaunchError says why it could not be."""
        from time import monotonic, sleep

        deadline = monotonic() + _UP_SECONDS
        while self.is_up():
            if self._answers():
                self._check_sizes(self._sizes)
                return self._as_asked()
            if monotonic() > deadline:
                raise LaunchError(
                    f"the daemon of cluster {self.name!r} takes connections and does not answer. Try: teardown() first"
                )
            sleep(_LOOK_AGAIN_SECONDS)
        self._follow()
        sizes = self._sizes.for_launch(self.name)
        if self._image is not None:
            _prepared.check(self._image)
        try:
            self._locate()
            _engine.up_local(self.name, _daemon_binary(), _UP_SECONDS, **sizes)
        except _engine.EngineError as error:
            raise from_engine(error.code, error.message, error.facts) from None
        return self._as_asked()

    def up(self, verbose: bool = True, force: bool = False, start_server: bool = True) -> Cluster:
        """The same as ``up_if_not``: a local cluster that is up has nothing to launch."""
        return self.up_if_not(verbose)

    async def a_up_if_not(self, capture_output: bool | str = True) -> Cluster:
        """``up_if_not``, awaitable. Given a path, what there is to say is written to that file.

        >>> import asyncio, roundhouse as rh
        >>> asyncio.run(rh.compute("example").a_up_if_not()).is_up()
        True
        """
        import asyncio

        await asyncio.to_thread(self.up_if_not)
        if isinstance(capture_output, str):
            with open(capture_output, "a", encoding="utf-8") as file:
                file.write(f"cluster {self.name} is up\n")
        return self

    async def a_up(self, capture_output: bool | str = True) -> Cluster:
        """The same as ``a_up_if_not``."""
        return await self.a_up_if_not(capture_output)

    def teardown(self, verbose: bool = True) -> None:
        """Ends the cluster and every process on it, and leaves nothing behind. Fine when it is down already."""
        self._follow()
        self._link.close()
        try:
            _engine.down_local(self.name, _DOWN_SECONDS)
        except _engine.EngineError as error:
            raise from_engine(error.code, error.message, error.facts) from None

    def teardown_and_delete(self, verbose: bool = True) -> None:
        """``teardown``, and what was saved of it and its state folder, logs included, go as well."""
        self._follow()
        self._link.close()
        try:
            _engine.delete_local(self.name, _DOWN_SECONDS)
        except _engine.EngineError as error:
            raise from_engine(error.code, error.message, error.facts) from None
        self.delete_configs()

    def start_server(self, *_: Any, **__: Any) -> Cluster:
        """Runhouse's; the same as ``up_if_not``, whatever it is given."""
        return self.up_if_not()

    def restart_server(self, *_: Any, **__: Any) -> Cluster:
        """Runhouse's: ``teardown`` and ``up``, so that everything that lived there is gone."""
        self.teardown()
        return self.up_if_not()

    def stop_server(self, *_: Any, **__: Any) -> None:
        """Runhouse's; the same as ``teardown``, whatever it is given."""
        self.teardown()

    def keep_warm(self, mins: int = -1) -> Cluster:
        """Returns the cluster: a local one stays up until ``teardown``."""
        return self

    def pause_autostop(self) -> AbstractContextManager[Cluster]:
        """``with box.pause_autostop():`` changes nothing: a local cluster does not stop by itself."""
        from contextlib import nullcontext

        return nullcontext(self)

    @property
    def autostop_mins(self) -> int:
        """-1, never: a local cluster stays up until ``teardown``."""
        return -1

    @autostop_mins.setter
    def autostop_mins(self, mins: int) -> None:
        if mins != -1:
            raise Unsupported(f"cluster {self.name!r} is local and does not stop by itself. Try: teardown() when done")

    # What it is.

    def is_up(self) -> bool:
        """True when its daemon answers."""
        if _engine.is_up_at(self._socket_path):
            return True
        # Whoever launched it may have had another runtime folder.
        if not self.state_folder:
            return False
        try:
            state_folder, socket_path = _engine.locate_local(self.name)
        except _engine.EngineError as error:
            raise from_engine(error.code, error.message, error.facts) from None
        if socket_path == self._socket_path or not _engine.is_up_at(socket_path):
            return False
        self.state_folder, self._socket_path = state_folder, socket_path
        return True

    def status(self, send_to_den: bool = False) -> dict[str, Any]:
        """What is there: ``pid``, ``version``, ``services``, ``workers``, ``processes``, ``resources`` and ``calls``
        (protocol/node.md), how busy the machine is (``nodes``), and Runhouse's other fields.

        >>> import roundhouse as rh
        >>> status = rh.compute("example").up_if_not().status()
        >>> status["name"], status["nodes"][0]["server_cpu_usage"]["total_memory"] > 0
        ('example', True)
        """
        from roundhouse import _status

        return _status.with_runhouse_fields(self._ask("status", {}), self.config(), self.name)

    def ping(self) -> float:
        """Seconds to the daemon and back."""
        return self._link.ping()

    def on_this_cluster(self) -> bool:
        """True in code that runs on this very cluster."""
        return os.environ.get("ROUNDHOUSE_SOCKET") == self._socket_path

    def is_connected(self) -> bool:
        """True while this process has a connection to it. One is made when it is needed."""
        client = self._link._client
        return client is not None and client.alive()

    def disconnect(self) -> None:
        """Closes this process's connection, which the next use opens again. What lives on the cluster stays."""
        self._link.close()

    @property
    def cluster_status(self) -> str:
        """ "running" or "terminated"."""
        return "running" if self.is_up() else "terminated"

    @property
    def ips(self) -> Texts:
        """This machine's own address: a local cluster is reached by a socket."""
        return ["127.0.0.1"]

    @property
    def internal_ips(self) -> Texts:
        """The same as ``ips``."""
        return self.ips

    @property
    def head_ip(self) -> str:
        """The first of ``ips``."""
        return self.ips[0]

    @property
    def server_address(self) -> str:
        """The same as ``head_ip``."""
        return self.head_ip

    def num_cpus(self) -> int:
        """How many CPUs it has to give to its workers, or would have."""
        if self.is_up():
            return len(self._ask("status", {})["resources"]["cpus"])
        from roundhouse import _sizes

        asked = self._sizes.for_launch(self.name).get("cpus")
        return asked if asked is not None else _sizes.machine("num_cpus")

    @property
    def gpus(self) -> int | str | None:
        """What ``rh.compute(gpus=)`` was given."""
        return self._sizes.asked.get("gpus")

    @property
    def memory(self) -> int | str | None:
        """What ``rh.compute(memory=)`` was given."""
        return self._sizes.asked.get("memory")

    @property
    def den_auth(self) -> bool:
        """False: it belonged to Runhouse's hosted service."""
        return False

    @property
    def rns_address(self) -> str:
        """Runhouse's way to write a local name: "~/" before it."""
        return f"~/{self.name}"

    @property
    def creds_values(self) -> dict[str, Any]:
        """Nothing: a local cluster needs no credentials."""
        return {}

    # Names and what is saved.

    if TYPE_CHECKING:

        @overload
        def rename(self, name: str) -> None: ...
        @overload
        def rename(self, name: str, new: str, replace: bool = False) -> None: ...

    def rename(self, name: str, new: str | None = None, replace: bool = False) -> None:
        """``rename(new)`` renames the cluster; ``rename(old, new)`` renames a value or service on it.

        A cluster that is up goes on under its new name, and so does everything that is connected to it. NameTaken when
        another cluster of that name is up, or (unless ``replace``) something on the cluster has the name; NotFound, a
        KeyError, when nothing there is called ``old``.

        >>> import roundhouse as rh
        >>> with rh.compute("example-before") as box:
        ...     double = rh.function(lambda x: 2 * x).to(box, name="double")
        ...     box.rename("example-after")
        ...     print(rh.compute("example-after").get("double")(4), double(5))
        8 10
        """
        if new is not None:
            self._rename_object(name, new, replace)
            return
        from roundhouse import _registry

        new = _registry.plain_name(name)
        if new in _RESERVED:
            raise InvalidName(f"a cluster cannot be called {new!r}, which means something else. Try: another name")
        self._follow()
        try:
            _engine.rename_local(self.name, new)
        except _engine.EngineError as error:
            raise from_engine(error.code, error.message, error.facts) from None
        before, self.name = self.name, new
        self._link.cluster_name = new
        _registry.warned(lambda: _registry.rename_cluster(before, new), None)
        if not _engine.is_up_at(self._socket_path):
            self._locate()

    def config(self, condensed: bool = True) -> dict[str, Any]:
        """What describes it, for ``from_config``. Not ``condensed`` it has what was not asked for, and where it is."""
        config: dict[str, Any] = {
            "name": self.name,
            "resource_type": "cluster",
            "resource_subtype": "Cluster",
            "launcher": "local",
            **self._sizes.asked,
            **self._listens,
        }
        if self._image is not None:
            config["image"] = self._image.config()
        if not condensed:
            sizes = dict.fromkeys(SIZES)
            config = {**sizes, **config, "state_folder": self.state_folder, "autostop_mins": -1, "ips": self.ips}
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], dryrun: bool = False) -> Cluster:
        """The cluster that ``config()`` described.

        >>> import roundhouse as rh
        >>> box = rh.compute("example", num_cpus="1+")
        >>> rh.Cluster.from_config(box.config()).config() == box.config()
        True
        """
        asked = {key: value for key, value in config.items() if value is not None and key not in DESCRIBED + IGNORED}
        _arguments.check(config["name"], asked)
        if _arguments.is_reached(asked):
            from roundhouse import _reached

            return _reached.saved(config["name"], asked)
        return cls(config["name"], asked)

    @classmethod
    def from_name(cls, name: str, load_from_den: bool = True, dryrun: bool = False) -> Cluster:
        """The cluster that was saved under that name, or is on this machine; NotFound where there is none."""
        from roundhouse import _registry

        name = _registry.plain_name(name)
        config = _registry.warned(lambda: _registry.find_cluster(name), None)
        if config is not None:
            return cls.from_config(config)
        box = cls(name)
        if not os.path.isdir(box.state_folder):
            raise NotFound(
                f"there is no cluster {name!r} on this machine, and none is saved under that name. "
                f"Try: rh.compute({name!r}).up_if_not()",
                name=name,
            )
        return box

    def save(self, name: str | None = None, overwrite: bool = True, folder: str | None = None) -> Cluster:
        """Keeps its configuration on this machine, so that ``rh.compute(name)`` alone brings it back, and returns it.

        With another ``name`` it is renamed first. ValueError when one is saved under that name, unless ``overwrite``.

        >>> import roundhouse as rh
        >>> rh.compute("example-saved", num_cpus="1+").save()
        <Cluster 'example-saved', local, down>
        >>> rh.compute("example-saved").config()["num_cpus"]
        '1+'
        >>> rh.compute("example-saved").delete_configs()
        """
        from roundhouse import _registry

        self._follow()
        name = self.name if name is None else _registry.plain_name(name)
        if not overwrite and _registry.exists(name):
            raise _registry.SavedAlready(f"{name!r} is saved already. Try: another name, or overwrite=True", name=name)
        if name != self.name:
            self.rename(name)
        _registry.save_cluster(name, self.config(), os.path.basename(self.state_folder), overwrite)
        return self

    def delete_configs(self) -> None:
        """Forgets what was saved of it. The cluster itself stays as it is."""
        from roundhouse import _registry

        with _registry.registry() as saved:
            saved.forget_cluster(self.name)

    @classmethod
    def list(
        cls, show_all: bool = True, since: str | None = None, status: str | None = None, force: bool = False
    ) -> Rows:
        """This user's clusters on this machine, and those that are saved: ``name``, ``launcher``, ``up``, ``status``
        ("running" or "terminated"), ``saved``, ``state_folder``. With ``show_all=False`` only those that are up, with
        ``status`` only those that have it.

        >>> import roundhouse as rh
        >>> box = rh.compute("example").up_if_not()
        >>> [row["up"] for row in rh.Cluster.list() if row["name"] == "example"]
        [True]
        """
        from roundhouse import _registry

        try:
            found = {name: (folder, _engine.is_up_at(socket)) for name, folder, socket in _engine.list_local()}
        except _engine.EngineError as error:
            raise from_engine(error.code, error.message, error.facts) from None
        none: set[str] = set()
        saved = _registry.warned(_registry.clusters, none)
        rows = []
        for name in sorted({*found, *saved}):
            folder, up = found.get(name, (None, False))
            row = {"name": name, "launcher": "local", "up": up, "status": "running" if up else "terminated"}
            rows.append({**row, "saved": name in saved, "state_folder": folder})
        return [row for row in rows if (show_all or row["up"]) and status in (None, row["status"])]

    # How it behaves as an object.

    def _answers(self) -> bool:
        """False for a daemon that was killed, whose socket takes connections for some milliseconds more."""
        try:
            self._link.client()
        except NodeLost:
            return False
        return True

    def _as_asked(self) -> Cluster:
        """Up, with what it is to have besides."""
        if self._listens:
            self._open_asked(self._listens)
        if self._image is not None:
            _prepared.of(self)
        return self

    def _check_sizes(self, sizes: Sizes) -> None:
        if sizes.amounts:
            sizes.check(self.name, self._ask("status", {})["resources"])

    def __enter__(self) -> Cluster:
        self._launched_here = not self.is_up()
        try:
            return self.up_if_not()
        except BaseException:
            self.__exit__(None, None, None)
            raise

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

    def _repr_html_(self) -> str:
        from roundhouse import _status

        return _status.card(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive, (self.name, self._socket_path, self._sizes.asked)


def _revive(name: str, socket_path: str, asked: dict[str, Any]) -> Cluster:
    box = Cluster(name, asked)
    if box._socket_path != socket_path and _engine.is_up_at(socket_path):
        # $ROUNDHOUSE_STATE is another one here.
        return Cluster._at(name, "", socket_path)
    return box


def _image_of(asked: dict[str, Any]) -> Image | None:
    image = asked.get("image")
    if isinstance(image, dict):
        from roundhouse._image import Image

        return Image.from_config(image)
    return image


def cluster_of(box: Cluster | str) -> Cluster:
    """What `.to()` was given."""
    if isinstance(box, Cluster):
        return box
    if isinstance(box, str):
        if box in ("here", "file"):
            from roundhouse import _here

            return _here.cluster_here()
        return compute(box)
    raise TypeError(
        f".to() takes a cluster or its name, not {type(box).__name__}. Try: .to(rh.compute('NAME').up_if_not())"
    )


def _daemon_binary() -> str:
    named = os.environ.get("ROUNDHOUSE_DAEMON", "")
    packaged = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_bin", "roundhoused")
    found = named or packaged
    if os.access(found, os.X_OK):
        return found
    if named:
        raise LaunchError(f"ROUNDHOUSE_DAEMON={named} cannot be run. Try: without it, or its right path")
    raise LaunchError(
        f"there is no roundhoused at {packaged}. "
        "Try: pip install roundhouse again, or set ROUNDHOUSE_DAEMON to its path"
    )
