"""What a run's store has of its code: enough to call it again when its cluster and its project are gone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import roundhouse as rh
from projects import Project


def test_a_run_is_replayed_when_its_cluster_and_its_project_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = tmp_path / "store"
    box = rh.compute("stored-code").up_if_not()
    try:
        project = Project(tmp_path / "project", box)
        project.write("pyproject.toml", "")
        project.write("kept_job/__init__.py", "")
        project.write("kept_job/table.txt", "6 7")
        project.write("kept_job/rows.py", "def rows(folder):\n    return (folder / 'table.txt').read_text().split()\n")
        project.write(
            "kept_job/main.py",
            """
            from pathlib import Path

            def product(factor):
                from kept_job.rows import rows
                left, right = rows(Path(__file__).parent)
                return factor * int(left) * int(right)
            """,
        )
        started = project.run(
            f"""
            from kept_job.main import product
            kept = rh.function(product).to(box).options(run_name="product", run_store={str(place)!r})
            told["value"] = kept(1)
            """
        )
        assert started == {"value": 42}
    finally:
        box.teardown_and_delete()
    shutil.rmtree(project.root)
    # Before anything of it is in a cache of this machine.
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)
    run = rh.run_store(place).get_run("product")
    assert run.replay() == 42
    assert run.replay() == 42
    # And a cluster that has never seen the project has the result.
    assert run.result() == 42


def test_a_damaged_snapshot_is_no_other_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = tmp_path / "store"
    with rh.compute("stored-code") as box:
        project = Project(tmp_path / "project", box)
        project.write("pyproject.toml", "")
        project.write("kept_one.py", "def one():\n    return 1\n")
        project.run(
            f"from kept_one import one\n"
            f"told = rh.function(one).to(box).options(run_name='one', run_store={str(place)!r})()"
        )
    (file,) = place.glob("*/1.snapshot-*")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(rh.RecordDamaged, match="damaged"):
        rh.run_store(place).get_run("one").replay()
