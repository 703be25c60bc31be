"""`%%roundhouse`: cells of a real kernel that run on a cluster, and functions of cells that are sent again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from e2e.conftest import World

from .notebooks import Notebook, wait_for


@pytest.fixture(scope="module", autouse=True)
def loaded(notebook: Notebook) -> None:
    notebook.run("%load_ext roundhouse")
    notebook.run("import os\nhere = os.getpid()")


def test_names_go_there_and_come_back(notebook: Notebook) -> None:
    notebook.run("factor = 3\ndef scaled(x):\n    return factor * x")
    cell = notebook.run(
        "%%roundhouse box\n"
        "there = os.getpid()\n"
        "print('on', 'the cluster')\n"
        "def twice(x): return 2 * scaled(x)\n"
        "totals = [twice(x) for x in range(3)]\n"
        "totals[-1]"
    )
    assert notebook.text(cell) == "on the cluster\n"
    assert notebook.value(cell)["text/plain"] == "12"
    assert notebook.value(notebook.run("there != here, totals, twice(5), factor"))["text/plain"] == (
        "(True, [0, 6, 12], 30, 3)"
    )


def test_what_cannot_come_back_says_so(notebook: Notebook) -> None:
    cell = notebook.run("%%roundhouse shared\nimport threading\nkept = threading.Lock()\nnumber = 5")
    assert "kept stays there: TypeError: cannot pickle" in notebook.text(cell, "stderr")
    assert notebook.value(notebook.run("number, 'kept' in globals()"))["text/plain"] == "(5, False)"


def test_a_process_keeps_what_its_cells_assign(notebook: Notebook) -> None:
    notebook.run("%%roundhouse box --process keeps -o small\nlarge = list(range(1000))\nsmall = len(large)")
    assert notebook.value(notebook.run("small, 'large' in globals()"))["text/plain"] == "(1000, False)"
    later = notebook.run("%%roundhouse box --process keeps\nlarge[-1] + small")
    assert notebook.value(later)["text/plain"] == "1999"
    apart = notebook.start("%%roundhouse box\nlarge")
    notebook.wait(apart)
    assert notebook.error(apart) == "NameError"
    only = notebook.start("%%roundhouse box -i ''\nsmall")
    notebook.wait(only)
    assert notebook.error(only) == "NameError"


def test_an_exception_has_the_cells_own_lines(notebook: Notebook) -> None:
    cell = notebook.start("%%roundhouse box\nx = 1\ndef divides(x):\n    return x / 0\ndivides(x)")
    notebook.wait(cell)
    assert notebook.error(cell) == "ZeroDivisionError"
    (shown,) = ("\n".join(content["traceback"]) for kind, content in notebook.shown[cell] if kind == "error")
    assert re.search(r'File "<cell \d+>", line 5, in <module>\n +divides\(x\)', shown)
    assert re.search(r'File "<cell \d+>", line 4, in divides\n +return x / 0', shown)
    assert "_magic.py" not in shown
    wrong = notebook.start("%%roundhouse box\nx =")
    notebook.wait(wrong)
    assert notebook.error(wrong) == "SyntaxError"


def test_a_cell_that_awaits(notebook: Notebook) -> None:
    cell = notebook.run("%%roundhouse box\nimport asyncio\nawait asyncio.sleep(0)\nslept = 'well'\nslept")
    assert notebook.value(cell)["text/plain"] == "'well'"


def test_the_stop_button_cancels_it(notebook: Notebook, tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    cell = notebook.start(
        "%%roundhouse box\n"
        "import pathlib, time\n"
        "try:\n"
        f"    pathlib.Path({str(begun)!r}).touch()\n"
        "    while True: time.sleep(0.01)\n"
        "except BaseException as error:\n"
        f"    pathlib.Path({str(ended)!r}).write_text(type(error).__name__)\n"
        "    raise"
    )
    wait_for(begun)
    notebook.manager.interrupt_kernel()
    notebook.wait(cell)
    assert notebook.error(cell) == "KeyboardInterrupt"
    wait_for(ended)
    assert ended.read_text() == "CallCancelled"


def test_wrong_words_say_what_there_is(notebook: Notebook) -> None:
    cell = notebook.start("%%roundhouse box --proces keeps -x\n1")
    notebook.wait(cell)
    assert notebook.error(cell) == "WrongArguments"
    cell = notebook.start("%%roundhouse box -i nosuch\n1")
    notebook.wait(cell)
    assert notebook.error(cell) == "NotFound"


def test_a_cell_that_is_run_again_is_what_runs_and_nothing_is_written(notebook: Notebook, world: World) -> None:
    before = sorted(world.folder.rglob("*.py"))
    notebook.run("def edited():\n    print('one')\n    return 1\nrh.function(edited).to(box)()")
    cell = notebook.run("def edited():\n    print('two')\n    return 2\nrh.function(edited).to(box)()")
    assert notebook.value(cell)["text/plain"] == "2"
    assert notebook.text(cell) == "two\n"
    assert sorted(world.folder.rglob("*.py")) == before
