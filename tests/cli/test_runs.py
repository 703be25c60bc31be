"""`roundhouse runs`: what there is of runs that others started."""

from __future__ import annotations

import re
import sys

from .shell import Shell

START = """
import roundhouse as R
box = R.Cluster("box")
box.get("train", remote=True).options(run_name="by-python", stream_logs=False)(2)
"""


def start(rh: Shell, service: str, arguments: str, name: str) -> None:
    """As any program would, over HTTP."""
    socket = rh.bash("ls $XDG_RUNTIME_DIR/roundhouse/box-*.sock $ROUNDHOUSE_STATE/clusters/box/*.sock 2>/dev/null").out
    done = rh.bash(
        f"curl -sS -m 20 --unix-socket {socket.split()[0]} -H 'Prefer: respond-async' -H 'Idempotency-Key: {name}' "
        f"-H 'Content-Type: application/json' -d '{arguments}' http://localhost/v1/services/{service}/call"
    )
    assert f'"run":"{name}"' in done.out, done


def test_a_run_and_what_is_told_of_it(rh: Shell, box: str) -> None:
    start(rh, "train", '{"epochs": 2}', "nightly")
    assert rh("runs", "result", box, "nightly", "--timeout", 30).value == {"epochs": 2, "rate": 0.1}
    logs = rh("runs", "logs", box, "nightly")
    assert (logs.out, logs.err) == ("epoch 0\nepoch 1\n", "done\n")
    assert rh("runs", "logs", box, "nightly", "-f", "--offset", "6").out == "0\nepoch 1\n"
    told = rh("runs", "logs", box, "nightly", "--json")
    assert told.value == {"attempt": 1, "next": 21, "over": True}
    shown = rh("runs", "show", box, "nightly").out
    assert re.search(r"^state +succeeded$", shown, re.MULTILINE)
    assert "train.call" in shown
    assert rh("runs", "show", box, "nightly", "--json").value["attempts"][0]["number"] == 1
    assert re.search(r"^nightly +succeeded +1 +train ", rh("runs", "list", box).out, re.MULTILINE)
    assert "nightly" in [run["name"] for run in rh("runs", "list", box, "--json").value]


def test_how_it_ended_is_how_the_command_ends(rh: Shell, box: str) -> None:
    start(rh, "fail", '["broken"]', "failing")
    failed = rh("runs", "result", box, "failing", "--timeout", 30, code=4)
    assert "ValueError: broken" in failed.err
    assert "ValueError: broken" in rh("runs", "show", box, "failing").out
    assert "no run" in rh("runs", "show", box, "nosuch", code=3).err
    start(rh, "slowly", "[60]", "slow")
    assert "has not ended" in rh("runs", "result", box, "slow", "--no-wait", code=124).err
    assert "has not ended" in rh("runs", "result", box, "slow", "--timeout", 0.1, code=124).err
    assert "is running" in rh("runs", "forget", box, "slow", code=1).err
    assert rh("runs", "cancel", box, "slow", "--json").value == {"cancelled": True}
    assert "cancelled" in rh("runs", "result", box, "slow", "--timeout", 30, code=1).err
    assert "does not run" in rh("runs", "cancel", box, "slow").out
    rh("runs", "forget", box, "slow")
    assert "slow" not in [run["name"] for run in rh("runs", "list", box, "--json").value]


def test_a_result_of_python_is_for_python(rh: Shell, box: str) -> None:
    done = rh.bash(f"{sys.executable} -c '{START}'")
    assert (done.code, done.err) == (0, "")
    assert '.get_run("by-python").result()' in rh("runs", "result", box, "by-python", code=1).err
