"""A training run that outlives the laptop it was started from.

The first process starts the run and is killed in the middle of it, as when a lid is closed. The second knows nothing
but the run's name: it sees all of the output, waits for the end and has the result. Nothing has run twice.

    python examples/laptop_lid.py
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import roundhouse as rh

CLUSTER = os.environ.get("LAPTOP_LID_CLUSTER", "laptop-lid")
RUN = "digits-2026"


def train(epochs: int) -> dict[str, float]:
    loss = 1.0
    for epoch in range(epochs):
        time.sleep(0.3)
        loss *= 0.7
        print(f"epoch {epoch}: loss {loss:.3f}", flush=True)
    return {"epochs": epochs, "loss": round(loss, 3)}


def start() -> None:
    """What the laptop does: it waits for the result, and never sees it."""
    box = rh.compute(CLUSTER).up_if_not()
    rh.function(train).to(box).options(run_name=RUN)(8)


def pick_up() -> None:
    """What any other process does, tomorrow or elsewhere."""
    run = rh.compute(CLUSTER).get_run(RUN)
    print(f"picked up {run.name}, which is {run.status}")
    for text in run.stream():
        print(text, end="")
    print("result:", run.result(), "after", len(run.attempts), "attempt")


def main() -> None:
    with rh.compute(CLUSTER) as box:
        for old in box.runs():
            rh.Run(box, old["name"]).forget()
        laptop = subprocess.Popen([sys.executable, __file__, "start"], stdout=subprocess.PIPE, text=True)
        assert laptop.stdout is not None
        for line in laptop.stdout:
            print("laptop sees:", line, end="")
            if line.startswith("epoch 2"):
                break
        laptop.send_signal(signal.SIGKILL)
        laptop.wait()
        print("the lid is closed: the laptop's process was killed", flush=True)
        subprocess.run([sys.executable, __file__, "pick-up"], check=True)


if __name__ == "__main__":
    {"start": start, "pick-up": pick_up}.get("".join(sys.argv[1:2]), main)()
