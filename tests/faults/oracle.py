"""The judge: two ledgers in, verdicts out. It knows nothing of faults, and what it is given is all over.

- **lost**: a success that was told and whose code never ended (or with another value), an error that says `started` is
  "no" about code that has begun, a run that was acknowledged and of whose end nobody could be told;
- **duplicated**: one attempt that began twice. Code does not know which attempt of a run it is, so of a run as many
  may begin as its history has (`attempts`);
- **hung**: no answer at the deadline plus a grace;
- **untrue**: an answer that is neither a value, nor the code's own exception, nor one of the typed errors; or one that
  says `started` is "yes" about code that has not begun (but for the one call that a killed worker was just beginning).

A typed error that is true is none of these.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from . import ledger
from .ledger import Row

SUCCESS, RAISED, WRONG_VALUE = "success", "raised", "wrong value"

# Beyond the deadline: the node gives a call 2 s to end by itself, and the machine may be busy.
GRACE_SECONDS = 10.0

# These mean a mistake of the engine's, however typed.
_MISTAKES = ("InternalError", "ProtocolError", "RemoteError")

KINDS = ("lost", "duplicated", "hung", "untrue")


@dataclass
class Verdict:
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    hung: list[str] = field(default_factory=list)
    untrue: list[str] = field(default_factory=list)
    # How often each answer was given: "success", "raised", or an error with its `started`.
    answers: Counter[str] = field(default_factory=Counter)

    def __bool__(self) -> bool:
        """Whether anything is wrong."""
        return any(getattr(self, kind) for kind in KINDS)


def judge(folder: str | Path) -> Verdict:
    return judge_rows(ledger.read(folder, ledger.CODE), ledger.read(folder, ledger.CALLER))


def judge_rows(code: list[Row], caller: list[Row]) -> Verdict:
    verdict = Verdict()
    begun = Counter((row["call"], row["attempt"]) for row in code if row["what"] == "begun")
    # A call that began several times has as many ends, any of which may be what was told.
    ended: dict[tuple[str, int], set[str]] = {}
    for row in code:
        if row["what"] == "ended":
            ended.setdefault((row["call"], row["attempt"]), set()).add(row["token"])
    attempts = {row["call"]: row["count"] for row in caller if row["what"] == "attempts"}
    for (call, attempt), times in begun.items():
        if times > attempts.get(call, 1):
            verdict.duplicated.append(f"{call}: attempt {attempt} began {times} times")
    gone = {row["caller"] for row in caller if row["what"] == "gone"}
    # A run may be asked for several times, by several callers.
    told: dict[tuple[str, int, int], list[Row]] = {}
    for row in caller:
        if row["what"] == "told":
            told.setdefault((row["call"], row["attempt"], row["caller"]), []).append(row)
    died: set[str] = set()
    ends = {(row["call"], row["outcome"]) for rows in told.values() for row in rows}
    for asked in (row for row in caller if row["what"] == "asked"):
        key = (asked["call"], asked["attempt"])
        answers = told.get((*key, asked["caller"]))
        if not answers:
            # Whoever is dead was told nothing, and waits for nothing.
            if asked["caller"] not in gone:
                verdict.hung.append(f"{asked['call']}: never answered")
            continue
        answer = answers.pop(0)
        waited = answer["at"] - asked["at"]
        if waited > asked["deadline"] + GRACE_SECONDS:
            verdict.hung.append(
                f"{asked['call']}: answered after {waited:.1f} s, with {asked['deadline']:g} s to do so"
            )
        verdict.answers[_name_of(answer)] += 1
        verdict.lost.extend(_losses(answer, key in begun, ended.get(key, set())))
        if not _was_just_beginning(answer, key in begun, died):
            verdict.untrue.extend(_untruths(answer, key in begun))
    for call in (row["call"] for row in caller if row["what"] == "acknowledged"):
        # One that is nowhere to be found has not ended, whatever was told of it.
        if not any(ended_call == call and outcome != "NotFound" for ended_call, outcome in ends):
            verdict.lost.append(f"{call}: the run was acknowledged, and nobody could be told of its end")
    return verdict


def _name_of(answer: Row) -> str:
    started = answer.get("started")
    return answer["outcome"] + (f" (started: {started})" if started else "")


def _losses(answer: Row, has_begun: bool, ends: set[str]) -> Iterator[str]:
    call, outcome = answer["call"], answer["outcome"]
    if outcome == WRONG_VALUE:
        yield f"{call}: told a success with another value: {answer['message']}"
    elif outcome == SUCCESS and not ends:
        yield f"{call}: told a success, and the code has not ended"
    elif outcome == SUCCESS and answer["token"] not in ends:
        yield f"{call}: told a success that is of another execution"
    elif outcome == RAISED and not has_begun:
        yield f"{call}: told an exception of code that has not begun"
    elif answer.get("started") == "no" and has_begun:
        yield f"{call}: {outcome} says that it never started, and it has"


def _was_just_beginning(answer: Row, has_begun: bool, died: set[str]) -> bool:
    """A worker marks a call before its code runs, and may be killed between that and the code's first row.

    That is one call of each at most, as only one begins at a time."""
    pid = re.search(r"the worker \(pid (\d+)\) was killed", answer.get("message", ""))
    if pid is None or has_begun or answer.get("started") != "yes" or pid[1] in died:
        return False
    died.add(pid[1])
    return True


def _untruths(answer: Row, has_begun: bool) -> Iterator[str]:
    if not answer.get("typed", True) or answer["outcome"] in _MISTAKES:
        yield f"{answer['call']}: {answer['outcome']}: {answer['message']}"
    elif answer.get("started") == "yes" and not has_begun:
        yield f"{answer['call']}: {answer['outcome']} says that it has started, and it has not: {answer['message']}"
