"""A real kernel, cell by cell: what a notebook shows, in which cell, and what its stop button does."""

from __future__ import annotations

from pathlib import Path

import pytest

from .notebooks import Notebook, wait_for


def test_a_function_of_a_cell(notebook: Notebook) -> None:
    notebook.run("factor = 3\ndef scaled(x):\n    print('scaling', x)\n    return factor * x")
    first = notebook.run("remote = rh.function(scaled).to(box)\nremote(5)")
    assert notebook.text(first) == "scaling 5\n"
    assert notebook.value(first)["text/plain"] == "15"


def test_a_function_is_edited_and_sent_again(notebook: Notebook) -> None:
    notebook.run("def edited(): return 'as it was'")
    notebook.run("remote = rh.function(edited).to(box)\nassert remote() == 'as it was'")
    notebook.run("def edited(): return 'as it is now'")
    again = notebook.run("rh.function(edited).to(box)()")
    assert notebook.value(again)["text/plain"] == "'as it is now'"
    # The old stub calls by name.
    assert notebook.value(notebook.run("remote()"))["text/plain"] == "'as it is now'"


def test_a_cell_awaits(notebook: Notebook) -> None:
    notebook.run("async def soon(x):\n    print('soon')\n    return x\nasoon = rh.function(soon).to(box)")
    cell = notebook.run("[await asoon(1), await asoon.submit(2), *await rh.gather(asoon(3), asoon.submit(4))]")
    assert notebook.value(cell)["text/plain"] == "[1, 2, 3, 4]"
    assert notebook.text(cell) == "soon\n" * 4


def test_a_cell_gathers_without_awaiting(notebook: Notebook) -> None:
    """A kernel has an event loop that runs, and yet nobody would await in a cell of plain code."""
    notebook.run("rpow = rh.function(pow).to(box)\ndef both(): return rh.gather(rpow.submit(2, 3), rpow.submit(3, 2))")
    assert notebook.value(notebook.run("rh.gather(rpow.submit(2, 3))"))["text/plain"] == "[8]"
    assert notebook.value(notebook.run("kept = both()\nkept"))["text/plain"] == "[8, 9]"
    assert notebook.value(notebook.run("await kept"))["text/plain"] == "[8, 9]"
    assert notebook.value(notebook.run("async def main(): return await both()\nawait main()"))["text/plain"] == "[8, 9]"


def test_stderr_is_apart(notebook: Notebook) -> None:
    notebook.run("def warn():\n    import sys\n    print('aside', file=sys.stderr)\n    print('aloud')")
    cell = notebook.run("rh.function(warn).to(box)()")
    assert (notebook.text(cell), notebook.text(cell, "stderr")) == ("aloud\n", "aside\n")


def test_output_stands_below_the_cell_that_asked_for_it(notebook: Notebook, tmp_path: Path) -> None:
    told = tmp_path / "told"
    notebook.run(
        "def slow(told):\n"
        "    print('started')\n"
        "    until = time.monotonic() + 30\n"
        "    while not pathlib.Path(told).exists() and time.monotonic() < until: time.sleep(0.01)\n"
        "    print('finished')\n"
        "def quick(): print('quick')\n"
        "rslow, rquick = rh.function(slow).to(box), rh.function(quick).to(box)"
    )
    asked = notebook.run(f"call = rslow.submit({str(told)!r})\ncall.add_done_callback(lambda call: None)")
    notebook.wait_for_text(asked, "started\n")
    told.touch()
    # This cell reads the connection while it waits, so it meets what belongs to the other.
    later = notebook.run("rquick()\ncall.result()\nprint('here')")
    notebook.wait_for_text(asked, "finished\n")
    assert notebook.text(asked) == "started\nfinished\n"
    assert notebook.text(later) == "quick\nhere\n"


@pytest.mark.parametrize(
    ("make", "plain", "rich"),
    [
        ("box", "<Cluster 'shared', local, up>", ["Cluster", "shared"]),
        ("rh.function(shown).to(box)", "<Function 'shown' on 'shared'>", ["Function", "shown", "(x: int) -&gt; int"]),
        ("rh.cls(Shelf).to(box)", "<RemoteClass 'Shelf' on 'shared'>", ["Class", "Shelf"]),
        ("rh.cls(Shelf).to(box)(name='a-shelf')", "<Shelf 'a-shelf' on 'shared'>", ["Shelf", "a-shelf", "each"]),
        ("rh.cls(Shelf).to(box)(name='streams').each()", "<Stream of streams.each, open>", ["Stream", "open"]),
    ],
    ids=["cluster", "function", "class", "instance", "stream"],
)
def test_what_is_shown(notebook: Notebook, make: str, plain: str, rich: list[str]) -> None:
    notebook.run("def shown(x: int) -> int: return x\nclass Shelf:\n    def each(self): yield 1")
    value = notebook.value(notebook.run(make))
    assert value["text/plain"] == plain
    for word in rich:
        assert word in value["text/html"]


def test_a_call_is_shown_before_and_after(notebook: Notebook) -> None:
    notebook.run("def naps():\n    while True: time.sleep(0.01)")
    cell = notebook.run("call = rh.function(naps).to(box, name='sleeper').submit()\ncall")
    value = notebook.value(cell)
    assert value["text/plain"].startswith("<Call ")
    assert value["text/plain"].endswith(" sleeper.call running>")
    assert "sleeper.call" in value["text/html"]
    assert "running" in value["text/html"]
    assert "cancelled" in notebook.value(notebook.run("call.cancel()\ncall.exception()\ncall"))["text/html"]


WAITS = """
def waits(begun, ended):
    pathlib.Path(begun).touch()
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until: time.sleep(0.01)
    except BaseException as error:
        pathlib.Path(ended).write_text(type(error).__name__)
        raise
async def awaits(begun, ended):
    import asyncio
    pathlib.Path(begun).touch()
    try:
        await asyncio.sleep(60)
    except BaseException as error:
        pathlib.Path(ended).write_text(type(error).__name__)
        raise
waiting, awaiting = rh.function(waits).to(box), rh.function(awaits).to(box)
"""


@pytest.mark.parametrize("calls", ["waiting({})", "await awaiting({})", "await waiting.submit({})"])
def test_the_stop_button_cancels_the_remote_call(notebook: Notebook, tmp_path: Path, calls: str) -> None:
    notebook.run(WAITS)
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    cell = notebook.start(calls.format(f"{str(begun)!r}, {str(ended)!r}"))
    wait_for(begun)
    notebook.manager.interrupt_kernel()
    # ipykernel cancels a cell that awaits only once its event loop wakes up: any message does that.
    notebook.client.kernel_info()
    notebook.wait(cell)
    assert notebook.error(cell) in ("KeyboardInterrupt", "CancelledError")
    wait_for(ended)
    assert ended.read_text() in ("CallCancelled", "CancelledError")
    assert notebook.value(notebook.run("rh.function(len).to(box)('and on')"))["text/plain"] == "6"
