"""examples/digits.ipynb: it runs from its first cell to its last, and says what the script says."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from .conftest import EXAMPLES, World

NOTEBOOK = EXAMPLES / "digits.ipynb"


@pytest.mark.usefixtures("nothing_left")
def test_it_runs(world: World) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=90, resources={"metadata": {"path": str(EXAMPLES)}}).execute(env=world.env)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    text = "".join(output.get("text", "") for output in outputs)
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 2
    assert "saved after epochs [" in text
    assert "asks <DigitsTrainer 'digits' on 'digits-notebook'> in epoch" in text
    assert "on scans that it has not learned from" in text


def test_it_stands_in_the_repository_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None


def test_its_class_is_that_of_the_script() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell.source.strip() for cell in notebook.cells if cell.source.startswith("class DigitsTrainer")]
    assert len(cells) == 1
    assert f"\n\n{cells[0]}\n\n\n" in Path(EXAMPLES / "digits.py").read_text()
