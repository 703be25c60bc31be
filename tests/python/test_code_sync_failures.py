"""What can go wrong with a project's code: a typed error that says so, and what was deployed before goes on serving."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import roundhouse as rh
from projects import Project, snapshots


@pytest.fixture
def project(tmp_path: Path, box: rh.Cluster) -> Iterator[Project]:
    made = Project(tmp_path / "project", box)
    made.write("setup.cfg", "")
    made.write("app/__init__.py", "")
    made.write("app/main.py", "def main():\n    return 'as it was'\n")
    yield made
    box.delete(box.keys())


# Deploys, edits the file, and deploys again; `told` has what the second was refused with, and what the first then says.
_EDIT = """
from app import main
remote = rh.function(main.main).to(box)
pathlib.Path(main.__file__).write_text({text!r})
try:
    rh.function(main.main).to(box)
except BaseException as error:
    told["type"], told["text"], told["file"] = type(error).__name__, str(error), getattr(error, "filename", None)
    told["line"], told["cause"] = getattr(error, "lineno", None), str(error.__cause__)
told["value"] = remote()
told["file_was"] = main.__file__
"""


def test_a_syntax_error_in_an_edit(project: Project) -> None:
    told = project.run(_EDIT.format(text="def main():\n    return 'new'\n\nthis is no Python\n"))
    assert told["type"] == "SyntaxError"
    assert (told["file"], told["line"]) == (told["file_was"], 4)
    assert f'File "{told["file_was"]}", line 4' in told["cause"]
    assert "this is no Python" in told["cause"]
    assert told["value"] == "as it was"


def test_a_dependency_that_is_missing(project: Project) -> None:
    told = project.run(_EDIT.format(text="import surely_not_installed\n\ndef main():\n    return 'new'\n"))
    assert (told["type"], told["text"]) == ("ModuleNotFoundError", "No module named 'surely_not_installed'")
    assert told["value"] == "as it was"


def test_a_module_that_cannot_be_imported(project: Project) -> None:
    told = project.run(_EDIT.format(text="raise RuntimeError('not today')\n"))
    assert (told["type"], told["text"]) == ("RuntimeError", "not today")
    assert f'File "{told["file_was"]}", line 1' in told["cause"]
    assert project.box.state_folder not in told["cause"]
    assert told["value"] == "as it was"


def test_a_name_that_is_gone(project: Project) -> None:
    told = project.run(_EDIT.format(text="from app import nothing_there\n"))
    assert told["type"] == "ImportError"
    assert told["text"] == f"cannot import name 'nothing_there' from 'app' ({project.root}/app/__init__.py)"
    assert told["value"] == "as it was"


def test_tracebacks_show_the_callers_own_files(project: Project) -> None:
    project.write(
        "app/fails.py",
        "import inspect\n\ndef fails():\n    source = inspect.getsource(fails)\n    raise ValueError(source)  # here\n",
    )
    told = project.run(
        """
        from app.fails import fails
        try:
            rh.function(fails).to(box)()
        except ValueError as error:
            told["text"], told["cause"] = str(error), str(error.__cause__)
        """
    )
    assert told["text"].startswith("def fails():")
    assert f'File "{project.root}/app/fails.py", line 5, in fails' in told["cause"]
    assert "raise ValueError(source)  # here" in told["cause"]
    assert project.box.state_folder not in told["cause"]


def test_a_home_folder_is_refused(project: Project) -> None:
    project.env["HOME"] = str(project.root)
    said = project.run("from app.main import main\nrh.function(main).to(box)", check=False)
    assert "CodeSyncError" in said
    assert str(project.root) in said
    # Nothing was started for it that stays.
    assert project.run("from app.main import main\ntold['value'] = rh.function(main).to(box, sync_local=False)()") == {
        "value": "as it was"
    }


def test_a_project_that_is_too_big_names_what_is(project: Project) -> None:
    with open(project.write("weights/large.bin", ""), "wb") as file:
        file.truncate(3 << 30)
    before = snapshots(project.box)
    said = project.run("from app.main import main\nrh.function(main).to(box)", check=False)
    assert "CodeSyncError" in said
    assert "weights" in said
    assert snapshots(project.box) == before


def test_without_a_root_only_what_is_imported_travels(tmp_path: Path, box: rh.Cluster) -> None:
    """A script in a home folder."""
    home = Project(tmp_path / "home", box)
    home.env["HOME"] = str(home.root)
    home.write("mine.py", "from theirs import VALUE\ndef where():\n    return __file__, VALUE\n")
    home.write("theirs.py", "VALUE = 4\n")
    home.write("private.txt", "private")
    before = snapshots(box)
    where, value = home.run("from mine import where\ntold['where'] = rh.function(where).to(box)()")["where"]
    assert value == 4
    assert where.startswith(box.state_folder)
    (made,) = snapshots(box) - before
    there = {path.name for path in (Path(box.state_folder) / "code/snapshots" / made).iterdir()}
    assert {"mine.py", "theirs.py"} <= there <= {"mine.py", "theirs.py", "__pycache__"}
    # By value, with what it imports.
    script = home.write("script.py", _SCRIPT.format(path=sys.path, box=box.name))
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, **home.env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [where, "4"]


_SCRIPT = """
import sys
sys.path += {path!r}
import mine
import roundhouse as rh

def of_the_script():
    return mine.where()

print(*rh.function(of_the_script).to(rh.compute({box!r}))())
"""


def test_a_full_disk_loses_nothing(project: Project) -> None:
    node = rh.compute("code-full-disk").up_if_not()
    project.box = node
    folder = Path(node.state_folder) / "code"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    try:
        if mounted.returncode != 0:
            pytest.skip("no file system of its own can be mounted here")
        told = project.run(
            """
            from app import main
            remote = rh.function(main.main).to(box)
            pathlib.Path(main.__file__).with_name("large.bin").write_bytes(os.urandom(4 << 20))
            try:
                rh.function(main.main).to(box)
            except rh.HostError as error:
                told["error"] = str(error)
            told["value"] = remote()
            pathlib.Path(main.__file__).with_name("large.bin").unlink()
            told["again"] = rh.function(main.main).to(box)()
            """
        )
        assert "No space left" in told["error"]
        assert (told["value"], told["again"]) == ("as it was", "as it was")
    finally:
        node.teardown()
        subprocess.run(["umount", str(folder)], capture_output=True, check=False)


def test_a_file_that_changes_while_it_is_sent(project: Project) -> None:
    """Whatever is deployed is one state that the file had, whole."""
    told = project.run(
        """
        import threading
        from app import main
        file = pathlib.Path(main.__file__)
        ended = threading.Event()
        def edit():
            n = 0
            while not ended.is_set():
                n += 1
                rest = f"\\nB = {n}\\ndef main():\\n    return A, B\\n"
                file.with_name("new.py").write_text(f"A = {n}\\n" + "#" * 100_000 + rest)
                file.with_name("new.py").replace(file)
        editor = threading.Thread(target=edit)
        editor.start()
        told["pairs"], told["refused"] = [], 0
        for _ in range(10):
            try:
                told["pairs"].append(rh.function(main.main).to(box)())
            except rh.CodeSyncError:
                told["refused"] += 1
        ended.set()
        editor.join()
        told["pairs"].append(rh.function(main.main).to(box)())
        """
    )
    assert all(a == b for a, b in told["pairs"] if a != "a")
    assert len(told["pairs"]) + told["refused"] == 11


def test_a_client_that_dies_midway_leaves_no_snapshot(project: Project) -> None:
    project.write("app/large.bin", "")
    (project.root / "app/large.bin").write_bytes(os.urandom(64 << 20))
    before = snapshots(project.box)
    done = project.process(
        """
        from app.main import main
        import signal
        from roundhouse import _code
        def die(self, sending, files, files_all, done, all_bytes):
            if sending and done > 0:
                os.kill(os.getpid(), signal.SIGKILL)
        _code._Progress.__call__ = die
        rh.function(main).to(box)
        """
    )
    assert done.returncode == -9, done.stderr
    assert snapshots(project.box) == before
    assert project.run("from app.main import main\ntold['value'] = rh.function(main).to(box)()") == {
        "value": "as it was"
    }
