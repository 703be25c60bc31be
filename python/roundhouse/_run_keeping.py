"""Keeps runs in their stores: the work of a Python worker of the node's own, which whoever asks first sends there.

For each attempt that is kept the node makes a run of its own (`NAME.store-NUMBER`) of the service here, together with
the attempt itself. So that outlives the daemon as the attempt does."""

from __future__ import annotations

import os
import sys
import time

from roundhouse import _run_store
from roundhouse._runs import OVER, Run
from roundhouse.exceptions import HostError, NodeLost, NotFound, RoundhouseError, RunConflict, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from roundhouse._cluster import Cluster
    from roundhouse._replay import Dispatch
    from roundhouse._run_nodes import NodeRuns
    from roundhouse._run_store import Store

SERVICE = "roundhouse-run-stores"
# How often a store is told that an attempt still runs; `LOST_SECONDS` without it are its end.
_BEAT_SECONDS = 5.0
# Between two tries to store an end, in seconds. After the last it has failed, until somebody asks again.
_PAUSES = (1, 5, 15, 30)
# What the keeping of an attempt prints first.
_BEGUN = "its beginning is stored"
_LOOKED_AT = 64 * 1024


# In the caller's process.


def start(cluster: Cluster, request: dict[str, Any], parts: list[Any]) -> Any:
    """`run_start` of a run with a store: what is acknowledged began there, and nowhere else."""
    from roundhouse import function

    served = function(serve).get_or_to(cluster, name=SERVICE).options(stream_logs=False)
    name, store = request["name"], request["store"]
    claimed = served(step="prepare", store=store, name=name, request=request)
    try:
        begun = cluster._link.ask_node("run_start", request, parts)
    except RoundhouseError as error:
        # Where it may have been made after all, the claim is what keeps others from making it too.
        if claimed is not None and error.started == "no":
            served(step="withdraw", store=store, name=name, attempt=claimed)
        raise
    if begun["how"] != "stored":
        try:
            _await_begun(Run(cluster, f"{name}.store-{begun['attempt']}"))
        except RoundhouseError as error:
            note = f"(the run {name!r} goes on on {cluster.name!r}; whoever asks for it again has it kept again)"
            error.__notes__ = [*getattr(error, "__notes__", ()), note]  # type: ignore[attr-defined]
            raise
    return begun


def _await_begun(keeping: Run) -> None:
    printed = ""
    for piece in keeping.stream():
        # It may come in pieces, behind what a library had to say.
        printed = (printed + piece)[-_LOOKED_AT:]
        if _BEGUN in printed:
            return
    # It is over without: so it has failed, and says why.
    keeping.result()


# In the worker.


def serve(step: str, store: str, name: str, attempt: int = 0, request: dict[str, Any] | None = None) -> Any:
    """What the service does: all that needs the store, which only the node may reach."""
    place = _run_store.opened(store)
    if step == "prepare":
        assert request is not None
        return _prepare(place, request)
    if step == "withdraw":
        return place.withdraw(name, attempt)
    return keep(place, name, attempt)


def _prepare(place: Store, request: dict[str, Any]) -> int | None:
    """Brings what the store knows to this node, and claims the attempt that `run_start` will make then, if it will."""
    name, replace = request["name"], request["replace"]
    here, origin = _here(), _origin()
    place.check()
    own, kept = here.history(name), place.history(name)
    if replace and own is not None and own["state"] not in OVER:
        _end(here, own)
        own, kept = here.history(name), place.history(name)
    if kept is not None:
        last = kept["attempts"][-1]
        is_known = own is not None and own["attempts"][-1]["number"] >= last["number"]
        if last["state"] not in OVER and (last["origin"]["node"] != origin["node"] or not is_known):
            _look_after(place, kept, last, origin)
        own = _brought(here, place, kept, own, origin)
    if own is not None and own["state"] in OVER:
        _catch_up(here, place, own, kept)
    if own is not None and (own["state"] not in OVER or (own["state"] == "succeeded" and not replace)):
        # It will be attached to, or its result is there.
        return None
    number = 1 if own is None else own["attempts"][-1]["number"] + 1
    run = {key: request.get(key) for key in ("name", "service", "method", "keep_s", "keep_bytes", "store")}
    attempt = {"arguments": request["shown"], "arguments_digest": request["digest"], "code": None}
    now = time.time()
    claim = {"number": number, "queued_s": now, "started_s": None, "ended_s": None, **attempt, "origin": origin}
    place.claim({**run, "created_s": now}, claim)
    return number


def _end(here: NodeRuns, own: dict[str, Any]) -> None:
    """Of an attempt that is to be replaced: before another is claimed it has ended, in the store too."""
    name, number = own["name"], own["attempts"][-1]["number"]
    _cancel(here, name, number)
    try:
        here.cluster._ask("run_result", {"name": name, "attempt": number}, silent=True)
    except Exception:
        # However it ended: its result is nobody's here.
        pass


def _cancel(here: NodeRuns, name: str, number: int) -> None:
    here.cluster._ask("run_cancel", {"name": name, "attempt": number}, silent=True)


def _look_after(place: Store, kept: dict[str, Any], last: dict[str, Any], origin: dict[str, Any]) -> None:
    """The end of an attempt whose cluster has been silent for too long; RunConflict where another has it."""
    from roundhouse import _run_records

    if not _run_store.is_lost(last):
        if last["origin"]["node"] == origin["node"]:
            # Somebody else on this node has claimed it just now.
            return
        raise _run_records.conflict(kept, last, place.place)
    last.update(state="lost", ended_s=time.time(), error=_run_store.lost_error(kept["name"], last))
    place.end(kept, last, None, None)


def _brought(
    here: NodeRuns, place: Store, kept: dict[str, Any], own: dict[str, Any] | None, origin: dict[str, Any]
) -> dict[str, Any] | None:
    """This node's history with what the store has beyond it."""
    ended = [attempt for attempt in kept["attempts"] if attempt["state"] in OVER]
    known = 0 if own is None else own["attempts"][-1]["number"]
    for attempt in own["attempts"] if own is not None else ():
        there = next((each for each in ended if each["number"] == attempt["number"]), None)
        if there is not None and (attempt["origin"] or origin)["node"] != there["origin"]["node"]:
            raise RunConflict(
                f"attempt {attempt['number']} of the run {kept['name']!r} in {place.place} is another than the one on "
                "this cluster. Try: another run_name, or forget one of them",
                run=kept["name"],
                attempt=attempt["number"],
                differs="another run",
                old=place.place,
            )
    if not ended or ended[-1]["number"] <= known:
        return own
    number = ended[-1]["number"]
    outcome = None if ended[-1]["error"] is not None else place.outcome(kept["name"], number)
    try:
        dispatch = place.dispatch(kept["name"], number)
    except Unsupported:
        dispatch = None
    output = place.output(kept["name"], number)
    here.tell(kept, ended, dispatch, outcome, output if output[1] else None)
    return here.history(kept["name"])


def _catch_up(here: NodeRuns, place: Store, own: dict[str, Any], kept: dict[str, Any] | None) -> None:
    """What ended here and is not in the store, because nobody kept it or whoever did has died."""
    name, number = own["name"], own["attempts"][-1]["number"]
    for attempt in kept["attempts"] if kept is not None else ():
        if attempt["number"] > number or (attempt["number"] == number and attempt["state"] in OVER):
            return
    keeping = here.history(f"{name}.store-{number}")
    if keeping is None or keeping["state"] in OVER:
        keep(place, name, number)


def keep(place: Store, name: str, number: int) -> str:
    """Has that attempt of this node's in the store, from its beginning to its end; its state then."""
    here = _here()
    run, attempt = _found(here, name, number)
    place.check()
    try:
        place.claim(run, attempt)
    except RunConflict:
        # Another cluster runs that attempt: it took this one for lost before it had begun.
        _cancel(here, name, number)
        raise
    try:
        dispatch = here.dispatch(name, number)
    except Unsupported:  # An object's method: there is nothing to replay.
        dispatch = None
    with _Beating(here, place, run, attempt):
        place.begin(run, attempt, dispatch, _code_of(here, name, number, dispatch))
        del dispatch
        print(_BEGUN, flush=True)
        outcome = _outcome(here, name, number)
        run, attempt = _found(here, name, number)
        output = here.output(name, number)
        for pause in (*_PAUSES, None):
            try:
                place.end(run, attempt, outcome, output)
            except (HostError, NodeLost) as error:
                if pause is None:
                    raise
                print(f"{error.message}; again in {pause} s", file=sys.stderr, flush=True)
                time.sleep(pause)
            else:
                break
    return str(attempt["state"])


def _code_of(here: NodeRuns, name: str, number: int, dispatch: Dispatch | None) -> Callable[[], str] | None:
    """What brings the snapshot that its worker imports from, where there is one, and says where it is."""
    from functools import partial

    from roundhouse import _replay

    snapshot = None if dispatch is None else _replay.source_of(dispatch).get("snapshot")
    return None if snapshot is None else partial(here.code, name, number, snapshot["id"])


def _outcome(here: NodeRuns, name: str, number: int) -> Any:
    """None where the attempt ended with an error of ours, which its description has."""
    try:
        return here.outcome(name, number)
    except RoundhouseError:
        if _found(here, name, number)[1]["state"] in OVER:
            return None
        raise


def _found(here: NodeRuns, name: str, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    run = here.history(name)
    for attempt in run["attempts"] if run is not None else ():
        if attempt["number"] == number:
            return run, {**attempt, "origin": attempt["origin"] or _origin(), "silent_s": None}  # type: ignore[return-value]
    raise NotFound(f"attempt {number} of the run {name!r} is not here any longer", name=name)


class _Beating:
    """Tells the store every few seconds that the attempt runs. Where that took it for lost, it is ended here: another
    cluster may have begun it anew."""

    def __init__(self, here: NodeRuns, place: Store, run: dict[str, Any], attempt: dict[str, Any]) -> None:
        import threading

        self._here, self._place, self._run, self._attempt = here, place, run, {**attempt, "state": "running"}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="roundhouse-run-store", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        told = ""
        while not self._over.is_set():
            try:
                if not self._place.beat(self._run, self._attempt):
                    print("it was taken for lost, and is ended here", file=sys.stderr, flush=True)
                    _cancel(self._here, self._run["name"], self._attempt["number"])
                    return
                told = ""
            except RoundhouseError as error:
                # The store may come back before it counts as lost.
                if told != error.message:
                    told = error.message
                    print(told, file=sys.stderr, flush=True)
            self._over.wait(_BEAT_SECONDS)


def _here() -> NodeRuns:
    from roundhouse import _here, _run_nodes

    return _run_nodes.NodeRuns(_here.cluster_here())


def _origin() -> dict[str, Any]:
    """What tells this node from all others: the state folder's, so that a cluster that comes up again is the same."""
    import socket

    path = os.path.join(os.environ["ROUNDHOUSE_NODE"], "run-stores.id")
    draft = f"{path}.{os.urandom(4).hex()}"
    if not os.path.exists(path):
        with open(draft, "w", encoding="ascii") as file:
            file.write(os.urandom(16).hex())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        os.unlink(draft)
    with open(path, encoding="ascii") as file:
        return {"cluster": _here().cluster.name, "node": file.read(), "host": socket.gethostname()}
