from __future__ import annotations

import io
import sys
import threading
import time

import pytest
import roundhouse as rh
import subjects


class Timed(io.StringIO):
    """Remembers when each piece was written."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def write(self, text: str) -> int:
        self.times.append(time.monotonic())
        return super().write(text)


def test_output_appears_while_the_call_runs(box: rh.Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = rh.function(subjects.talk).to(box)
    out, err = Timed(), Timed()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert remote(5, 0.1) == "done"
    end = time.monotonic()
    assert out.getvalue() == "".join(f"out {step}\n" for step in range(5))
    assert err.getvalue() == "".join(f"err {step}\n" for step in range(5))
    assert end - out.times[0] > 0.3
    assert end - err.times[0] > 0.3


def test_output_of_a_submitted_call_appears_by_itself(box: rh.Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = rh.function(subjects.talk).to(box, name="talk-submitted")
    out = Timed()
    monkeypatch.setattr(sys, "stdout", out)
    call = remote.submit(3, 0.1)
    deadline = time.monotonic() + 10
    while not out.times and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not call.done()
    assert call.result(timeout=10) == "done"
    assert out.getvalue() == "out 0\nout 1\nout 2\n"


def test_an_unfinished_line_arrives(box: rh.Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    rh.function(subjects.print_without_newline).to(box)()
    assert capsys.readouterr().out == "no newline at the end"


def test_the_streams_are_complete(box: rh.Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    rh.function(subjects.print_bytes).to(box)()
    assert capsys.readouterr().out == "über\n<stdout>\n"


def test_a_progress_bar(box: rh.Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    rh.function(subjects.progress).to(box)()
    shown = capsys.readouterr().err
    assert shown.startswith("\rsteps:   0%|")
    assert "3/3" in shown


def test_much_output_is_complete_and_in_order(box: rh.Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    rh.function(subjects.print_much).to(box)(20_000)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"line {number}" for number in range(20_000)]


def test_each_call_gets_its_own_output(box: rh.Cluster) -> None:
    """Two calls at once in one worker: what each printed is told apart."""
    from roundhouse import _serialize

    remote = rh.function(subjects.talk).to(box, name="talk-apart")
    link = box._link
    heard: dict[int, list[bytes]] = {1: [], 2: []}

    def run(number: int) -> None:
        parts = _serialize.dumps(((number + 1, 0.02), {}))
        link.client().call("talk-apart", "call", 1, parts, lambda channel, text: heard[number].append(text), None)

    threads = [threading.Thread(target=run, args=(number,)) for number in heard]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert rh.handle(remote).name == "talk-apart"
    assert b"".join(heard[1]).count(b"out") == 2
    assert b"".join(heard[2]).count(b"out") == 3


def test_a_screen_that_breaks_ends_the_call(box: rh.Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError("nobody reads")

    remote = rh.function(subjects.talk).to(box, name="talk-broken")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Broken())
        with pytest.raises(BrokenPipeError, match="nobody reads"):
            remote(100, 0.05)
    assert rh.function(subjects.add).to(box)(1) == 2


def test_a_descriptors_output_comes_before_the_result(box: rh.Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    write = rh.function(subjects.write_line).to(box)
    for number in range(500):
        write(number)
        assert capsys.readouterr().out == f"line {number}\n"
