"""call and run: arguments, values, streams, failures and cancels."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from .shell import PROGRAM, Shell


def wait_for(condition: Any, what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.01)


def test_output_and_result(rh: Shell, box: str) -> None:
    done = rh("call", box, "train", "2", "--rate", "0.5")
    assert done.out == 'epoch 0\nepoch 1\n{"epochs":2,"rate":0.5}\n'
    assert done.err == "done\n"


def test_where_prints_go(rh: Shell, box: str) -> None:
    done = rh("call", "--prints", "stderr", box, "train", "1")
    assert (done.value, done.err) == ({"epochs": 1, "rate": 0.1}, "epoch 0\ndone\n")
    done = rh("call", "--prints=none", box, "train", "1")
    assert (done.value["epochs"], done.err) == (1, "")
    assert rh("call", "--prints", "nowhere", box, "train", code=2).err.startswith("roundhouse: usage: --prints")
    assert rh("call", "-q", box, "nothing").out == ""
    assert rh("call", box, "nothing").out == "null\n"


def test_texts_become_what_the_annotations_say(rh: Shell, box: str) -> None:
    words = ["--flag", "--layers", "64", "--layers", "10", "--name=3", "--learning-rate", "1e-3"]
    assert rh("call", box, "typed", *words).value == [True, [64, 10], "3", 0.001]
    assert rh("call", box, "typed", "false", "--name", "a b").value == [False, [], "a b", 0.5]


def test_texts_without_annotations(rh: Shell, box: str) -> None:
    words = ["1", "-2.5", "true", "text", "[1, 2]", "--x", "null", "--y=--z", "--last", "--", "--not-a-name", "--"]
    value = rh("call", box, "show", *words).value
    assert value["args"] == [1, -2.5, True, "text", [1, 2], "--not-a-name", "--"]
    assert value["kwargs"] == {"x": None, "y": "--z", "last": True}


def test_options_of_ours_take_no_name_of_a_users(rh: Shell, box: str) -> None:
    value = rh("call", box, "show", "--json", "1", "--timeout", "2", "--help", "--raw").value
    assert value["kwargs"] == {"json": 1, "timeout": 2, "help": True, "raw": True}
    assert "stands before the cluster's name" in rh("call", box, "train", "--timeout", "2", code=2).err


def test_arguments_as_json(rh: Shell, box: str, tmp_path: Path) -> None:
    file = tmp_path / "arguments.json"
    file.write_text('{"*": ["3"], "x": {"y": 1.5}}')
    assert rh("call", "--json", f"@{file}", box, "show").value == {"args": ["3"], "kwargs": {"x": {"y": 1.5}}}
    assert rh("call", "--json", "-", box, "show", stdin='["3"]').value == {"args": ["3"], "kwargs": {}}
    # More digits than a program that knows only doubles could keep.
    large = 12345678901234567890123456789
    assert rh("call", "--json", f"[{large}]", box, "show").value["args"] == [large]


@pytest.mark.parametrize("text", ["", "{", '{"a": 1,,}', "[1", "3", '"x"', "nul", "\u00e4", '{"*": 3}'])
def test_broken_json_is_a_usage_error(rh: Shell, box: str, text: str) -> None:
    assert "--json" in rh("call", "--json", text, box, "show", code=2).err or text == '{"*": 3}'


def test_json_that_is_too_deep(rh: Shell, box: str) -> None:
    for text in ("[" * 100_000 + "]" * 100_000, '{"*": ' + "[" * 100_000 + "]" * 100_000 + "}"):
        assert "levels" in rh("call", "--json", "-", box, "show", code=2, stdin=text).err


def test_arguments_that_are_no_text(rh: Shell, box: str) -> None:
    done = rh.bash(f"{PROGRAM} call {box} show $'\\xff\\xfe'")
    assert (done.code, "UTF-8" in done.err) == (2, True)
    assert rh("call", box, "show", "日本 🚂").value["args"] == ["日本 🚂"]


def test_arguments_that_do_not_fit(rh: Shell, box: str) -> None:
    assert "epochs" in rh("call", box, "train", "many", code=2).err
    assert "nosuch" in rh("call", box, "train", "--nosuch", "1", code=2).err


def test_a_remote_exception(rh: Shell, box: str) -> None:
    done = rh("call", box, "fail", "it broke\nin two lines", code=4)
    assert "Traceback" in done.err
    assert done.err.splitlines()[-1] == "roundhouse: raised: ValueError: it broke"
    error = json.loads(rh("--json", "call", box, "fail", "it broke", code=4).err)["error"]
    assert (error["type"], error["code"], error["message"]) == ("ValueError", "raised", "it broke")
    assert "digits.py" in error["traceback"]


def test_a_timeout(rh: Shell, box: str) -> None:
    done = rh("call", "--timeout", "0.2", box, "slowly", "30", code=124)
    assert "roundhouse: timeout: " in done.err


def test_bytes_and_large_results(rh: Shell, box: str, tmp_path: Path) -> None:
    size = 32 << 20
    done = rh.bash(f"{PROGRAM} call {box} blob {size} | cksum")
    here = rh.bash(f"python3 -c 'import sys; sys.stdout.buffer.write(bytes(range(256)) * ({size} // 256))' | cksum")
    assert done.out == here.out
    rh("call", "-o", tmp_path / "blob", box, "blob", size)
    assert (tmp_path / "blob").stat().st_size == size
    assert len(rh("call", box, "text", 1 << 20).value) == 1 << 20
    assert rh("call", "--raw", box, "text", 3).out == "xxx\n"
    assert rh("call", box, "text", 3).out == '"xxx"\n'


def test_a_full_disk_is_said(rh: Shell, box: str) -> None:
    done = rh.bash(f"{PROGRAM} call {box} text 200000 > /dev/full")
    assert (done.code, "No space left" in done.err) == (1, True)


def test_a_generator_streams(rh: Shell, box: str) -> None:
    assert rh("call", box, "countdown", "3").out == '{"left":3}\n{"left":2}\n{"left":1}\n'
    assert rh("call", box, "countdown", "0").out == ""


def test_a_reader_that_leaves_ends_it_quietly(rh: Shell, box: str) -> None:
    done = rh.bash(f"set -o pipefail; {PROGRAM} call {box} countdown 100000000 | head -n 2")
    assert (done.out, done.err, done.code) == ('{"left":100000000}\n{"left":99999999}\n', "", 141)
    wait_for(lambda: calls_of(rh, box, "countdown") == 0, "the end of the call")
    done = rh.bash(f"set -o pipefail; {PROGRAM} ps {box} | true")
    assert (done.err, done.code in (0, 141)) == ("", True)


def calls_of(rh: Shell, box: str, service: str) -> int:
    return next(row["calls"] for row in rh("ps", box, "--json").value if row["service"] == service)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_cancels_the_call(rh: Shell, box: str, tmp_path: Path, number: int, code: int) -> None:
    mark = tmp_path / "mark"
    process = rh.start("call", box, "slowly", "60", mark)
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    # Its finally has run: it was cancelled, not left.
    wait_for(mark.exists, "the end of the method")
    assert calls_of(rh, box, "slowly") == 0


def test_instances(rh: Shell, box: str) -> None:
    assert rh("call", "--as", "visits", box, "Counter", "--start", "10").value == "visits"
    assert rh("call", box, "visits.add").value == 11
    assert rh("call", box, "visits.add", "5").value == 16
    assert "visits.add" in rh("call", box, "visits", code=2).err
    assert "no method" in rh("call", box, "visits.sub", code=3).err
    made = rh("call", box, "Counter", "--json-is-mine", "3", code=2)
    assert "json_is_mine" in made.err
    rh("delete", box, "visits")
    assert "no class" in rh("call", "--as", "x", box, "train", code=2).err


def test_a_run_leaves_nothing(rh: Shell, box: str) -> None:
    before = rh("keys", box, "--json").value
    assert rh("run", "digits.py::train", "--on", box, "--", "--epochs", "0").value == {"epochs": 0, "rate": 0.1}
    rh("run", "digits.py::fail", "--on", box, code=4)
    rh.bash(f"{PROGRAM} run digits.py::countdown --on {box} -- 100000000 | head -n 1")
    assert rh("keys", box, "--json").value == before


def test_an_interrupted_run_leaves_nothing(rh: Shell, box: str) -> None:
    before = rh("keys", box, "--json").value
    process = rh.start("run", "digits.py::slowly", "--on", box, "--", "60")
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert rh("keys", box, "--json").value == before


def test_a_run_brings_the_cluster_up_and_sends_the_file_anew(rh: Shell) -> None:
    file = rh.folder / "changing.py"
    for value in (1, 2):
        file.write_text(f"def value():\n    return {value}\n")
        assert rh("run", "changing.py::value", "--on", "fresh").value == value
    rh("run", "changing.py::value", "--on", "fresh", "--keep", "--name", "kept")
    assert rh("call", "fresh", "kept").value == 2
    rh("down", "fresh")


def test_what_a_run_may_be_given(rh: Shell, box: str) -> None:
    file = rh.folder / "around.py"
    (rh.folder / "beside.py").write_text("NAME = 'beside'\n")
    file.write_text(
        "import os, beside\ndef look():\n"
        "    said = [os.environ.get(name) for name in ('COLOUR', 'ROUNDHOUSE_CLUSTER_X')]\n"
        "    return [beside.NAME, os.getcwd(), *said]\n"
    )
    done = rh("run", "around.py::look", "--on", box, "--env", "COLOUR=blue", ROUNDHOUSE_CLUSTER_X="secret")
    assert done.value == ["beside", os.path.realpath(rh.folder), "blue", None]


def test_inside_a_worker_no_name_is_needed(rh: Shell, box: str) -> None:
    rh("up", "another")
    assert rh("run", "digits.py::inside", "--on", box).value == [box]
    rh("down", "another")


def test_a_file_that_is_wrong(rh: Shell, box: str) -> None:
    (rh.folder / "broken.py").write_text("def f(:\n")
    (rh.folder / "raises.py").write_text("import no_such_module_here\n")
    assert "SyntaxError" in rh("run", "broken.py::f", "--on", box, code=4).err
    assert "no_such_module_here" in rh("run", "raises.py::f", "--on", box, code=4).err
    assert "Did you mean 'train'" in rh("run", "digits.py::trian", "--on", box, code=2).err
    assert "nosuch.py" in rh("run", "nosuch.py::f", "--on", box, code=3).err
    assert "digits.py::FUNCTION" in rh("run", "digits.py", "--on", box, code=2).err
    assert "--on is missing" in rh("run", "digits.py::train", code=2).err
    assert "stand behind --" in rh("run", "digits.py::train", "--on", box, "3", code=2).err
    assert "--keep" in rh("run", "digits.py::Counter", "--on", box, code=2).err


def test_a_python_that_will_not_do(rh: Shell, box: str, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.write_text('#!/bin/sh\necho "$0: No module named roundhouse" >&2\nexit 1\n')
    bare.chmod(0o700)
    assert "pip install roundhouse" in rh("run", "digits.py::train", "--on", box, "--python", bare, code=1).err
    assert "no/such/python" in rh("run", "digits.py::train", "--on", box, "--python", "/no/such/python", code=1).err


def test_values(rh: Shell, box: str, tmp_path: Path) -> None:
    rh("put", box, "settings", "--json", '{"rate": 0.1}')
    assert rh("get", box, "settings").value == {"rate": 0.1}
    blob = tmp_path / "blob"
    blob.write_bytes(bytes(range(256)) * 999)
    rh("put", box, "blob-value", blob)
    rh("get", box, "blob-value", "-o", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == blob.read_bytes()
    rh("put", box, "words", "-", "--type", "text", stdin="gr\u00fc\u00df")
    assert rh("get", box, "words", "--raw").out == "gr\u00fc\u00df\n"
    keys = {row["key"]: row["kind"] for row in rh("keys", box, "--json").value}
    assert keys["settings"] == keys["words"] == "object"
    rh("delete", box, "settings", "words", "blob-value")
    assert 'no service "settings"' in rh("get", box, "settings", code=3).err
    assert "can be called" in rh("get", box, "train", code=2).err
    assert rh("put", box, "x", code=2).err.startswith("roundhouse: usage")
    assert "not JSON" in rh("put", box, "x", "--json", "{", code=2).err


def test_an_array(rh: Shell, box: str, tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(12.0).reshape(3, 4)
    numpy.save(tmp_path / "a.npy", array)
    rh("put", box, "array", tmp_path / "a.npy")
    assert rh("get", box, "array").value == array.tolist()
    rh("get", box, "array", "-o", tmp_path / "b.npy")
    assert (numpy.load(tmp_path / "b.npy") == array).all()
    rh("delete", box, "array")


def test_logs(rh: Shell, box: str) -> None:
    follower = rh.start("logs", "-f", "--json", box, "native")
    rh("call", box, "native")
    assert follower.stdout is not None
    # Two of the call that brought it there, and two of this one.
    lines = [json.loads(follower.stdout.readline()) for _ in range(4)]
    both = [("stderr", "from descriptor two"), ("stdout", "from descriptor one")]
    assert sorted((line["channel"], line["line"]) for line in lines) == sorted(both * 2)
    assert {line["service"] for line in lines} == {"native"}
    follower.send_signal(signal.SIGINT)
    follower.communicate(timeout=20)
    assert follower.returncode == 130
    shown = rh("logs", box, "native").out
    assert "from descriptor one" in shown
    assert "from descriptor two" in shown
    assert len(rh("logs", "-n", "1", box, "native").out.splitlines()) == 2  # one of each file
    assert rh("logs", box, "nosuch", code=3).err
    assert rh("logs", "--daemon", box).code == 0


def test_a_run_sends_the_project_of_its_file(rh: Shell, box: str) -> None:
    project = rh.folder / "project"
    (project / "jobs" / "data").mkdir(parents=True)
    (project / "setup.cfg").touch()
    (project / "jobs" / "data" / "rate.txt").write_text("3")
    (project / "jobs" / "rates.py").write_text(
        "def rate(path):\n    return int((path / 'data/rate.txt').read_text())\n"
    )
    (project / "jobs" / "main.py").write_text(
        "from pathlib import Path\nfrom rates import rate\n"
        "def where():\n    return [rate(Path(__file__).parent), __file__]\n"
        "def fails():\n    raise ValueError(rate.__module__)\n"
    )
    value, file = rh("run", "project/jobs/main.py::where", "--on", box).value
    assert value == 3
    assert "/code/snapshots/" in file
    failed = rh("run", "project/jobs/main.py::fails", "--on", box, code=4)
    assert f'File "{project.resolve()}/jobs/main.py", line 6, in fails' in failed.err
    (project / "jobs" / "data" / "rate.txt").write_text("4")
    assert rh("run", "project/jobs/main.py::where", "--on", box).value[0] == 4
    (project / "jobs" / "rates.py").write_text("this is no Python\n")
    assert (
        f'File "{project.resolve()}/jobs/rates.py", line 1'
        in rh("run", "project/jobs/main.py::where", "--on", box, code=4).err
    )
