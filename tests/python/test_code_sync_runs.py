"""How long a snapshot stays, and what a run has of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import roundhouse as rh
from daemons import kill_daemon
from patience import wait_until
from projects import Project, snapshots


@pytest.fixture
def project(tmp_path: Path, box: rh.Cluster) -> Iterator[Project]:
    made = Project(tmp_path / "project", box)
    made.write("requirements.txt", "")
    made.write("job/__init__.py", "")
    made.write("job/main.py", "VERSION = 0\n\ndef main(x):\n    return x + VERSION\n")
    yield made
    box.delete(box.keys())
    for run in box.runs():
        box.get_run(run["name"]).forget()


def _edit(project: Project, version: int) -> str:
    """Deploys that version; its snapshot."""
    before = snapshots(project.box)
    project.write("job/main.py", f"VERSION = {version}\n\ndef main(x):\n    return x + VERSION\n")
    assert project.run("from job.main import main\ntold['value'] = rh.function(main).to(box)(0)") == {"value": version}
    (made,) = snapshots(project.box) - before
    return made


def _age(box: rh.Cluster) -> None:
    """As if nobody had asked for any of them for a long time."""
    folder = Path(box.state_folder) / "code"
    for file in [*(folder / "manifests").iterdir(), *(folder / "files").glob("*/*")]:
        os.utime(file, (1e9, 1e9))


def test_what_nothing_needs_is_collected(project: Project) -> None:
    first = _edit(project, 1)
    lives = project.run("from job.main import main\ntold['value'] = rh.function(main).to(box, name='kept')(0)")
    assert lives == {"value": 1}
    unneeded = _edit(project, 2)
    for version in range(3, 8):
        _age(project.box)
        last = _edit(project, version)
    wait_until(lambda: unneeded not in snapshots(project.box), what="the end of a snapshot that nothing needs")
    assert {first, last} <= snapshots(project.box)
    assert project.box.get("kept")(1) == 2
    # The next daemon knows what its workers need.
    kill_daemon(project.box)
    for version in range(8, 14):
        _age(project.box)
        _edit(project, version)
    assert first in snapshots(project.box)
    assert project.box.get("kept")(1) == 2


def test_a_run_keeps_its_snapshot_and_is_replayed_with_it(project: Project) -> None:
    kept = _edit(project, 20)
    project.run("box.get('main').options(run_name='sum')(1)")
    for version in range(21, 27):
        _age(project.box)
        _edit(project, version)
    assert kept in snapshots(project.box)
    # In a program that has the last version already, and goes on with that.
    told = project.run(
        """
        from job import main
        told["values"] = [main.main(1), box.get_run("sum").replay(), main.main(1)]
        import job.main
        told["values"].append(job.main.main(1))
        """
    )
    assert told == {"values": [27, 21, 27, 27]}
    # And where the project is not at all.
    elsewhere = Project(project.root.parent / "elsewhere", project.box)
    assert elsewhere.run("told['value'] = box.get_run('sum').replay()") == {"value": 21}
    project.box.get_run("sum").forget()
    for version in range(27, 33):
        _age(project.box)
        _edit(project, version)
    wait_until(lambda: kept not in snapshots(project.box), what="the end of a forgotten run's snapshot")


def test_an_edit_makes_other_code_of_a_run(project: Project) -> None:
    """Also in the program that has imported it before the edit."""
    told = project.run(
        """
        from job import main
        rh.function(main.main).to(box).options(run_name="edited")(1)
        file = pathlib.Path(main.__file__)
        file.write_text(file.read_text().replace("x + VERSION", "x - VERSION"))
        try:
            rh.function(main.main).to(box).options(run_name="edited")(1)
        except rh.RunConflict as error:
            told["differs"] = error.differs
        """
    )
    assert told == {"differs": "other code"}
