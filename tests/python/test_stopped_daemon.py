"""A daemon that does not read for a while, as one on a busy machine: what waits for it waits, and nothing else does."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time

import pytest
import roundhouse as rh
import subjects
from patience import wait_until

STOPPED_SECONDS = 1.5


class Pulse:
    """How long Python's threads could not run in this process, at most."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def _beat(self) -> None:
        last = time.monotonic()
        while not self._ends.wait(0.01):
            now = time.monotonic()
            self.longest, last = max(self.longest, now - last), now


@pytest.mark.parametrize("small", [b"small", b"x" * 40_000], ids=["gathered", "sent"])
def test_a_large_argument_that_cannot_leave_stops_nobody_else(box: rh.Cluster, small: bytes) -> None:
    length = rh.function(len).to(box, name="length")
    assert length(b"1") == 1
    daemon = box.status()["pid"]
    large = b"x" * 8_000_000
    os.kill(daemon, signal.SIGSTOP)
    # By somebody else, because this process is the one that may not be able to.
    waker = subprocess.Popen(["/bin/sh", "-c", f"sleep {STOPPED_SECONDS}; kill -CONT {daemon}"])
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(length(large)))]
    threads[0].start()
    wait_until(lambda: _is_sending(os.getpid()), what="a thread that waits for the socket")
    with Pulse() as pulse:
        threads.append(threading.Thread(target=lambda: answers.append(length.submit(small).result())))
        threads[1].start()
        assert waker.wait(20) == 0
    for thread in threads:
        thread.join(20)
    assert sorted(answers) == [len(small), len(large)]
    assert pulse.longest < STOPPED_SECONDS / 2
    assert rh.function(subjects.add).to(box)(1) == 2


def _is_sending(pid: int) -> bool:
    """Whether a thread is blocked in a send: where in the kernel it is, or which call it is in."""
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/syscall") as file:
                if file.read().split()[0] in ("44", "46", "20", "206"):  # sendto, sendmsg, writev; sendto on arm64
                    return True
        except OSError:
            continue
    return False
