"""Asks the trainer of digits.py to read scans, from a process of its own, while it is being trained.

This program has never seen the trainer's class. It knows two names: the cluster's and the object's.

    python examples/digits_ask.py [CLUSTER]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import roundhouse as rh
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SCANS = 8
TIMES_MAX = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cluster", nargs="?", default="digits")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write what was seen, and when, as JSON")
    arguments = parser.parse_args()

    # The same split as in digits.py, so that these are scans that the trainer does not learn from.
    _, scans, _, labels = train_test_split(*load_digits(return_X_y=True), test_size=360, random_state=0)
    trainer = rh.compute(arguments.cluster).get("digits", remote=True)
    home = rh.handle(trainer).service["pid"]
    seen = []
    for _ in range(TIMES_MAX):
        now = trainer.progress()
        answers = trainer.predict(scans)
        right = int((answers == labels).sum())
        seen.append(now | {"at": time.monotonic(), "right": right, "home": home})
        state = f"in epoch {now['epoch']} of {now['epochs']}" if now["training"] else "after training"
        print(f"process {os.getpid()} asks {trainer!r} {state}: {right} of {len(scans)} scans read right", flush=True)
        if not now["training"]:
            break
        time.sleep(1)
    draw(scans[:SCANS], answers[:SCANS])
    if arguments.report:
        arguments.report.write_text(json.dumps(seen))


def draw(scans, answers) -> None:
    """Scans side by side, two pixels to a character, and under each what it was taken for."""
    ink = scans.reshape(-1, 4, 2, 8) > 7
    for row in range(4):
        cells = [[" ▀▄█"[above + 2 * below] for above, below in zip(*scan[row], strict=True)] for scan in ink]
        print("   ".join("".join(cell) for cell in cells).rstrip())
    print("   ".join(f"{answer:^8}" for answer in answers).rstrip(), flush=True)


main()
