"""Run stores: places where runs are kept beyond their compute, and reading them without any cluster."""

from __future__ import annotations

import os

from roundhouse import _link, _replay
from roundhouse._runs import OVER, Logs
from roundhouse.exceptions import CallTimeout, NameTaken, NotFound, Unsupported, WrongArguments, from_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from roundhouse._cluster import Cluster
    from roundhouse._run_nodes import NodeRuns
    from roundhouse._run_records import RecordRuns
    from roundhouse._runs import Run

    Store: TypeAlias = NodeRuns | RecordRuns

# An attempt that nobody has told of for so long is lost: its cluster tells of it every few seconds.
LOST_SECONDS = 60.0


def place_of(store: Any) -> str:
    """What `run_store=` was given, as a node is told it: a path, "cluster://NAME" or "s3://BUCKET/PREFIX"."""
    from roundhouse._cluster import Cluster

    if isinstance(store, Cluster):
        return f"cluster://{store.name}"
    if isinstance(store, os.PathLike):
        store = os.fspath(store)
    if isinstance(store, str):
        path = store.removeprefix("file://")
        if path.startswith("/") and "\0" not in path:
            return os.path.normpath(path)
        scheme, _, rest = store.partition("://")
        if scheme in ("cluster", "s3") and rest.strip("/"):
            return f"{scheme}://{rest.strip('/')}"
    raise WrongArguments(
        f"run_store= is an absolute path (as the node sees it), a cluster, or s3://BUCKET/PREFIX, not {store!r}. "
        "Try: run_store='/shared/runs'"
    )


def opened(place: str) -> Store:
    """The store at that place, which may be reached from here or not."""
    scheme, _, rest = place.partition("://")
    if scheme == "cluster":
        from roundhouse import _run_nodes
        from roundhouse._cluster import compute

        return _run_nodes.NodeRuns(compute(rest), place)
    from roundhouse import _run_records

    if scheme == "s3":
        from roundhouse import _run_s3

        return _run_records.RecordRuns(_run_s3.Bucket(rest), place)
    from roundhouse import _run_folder

    return _run_records.RecordRuns(_run_folder.Folder(place), place)


def run_store(store: str | os.PathLike[str] | Cluster) -> RunStore:
    """The runs that were kept there with ``.options(run_store=...)``, read without the clusters that ran them.

    It is what ``run_store=`` was given: a path, ``"s3://BUCKET/PREFIX"`` (with ``pip install boto3``), or a cluster.

    >>> import roundhouse as rh, tempfile
    >>> place = tempfile.mkdtemp()
    >>> with rh.compute("example-for-a-run") as box:
    ...     rh.function(len).to(box).options(run_name="counted", run_store=place)("four")
    4
    >>> rh.run_store(place).get_run("counted").result()
    4
    """
    return RunStore(place_of(store))


class RunStore:
    """The runs that are kept in one place: ``rh.run_store(place)``.

    >>> import roundhouse as rh, tempfile
    >>> rh.run_store(tempfile.mkdtemp()).runs()
    []
    """

    __slots__ = ("_store", "place")

    def __init__(self, place: str) -> None:
        self.place = place
        self._store = opened(place)

    def get_run(self, name: str) -> StoredRun | Run:
        """The run of that name; NotFound where none is kept here. Where a cluster is the store, it is its ``Run``."""
        cluster: Cluster | None = getattr(self._store, "cluster", None)
        if cluster is not None:
            return cluster.get_run(name)
        run = StoredRun(self._store, name)
        run.describe()
        return run

    def runs(self, limit: int = 100) -> list[dict[str, Any]]:
        """The runs that are kept here, each as ``get_run(name).describe()`` says; a damaged one has that ``state``."""
        return self._store.runs(limit)

    def __repr__(self) -> str:
        return f"<RunStore {self.place}>"


class StoredRun:
    """A run as a store has it. It is read anew at every use.

    >>> import roundhouse as rh, tempfile
    >>> place = tempfile.mkdtemp()
    >>> def square(x):
    ...     print("squaring")
    ...     return x * x
    >>> with rh.compute("example-for-a-run") as box:
    ...     rh.function(square).to(box).options(run_name="squared", run_store=place, stream_logs=False)(7)
    49
    >>> run = rh.run_store(place).get_run("squared")
    >>> run.status, run.result(), run.logs(), run.replay()
    squaring
    ('succeeded', 49, 'squaring\\n', 49)
    """

    __slots__ = ("_store", "name")

    def __init__(self, store: Store, name: str) -> None:
        self._store = store
        self.name = name

    def describe(self) -> dict[str, Any]:
        """All that is known of it: ``service``, ``method``, ``state``, ``attempts``, each with its ``origin``."""
        run = self._store.history(self.name)
        if run is None:
            raise NotFound(f"no run {self.name!r} is kept in {self._store.place}", name=self.name)
        return told(run)

    @property
    def status(self) -> str:
        """Of its last attempt, as ``Run.status``; "lost" as well where its cluster has not told of it for a minute."""
        return str(self.describe()["state"])

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """Its attempts in their order, as ``Run.attempts``, each with ``origin``: which cluster ran it."""
        return list(self.describe()["attempts"])

    def done(self) -> bool:
        """True once its last attempt has ended, however."""
        return self.status in OVER

    def result(self, attempt: int | None = None) -> Any:
        """The value, or what the call raised; NodeLost for an attempt that was lost. It is that of the last attempt,
        unless ``attempt``. CallTimeout at once where it has not ended, which only its own cluster can wait for."""
        found = self._attempt(attempt)
        if found["state"] not in OVER:
            cluster = found["origin"]["cluster"]
            raise CallTimeout(
                f"attempt {found['number']} of the run {self.name!r} has not ended; it goes on on the cluster "
                f"{cluster!r}. Try: rh.compute({cluster!r}).get_run({self.name!r}).result()",
                still_running=True,
                started="yes",
                run=self.name,
            )
        if found["error"] is not None:
            raise error_of(found["error"])
        return _link.value_of(self._store.outcome(self.name, found["number"]))

    def logs(self, offset: int = 0, attempt: int | None = None) -> Logs:
        """What it has printed, from that offset (in bytes) on, once it has ended; before that nothing."""
        begin, pieces = self._store.output(self.name, self._attempt(attempt)["number"])
        text = b"".join(bytes(piece) for _, piece in split(pieces))
        logs = Logs(text[max(0, offset - begin) :].decode("utf-8", "replace"))
        logs.next = max(offset, begin + len(text))
        return logs

    def replay(self, attempt: int | None = None, pdb: bool = False) -> Any:
        """Calls here, in this process, what that attempt (the last, unless ``attempt``) called, as ``Run.replay``."""
        return _replay.replay(self._store, self.name, self._attempt(attempt)["number"], _no_objects, pdb)

    def forget(self) -> None:
        """Removes it with all its attempts; NameTaken while one is running."""
        if not self.done():
            raise NameTaken(f"the run {self.name!r} is running: cancel it first", name=self.name)
        self._store.forget(self.name)

    def _attempt(self, number: int | None) -> dict[str, Any]:
        attempts = self.attempts
        if number is None:
            return attempts[-1]
        for each in attempts:
            if each["number"] == number:
                return each
        raise NotFound(f"the run {self.name!r} has no attempt {number} in {self._store.place}", name=self.name)

    def __repr__(self) -> str:
        return f"<StoredRun {self.name!r} in {self._store.place}>"


def told(run: dict[str, Any]) -> dict[str, Any]:
    """The run as people are told of it: what has been silent for too long is lost."""
    for attempt in run["attempts"]:
        if attempt["state"] not in OVER and is_lost(attempt):
            attempt.update(state="lost", error=lost_error(run["name"], attempt))
    run["state"] = run["attempts"][-1]["state"]
    return run


def is_lost(attempt: dict[str, Any]) -> bool:
    return attempt["silent_s"] is not None and attempt["silent_s"] > LOST_SECONDS


def lost_error(name: str, attempt: dict[str, Any]) -> dict[str, Any]:
    """What whoever asks for its result is told, as `run_get` says it."""
    return {
        "code": "node_lost",
        "message": f"attempt {attempt['number']} of the run {name!r} was lost: the cluster "
        f"{attempt['origin']['cluster']!r} has not told of it for {attempt['silent_s']:.0f} s. "
        "Try: ask for it again, which makes a new attempt",
        "facts": {"started": "unknown", "run": name, "attempt": str(attempt["number"])},
    }


def error_of(error: dict[str, Any]) -> Exception:
    from roundhouse import _engine

    return from_engine(_engine.codes.get(error["code"], 0), error["message"], error["facts"])


def joined(pieces: list[tuple[int, bytes]]) -> bytearray:
    """Output as stores and `run_import` have it: each piece with its channel (1 byte) and length (4, little endian)."""
    whole = bytearray()
    for channel, text in pieces:
        whole += channel.to_bytes(1, "little") + len(text).to_bytes(4, "little") + text
    return whole


def split(whole: Any) -> list[tuple[int, memoryview]]:
    """The inverse."""
    left, pieces = memoryview(whole), []
    while left:
        length = int.from_bytes(left[1:5], "little")
        pieces.append((left[0], left[5 : 5 + length]))
        left = left[5 + length :]
    return pieces


def _no_objects(name: str, *_: Any, **__: Any) -> Any:
    raise Unsupported(f"an argument of the run is the object {name!r} of its cluster, which the store does not have")
