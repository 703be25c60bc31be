"""What is saved under a name on this machine: clusters with what they were asked for, and services on them."""

from __future__ import annotations

import os
from _thread import allocate_lock

from roundhouse import _engine
from roundhouse.exceptions import InvalidName, NameTaken, NotFound, RoundhouseError, WrongArguments, from_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, TypeVar

    R = TypeVar("R")

# Nobody forks while SQLite works in another thread: the child's copy would wait for a lock that nobody there holds.
_working = allocate_lock()
os.register_at_fork(before=_working.acquire, after_in_parent=_working.release, after_in_child=_working.release)


class registry:
    """The registry of the state folder that the environment names now, and its errors as ours."""

    def __enter__(self) -> _engine.Registry:
        _working.acquire()
        try:
            return _engine.Registry()
        except _engine.EngineError as error:
            _working.release()
            raise from_engine(error.code, error.message, error.facts) from None
        except BaseException:
            _working.release()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _working.release()
        if isinstance(error, _engine.EngineError):
            raise from_engine(error.code, error.message, error.facts) from None


class SavedAlready(NameTaken, ValueError):
    """Something is saved under that name, and was not to be overwritten."""


def plain_name(name: str) -> str:
    """Runhouse's "~/name" and "@/name" are what is plainly "name" here."""
    if not isinstance(name, str):
        raise TypeError(f"a name is text, not {type(name).__name__}")
    if name[:2] in ("~/", "@/"):
        return name[2:]
    if name[:1] == "/":
        raise InvalidName(
            f"{name!r} is a name at Runhouse's hosted service, which is gone. Try: {name.rpartition('/')[2]!r}"
        )
    return name


# Saved configurations by name, for as long as the file is as it was: asking SQLite takes most of a millisecond, which a
# service that names a cluster in each call would pay each time.
_known: dict[str, str | None] = {}
_known_of: tuple[Any, ...] = ()
# A file that was just written may be written again without a sign of it: its times have a grain.
_SETTLED_NS = 100_000_000
_KNOWN_MAX = 1000


def find_cluster(name: str) -> dict[str, Any] | None:
    """The configuration that was saved under that name."""
    global _known, _known_of
    from roundhouse import _json

    with registry() as saved:
        mark, changed_ns = _mark_of(saved.path)
        if mark is None:
            return None
        if mark != _known_of or len(_known) >= _KNOWN_MAX:
            _known, _known_of = {}, mark
        try:
            text = _known[name]
        except KeyError:
            found = saved.find_cluster(name)
            text = None if found is None else found[2]
            from time import time_ns

            if abs(time_ns() - changed_ns) > _SETTLED_NS:
                _known[name] = text
    return None if text is None else {**_json.decode(text.encode()), "name": name}


def _mark_of(path: str) -> tuple[tuple[Any, ...] | None, int]:
    """What tells one state of the file from another, and when it was last changed; None where there is no file."""
    try:
        file = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None, 0
    mark: tuple[Any, ...] = (path, file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns)
    try:
        # What is not yet in the file itself.
        journal = os.stat(path + "-wal")
    except FileNotFoundError:
        return mark, file.st_mtime_ns
    if journal.st_size == 0:
        return mark, file.st_mtime_ns
    return (*mark, journal.st_size, journal.st_mtime_ns), max(file.st_mtime_ns, journal.st_mtime_ns)


def warned(work: Callable[[], R], otherwise: R) -> R:
    """What `work` finds out from the registry; where that cannot be used, a warning and the other value.

    What is saved is only a convenience for whoever runs something."""
    try:
        return work()
    except RoundhouseError as error:
        import warnings

        warnings.warn(error.message, stacklevel=3)
        return otherwise


def token_of(name: str) -> str:
    """The token that was saved with the cluster of that name; empty where there is none."""
    with registry() as saved:
        found = saved.find_cluster(name)
    return "" if found is None else found[5]


def save_cluster(name: str, config: dict[str, Any], state_key: str, overwrite: bool, token: str = "") -> None:
    from roundhouse import _json

    try:
        with registry() as saved:
            launcher = config.get("launcher", "")
            saved.save_cluster(name, launcher, _json.encode(config).decode(), state_key, overwrite, token)
    except NameTaken as error:
        raise SavedAlready(error.message, **error.facts) from None


def save_service(name: str, cluster: str, service: str, kind: str, overwrite: bool = True) -> None:
    """For functions and modules: that they are found by `load` under that name."""
    try:
        with registry() as saved:
            saved.save_service(name, cluster, service, kind, overwrite)
    except NameTaken as error:
        raise SavedAlready(error.message, **error.facts) from None


def forget_service(name: str) -> bool:
    with registry() as saved:
        return saved.forget_service(name)


def load(name: str, instantiate: bool = True, dryrun: bool = False) -> Any:
    """What was saved under that name: a cluster, or a function, class or instance on one. NotFound when nothing was.

    With ``instantiate=False`` it is the saved configuration, a dict.

    >>> import roundhouse as rh
    >>> box = rh.compute("example").up_if_not().save()
    >>> rh.load("example") == box
    True
    >>> box.delete_configs()
    """
    name = plain_name(name)
    config = find_cluster(name)
    if config is not None:
        from roundhouse._cluster import Cluster

        return Cluster.from_config(config) if instantiate else config
    with registry() as saved:
        found = saved.find_service(name)
    if found is None:
        raise NotFound(
            f"nothing is saved as {name!r}; there is {_listed()}. Try: .save() on what is to be found", name=name
        )
    _, cluster, service, kind, _ = found
    if not instantiate:
        return {
            "name": name,
            "resource_type": "module",
            "resource_subtype": kind,
            "cluster": cluster,
            "service": service,
        }
    from roundhouse._cluster import compute

    return compute(cluster).get(service, default=NotFound, remote=True)


class NotSaved(NotFound, ValueError):
    """Nothing is saved under that name, or nothing of that kind. (A ValueError as Runhouse's was.)"""


def one_name(called: str, first: str | None, name: str | None) -> str:
    """The saved name that a call like rh.function("saved") or rh.function(name="saved") gives."""
    if first is not None and name is not None:
        raise WrongArguments(f"{called}({first!r}, name={name!r}) has two names. Try: {called}({first!r})")
    return name if first is None else first  # type: ignore[return-value]


def load_saved(name: str, wanted: tuple[type, ...], kind: str) -> Any:
    """The same, where it has to be of those types."""
    try:
        found = load(name)
    except NotFound as error:
        raise NotSaved(error.message, **error.facts) from None
    if not isinstance(found, wanted):
        raise NotSaved(f"what is saved as {name!r} is no {kind}: {found!r}. Try: rh.load({name!r})", name=name)
    return found


def exists(name: str) -> bool:
    """True when something is saved under that name.

    >>> import roundhouse as rh
    >>> rh.exists("never-saved")
    False
    """
    name = plain_name(name)
    with registry() as saved:
        return saved.find_cluster(name) is not None or saved.find_service(name) is not None


def clusters() -> set[str]:
    """The names that clusters are saved under."""
    with registry() as saved:
        return {row[0] for row in saved.clusters()}


def rename_cluster(name: str, to: str) -> None:
    with registry() as saved:
        saved.rename_cluster(name, to)


def _listed() -> str:
    with registry() as saved:
        names = [row[0] for row in saved.clusters()] + [row[0] for row in saved.services()]
    return ", ".join(repr(name) for name in sorted(names)[:20]) + (", ..." if len(names) > 20 else "") or "nothing"
