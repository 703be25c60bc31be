"""A disk that is full: the lane's state folder, which is a small file system of its own."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

import roundhouse as rh

from . import subjects
from .calls import DEADLINE_SECONDS
from .trial import NotPossible, Trial


def disk_full(trial: Trial) -> None:
    printing = rh.function(subjects.print_much).to(trial.lane.box, name="print_much", replace=True)
    printing = printing.options(timeout=DEADLINE_SECONDS, stream_logs=False)
    with filled(trial):
        # Results and output, of code that prints through Python and through a file of its worker's.
        caller = trial.ask_some(3)
        for _ in range(2):
            name = trial.name_call()
            caller.write_down(name, lambda name=name: _print(printing, trial, name))  # type: ignore[misc]
        _deploy_anew(trial)
        trial.settle()
    trial.ask_some(3, seconds=0.1)
    trial.settle()


@contextmanager
def filled(trial: Trial) -> Iterator[None]:
    """The lane's file system is full within."""
    state = trial.lane.state
    if not os.path.ismount(state):
        raise NotPossible("mounting a small file system needs root and a mount namespace of one's own")
    stuffing = state / "stuffing"
    written, seen = _fill(stuffing)
    try:
        yield
    finally:
        left = os.statvfs(state).f_bavail
        stuffing.unlink()
    if seen == errno.ENOSPC:
        trial.fired(errno=seen, bytes_written=written, blocks_left=left, file_system="tmpfs")


def _fill(path: object) -> tuple[int, int]:
    """Until not one byte more fits; the bytes, and the error that said so."""
    written = 0
    file = os.open(str(path), os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        for size in (1 << 20, 4096, 1):
            block = b"\0" * size
            try:
                while True:
                    written += os.write(file, block)
            except OSError as error:
                seen = error.errno or 0
        return written, seen
    finally:
        os.close(file)


def _print(printing: object, trial: Trial, name: str) -> str:
    try:
        token, _ = printing(trial.folder, name, 0.05, 200)  # type: ignore[operator]
    except OSError as error:
        if isinstance(error, rh.RoundhouseError) or error.errno != errno.ENOSPC:
            raise
        # The code's own: it wrote to a descriptor whose disk is full.
        raise ValueError(name) from error
    return str(token)


def _deploy_anew(trial: Trial) -> None:
    """A worker that is started on a full disk either serves, or a typed error says why not."""
    caller = trial.caller()
    name = trial.name_call()

    def deploy_and_call() -> str:
        fresh = rh.function(subjects.work).to(trial.lane.box, name="on-a-full-disk", replace=True)
        token, _ = fresh.options(timeout=DEADLINE_SECONDS)(trial.folder, name, 0.05)
        return str(token)

    caller.write_down(name, deploy_and_call)
