"""`roundhouse replay` and `stack`: what a run did, done again at the user's own terminal, and what a call does now."""

from __future__ import annotations

import re
import signal
import sys

import pytest

from .shell import Shell

SCRIPT = """\
import roundhouse as R

LIMIT = 3

def inner(wanted):
    left = LIMIT - wanted
    raise ValueError(f"no {wanted}, only {left}")

def outer(number, step=1):
    print("looking for", number)
    return inner(number + step)

def fine(number):
    return {"twice": 2 * number}

if __name__ == "__main__":
    box = R.compute("box")
    for function in (outer, fine):
        remote = R.function(function).to(box)
        remote.options(run_name=f"replay-{function.__name__}", stream_logs=False).submit(40).exception()
"""


@pytest.fixture(scope="module")
def ran(rh: Shell, box: str) -> str:
    """A script that ran, whose file is another one by now."""
    script = rh.folder / "replayed.py"
    script.write_text(SCRIPT)
    assert rh.bash(f"{sys.executable} replayed.py").code == 0
    script.write_text("# nothing of it\n" * 100)
    return box


def test_what_it_printed_and_returned(rh: Shell, ran: str) -> None:
    assert rh("replay", "replay-fine").value == {"twice": 80}
    done = rh("replay", "replay-outer", "--cluster", ran, "--attempt", "1", code=4)
    assert done.out == "looking for 40\n"
    assert "ValueError: no 41, only -38" in done.err
    assert 'raise ValueError(f"no {wanted}, only {left}")' in done.err, "the line as it was"
    assert "_replay.py" not in done.err


def test_pdb_stops_at_the_line_that_failed(rh: Shell, ran: str) -> None:
    done = rh.terminal(
        "replay", "replay-outer", "--pdb",
        answers=[("(Pdb)", "p wanted + 1000"), ("(Pdb)", "up"), ("(Pdb)", "p number, step"), ("(Pdb)", "q")],
    )  # fmt: skip
    assert done.code == 4
    _, _, stopped = done.out.partition("only -38\n")
    assert '-> raise ValueError(f"no {wanted}, only {left}")' in stopped
    assert "1041" in stopped
    assert "-> return inner(number + step)" in stopped
    assert "(40, 1)" in stopped


def test_what_a_call_does_just_now(rh: Shell, box: str) -> None:
    # So long that it is in the middle of a nap whenever it is looked at.
    running = rh.start("call", box, "slowly", "60", "", "1")
    assert running.stdout is not None
    try:
        assert running.stdout.readline() == b"begun\n"
        shown = rh("stack", "slowly").out
        assert re.search(r"in the call [0-9a-f]{8}-\d+ of slowly  <==\n +File .*digits\.py", shown)
        (worker,) = rh("stack", "slowly", "--cluster", box, "--json").value
        (thread,) = [thread for thread in worker["threads"] if thread["asked"]]
        assert "time.sleep(nap)" in thread["python"]
        assert "sleep" in thread["native"]
        assert rh("stack", thread["call"]).out.count("<==") == 1
    finally:
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=30)
    assert "no cluster that is up here has a call" in rh("stack", "nosuch", code=3).err


def test_what_is_not_there_says_so(rh: Shell, ran: str) -> None:
    assert "no cluster that is up here has a run nosuch" in rh("replay", "nosuch", code=3).err
    assert "no run" in rh("replay", "nosuch", "--cluster", ran, code=3).err
    assert "--python" in rh("replay", "replay-fine", "--python", "/nowhere/python", code=3).err
