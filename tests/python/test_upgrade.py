"""A daemon of another program takes the place of the one that runs (`roundhouse server upgrade`)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import roundhouse as rh
import run_subjects as subjects
from patience import wait_until
from raw_peer import Client

PATIENCE = 60.0
COMMAND = str(Path(sys.executable).parent / "roundhouse")


@pytest.fixture
def node(request: pytest.FixtureRequest) -> Iterator[rh.Cluster]:
    with rh.compute(f"upgrade-{request.node.name.replace('_', '-')[:40]}") as cluster:
        yield cluster


@pytest.fixture
def other_program(node: rh.Cluster, tmp_path: Path) -> Path:
    """The same daemon in another place, as another installation has it."""
    program = tmp_path / "elsewhere" / "roundhoused"
    program.parent.mkdir()
    shutil.copy2(node.status()["program"], program)
    return program


def upgrade(node: rh.Cluster, program: Path) -> subprocess.CompletedProcess[str]:
    command = [COMMAND, "--json", "server", "upgrade", node.name, "--program", str(program)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_everything_goes_on(node: rh.Cluster, other_program: Path, tmp_path: Path) -> None:
    before = node.status()
    counts = rh.function(subjects.count_lines).to(node)
    (tmp_path / "call").mkdir()
    (tmp_path / "run").mkdir()
    call = counts.options(stream_logs=False).submit(str(tmp_path / "call"), 300)
    counts.options(run_name="counts", stream_logs=False).submit(str(tmp_path / "run"), 300)
    counter = rh.cls(subjects.Tally).to(node)(name="tally")
    assert counter.add(2) == 2
    taken: list[int] = []
    items = threading.Thread(target=lambda: taken.extend(counter.steadily(300)))
    items.start()
    for folder in ("call", "run"):
        wait_until(lambda folder=folder: (tmp_path / folder / "ledger").exists(), what=folder)  # type: ignore[misc]
    done = upgrade(node, other_program)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["program"], told["services"]) == (str(other_program), len(before["services"]) + 3)
    now = node.status()
    assert now["pid"] != before["pid"]
    assert now["keeper_pid"] == before["keeper_pid"]
    assert now["program"] == str(other_program)
    assert call.result(PATIENCE) == 300
    assert node.get_run("counts").result(PATIENCE) == 300
    items.join(PATIENCE)
    assert taken == list(range(300))
    assert counter.add(3) == 5
    for folder in ("call", "run"):
        assert (tmp_path / folder / "ledger").read_text().split() == [str(number) for number in range(300)]
    assert node.get_run("counts").logs() == "".join(f"line {number}\n" for number in range(300))
    # A daemon that dies later is again one of the new program.
    os.kill(now["pid"], 9)
    wait_until(lambda: node.status()["pid"] != now["pid"], PATIENCE, "another daemon")
    assert node.status()["program"] == str(other_program)


def test_a_daemon_that_does_not_stay_up_is_taken_back(node: rh.Cluster, tmp_path: Path) -> None:
    program = tmp_path / "broken"
    program.write_text("#!/bin/sh\necho 'it cannot run here' >&2\nexit 3\n")
    program.chmod(0o755)
    before = node.status()
    noted = rh.function(subjects.noted).to(node)
    assert noted(str(tmp_path / "ledger"), 2) == 4
    done = upgrade(node, program)
    assert done.returncode == 1
    assert json.loads(done.stdout or done.stderr)["error"]["type"] == "LaunchError"
    assert "it cannot run here" in done.stdout + done.stderr
    assert node.status()["program"] == before["program"]
    assert noted(str(tmp_path / "ledger"), 3) == 9


def test_a_file_that_is_no_program(node: rh.Cluster, tmp_path: Path) -> None:
    """It is refused, and nothing happens."""
    before = node.status()["pid"]
    (tmp_path / "text").write_text("not a program")
    open_to_all = tmp_path / "open"
    open_to_all.write_text("#!/bin/sh\n")
    open_to_all.chmod(0o777)
    for path, told in (
        (tmp_path / "text", "is no program"),
        (tmp_path / "none", "No such file"),
        (open_to_all, "chmod go-w"),
    ):
        done = upgrade(node, path)
        assert done.returncode != 0
        assert told in done.stdout + done.stderr
    assert node.status()["pid"] == before


def test_a_client_without_resuming_goes_on_with_new_calls(
    node: rh.Cluster, other_program: Path, tmp_path: Path
) -> None:
    """One of before there was that: what it waits for ends with its connection, and it comes back by itself."""
    rh.function(subjects.noted).to(node, name="noted")
    socket_path = node._socket_path
    arguments: dict[str, Any] = {"body": json.dumps({"args": [str(tmp_path / "ledger"), 3]}).encode()}
    with Client(socket_path) as old:
        assert old.result(old.call("noted", "call", **arguments))["json"] == 9
        assert upgrade(node, other_program).returncode == 0
        with pytest.raises((EOFError, ConnectionError)):
            old.ask("_node", "status")
    with Client(socket_path) as again:
        assert again.result(again.call("noted", "call", **arguments))["json"] == 9
