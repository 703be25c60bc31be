"""The runs of a node, as what copies them asks for them and writes them (protocol/node.md)."""

from __future__ import annotations

from roundhouse import _engine, _json, _link, _serialize
from roundhouse._run_store import joined
from roundhouse._screen import CallScreen
from roundhouse.exceptions import NotFound, RunConflict, Unsupported, from_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from roundhouse._cluster import Cluster
    from roundhouse._replay import Dispatch

# The largest piece of output that `run_import` takes.
_PIECE_BYTES_MAX = 64 * 1024


class NodeRuns:
    def __init__(self, cluster: Cluster, place: str = "") -> None:
        self.cluster = cluster
        # Empty where it is not asked as a store.
        self.place = place

    # Reading.

    def history(self, name: str) -> dict[str, Any] | None:
        try:
            run: dict[str, Any] = self.cluster._ask("run_get", {"name": name}, silent=True)
        except NotFound:
            return None
        if self.place:
            for attempt in run["attempts"]:
                # Its own runs, for whoever takes it for a store.
                attempt["origin"] = attempt["origin"] or {"cluster": self.cluster.name, "node": ""}
        return run

    def runs(self, limit: int) -> list[dict[str, Any]]:
        return list(self.cluster._ask("run_list", {"limit": limit}))

    def dispatch(self, name: str, number: int) -> Dispatch:
        kind, encoding, parts, raised = self._asked("run_dispatch", {"name": name, "attempt": number})
        about = _link.value_of((kind, encoding, parts[:1], raised))
        count = about["program_parts"]
        return about, list(parts[1 : 1 + count]), list(parts[1 + count :])

    def code(self, name: str, number: int, snapshot: str) -> str:
        """The folder on this machine that has it: it is the node's, whichever attempt was started with it."""
        return self.cluster._link.fetch_code(snapshot)

    def outcome(self, name: str, number: int) -> _engine.Outcome:
        """Of an attempt of this node's own: waits for its end, but not for whoever keeps it."""
        return self._asked("run_result", {"name": name, "attempt": number, "kept": False})

    def output(self, name: str, number: int) -> tuple[int, bytearray]:
        """From which offset on it is there, and its pieces."""
        screen = _Pieces()
        outcome = self._asked("run_logs", {"name": name, "attempt": number}, screen)
        return _link.value_of(outcome)["next"] - screen.bytes, joined(screen.pieces)

    def _asked(self, method: str, request: dict[str, Any], screen: CallScreen | None = None) -> _engine.Outcome:
        screen = screen or CallScreen(silent=True)
        started = self.cluster._link.start("_node", method, _serialize.JSON, [_json.encode(request)], screen)
        try:
            started.wait(None)
            return started.take()
        except _engine.EngineError as error:
            raise from_engine(error.code, error.message, error.facts) from None

    # Writing what another node runs. An attempt that has ended stays as it is, whoever tells of it.

    def check(self) -> None:
        from roundhouse import _here

        here = _here.here()
        if not isinstance(here, str) and here._socket_path == self.cluster._socket_path:
            raise Unsupported(
                f"the runs of the cluster {here.name!r} are in its journal already. Try: another cluster as run_store="
            )
        self.cluster.ping()

    def claim(self, run: dict[str, Any], attempt: dict[str, Any]) -> None:
        there = self.history(run["name"])
        if there is not None:
            last = there["attempts"][-1]
            if last["number"] == attempt["number"] and last["origin"]["node"] == attempt["origin"]["node"]:
                return
        self.tell(run, [{**attempt, "state": "queued"}])

    def withdraw(self, name: str, number: int) -> None:
        there = self.history(name)
        if there is None or there["attempts"][-1]["number"] != number:
            return
        if len(there["attempts"]) == 1:
            self.forget(name)
            return
        error = {"code": "cancelled", "message": f"attempt {number} of the run {name!r} never began", "facts": {}}
        self.tell(there, [{**there["attempts"][-1], "state": "cancelled", "error": error}])

    def begin(
        self, run: dict[str, Any], attempt: dict[str, Any], dispatch: Dispatch | None, code: Callable[[], str] | None
    ) -> None:
        # A snapshot stays on the node that has it: `run_import` takes none.
        self.tell(run, [{**attempt, "state": "running"}], dispatch)

    def beat(self, run: dict[str, Any], attempt: dict[str, Any]) -> bool:
        """That it runs. False where it was taken for lost."""
        return bool(self._tell(run, [{**attempt, "state": "running"}])["state"] != "lost")

    def end(
        self,
        run: dict[str, Any],
        attempt: dict[str, Any],
        outcome: _engine.Outcome | None,
        output: tuple[int, Any] | None,
    ) -> None:
        self.tell(run, [attempt], None, outcome, output)

    def forget(self, name: str) -> None:
        self.cluster._ask("run_forget", {"name": name})

    def tell(
        self,
        run: dict[str, Any],
        attempts: list[dict[str, Any]],
        dispatch: Dispatch | None = None,
        outcome: _engine.Outcome | None = None,
        output: tuple[int, Any] | None = None,
    ) -> None:
        """RunConflict where that node knows of another end of the last attempt."""
        stands = self._tell(run, attempts, dispatch, outcome, output)
        if stands["state"] != attempts[-1]["state"]:
            raise RunConflict(
                f"attempt {attempts[-1]['number']} of the run {run['name']!r} has ended on the cluster "
                f"{self.cluster.name!r} already: {stands['state']}",
                run=run["name"],
                attempt=attempts[-1]["number"],
                differs="another end",
                old=stands["state"],
                new=attempts[-1]["state"],
            )

    def _tell(
        self,
        run: dict[str, Any],
        attempts: list[dict[str, Any]],
        dispatch: Dispatch | None = None,
        outcome: _engine.Outcome | None = None,
        output: tuple[int, Any] | None = None,
    ) -> dict[str, Any]:
        """`run_import`: how the last attempt stands then."""
        request = {key: run.get(key) for key in ("name", "service", "method", "created_s", "keep_s", "keep_bytes")}
        request["attempts"] = [_as_told(attempt) for attempt in attempts]
        bodies: list[dict[str, Any]] = []
        parts: list[Any] = []
        if dispatch is not None:
            about, program, arguments = dispatch
            bodies.append({"kind": "code", "encoding": _serialize.EMPTY, "parts": len(program)})
            bodies.append({"kind": "arguments", "encoding": about["encoding"], "parts": len(arguments)})
            parts += [*program, *arguments]
        if outcome is not None:
            bodies.append({"kind": "result", "encoding": outcome[1], "parts": len(outcome[2])})
            parts += outcome[2]
        request["bodies"] = bodies
        if output is not None:
            request["output_from"] = output[0]
            parts.append(output[1])
        return self.cluster._ask("run_import", request, parts, silent=True)  # type: ignore[no-any-return]


def _as_told(attempt: dict[str, Any]) -> dict[str, Any]:
    error = attempt.get("error")
    if error is not None:
        error = {**error, "code": _engine.codes.get(error["code"], 0)}
    return {**attempt, "error": error}


class _Pieces(CallScreen):
    """Keeps what it is told as it came, the pieces of one channel together."""

    __slots__ = ("bytes", "pieces")

    def __init__(self) -> None:
        super().__init__(silent=True)
        self.bytes = 0
        self.pieces: list[tuple[int, Any]] = []

    def __call__(self, channel: int, text: bytes) -> None:
        self.bytes += len(text)
        for at in range(0, len(text), _PIECE_BYTES_MAX):
            piece = text[at : at + _PIECE_BYTES_MAX]
            if (
                self.pieces
                and self.pieces[-1][0] == channel
                and len(self.pieces[-1][1]) + len(piece) < _PIECE_BYTES_MAX
            ):
                self.pieces[-1][1].extend(piece)
            else:
                self.pieces.append((channel, bytearray(piece)))
