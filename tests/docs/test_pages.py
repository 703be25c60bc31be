"""Every example of docs/ runs, in the order of its page and in one process, and prints what the page says.

`python tests/docs/pages.py docs/PAGE.md` shows the same without pytest; `pages.py` says how a page is read.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

from .pages import ROOT, Block, blocks_of, difference, fits, run_page

DOCS = ROOT / "docs"
PAGES = ["quick-start.md", "guide.md", "http.md", "from-runhouse.md"]


@functools.cache
def results(page: str) -> dict[int, tuple[Block, str]]:
    return {block.line: (block, printed) for block, printed in run_page(DOCS / page)}


BLOCKS = [block for page in PAGES for block in blocks_of((DOCS / page).read_text(), page)]


@pytest.mark.parametrize("block", BLOCKS, ids=[block.name for block in BLOCKS])
def test_block(block: Block) -> None:
    ran, printed = results(block.page)[block.line]
    assert fits(ran.expected, printed), difference(ran, printed)


def anchors_of(text: str) -> set[str]:
    """The names under which a Markdown page's headings can be linked to."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_links_to_what_exists(page: str) -> None:
    links = re.findall(r"\]\(([^)#\s]*)(#[\w-]+)?\)", (DOCS / page).read_text())
    assert links
    for target, anchor in links:
        if "://" not in target:
            path = DOCS / (target or page)
            assert path.exists(), f"{page} links to {target}"
            assert not anchor or anchor[1:] in anchors_of(path.read_text()), f"{page} links to {target}{anchor}"


def test_a_page_that_says_something_else_is_noticed(tmp_path: Path) -> None:
    """The comparison itself: a page with a wrong value, a missing error and output that it does not show."""
    page = tmp_path / "page.md"
    page.write_text(
        "```python\n1 + 1\n```\n\n```text\n2\n```\n"
        "```python\n1 + 1\n```\n\n```text\n3\n```\n"
        "```python\nint('x')\n```\n\n```text\nValueError: invalid literal ... 'x'\n```\n"
        "```python\nint('1')\n```\n\n```text\nValueError: ...\n```\n"
        "```python\nprint('unexpected')\n```\n"
        "```sh\npython -c 'import os; os.write(2, b\"from a child\\n\")'\n```\n\n```text\nfrom a child\n```\n"
    )
    assert [fits(block.expected, printed) for block, printed in run_page(page)] == [
        True, False, True, False, False, True,
    ]  # fmt: skip
