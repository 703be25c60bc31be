"""The main job: examples/digits.py as a user runs it, with a notebook and a second process that join meanwhile."""

from __future__ import annotations

import json
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from . import cpp
from .conftest import EXAMPLES, World

# Long enough that a notebook can start, and a second process come and go, before it is over.
EPOCHS = 1000

# What somebody types into a notebook while the script of another terminal trains.
NOTEBOOK = """
import json, pathlib, time
import roundhouse as rh
from sklearn.datasets import load_digits
trainer = rh.compute("digits").get("digits", remote=True)
scans, labels = load_digits(return_X_y=True)
seen = []
while not pathlib.Path({enough!r}).exists():
    now = trainer.progress()
    right = int((trainer.predict(scans) == labels).sum())
    seen.append(now | {{"at": time.monotonic(), "right": right, "home": rh.handle(trainer).service["pid"]}})
    pathlib.Path({ready!r}).touch()
    time.sleep(0.2)
print(json.dumps(seen))
"""


@dataclass
class Demo:
    code: int
    output: str
    report: dict
    notebook: list[dict]
    process: list[dict]
    folder: Path


def wait_for(path: Path, script: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 60
    while not path.exists():
        assert script.poll() is None, "the script ended before anybody could join"
        assert time.monotonic() < until, f"{path.name} did not appear"
        time.sleep(0.05)


def read_until(process: subprocess.Popen[str], what: str) -> str:
    text = ""
    for line in process.stdout:
        text += line
        if what in line:
            return text
    raise AssertionError(f"{what!r} is not in its output:\n{text}")


@pytest.fixture(scope="module")
def demo(world: World) -> Demo:
    """Runs the script, and while it trains a notebook, and while the notebook asks a second process."""
    cpp.build("ask_digits")
    out = world.folder / "out"
    ready, enough, report = out / "ready", out / "enough", out / "report.json"
    command = [sys.executable, EXAMPLES / "digits.py", "--epochs", EPOCHS, "--out", out, "--report", report]
    with world.start(*command) as script:
        try:
            output = read_until(script, "lives in process")
            rest: list[str] = []
            reader = threading.Thread(target=lambda: rest.append(script.stdout.read()))
            reader.start()

            cell = nbformat.v4.new_code_cell(NOTEBOOK.format(ready=str(ready), enough=str(enough)))
            notebook = nbformat.v4.new_notebook(cells=[cell])
            typing = threading.Thread(target=NotebookClient(notebook, timeout=60).execute, kwargs={"env": world.env})
            typing.start()
            try:
                wait_for(ready, script)
                asked = world.run(sys.executable, EXAMPLES / "digits_ask.py", "--report", out / "asked.json")
                assert asked.returncode == 0, asked.stdout
            finally:
                enough.touch()
                typing.join()
            reader.join(timeout=120)
            code = script.wait(timeout=10)
        finally:
            script.kill()
    output += "".join(rest)
    assert report.exists(), output
    return Demo(
        code,
        output,
        json.loads(report.read_text()),
        json.loads(notebook.cells[0].outputs[0]["text"]),
        json.loads((out / "asked.json").read_text()),
        out,
    )


@pytest.mark.usefixtures("nothing_left")
def test_it_learns_to_read(demo: Demo) -> None:
    assert demo.code == 0, demo.output
    assert demo.report["accuracy"] > 0.95
    assert demo.report["history"][-1]["epoch"] == EPOCHS
    assert demo.report["evaluations"][0]["accuracy"] < demo.report["accuracy"]


def test_script_notebook_and_second_process_saw_one_object_while_it_was_trained(demo: Demo) -> None:
    began, ended = demo.report["began"], demo.report["ended"]
    for who, seen in [("notebook", demo.notebook), ("second process", demo.process)]:
        assert len(seen) >= 3, who
        assert all(one["training"] for one in seen), who
        assert all(began < one["at"] < ended for one in seen), who
        assert all(one["home"] == demo.report["home"] for one in seen), who
        epochs = [one["epoch"] for one in seen]
        assert epochs == sorted(epochs), who
        assert 0 < epochs[0] < epochs[-1] < EPOCHS, who

    # All at the same time: within the second process's stay both others had answers, too.
    first, last = demo.process[0]["at"], demo.process[-1]["at"]
    assert sum(first < one["at"] < last for one in demo.notebook) >= 3
    assert sum(first < one["at"] < last for one in demo.report["evaluations"]) >= 3
    assert sum(first < one["at"] < last for one in demo.report["saves"]) >= 1


def test_every_door_leads_to_that_object(demo: Demo) -> None:
    doors = demo.report["doors"]
    assert list(doors) == ["Python", "curl", "command line", "C++"], demo.output
    for door, answer in doors.items():
        assert answer == {"epoch": EPOCHS, "epochs": EPOCHS, "training": False}, door


def test_it_evaluated_and_saved_while_it_trained(demo: Demo) -> None:
    for what, least in [("evaluations", 20), ("saves", 5)]:
        during = [one for one in demo.report[what] if demo.report["began"] < one["at"] < demo.report["ended"]]
        epochs = [one["epoch"] for one in during]
        assert len(during) >= least, what
        assert epochs == sorted(epochs), what
        assert epochs[-1] > epochs[0], what


def test_the_checkpoint_holds_what_was_trained(demo: Demo) -> None:
    assert sorted(path.name for path in demo.folder.glob("digits.npz*")) == ["digits.npz"]
    saved = np.load(demo.folder / "digits.npz")
    assert saved["epoch"] == EPOCHS
    _, scans, _, labels = train_test_split(*load_digits(return_X_y=True), test_size=360, random_state=0)
    values = np.float32(scans) / 16
    for number in (0, 1):
        values = np.maximum(values @ saved[f"weights{number}"] + saved[f"bias{number}"], 0)
    right = (values @ saved["weights2"] + saved["bias2"]).argmax(axis=1) == labels
    assert right.mean() == pytest.approx(demo.report["accuracy"])


def test_the_plot_is_a_picture(demo: Demo) -> None:
    picture = Path(demo.report["plot"]).read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", picture[16:24])
    assert width >= 800
    assert height >= 600
    assert len(picture) > 20_000
    assert demo.report["plot"] in demo.output


def test_without_a_terminal_it_prints_plain_lines(demo: Demo) -> None:
    assert "\r" not in demo.output
    assert "\x1b" not in demo.output
    climbing = [float(number) for number in re.findall(r"accuracy (0\.\d+)$", demo.output, re.MULTILINE)]
    assert len(climbing) >= 10
    assert climbing[-1] > climbing[0]
    assert re.search(rf"process \d+ asks <DigitsTrainer 'digits' on 'digits'> in epoch \d+ of {EPOCHS}", demo.output)


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize(("blow", "says"), [("worker", "WorkerDied"), ("interrupt", "KeyboardInterrupt")])
def test_a_failure_ends_everything(world: World, blow: str, says: str) -> None:
    """A worker killed in the middle of training, and Ctrl-C."""
    with world.start(sys.executable, EXAMPLES / "digits.py", "--epochs", 4000, "--out", world.folder / blow) as script:
        try:
            output = read_until(script, "accuracy")
            if blow == "worker":
                home = int(re.search(r"lives in process (\d+)", output)[1])
                subprocess.run(["kill", "-9", str(home)], check=True)
            else:
                script.send_signal(signal.SIGINT)
            output += script.communicate(timeout=30)[0]
        finally:
            script.kill()
    assert script.returncode != 0
    assert says in output


@pytest.mark.usefixtures("nothing_left")
def test_too_little_training_is_a_failure(world: World) -> None:
    done = world.run(sys.executable, EXAMPLES / "digits.py", "--epochs", 2, "--out", world.folder / "short")
    assert done.returncode == 1, done.stdout
    assert "that is not above 0.95" in done.stdout
