"""A process that provokes faults, one trial after the other, on a cluster of its own. Several run side by side.

It reads a line of JSON for each trial from stdin and answers with one on stdout; all else that is printed goes to
`log` in its folder. Its state folder is a small file system of its own in a mount namespace of its own, where that is
allowed, so that a trial can fill it.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

STATE_MIB = 48


class Lane:
    def __init__(self, folder: Path) -> None:
        import roundhouse as rh

        self.folder = folder
        self.name = "faults"
        # Set once something hangs here that cannot be got rid of: the next trial then takes another process.
        self.is_spent = False
        self.state = Path(os.environ["ROUNDHOUSE_STATE"])
        self.box = rh.compute(self.name)
        self._handles: dict[str, Any] = {}

    # --- the cluster that most trials share ---

    def reach(self, name: str) -> Any:
        """A handle that is kept, as a program keeps its own: whatever became of the service meanwhile, it is called."""
        if name not in self._handles:
            self._handles[name] = self.box.get(name, remote=True)
        return self._handles[name]

    def status(self) -> dict[str, Any]:
        """Of a node that may be just being started again."""
        import roundhouse as rh

        deadline = time.monotonic() + 30
        while True:
            try:
                return self.box.up_if_not()._ask("status", {})  # type: ignore[no-any-return]
            except (rh.NodeLost, rh.LaunchError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def make_ready(self) -> None:
        """The cluster is up, and the services are there and answer: trials leave it in any condition."""
        import roundhouse as rh

        deadline = time.monotonic() + 60
        anew = False
        while True:
            try:
                return self._deploy(anew)
            except (rh.NodeLost, rh.WorkerDied, rh.NotFound, rh.NameTaken, rh.CallTimeout, rh.SetupError) as error:
                # The last trial's deaths may just be becoming known.
                if time.monotonic() > deadline:
                    raise
                print("not ready yet:", repr(error), flush=True)
                time.sleep(0.05)
                # What is dead keeps its name until another takes it.
                anew = not isinstance(error, rh.NodeLost)

    def _deploy(self, anew: bool) -> None:
        import roundhouse as rh

        from . import subjects
        from .calls import DESKS, FUNCTION

        there = set() if anew else {service["name"] for service in self.status()["services"]}
        if FUNCTION not in there:
            rh.function(subjects.work).to(self.box, name=FUNCTION, workers=2, replace=True)
        if not {"Desk", *DESKS} <= there:
            desk = rh.cls(subjects.Desk).to(self.box, replace=True)
            # Two processes, so that one may die beside the other.
            desk.options(name=DESKS[0], replace=True)()
            desk.options(name=DESKS[1], replace=True, process="apart")()
        self._handles.clear()
        self.reach(FUNCTION)
        for name in DESKS:
            self.reach(name).identity.options(timeout=20)()

    def daemon_pid(self) -> int:
        return int(self.status()["pid"])

    def upgrade(self, program: str) -> int:
        """Its daemon is one of that program, and this is its process."""
        before = self.status()
        if before["program"] == program:
            return int(before["pid"])
        self.box._ask("upgrade", {"program": program})
        deadline = time.monotonic() + 30
        while (now := self.status())["program"] != program:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the daemon is still {now['program']}")
            time.sleep(0.01)
        return int(now["pid"])

    def keeper_pid(self) -> int:
        return int(self.status()["keeper_pid"])

    def end(self) -> list[str]:
        """Ends every cluster of this lane; what is left of them all the same."""
        import roundhouse as rh

        from .processes import happens, processes_under

        wrong = []
        for row in rh.Cluster.list():
            try:
                rh.Cluster(row["name"]).teardown()
            except rh.RoundhouseError as error:
                wrong.append(f"teardown of {row['name']}: {error!r}")
        if not happens(lambda: not processes_under(self.state), 5):
            wrong.append(f"processes are left: {processes_under(self.state)}")
        return wrong


def _provoke(lane: Lane, order: dict[str, Any]) -> dict[str, Any]:
    from .catalogue import FAULTS
    from .processes import Broken
    from .trial import NotPossible, Trial

    folder = Path(order["folder"])
    folder.mkdir(parents=True)
    trial = Trial(lane, order["fault"], order["number"], order["seed"], folder)
    answer: dict[str, Any] = {"broken": None, "not_possible": None}
    try:
        lane.make_ready()
        FAULTS[trial.fault](trial)
        trial.settle()
    except NotPossible as error:
        answer["not_possible"] = str(error)
    except BaseException:
        answer["broken"] = traceback.format_exc()
        with suppress(Broken):
            trial.settle()
    return {**answer, "fired": trial.fired_times, "spent": lane.is_spent}


def _serve(lane: Lane, answers: IO[str]) -> None:
    for line in sys.stdin:
        order = json.loads(line)
        print(f"--- {order['number']} {order['fault']}", flush=True)
        answers.write(json.dumps(_provoke(lane, order)) + "\n")
        answers.flush()
        if lane.is_spent:
            break
    answers.write(json.dumps({"left": lane.end()}) + "\n")
    answers.flush()
    # Not by returning: threads that hang would keep it.
    os._exit(0)


def _mount(state: Path) -> None:
    """Only where the runner could start this process in a mount namespace of its own."""
    if os.environ.get("FAULTS_OWN_MOUNTS"):
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={STATE_MIB}m,mode=0700", "faults", str(state)], check=True, timeout=10
        )


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("folder", type=Path)
    folder = arguments.parse_args().folder
    answers = os.fdopen(os.dup(1), "w")
    with open(folder / "log", "ab", buffering=0) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    # Asked for by the runner, of a lane that does not answer.
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    state = folder / "state"
    state.mkdir(mode=0o700)
    _mount(state)
    os.environ["ROUNDHOUSE_STATE"] = str(state)
    _serve(Lane(folder), answers)


if __name__ == "__main__":
    main()
