"""The judge itself: each verdict on ledgers that deserve it, because a judge that finds nothing is worth nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.faults import ledger, oracle, passing
from tests.faults.__main__ import main, table
from tests.faults.catalogue import FAULTS

Rows = list[dict[str, Any]]

_ASKED = {"what": "asked", "call": "c", "attempt": 0, "caller": 7, "deadline": 10.0, "at": 100.0}
_TOLD = {"what": "told", "call": "c", "attempt": 0, "caller": 7, "at": 101.0}
_SUCCESS = {**_TOLD, "outcome": "success", "token": "t"}
_BEGUN = {"what": "begun", "call": "c", "attempt": 0, "token": "t"}
_ACKNOWLEDGED = {"what": "acknowledged", "call": "c"}
_TWO_ATTEMPTS = {"what": "attempts", "call": "c", "count": 2}
_ENDED = {**_BEGUN, "what": "ended"}


def _lost(outcome: str, **more: Any) -> dict[str, Any]:
    return {**_TOLD, "outcome": outcome, "message": "it is gone", **more}


def wrong(code: Rows, caller: Rows) -> list[str]:
    verdict = oracle.judge_rows(code, caller)
    return [kind for kind in oracle.KINDS if getattr(verdict, kind)]


@pytest.mark.parametrize(
    ("code", "caller"),
    [
        ([_BEGUN, _ENDED], [_ASKED, _SUCCESS]),
        ([_BEGUN], [_ASKED, {**_TOLD, "outcome": "raised"}]),
        ([_BEGUN], [_ASKED, _lost("WorkerDied", started="yes")]),
        ([_BEGUN, _ENDED], [_ASKED, _lost("NodeLost", started="unknown")]),
        ([], [_ASKED, _lost("NodeLost", started="no")]),
        # Two attempts are two executions, and whoever is dead waits for nothing.
        (
            [_BEGUN, {**_BEGUN, "attempt": 1}, {**_ENDED, "attempt": 1}],
            [{**_ASKED, "attempt": 1}, {**_SUCCESS, "attempt": 1}],
        ),
        ([_BEGUN], [_ASKED, {"what": "gone", "caller": 7}]),
        # A run: acknowledged, and its end is known; lost with its node; and then tried again.
        ([_BEGUN, _ENDED], [_ACKNOWLEDGED, _ASKED, _SUCCESS]),
        ([_BEGUN], [_ACKNOWLEDGED, _ASKED, _lost("NodeLost", started="yes")]),
        ([_BEGUN, {**_BEGUN, "token": "u"}, _ENDED], [_ACKNOWLEDGED, _ASKED, _SUCCESS, _TWO_ATTEMPTS]),
    ],
)
def test_the_truth(code: Rows, caller: Rows) -> None:
    assert wrong(code, caller) == []


@pytest.mark.parametrize(
    ("verdict", "code", "caller"),
    [
        ("lost", [], [_ASKED, _SUCCESS]),
        ("lost", [_BEGUN], [_ASKED, _SUCCESS]),
        ("lost", [_BEGUN, {**_ENDED, "token": "u"}], [_ASKED, _SUCCESS]),
        ("lost", [_BEGUN, _ENDED], [_ASKED, {**_TOLD, "outcome": "wrong value", "message": "3 items of 40"}]),
        ("lost", [], [_ASKED, {**_TOLD, "outcome": "raised"}]),
        ("lost", [_BEGUN], [_ASKED, _lost("NodeLost", started="no")]),
        ("lost", [_BEGUN], [_ACKNOWLEDGED]),
        ("lost", [_BEGUN, _ENDED], [_ACKNOWLEDGED, _ASKED, _lost("NotFound")]),
        ("duplicated", [_BEGUN, _BEGUN, _BEGUN, _ENDED], [_ACKNOWLEDGED, _ASKED, _SUCCESS, _TWO_ATTEMPTS]),
        ("duplicated", [_BEGUN, _BEGUN, _ENDED], [_ASKED, _SUCCESS]),
        ("hung", [_BEGUN, _ENDED], [_ASKED]),
        ("hung", [_BEGUN, _ENDED], [_ASKED, {**_SUCCESS, "at": 100.0 + 10.0 + oracle.GRACE_SECONDS + 0.1}]),
        ("hung", [_BEGUN], [_ASKED, {"what": "gone", "caller": 8}]),
        ("untrue", [_BEGUN], [_ASKED, _lost("EOFError", typed=False)]),
        ("untrue", [_BEGUN], [_ASKED, _lost("InternalError")]),
        ("untrue", [], [_ASKED, _lost("WorkerDied", started="yes")]),
    ],
)
def test_what_is_not(verdict: str, code: Rows, caller: Rows) -> None:
    assert wrong(code, caller) == [verdict]


def test_answers_are_counted_by_what_they_say() -> None:
    verdict = oracle.judge_rows([_BEGUN], [_ASKED, _lost("NodeLost", started="unknown")])
    assert verdict.answers == {"NodeLost (started: unknown)": 1}


def test_rows_outlive_their_writer(tmp_path: Path) -> None:
    ledger.write(tmp_path, ledger.CODE, "begun", call="c", token="t")
    # What a process that died in the middle of a row would leave is no row.
    with (tmp_path / ledger.CODE).open("a") as file:
        file.write('{"what": "end')
    assert [row["call"] for row in ledger.read(tmp_path, ledger.CODE)] == ["c"]
    assert ledger.read(tmp_path, ledger.CALLER) == []


def test_the_order_is_the_seeds() -> None:
    first, again, other = (passing.orders_for(60, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert {order.fault for order in first} == set(FAULTS)
    # What is picked out keeps its seed, so that one trial can be made again.
    (one,) = passing.orders_for(60, 1, [str(first[7].number)])
    assert one == first[7]


def test_a_fault_that_never_fired_fails() -> None:
    row = passing.Row("slow-reader", tries=3)
    assert row.fails
    row.fired = 1
    assert not row.fails
    row.wrong["hung"].append("trial 2: never answered")
    assert row.fails
    assert "slow-reader" in table([row])


def test_wrong_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["M=3"]) == 2
    assert main(["ONLY=no-such-fault"]) == 2
    assert "daemon-killed" in capsys.readouterr().err


def test_a_killed_worker_was_beginning_one_call_at_most() -> None:
    killed = {"message": "the worker (pid 4) was killed by signal 9", "started": "yes"}
    one = [_ASKED, {**_lost("WorkerDied"), **killed}]
    other = [{**row, "call": "d"} for row in one]
    assert wrong([], one) == []
    assert wrong([], [*one, *other]) == ["untrue"]
    assert wrong([{**_BEGUN, "call": "d"}], [*one, *other]) == []
