"""`breakpoint()` in a remote call: pdb on the caller's terminal when that was asked for."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
import roundhouse as rh
from roundhouse import _serialize

SCRIPT = """
import sys
import roundhouse as rh

def doubled(number):
    secret = number + 1
    breakpoint()
    return secret * 2

async def awaited(number):
    breakpoint()
    return number

box = rh.Cluster(sys.argv[1])
which = globals()[sys.argv[2]]
remote = rh.function(which).to(box, name=f"debugged-{sys.argv[2]}", replace=True)
remote = remote.options(debug=True, timeout=float(sys.argv[3]))
try:
    print("it is", remote(20))
except BaseException as error:
    print("ended with", type(error).__name__)
"""


class Terminal:
    """A user's, with the script on it."""

    def __init__(self, folder: Path, *words: str) -> None:
        script = folder / "debugged.py"
        script.write_text(SCRIPT)
        self.screen, inner = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, str(script), *words], stdin=inner, stdout=inner, stderr=inner, start_new_session=True
        )
        os.close(inner)
        self.shown = ""

    def wait_for(self, text: str) -> None:
        until = time.monotonic() + 60
        while text not in self.shown:
            assert time.monotonic() < until, self.shown
            if select.select([self.screen], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self.screen, 65536).decode()
                except OSError:
                    assert text in self.shown, self.shown

    def answer(self, line: str) -> None:
        self.wait_for("(Pdb) ")
        self.shown = self.shown.partition("(Pdb) ")[2]
        os.write(self.screen, line.encode() + b"\n")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.screen)


def test_pdb_opens_where_the_call_is_debugged(box: rh.Cluster, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, box.name, "doubled", "60")
    try:
        terminal.wait_for("-> return secret * 2")
        terminal.answer("p secret + 1000")
        terminal.wait_for("1021")
        terminal.answer("secret = 50")
        terminal.answer("c")
        terminal.wait_for("it is 100")
        assert "\x05" not in terminal.shown
    finally:
        terminal.close()


def test_a_coroutine_too(box: rh.Cluster, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, box.name, "awaited", "60")
    try:
        terminal.answer("p number + 1000")
        terminal.wait_for("1020")
        terminal.answer("c")
        terminal.wait_for("it is 20")
    finally:
        terminal.close()


@pytest.mark.parametrize(("ends", "seconds", "told"), [("q", "60", "BdbQuit"), ("", "1", "CallTimeout")])
def test_how_it_ends_besides(box: rh.Cluster, tmp_path: Path, ends: str, seconds: str, told: str) -> None:
    terminal = Terminal(tmp_path, box.name, "doubled", seconds)
    try:
        if ends:
            terminal.answer(ends)
        terminal.wait_for(f"ended with {told}")
        terminal.process.wait(30)
    finally:
        terminal.close()


def test_the_debugger_ends_with_its_caller(box: rh.Cluster, tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, box.name, "doubled", "600")
    try:
        terminal.wait_for("(Pdb) ")
    finally:
        terminal.close()
    until = time.monotonic() + 60
    while any(service["calls"] for service in box.status()["services"]):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_nobody_hangs_who_did_not_ask(box: rh.Cluster, capfd: pytest.CaptureFixture[str]) -> None:
    def passes(x: int) -> int:
        breakpoint()
        return x + 1

    remote = rh.function(passes).to(box)
    assert [remote(1), remote(2)] == [2, 3]
    told = capfd.readouterr().err
    assert told.count("breakpoint() is passed over") == 1
    assert ".options(debug=True)" in told


def test_what_cannot_be_debugged_says_so(box: rh.Cluster) -> None:
    remote = rh.function(len).to(box).options(debug=True)
    with pytest.raises(rh.Unsupported, match="waits for"):
        remote.submit("four")
    with pytest.raises(rh.Unsupported, match="plain calls"):
        remote.options(run_name="debugged")("four")
    assert remote("four") == 4


def test_what_is_typed_is_code_and_needs_what_a_pickle_needs(box: rh.Cluster) -> None:
    service = rh.function(len).to(box, name="debugged-json")._service
    assert service is not None
    body = b'{"args": ["call", ["p 1"], ["four"], {}], "kwargs": {}}'
    with pytest.raises(rh.NotAllowed, match="runs code"):
        service._link.call(service.name, "@debug", _serialize.JSON, [body])
