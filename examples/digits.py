"""Learns to read handwritten digits on a local cluster, while other threads and another process use the same object.

One thread trains, a second saves checkpoints and a third evaluates, all at once and on one live instance of a class
that knows nothing of Roundhouse. Meanwhile another process (digits_ask.py) finds that instance by its name and has it
read scans. Once trained, the same instance answers curl, the command line and a C++ program as well. What is left at
the end is a plot and the last checkpoint.

    python examples/digits.py
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import roundhouse as rh
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
ACCURACY_MIN = 0.95


class DigitsTrainer:
    """Reads scans of 8x8 pixels: two hidden layers, trained in mini-batches by plain gradient descent, in NumPy alone.

    A step puts a new list in the place of `layers` and changes nothing in the old one. Whoever reads it once, in any
    thread, therefore has weights that belong together, and no method needs a lock.
    """

    def __init__(self, train_scans, train_labels, test_scans, test_labels, hidden=256, seed=0):
        self.train = (np.float32(train_scans) / 16, train_labels)
        self.test = (np.float32(test_scans) / 16, test_labels)
        self.random = np.random.default_rng(seed)
        self.layers = [self._layer(64, hidden), self._layer(hidden, hidden), self._layer(hidden, 10)]
        self.epoch = self.epochs = 0
        self.training = False
        self.losses = []

    def fit(self, epochs, batch=32, rate=0.03):
        """Trains for so many epochs, or until stop() is called. The learning rate falls to zero on the way."""
        scans, labels = self.train
        began, first = time.monotonic(), self.epoch
        self.epochs, self.training = first + epochs, True
        try:
            while self.training and self.epoch < self.epochs:
                falling = rate * (1 - (self.epoch - first) / epochs)
                shuffled = self.random.permutation(len(scans))
                batches = np.split(shuffled, range(batch, len(shuffled), batch))
                loss = np.mean([self._step(self._shifted(scans[some]), labels[some], falling) for some in batches])
                self.epoch += 1
                self.losses.append({"epoch": self.epoch, "seconds": time.monotonic() - began, "loss": float(loss)})
        finally:
            self.training = False

    def stop(self):
        """Lets fit() return after the epoch that it is in."""
        self.training = False

    def evaluate(self):
        """Loss and accuracy, at this moment, on scans that it does not learn from."""
        epoch, (scans, labels) = self.epoch, self.test
        chances = self._outputs(scans, self.layers)[-1]
        loss = -np.log(chances[np.arange(len(labels)), labels] + 1e-9).mean()
        accuracy = (chances.argmax(axis=1) == labels).mean()
        return {"epoch": epoch, "loss": float(loss), "accuracy": float(accuracy)}

    def predict(self, scans):
        """The digit that each scan shows; (n, 64) pixels from 0 to 16 become n integers."""
        return self._outputs(np.float32(scans) / 16, self.layers)[-1].argmax(axis=1)

    def progress(self):
        return {"epoch": self.epoch, "epochs": self.epochs, "training": self.training}

    def history(self):
        return list(self.losses)

    def save(self, path):
        """Writes the weights to an .npz file, which is either the old one or the new one, never half of it."""
        epoch, layers = self.epoch, self.layers
        arrays = {"epoch": epoch}
        for number, (weights, bias) in enumerate(layers):
            arrays |= {f"weights{number}": weights, f"bias{number}": bias}
        with open(f"{path}.part", "wb") as file:
            np.savez(file, **arrays)
        os.replace(f"{path}.part", path)
        return epoch

    def _layer(self, inputs, outputs):
        weights = self.random.normal(0, np.sqrt(2 / inputs), (inputs, outputs))
        return np.float32(weights), np.zeros(outputs, np.float32)

    def _outputs(self, scans, layers):
        """What each layer makes of the scans; the last gives the chances of the ten digits."""
        outputs = [scans]
        for weights, bias in layers[:-1]:
            outputs.append(np.maximum(outputs[-1] @ weights + bias, 0))
        weights, bias = layers[-1]
        scores = outputs[-1] @ weights + bias
        chances = np.exp(scores - scores.max(axis=1, keepdims=True))
        return [*outputs, chances / chances.sum(axis=1, keepdims=True)]

    def _step(self, scans, labels, rate):
        layers = self.layers
        *inputs, chances = self._outputs(scans, layers)
        rows = np.arange(len(labels))
        loss = -np.log(chances[rows, labels] + 1e-9).mean()
        slope = chances / len(labels)
        slope[rows, labels] -= 1 / len(labels)
        improved = []
        for (weights, bias), given in zip(reversed(layers), reversed(inputs), strict=True):
            improved.append((weights - rate * (given.T @ slope), bias - rate * slope.sum(axis=0)))
            slope = (slope @ weights.T) * (given > 0)
        self.layers = improved[::-1]
        return loss

    def _shifted(self, scans):
        """The scans, each moved by up to a pixel and made a little noisy, so that no epoch shows the same ones."""
        padded = np.pad(scans.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (8, 8), axis=(1, 2))
        down, right = self.random.integers(0, 3, (2, len(scans)))
        moved = windows[np.arange(len(scans)), down, right].reshape(-1, 64)
        return moved + self.random.normal(0, 0.1, moved.shape).astype(np.float32)


# From here on: what uses the trainer.


def main() -> int:
    arguments = parse_arguments()
    sys.stdout.reconfigure(line_buffering=True)  # In a log, too, each line appears when it is printed.
    split = train_test_split(*load_digits(return_X_y=True), test_size=360, random_state=0)
    train_scans, test_scans, train_labels, test_labels = split
    print(f"{len(train_scans)} scans to learn from, {len(test_scans)} held out")

    # A worker has the environment of who deploys to it. Matrices this small gain nothing from more threads.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    box = rh.compute("digits")
    if arguments.keep:
        box.up_if_not()  # `with` gives back what it launched itself, and nothing else.
    with box:
        RemoteTrainer = rh.cls(DigitsTrainer).to(box)
        trainer = RemoteTrainer(train_scans, train_labels, test_scans, test_labels, name="digits")
        home = rh.handle(trainer).service["pid"]
        print(f"this is process {os.getpid()}; {trainer!r} lives in process {home}")

        report = use_all_at_once(trainer, arguments.epochs, arguments.out / "digits.npz")
        report["home"] = home
        report["accuracy"] = trainer.evaluate()["accuracy"]
        report["history"] = trainer.history()
        report["doors"] = ask_by_every_door(trainer)

    report["plot"] = str(plot(report, arguments.out / "digits.png"))
    if arguments.report:
        arguments.report.write_text(json.dumps(report))
    print(
        f"accuracy {report['accuracy']:.3f} on held-out scans, {report['ended'] - report['began']:.1f} s of training, "
        f"{len(report['evaluations'])} evaluations and {len(report['saves'])} checkpoints meanwhile\n"
        f"checkpoint: {report['checkpoint']}\nplot: {report['plot']}"
    )
    if report["accuracy"] <= ACCURACY_MIN:
        print(f"that is not above {ACCURACY_MIN}: train for more than {arguments.epochs} epochs", file=sys.stderr)
        return 1
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=600)
    parser.add_argument("--keep", action="store_true", help="leave the cluster up, and the trained object on it")
    parser.add_argument("--out", type=Path, default=HERE, metavar="FOLDER", help="for the plot and the checkpoint")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write what happened, and when, as JSON")
    return parser.parse_args()


def use_all_at_once(trainer: DigitsTrainer, epochs: int, checkpoint: Path) -> dict:
    """Trains, saves, evaluates and answers another process at the same time; returns what happened, and when."""
    report = {"epochs": epochs, "checkpoint": str(checkpoint), "began": time.monotonic()}
    with (
        ThreadPoolExecutor() as threads,
        tqdm(total=epochs, unit="epoch", disable=None, dynamic_ncols=True) as bar,  # None: only on a terminal.
    ):
        training = threads.submit(trainer.fit, epochs)
        training.add_done_callback(lambda _: report.update(ended=time.monotonic()))
        saving = threads.submit(save_checkpoints, trainer, checkpoint, training)
        watching = threads.submit(watch, trainer, bar, training)
        asking = threads.submit(ask_from_another_process, bar)
        try:
            for done in as_completed([training, saving, watching, asking]):
                done.result()
        except BaseException:
            # A full disk, a dead worker, Ctrl-C: the others end when training does, and then the cluster goes.
            with suppress(rh.RoundhouseError):
                trainer.stop()
            raise
    return report | {"saves": saving.result(), "evaluations": watching.result()}


def save_checkpoints(trainer: DigitsTrainer, path: Path, training: Future) -> list[dict]:
    path.parent.mkdir(parents=True, exist_ok=True)
    saves = []
    last = False
    while not last:
        last = training.done()
        epoch = trainer.save(path)
        saves.append({"at": time.monotonic(), "epoch": epoch})
        time.sleep(0 if last else 1)
    return saves


def watch(trainer: DigitsTrainer, bar: tqdm, training: Future) -> list[dict]:
    """Shows how the accuracy climbs."""
    evaluations = []
    while not training.done():
        now = trainer.evaluate()
        bar.set_postfix({key: f"{now[key]:.3f}" for key in ("loss", "accuracy")}, refresh=False)
        bar.update(now["epoch"] - bar.n)
        if len(evaluations) % 5 == 0:
            bar.write(f"epoch {now['epoch']:4}   loss {now['loss']:.3f}   accuracy {now['accuracy']:.3f}")
        evaluations.append(now | {"at": time.monotonic()})
        time.sleep(0.2)
    bar.update(bar.total - bar.n)
    return evaluations


def ask_from_another_process(bar: tqdm) -> None:
    command = [sys.executable, str(HERE / "digits_ask.py")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    # A session of its own: Ctrl-C is for us, and it ends when training does.
    with subprocess.Popen(command, start_new_session=True, **pipes) as process:
        for line in process.stdout:
            bar.write(line.rstrip())
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command)


def ask_by_every_door(trainer: DigitsTrainer) -> dict:
    """The same question to the same living object: from here, from a shell in two ways, and from C++."""
    url = rh.handle(trainer).endpoint()  # http+unix://SOCKET/v1/services/digits
    server, _, path = url.removeprefix("http+unix://").partition("/")
    doors = {
        "curl": [
            "curl",
            "-sS",
            "--fail",
            "--unix-socket",
            unquote(server),
            "--json",
            "[]",
            f"localhost/{path}/progress",
        ],
        "command line": [find_program("roundhouse"), "call", rh.handle(trainer).cluster.name, "digits.progress"],
        "C++": [find_program("ask_digits"), rh.handle(trainer).cluster.name],
    }
    answers = {"Python": trainer.progress()}
    for door, command in doors.items():
        if command[0] is None or shutil.which(command[0]) is None:
            print(f"by {door}: not asked, its program is not there (`make demo` builds it)")
            continue
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=30)
        answers[door] = json.loads(done.stdout)
    for door, now in answers.items():
        print(f"by {door}, {trainer!r} says that it is at epoch {now['epoch']} of {now['epochs']}")
    return answers


def find_program(name: str) -> str | None:
    """Beside this Python, or where `make demo` builds examples/cpp."""
    folders = (Path(sys.executable).parent, HERE.parent / "build" / "release" / "examples")
    return next((str(folder / name) for folder in folders if (folder / name).exists()), shutil.which(name))


def plot(report: dict, path: Path) -> Path:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(2, sharex=True, figsize=(9, 7), layout="constrained")
    epochs, evaluations = report["history"], report["evaluations"]
    seconds = [evaluation["at"] - report["began"] for evaluation in evaluations]
    saves = [save["at"] - report["began"] for save in report["saves"]]
    above.plot(
        [e["seconds"] for e in epochs], [e["loss"] for e in epochs], label="training, on shifted and noisy scans"
    )
    above.plot(seconds, [e["loss"] for e in evaluations], ".-", label="held-out scans")
    above.set(ylabel="loss", yscale="log", title="One live object: trained, evaluated and saved at the same time")
    below.plot(seconds, [e["accuracy"] for e in evaluations], ".-", color="tab:orange", label="held-out scans")
    below.axhline(ACCURACY_MIN, color="gray", linestyle="--", label=f"aim: {ACCURACY_MIN}")
    below.plot(saves, [0.03] * len(saves), "^", color="tab:green", label="checkpoint saved")
    below.set(xlabel="seconds", ylabel="accuracy", ylim=(0, 1.02))
    for axes in (above, below):
        axes.legend(loc="right")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    return path


# There is no `if __name__ == "__main__"` here, and none is needed: a script is never run a second time elsewhere.
sys.exit(main())
