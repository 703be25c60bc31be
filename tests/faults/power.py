"""A power cut, and a wall clock that is moved: what the daemon of the fault build does (faulty_daemon.cpp)."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

from . import runs
from .processes import is_alive
from .trial import NotPossible, Trial

FAULTY = Path(__file__).resolve().parents[2] / "build" / "release" / "tests" / "roundhoused_faulty"
_HOUR_SECONDS = 3600.0


def power_cut(trial: Trial) -> None:
    """What was acknowledged is on the disk: whatever else was written and not synced is not."""
    daemon = _faulty(trial)
    keeper = trial.lane.keeper_pid()
    names = [trial.name_call() for _ in range(6)]
    printing = (False, 3)
    arguments = {name: (trial.folder, name, trial.random.uniform(0.0, 0.2), name, *printing) for name in names}
    for name in names:
        runs.start(trial, name, arguments[name][2], *printing)
    # Some of them have ended by then, and their ends were told; some are just being stored.
    token = runs.token_of(trial, names[0])
    printed = trial.lane.box.get_run(names[0]).logs()
    time.sleep(trial.random.uniform(0, 0.3))
    log = _log(trial)
    os.kill(daemon, signal.SIGUSR2)
    trial.wait_for(lambda: not is_alive(daemon) and not is_alive(keeper), "the node's death")
    cut = re.search(
        r"the power is cut: (\d+) bytes of (\d+) files and (\d+) names were not synced", _log(trial)[len(log) :]
    )
    trial.check(cut, "the daemon says what it has taken back")
    assert cut is not None
    trial.fired(bytes=int(cut[1]), files=int(cut[2]), names=int(cut[3]))
    runs.all_end(trial, names)
    trial.check(runs.token_of(trial, names[0]) == token, "what was told before the cut is what is told behind it")
    trial.check(trial.lane.box.get_run(names[0]).logs() == printed, "what a run had printed that had ended is whole")
    for name in names:
        runs.ask_again(trial, name, arguments[name])


def clock_moved(trial: Trial) -> None:
    """An hour forward or back amid calls with deadlines, and runs: nobody ends sooner or waits longer for that."""
    daemon = _faulty(trial)
    back = trial.random.random() < 0.5
    moves = 3 if back else 1
    try:
        name = trial.name_call()
        runs.start(trial, name, 0.4)
        trial.ask_some(4)
        trial.await_one_under_way()
        for _ in range(moves):
            _move(trial, daemon)
        late = trial.name_call()
        runs.start(trial, late, 0.05)
        trial.ask_some(2, seconds=0.1)
        trial.settle()
        runs.all_end(trial, [name, late])
        (attempt,) = trial.lane.box.get_run(late).attempts
        off = attempt["queued_s"] - time.time()
        trial.check(abs(abs(off) - _HOUR_SECONDS) < 60 and (off < 0) == back, f"the daemon's clock is {off} s off")
        trial.fired(seconds_off=off, daemon=daemon)
    finally:
        _move(trial, daemon)
        _upgrade(trial, None)


# --- what they have in common ---


def _faulty(trial: Trial) -> int:
    """The lane's daemon is of the fault build from now on, and this is its process."""
    if not FAULTY.exists():
        raise NotPossible(f"{FAULTY.name} is not built: ninja -C build/release roundhoused_faulty")
    return _upgrade(trial, str(FAULTY))


def _upgrade(trial: Trial, program: str | None) -> int:
    from roundhouse._cluster import _daemon_binary

    return trial.lane.upgrade(os.path.realpath(program or _daemon_binary()))


def _log(trial: Trial) -> str:
    return (Path(trial.lane.box.state_folder) / "daemon.log").read_text(errors="replace")


def _move(trial: Trial, daemon: int) -> None:
    said = _log(trial).count("the clock is")
    os.kill(daemon, signal.SIGUSR1)
    trial.wait_for(lambda: _log(trial).count("the clock is") > said, "the move of the clock")
