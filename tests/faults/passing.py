"""A pass: so many trials in random order, on a few lanes side by side, each within a bound; and the table of them."""

from __future__ import annotations

import json
import os
import queue
import random
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import ledger, oracle
from .catalogue import FAULTS
from .processes import kill_and_see, processes_under

ROOT = Path(__file__).resolve().parents[2]
# A trial is much shorter; one that is not is hung, with everything that it started.
_TRIAL_SECONDS = 90.0
_END_SECONDS = 60.0


@dataclass
class Order:
    """A trial to be made. Its own seed makes the same choices again, whatever was run before it."""

    number: int
    fault: str
    seed: str


def orders_for(count: int, seed: int, only: list[str] | None = None) -> list[Order]:
    """So many trials (one of each fault at least), in random order. `only` leaves out others and changes no seed."""
    names = list(FAULTS)
    every = [names[number % len(names)] for number in range(max(count, len(names)))]
    random.Random(seed).shuffle(every)
    orders = [Order(number, name, f"{seed}/{number}") for number, name in enumerate(every)]
    return [order for order in orders if not only or order.fault in only or str(order.number) in only]


@dataclass
class Row:
    """Of the table: one fault."""

    fault: str
    tries: int = 0
    fired: int = 0
    wrong: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in (*oracle.KINDS, "broken")})
    not_possible: str = ""
    answers: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def fails(self) -> bool:
        return any(self.wrong.values()) or (self.fired == 0 and not self.not_possible)


class _Silent(Exception):
    """A lane that has not answered in time, or has died."""


class _LaneProcess:
    """The other end of lane.py."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.state = folder / "state"
        command = [sys.executable, "-m", "tests.faults.lane", str(folder)]
        env = dict(os.environ)
        if _own_mounts_allowed():
            command = ["unshare", "--mount", "--propagation", "private", *command]
            env["FAULTS_OWN_MOUNTS"] = "1"
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=env, start_new_session=True
        )

    def ask(self, order: dict[str, Any], seconds: float) -> dict[str, Any]:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise _Silent(f"the lane is gone, see {self.folder / 'log'}")
        return self._answer(seconds)

    def _answer(self, seconds: float) -> dict[str, Any]:
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            os.kill(self.process.pid, signal.SIGUSR1)
            raise _Silent(f"no end after {seconds:g} s, see the stacks in {self.folder / 'log'}")
        line = self.process.stdout.readline()
        if not line:
            raise _Silent(f"the lane is gone, see {self.folder / 'log'}")
        return json.loads(line)  # type: ignore[no-any-return]

    def end(self) -> list[str]:
        """What it left behind, all of which is gone afterwards."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
            left: list[str] = self._answer(_END_SECONDS)["left"]
        except (_Silent, OSError) as error:
            left = [str(error)]
        self.kill()
        return left

    def kill(self) -> None:
        if self.process.poll() is None:
            time.sleep(0.2)  # for the stacks that were asked for
            self.process.kill()
        self.process.wait(10)
        for pid in processes_under(self.state):
            kill_and_see(pid)


def _own_mounts_allowed() -> bool:
    """Whether a lane can have a small file system that nobody else sees."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        return False
    return subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode == 0


class Pass:
    def __init__(self, orders: list[Order], folder: Path, lanes: int, verbose: bool = False) -> None:
        self.folder = folder
        self.lanes = lanes
        self.verbose = verbose
        self.rows = {order.fault: Row(order.fault) for order in orders}
        self.orders = orders
        self.left: list[str] = []
        self.seconds = 0.0
        self._todo: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self._numbers = iter(range(1_000_000))
        self._lock = threading.Lock()
        self._stopping = False
        for order in orders:
            self._todo.put(order)

    @property
    def fails(self) -> bool:
        return bool(self.left) or any(row.fails for row in self.rows.values())

    def run(self) -> None:
        started = time.monotonic()
        threads = [threading.Thread(target=self._drive, name=f"lane {number}") for number in range(self.lanes)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:
            self._stopping = True
            for thread in threads:
                thread.join()
            raise
        # Only now, because what is written late counts as well: everything that could write is gone.
        for order in self.orders:
            self._judge(order)
        self.seconds = time.monotonic() - started

    def trial_folder(self, order: Order) -> Path:
        return self.folder / f"{order.number:04}-{order.fault}"

    def _drive(self) -> None:
        lane: _LaneProcess | None = None
        while not self._stopping:
            try:
                order = self._todo.get_nowait()
            except queue.Empty:
                break
            if lane is None:
                with self._lock:
                    lane = _LaneProcess(self.folder / f"lane-{next(self._numbers)}")
            try:
                spent = self._try(lane, order)
            except _Silent as error:
                self._note(order, "hung", str(error))
                lane.kill()
                lane = None
                continue
            if spent:
                self._note_left(lane.end())
                lane = None
        if lane is not None:
            self._note_left(lane.end())

    def _try(self, lane: _LaneProcess, order: Order) -> bool:
        started = time.monotonic()
        with self._lock:
            self.rows[order.fault].tries += 1
        asked = {**vars(order), "folder": str(self.trial_folder(order))}
        answer = lane.ask(asked, _TRIAL_SECONDS)
        seconds = time.monotonic() - started
        with self._lock:
            row = self.rows[order.fault]
            row.fired += bool(answer["fired"])
            row.seconds += seconds
            row.not_possible = answer["not_possible"] or row.not_possible
        if answer["broken"]:
            (self.trial_folder(order) / "broken").write_text(answer["broken"])
            self._note(order, "broken", answer["broken"].strip().splitlines()[-1])
        # What is wrong is judged again at the end; this is for whoever watches.
        verdict = oracle.judge(self.trial_folder(order))
        if self.verbose or verdict:
            print(
                f"{order.number:4} {order.fault:24} {seconds:5.1f} s  {_proof_of(self.trial_folder(order))}", flush=True
            )
        return bool(answer["spent"])

    def _note(self, order: Order, kind: str, what: str) -> None:
        print(f"{order.number:4} {order.fault:24} {kind}: {what}", flush=True)
        with self._lock:
            self.rows[order.fault].wrong[kind].append(f"trial {order.number}: {what}")

    def _note_left(self, left: list[str]) -> None:
        with self._lock:
            self.left += left

    def _judge(self, order: Order) -> None:
        verdict = oracle.judge(self.trial_folder(order))
        row = self.rows[order.fault]
        row.answers += verdict.answers
        for kind in oracle.KINDS:
            for what in getattr(verdict, kind):
                self._note(order, kind, what)


def _proof_of(folder: Path) -> str:
    rows = ledger.read(folder, ledger.PROOF)
    parts = []
    for row in rows:
        facts = ", ".join(f"{key}={value}" for key, value in row.items() if key not in ("what", "at", "fault"))
        parts.append(f"{row['what']}: {facts}")
    return "; ".join(parts)[:400] or "no proof"


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
