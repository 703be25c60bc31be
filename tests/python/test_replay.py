"""What a run has stored of its code: called here again (`Run.replay`), and compared when it is asked for again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import roundhouse as rh
import run_subjects as subjects
from daemons import kill_daemon


def test_a_run_is_replayed_here(box: rh.Cluster, tmp_path: Path) -> None:
    """With the code that it ran with, whatever the service is now."""

    def where(x: int, step: int = 1) -> tuple[int, int]:
        return os.getpid(), x + step

    there, value = rh.function(where).to(box, name="replayed").options(run_name="replayed")(1, step=2)
    rh.function(subjects.noted).to(box, name="replayed", replace=True)
    assert box.get_run("replayed").replay() == (os.getpid(), value)
    assert there != os.getpid()
    # The failed attempt, not what it is now.
    fails = rh.function(subjects.fails_once).to(box)
    once = fails.options(run_name="replayed-attempt")
    with pytest.raises(LookupError):
        once(str(tmp_path))
    assert once(str(tmp_path)) == "the second time"
    (tmp_path / "failed-before").unlink()
    with pytest.raises(LookupError, match="not this time"):
        box.get_run("replayed-attempt").replay(attempt=1)
    assert [attempt["state"] for attempt in box.get_run("replayed-attempt").attempts] == ["failed", "succeeded"]


def test_a_coroutine_is_replayed(box: rh.Cluster) -> None:
    async def doubled(x: int) -> int:
        return 2 * x

    assert rh.function(doubled).to(box).options(run_name="replay-async", run_async=False)(4) == 8
    assert box.get_run("replay-async").replay() == 8


def test_what_cannot_be_replayed_says_why(box: rh.Cluster) -> None:
    tally = rh.cls(subjects.Tally).to(box)(name="replay-tally")
    assert tally.add.options(run_name="replay-object")(3) == 3
    with pytest.raises(rh.Unsupported, match="live object"):
        box.get_run("replay-object").replay()


def test_the_code_is_known_to_the_next_daemon(tmp_path: Path) -> None:
    """Sending the same again finds the service that only a run keeps busy, and other code is a conflict."""
    with rh.compute("replay-known") as node:
        _ask_across_daemons(node, tmp_path)


def _ask_across_daemons(node: rh.Cluster, tmp_path: Path) -> None:
    told = rh.function(subjects.until_told).to(node)
    told.options(run_name="known", stream_logs=False).submit(str(tmp_path))
    subjects.wait_for(str(tmp_path / "begun"))
    kill_daemon(node)
    again = rh.function(subjects.until_told).to(node)
    (tmp_path / "go").touch()
    assert again.options(run_name="known", stream_logs=False)(str(tmp_path)) == f"done in {tmp_path}"
    kill_daemon(node)
    assert again.options(run_name="known")(str(tmp_path)) == f"done in {tmp_path}"
    other = rh.function(subjects.shell_until_told).to(node, name="until_told", replace=True)
    with pytest.raises(rh.RunConflict, match="other code"):
        other.options(run_name="known")(str(tmp_path))


SCRIPT = """
import sys
from pathlib import Path
import roundhouse as rh

def inverse(number):
    left = number - 4
    return 1 / left

box = rh.Cluster(sys.argv[1])
rh.function(inverse).to(box).options(run_name="replay-pdb", stream_logs=False).submit(4).exception()
Path(__file__).write_text("# another file")
box.get_run("replay-pdb").replay(pdb=True)
"""


def test_a_replay_stops_in_pdb_where_the_code_failed(box: rh.Cluster, tmp_path: Path) -> None:
    """Its lines are those that ran, whatever the file says now, and our own frames are not in the way."""
    script = tmp_path / "replayed.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script), box.name], input="p number, left\nup\nwhere\nq\n", capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert re.search(r"replayed\.py\(8\)inverse\(\)\n-> return 1 / left", done.stdout), done
    assert "(4, 0)" in done.stdout
    assert "*** Oldest frame" in done.stdout
    assert "_replay.py" not in done.stdout
    assert "ZeroDivisionError" in done.stderr
