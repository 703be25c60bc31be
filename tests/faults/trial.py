"""One try of one fault: what a fault's code is given to work with."""

from __future__ import annotations

import faulthandler
import os
import random
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import calls, ledger, oracle
from .calls import Caller
from .processes import Broken, happens, is_alive, wait_for

if TYPE_CHECKING:
    from .lane import Lane


class NotPossible(Exception):
    """This machine does not allow the fault; the message says what it lacks."""


class Trial:
    def __init__(self, lane: Lane, fault: str, number: int, seed: str, folder: Path) -> None:
        self.lane = lane
        self.fault = fault
        self.number = number
        self.folder = str(folder)
        self.random = random.Random(seed)
        self.fired_times = 0
        self._callers: list[Caller] = []
        self._asked = 0

    # --- calls ---

    def caller(self, services: calls.Services | None = None) -> Caller:
        made = Caller(self.folder, services or self.lane)
        self._callers.append(made)
        return made

    def name_call(self) -> str:
        self._asked += 1
        return f"{self.number}-{self.fault}-{self._asked}"

    def ask_some(
        self, count: int = 4, caller: Caller | None = None, kinds: tuple[str, ...] = calls.KINDS, seconds: float = 0.3
    ) -> Caller:
        """Calls of random kinds that take about so long, each on a thread."""
        caller = caller or self.caller()
        for _ in range(count):
            kind = self.random.choice(kinds)
            desk, other = self.random.sample(calls.DESKS, 2)
            more = {"desks": [other, desk]} if kind == "bounce" else {}
            caller.ask(kind, self.name_call(), seconds * self.random.uniform(0.2, 1.5), desk, **more)
        return caller

    def under_way(self) -> list[ledger.Row]:
        """Executions that have begun and not ended."""
        rows = ledger.read(self.folder, ledger.CODE)
        ended = {row["token"] for row in rows if row["what"] == "ended"}
        return [row for row in rows if row["what"] == "begun" and row["token"] not in ended]

    def await_one_under_way(self) -> list[ledger.Row]:
        """Some that have; empty when all have ended before anyone looked."""
        happens(lambda: self.under_way() or self.have_settled(), 10)
        # Not always at the same point of a call's life.
        time.sleep(self.random.choice((0.0, self.random.uniform(0, 0.15))))
        return self.under_way()

    def have_settled(self) -> bool:
        return all(caller.has_settled() for caller in self._callers)

    def settle(self) -> None:
        """Waits for every answer; what is not there by the deadline and the grace the oracle calls hung."""
        end = time.monotonic() + calls.DEADLINE_SECONDS + oracle.GRACE_SECONDS
        late = [caller for caller in self._callers if not caller.has_settled(max(0.0, end - time.monotonic()))]
        if late:
            # Their threads stay, so this process is of no more use.
            self.lane.is_spent = True
            faulthandler.dump_traceback(all_threads=True)
            raise Broken(f"never came back: {', '.join(name for caller in late for name in caller.waiting())}")
        # And those who ask from within a call: whoever is dead is told nothing.
        happens(lambda: not self._unanswered(), max(0.0, end - time.monotonic()))
        for caller_pid in {row["caller"] for row in self._unanswered_rows() if not is_alive(row["caller"])}:
            ledger.write(self.folder, ledger.CALLER, "gone", caller=caller_pid)

    def _unanswered_rows(self) -> list[ledger.Row]:
        rows = ledger.read(self.folder, ledger.CALLER)
        told = {row["call"] for row in rows if row["what"] == "told"}
        gone = {row["caller"] for row in rows if row["what"] == "gone"}
        return [row for row in rows if row["what"] == "asked" and row["call"] not in told and row["caller"] not in gone]

    def _unanswered(self) -> bool:
        return any(is_alive(row["caller"]) for row in self._unanswered_rows())

    # --- faults ---

    def fired(self, **proof: Any) -> None:
        """The fault has happened, and this is how one knows."""
        self.fired_times += 1
        ledger.write(self.folder, ledger.PROOF, "fired", fault=self.fault, **proof)

    def missed(self, why: str) -> None:
        ledger.write(self.folder, ledger.PROOF, "missed", fault=self.fault, why=why)

    def kill(self, *victims: tuple[int, str]) -> bool:
        """SIGKILL to each, at once, and all are gone. False, with the reason written down, when that is not the middle
        of any call, or one of them was gone before."""
        at_work = [row["call"] for row in self.under_way()]
        for pid, whose in victims:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                self.missed(f"the {whose}, process {pid}, was gone before it could be killed")
                return False
        for pid, whose in victims:
            self.wait_for(lambda pid=pid: not is_alive(pid), f"the death of the {whose}, process {pid}")
        if not at_work:
            self.missed("all calls had ended")
            return False
        self.fired(killed={whose: pid for pid, whose in victims}, gone=True, calls_under_way=at_work)
        return True

    def note(self, what: str, **facts: Any) -> None:
        ledger.write(self.folder, ledger.PROOF, what, **facts)

    def check(self, truth: object, what: str) -> None:
        if not truth:
            raise Broken(what)

    def wait_for(self, condition: Any, what: str, seconds: float = 15.0) -> None:
        wait_for(condition, what, seconds)
