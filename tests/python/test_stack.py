"""What calls do just now: Python's stacks and native ones, of code that lets itself be asked and code that does not."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import roundhouse as rh
import run_subjects as subjects


def naps(begun: str) -> None:
    Path(begun).touch()
    while True:
        # So long that it is in the middle of a nap whenever it is looked at.
        time.sleep(1)


def holds_the_lock(begun: str, released: str) -> None:
    """In C, without letting go: as an extension that forgets to."""
    import ctypes

    libc = ctypes.PyDLL(None)
    Path(begun).touch()
    while not os.path.exists(released):
        libc.usleep(3_000_000)


async def sleeps(begun: str) -> None:
    Path(begun).touch()
    await deeper()


async def deeper() -> None:
    await asyncio.sleep(60)


@pytest.fixture
def running(box: rh.Cluster, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """A call of that function, once it has begun."""
    calls = []

    def start(function: Any, *more: str, name: str | None = None) -> Any:
        remote = rh.function(function).to(box, name=name)
        begun = tmp_path / f"begun-{len(calls)}"
        call = remote.submit(str(begun), *more)
        calls.append(call)
        subjects.wait_for(str(begun))
        return call

    yield start
    for call in calls:
        call.cancel()


def marked(stack: str) -> list[str]:
    """What stands below each head that is marked."""
    blocks = re.split(r"\n(?=  \S)", stack)
    return [block for block in blocks if block.partition("\n")[0].endswith("  <==")]


def test_a_call_in_a_thread(running: Callable[..., Any], box: rh.Cluster) -> None:
    call = running(naps)
    other = running(naps, name="other-naps")
    stack = call.stack()
    (own,) = marked(stack)
    assert f"in the call {call.id} of naps" in own
    assert re.search(r'File ".*test_stack\.py", line \d+, in naps\n +time\.sleep\(1\)', own)
    assert re.search(r"#\d+ +\S*sleep", own), "the native part"
    assert stack.index("<==") == stack.rindex("<==") < stack.index('"MainThread"'), "the call's own comes first"
    assert other.id not in stack
    assert marked(box.stack("naps")) != []
    assert box.stack(call.id).count("worker ") == 1
    assert not call.done()


def test_while_python_s_lock_is_held(running: Callable[..., Any], tmp_path: Path) -> None:
    released = tmp_path / "released"
    call = running(holds_the_lock, str(released))
    stack = call.stack()
    assert re.search(r'File ".*test_stack\.py", line \d+ in holds_the_lock', stack)
    (own,) = marked(stack)
    assert "usleep" in own or "nanosleep" in own
    released.touch()
    assert call.result(timeout=60) is None


def test_a_coroutine(running: Callable[..., Any]) -> None:
    call = running(sleeps)
    (own,) = marked(call.stack())
    assert own.lstrip().startswith("task ")
    assert own.index("in sleeps") < own.index("in deeper") < own.index("in sleep\n")


def test_a_run(box: rh.Cluster, tmp_path: Path) -> None:
    remote = rh.function(naps).to(box, name="run-naps").options(run_name="stack-run", stream_logs=False)
    call = remote.submit(str(tmp_path / "begun"))
    subjects.wait_for(str(tmp_path / "begun"))
    assert "in naps" in marked(call.stack())[0]
    assert "in naps" in marked(box.stack("stack-run"))[0]
    call.cancel()
    with pytest.raises(rh.CallCancelled):
        call.result()
    with pytest.raises(rh.NotFound, match="stack-run"):
        box.stack("stack-run")


def test_a_worker_that_cannot_answer(running: Callable[..., Any], box: rh.Cluster) -> None:
    call = running(naps, name="stopped-naps")
    (worker,) = [service["pid"] for service in box.status()["services"] if service["name"] == "stopped-naps"]
    os.kill(worker, signal.SIGSTOP)
    try:
        with pytest.raises(rh.CallTimeout, match="did not answer"):
            call.stack()
    finally:
        os.kill(worker, signal.SIGCONT)
    assert "in naps" in call.stack()


def test_what_is_not_there(box: rh.Cluster) -> None:
    with pytest.raises(rh.NotFound, match=r"nosuch.*Try"):
        box.stack("nosuch")
