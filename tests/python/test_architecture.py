"""ARCHITECTURE.md names files and what stands in them; each must exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "ARCHITECTURE.md").read_text()


def test_named_places_exist() -> None:
    places = re.findall(r"`((?:src|python|protocol|tools|tests)/[\w/.]+)`(?:\s·\s`([\w.:]+)`)?", TEXT)
    assert len([name for _, name in places if name]) > 30
    for path, name in places:
        file = ROOT / path
        assert file.exists(), path
        if name:
            last = re.split(r"::|\.", name)[-1]
            assert re.search(rf"\b{re.escape(last)}\b", file.read_text()), f"{path} has no {name}"


def test_qualified_names_exist_somewhere() -> None:
    sources = "\n".join(file.read_text() for file in (ROOT / "src").rglob("*.cpp"))
    for name in re.findall(r"`(\w+::\w+)`", TEXT):
        assert name in sources, name


def test_every_layer_is_described() -> None:
    described = set(re.findall(r"^\| `src/(\w+)`", TEXT, re.MULTILINE))
    present = {folder.name for folder in (ROOT / "src").iterdir() if any(folder.glob("*.cpp"))}
    assert present - described <= {"bin", "cli"}
