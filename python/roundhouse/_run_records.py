"""Runs as records among objects with names: files in a folder, or what a bucket has (protocol/run_store.md).

What decides anything is made once and never changed: the claim of an attempt, and its end. Whoever comes second finds
the first one's there. So two clusters never run the same attempt, and no attempt has two ends."""

from __future__ import annotations

import re
from _blake2 import blake2b

from roundhouse import _json
from roundhouse._run_store import error_of
from roundhouse._runs import OVER
from roundhouse.exceptions import NotFound, RecordDamaged, RunConflict, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, Protocol

    from roundhouse import _engine
    from roundhouse._replay import Dispatch

    class Objects(Protocol):
        """What a store is made of. HostError where the system refuses."""

        def check(self) -> None:
            """Something can be written here."""

        def put(self, key: str, content: bytes) -> None:
            """Whole or not at all, and there to stay when it returns."""

        def put_new(self, key: str, content: bytes) -> bool:
            """The same; False where there is one of that name, which stays."""

        def put_pieces(self, key: str, pieces: Iterator[Any]) -> None:
            """The same for what is large."""

        def get(self, key: str) -> bytes | None: ...
        def get_large(self, key: str) -> memoryview | None: ...
        def age(self, key: str) -> float | None:
            """For how many seconds it has been as it is, by the store's own clock."""

        def keys(self, folder: str) -> list[str]:
            """Those that begin with it and a slash, without that."""

        def folders(self, limit: int) -> list[str]:
            """Those of the runs, changed last first."""

        def delete(self, key: str) -> None: ...


# Stored: another form gets another number.
_MARK = b"roundhouse run 1 "
_RECORD = re.compile(r"(\d+)\.(claim|begun|alive|end)")
_PIECE_BYTES = 4 * 1024 * 1024
_RUN_FIELDS = ("name", "service", "method", "principal", "created_s", "keep_s", "keep_bytes", "store")


class RecordRuns:
    def __init__(self, objects: Objects, place: str) -> None:
        self.place = place
        self._objects = objects

    # Reading.

    def history(self, name: str) -> dict[str, Any] | None:
        return self._history(_folder_of(name), name)

    def runs(self, limit: int) -> list[dict[str, Any]]:
        from roundhouse._run_store import told

        found = []
        for folder in self._objects.folders(limit):
            try:
                run = self._history(folder, None)
            except RecordDamaged as error:
                error_told = {"code": "damaged", "message": error.message, "facts": error.facts}
                run = {"name": error.facts.get("run", folder), "state": "damaged", "error": error_told}
            else:
                run = told(run) if run is not None else None
            if run is not None:
                found.append(run)
        return found

    def dispatch(self, name: str, number: int) -> Dispatch:
        begun = self._get(f"{_folder_of(name)}/{number}.begun", name)
        if begun is None or begun["program"] is None:
            raise Unsupported(
                f"the code of attempt {number} of the run {name!r} was not stored: it belongs to a live object or to "
                "a program, or is too large"
            )
        program, arguments = self._body(begun["program"], name), self._body(begun["arguments"], name)
        return {**begun["about"], "program_parts": len(program)}, program, arguments

    def code(self, name: str, number: int, snapshot: str) -> str:
        """The folder on this machine that has the code which it was started with."""
        from roundhouse import _run_code

        begun = self._get(f"{_folder_of(name)}/{number}.begun", name)
        if begun is None or begun.get("snapshot") is None:
            raise Unsupported(f"the snapshot of code of attempt {number} of the run {name!r} is not in {self.place}")
        return _run_code.unpacked(snapshot, self._body(begun["snapshot"], name)[0])

    def outcome(self, name: str, number: int) -> _engine.Outcome:
        """Of an attempt that has ended."""
        end = self._get(f"{_folder_of(name)}/{number}.end", name)
        if end is None:
            raise NotFound(f"attempt {number} of the run {name!r} has no end in {self.place}", name=name)
        attempt, result = end["attempt"], end["result"]
        if attempt["error"] is not None:
            raise error_of(attempt["error"])
        parts = [] if result is None else self._body(result, name)
        raised = attempt["raised"]
        told = None if raised is None else (raised["type"], raised["message"], raised["traceback"])
        return int(raised is not None), 0 if result is None else result["encoding"], parts, told

    def output(self, name: str, number: int) -> tuple[int, Any]:
        end = self._get(f"{_folder_of(name)}/{number}.end", name)
        if end is None or end["output"] is None:
            return 0, b""
        return end["output_from"], self._body(end["output"], name)[0]

    def _history(self, folder: str, name: str | None) -> dict[str, Any] | None:
        there: dict[int, set[str]] = {}
        for key in self._objects.keys(folder):
            match = _RECORD.fullmatch(key)
            if match:
                there.setdefault(int(match[1]), set()).add(match[2])
        run: dict[str, Any] | None = None
        attempts = []
        for number in sorted(there):
            claim = self._get(f"{folder}/{number}.claim", name)
            if claim is None:
                continue
            name = claim["run"]["name"]
            if _folder_of(name) != folder:
                raise self._damaged(name, f"{folder}/{number}.claim")
            attempt, run = self._attempt(folder, name, number, there[number], claim)
            attempts.append(attempt)
        if run is None:
            return None
        return {**run, "attempt": attempts[-1]["number"], "state": attempts[-1]["state"], "attempts": attempts}

    def _attempt(
        self, folder: str, name: str, number: int, there: set[str], claim: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """It, and the run as it was then."""
        for kind in ("end", "begun"):
            record = self._get(f"{folder}/{number}.{kind}", name) if kind in there else None
            if record is not None:
                break
        else:
            record = claim
        attempt: dict[str, Any] = {"error": None, "raised": None, "silent_s": None, **record["attempt"]}
        if attempt["state"] not in OVER:
            silent = self._objects.age(f"{folder}/{number}.alive")
            attempt["silent_s"] = self._objects.age(f"{folder}/{number}.claim") if silent is None else silent
        return attempt, record["run"]

    # Writing.

    def check(self) -> None:
        self._objects.check()

    def claim(self, run: dict[str, Any], attempt: dict[str, Any]) -> None:
        name, number = run["name"], attempt["number"]
        record = {"run": _told(run), "attempt": {**attempt, "state": "queued"}}
        key = f"{_folder_of(name)}/{number}.claim"
        if self._objects.put_new(key, _record(record)):
            return
        there = self._get(key, name)
        if there is not None and there["attempt"]["origin"]["node"] != attempt["origin"]["node"]:
            raise conflict(run, there["attempt"], self.place)

    def withdraw(self, name: str, number: int) -> None:
        folder = _folder_of(name)
        if self._objects.get(f"{folder}/{number}.begun") is None:
            self._objects.delete(f"{folder}/{number}.claim")

    def begin(
        self, run: dict[str, Any], attempt: dict[str, Any], dispatch: Dispatch | None, code: Callable[[], str] | None
    ) -> None:
        """`code` brings its snapshot of code, and says in which folder it is."""
        from roundhouse import _run_code

        name = run["name"]
        folder, number = _folder_of(name), attempt["number"]
        there = self._get(f"{folder}/{number}.begun", name)
        if there is not None and there["attempt"]["queued_s"] == attempt["queued_s"]:
            return
        record: dict[str, Any] = {"run": _told(run), "attempt": {**attempt, "state": "running"}, "program": None}
        if dispatch is not None:
            about, program, arguments = dispatch
            record["about"] = about
            record["program"] = self._put_body(f"{folder}/{number}.code", 0, program)
            record["arguments"] = self._put_body(f"{folder}/{number}.arguments", about["encoding"], arguments)
        if code is not None:
            record["snapshot"] = self._put_body(f"{folder}/{number}.snapshot", 0, [_run_code.packed(code())])
        self._objects.put(f"{folder}/{number}.begun", _record(record))

    def beat(self, run: dict[str, Any], attempt: dict[str, Any]) -> bool:
        """That it runs. False where it was taken for lost."""
        folder, number = _folder_of(run["name"]), attempt["number"]
        self._objects.put(f"{folder}/{number}.alive", b"")
        end = self._get(f"{folder}/{number}.end", run["name"])
        return end is None or end["attempt"]["state"] != "lost"

    def end(
        self,
        run: dict[str, Any],
        attempt: dict[str, Any],
        outcome: _engine.Outcome | None,
        output: tuple[int, Any] | None,
    ) -> None:
        folder, number = _folder_of(run["name"]), attempt["number"]
        key = f"{folder}/{number}.end"
        if self._objects.get(key) is None:
            record: dict[str, Any] = {"run": _told(run), "attempt": attempt, "result": None, "output": None}
            if outcome is not None and outcome[2]:
                record["result"] = self._put_body(f"{folder}/{number}.result", outcome[1], outcome[2])
            if output is not None and output[1]:
                record["output_from"] = output[0]
                record["output"] = self._put_body(f"{folder}/{number}.output", 0, [output[1]])
            if self._objects.put_new(key, _record(record)):
                return
        end = self._get(key, run["name"])
        if end is not None and end["attempt"]["state"] != attempt["state"]:
            raise RunConflict(
                f"attempt {number} of the run {run['name']!r} has ended in {self.place} already: "
                f"{end['attempt']['state']}, because nothing was told of it for too long",
                run=run["name"],
                attempt=number,
                differs="another end",
                old=end["attempt"]["state"],
                new=attempt["state"],
            )

    def forget(self, name: str) -> None:
        folder = _folder_of(name)
        # Claims last: until then it can be forgotten again.
        for key in sorted(self._objects.keys(folder), key=lambda key: key.endswith(".claim")):
            self._objects.delete(f"{folder}/{key}")

    # Records and bodies.

    def _get(self, key: str, name: str | None) -> dict[str, Any] | None:
        content = self._objects.get(key)
        if content is None:
            return None
        head, _, text = content.partition(b"\n")
        if head != _MARK + _checksum([text]).encode():
            raise self._damaged(name, key)
        return _json.decode(text)  # type: ignore[no-any-return]

    def _put_body(self, key: str, encoding: int, parts: Sequence[Any]) -> dict[str, Any]:
        from os import urandom

        views = [memoryview(part).cast("B") for part in parts]
        # A name of its own: what a keeper left that has died is never taken for it.
        key = f"{key}-{urandom(4).hex()}"
        self._objects.put_pieces(key, _pieces(views))
        sizes = [len(view) for view in views]
        return {"key": key, "encoding": encoding, "parts": sizes, "checksum": _checksum(_pieces(views))}

    def _body(self, told: dict[str, Any], name: str) -> list[memoryview]:
        whole = self._objects.get_large(told["key"])
        if whole is None or len(whole) != sum(told["parts"]) or _checksum(_pieces([whole])) != told["checksum"]:
            raise self._damaged(name, told["key"])
        parts, at = [], 0
        for size in told["parts"]:
            parts.append(whole[at : at + size])
            at += size
        return parts

    def _damaged(self, name: str | None, key: str) -> RecordDamaged:
        what = f"the run {name!r}" if name is not None else "a run"
        return RecordDamaged(
            f"what {self.place} has of {what} is damaged: the checksum of {key} does not fit. Other runs are not "
            "affected. Try: remove its folder there, and start it again",
            run=name or key.partition("/")[0],
            path=key,
        )


def conflict(run: dict[str, Any], attempt: dict[str, Any], place: str) -> RunConflict:
    """It runs somewhere else."""
    cluster, silent = attempt["origin"]["cluster"], attempt.get("silent_s") or 0.0
    from roundhouse._run_store import LOST_SECONDS

    return RunConflict(
        f"attempt {attempt['number']} of the run {run['name']!r} runs on the cluster {cluster!r}, which told of it in "
        f"{place} {silent:.0f} s ago. Try: rh.compute({cluster!r}).get_run({run['name']!r}).result(); where that "
        f"cluster is gone, ask again when it has been silent for {LOST_SECONDS:.0f} s",
        run=run["name"],
        attempt=attempt["number"],
        differs="another cluster",
        old=cluster,
        new="",
        cluster=cluster,
        host=attempt["origin"].get("host", ""),
        silent_s=silent,
    )


def _told(run: dict[str, Any]) -> dict[str, Any]:
    return {key: run.get(key) for key in _RUN_FIELDS}


def _folder_of(name: str) -> str:
    return blake2b(name.encode(), digest_size=16).hexdigest()


def _record(value: dict[str, Any]) -> bytes:
    text = _json.encode(value)
    return _MARK + _checksum([text]).encode() + b"\n" + text


def _checksum(pieces: Any) -> str:
    made = blake2b(digest_size=16)
    for piece in pieces:
        made.update(piece)
    return made.hexdigest()


def _pieces(views: Sequence[memoryview]) -> Iterator[memoryview]:
    for view in views:
        for at in range(0, len(view), _PIECE_BYTES):
            yield view[at : at + _PIECE_BYTES]
