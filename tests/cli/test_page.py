"""docs/cli.md is a session at a shell that runs as it stands (docs/pages.py says how a page is read)."""

from __future__ import annotations

import functools

import pytest
from docs.pages import Block, blocks_of, difference, fits, run_page

from .shell import ROOT

PAGE = ROOT / "docs" / "cli.md"
BLOCKS = blocks_of(PAGE.read_text(), PAGE.name)


@functools.cache
def results() -> dict[int, tuple[Block, str]]:
    return {block.line: (block, printed) for block, printed in run_page(PAGE)}


@pytest.mark.parametrize("block", BLOCKS, ids=[block.name for block in BLOCKS])
def test_block(block: Block) -> None:
    ran, printed = results()[block.line]
    assert fits(ran.expected, printed), difference(ran, printed)
