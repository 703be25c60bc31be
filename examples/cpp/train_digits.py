"""Trains a C++ class from Python, on handwritten digits; then a C++ program goes on with the same object.

    python examples/cpp/train_digits.py build/release/examples

The argument is the folder of the programs: digits_trainer, which serves the class, and train_digits, which uses it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import roundhouse as rh
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def main(programs: Path) -> None:
    scans, labels = load_digits(return_X_y=True)
    split = train_test_split(scans / 16, labels, test_size=360, random_state=0)
    train_scans, test_scans, train_labels, test_labels = split

    with rh.compute("digits-cpp") as box:
        # A C++ class is sent like one of Python's, and its instances have names and live on.
        Trainer = rh.program(programs / "digits_trainer").cls("Trainer").to(box)
        trainer = Trainer(rate=0.2, name="digits-reader")
        print(f"before: {trainer.score(test_scans, test_labels):.1%} right")
        losses = [epoch["loss"] for epoch in trainer.fit(train_scans, train_labels, epochs=12)]
        print(f"the loss fell from {losses[0]:.3f} to {losses[-1]:.3f}")
        print(f"after: {trainer.score(test_scans, test_labels):.1%} right")
        trainer.rate = 0.05

        # For the C++ program, which has no scikit-learn.
        data = {"scans": train_scans, "labels": train_labels, "test_scans": test_scans, "test_labels": test_labels}
        box.put("digits", data)
        subprocess.run([programs / "train_digits"], check=True)
        print(f"Python finds {trainer.epochs} epochs, {trainer.score(test_scans, test_labels):.1%} right")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/release/examples").resolve())
