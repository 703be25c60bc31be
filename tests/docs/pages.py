"""Pages of docs/ as programs: their code blocks, what each of them says it prints, and the comparison with what it did.

A page is read from top to bottom, like a session at one Python prompt:

- A ```python block runs in the page's one process. What follows as a ```text block is all that it prints: output,
  the value of its last line (as at a prompt), and the exception that ends it, without its traceback unless the page
  shows one. A block without a ```text block behind it prints nothing.
- A ```python block whose first line is `# name.py` is a file of that name, and is only written.
- A ```sh block runs in the same folder, and `python` there is the page's own.
- `...` in a ```text block stands for anything, as in doctest.
- `<!-- not run: why -->` above a block leaves it out.

    python tests/docs/pages.py docs/guide.md             shows where a page and its run differ
    python tests/docs/pages.py --update docs/guide.md    writes what was printed into the page, for somebody to read
"""

from __future__ import annotations

import difflib
import doctest
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUNNER = Path(__file__).with_name("run_page.py")
SECONDS_MAX = 240

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: [^>]+-->\s*\Z")
FILE_NAME = re.compile(r"# ([\w.-]+\.\w+)\n")
RUN = {"python", "sh"}
SHOWN_ONLY = {"", "text", "json", "toml"}


@dataclass
class Block:
    page: str
    line: int
    language: str
    code: str
    expected: str = ""
    file: str = ""
    # Where the ```text block stands in the page; the place behind the code where there is none.
    span: tuple[int, int] = (0, 0)

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(text: str, page: str) -> list[Block]:
    """The blocks to run, each with what it says it prints. ValueError for a page that cannot be run."""
    found: list[Block] = []
    behind = -1  # where the last block to run ended, while nothing but empty lines followed
    for fence in FENCE.finditer(text):
        language, code = fence[1], fence[2]
        line = text.count("\n", 0, fence.start()) + 1
        if language == "text" and behind >= 0 and not text[behind : fence.start()].strip():
            found[-1].expected, found[-1].span = code, fence.span()
        behind = -1
        if NOT_RUN.search(text, 0, fence.start()) or language in SHOWN_ONLY:
            continue
        if language not in RUN:
            raise ValueError(f"{page}:{line}: a block of {language!r} is neither run nor marked as not run")
        name = FILE_NAME.match(code) if language == "python" else None
        found.append(Block(page, line, language, code, "", name[1] if name else "", (fence.end(), fence.end())))
        behind = fence.end()
    return found


def fits(expected: str, printed: str) -> bool:
    return doctest.OutputChecker().check_output(expected, printed, doctest.ELLIPSIS | doctest.DONT_ACCEPT_BLANKLINE)


def difference(block: Block, printed: str) -> str:
    lines = difflib.unified_diff(
        block.expected.splitlines(), printed.splitlines(), f"docs/{block.name} says", "it printed", lineterm=""
    )
    return f"{block.code}\n" + "\n".join(lines)


def run(blocks: list[Block], folder: Path, env: Mapping[str, str]) -> list[str]:
    """What each block printed. The folder is the page's working directory."""
    results = folder / ".printed.json"
    todo = folder / ".blocks.json"
    todo.write_text(json.dumps([vars(block) for block in blocks]))
    with open(folder / ".output", "wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-u", str(RUNNER), str(todo), str(results), str(folder / ".output")],
            cwd=folder, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            process.wait(SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    printed: list[str] = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    if len(printed) < len(blocks):
        output_text = (folder / ".output").read_text(errors="replace")
        stuck = f"this block did not end: the page's process was {process.returncode}\n{output_text[-4000:]}"
        printed += [stuck, *["(not reached)"] * len(blocks)][: len(blocks) - len(printed)]
    return printed


def environment(folder: Path) -> dict[str, str]:
    """Clusters of its own, and nothing of the caller's that would change what a page prints."""
    (folder / "state").mkdir(mode=0o700)
    dropped = ("ROUNDHOUSE_", "PYTEST_", "COLUMNS", "NO_COLOR", "FORCE_COLOR", "VIRTUAL_ENV")
    env = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    return env | {
        "ROUNDHOUSE_STATE": str(folder / "state"),
        "XDG_RUNTIME_DIR": str(folder / "state"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)]),
        "PYTHONPATH": str(ROOT / "python"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def tear_down(env: Mapping[str, str]) -> None:
    """Ends every cluster that a page left, whatever became of it."""
    code = (
        "import os, roundhouse as rh\n"
        "folder = os.path.join(os.environ['ROUNDHOUSE_STATE'], 'clusters')\n"
        "for name in os.listdir(folder) if os.path.isdir(folder) else []: rh.compute(name).teardown()"
    )
    subprocess.run([sys.executable, "-c", code], env=dict(env), check=True, timeout=120)


def run_page(page: Path) -> Iterator[tuple[Block, str]]:
    """Each block of the page, with what it printed."""
    blocks = blocks_of(page.read_text(), page.name)
    folder = Path(tempfile.mkdtemp(prefix="rh-docs-"))  # Short: the path of a socket may have 107 bytes.
    try:
        env = environment(folder)
        work = folder / "page"
        work.mkdir()
        try:
            printed = run(blocks, work, env)
        finally:
            tear_down(env)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    yield from zip(blocks, printed, strict=True)


def update(page: Path, results: list[tuple[Block, str]]) -> None:
    text = page.read_text()
    for block, printed in reversed(results):
        if fits(block.expected, printed):
            continue
        start, end = block.span
        if printed:
            text = text[:start] + ("\n\n" if start == end else "") + f"```text\n{printed}```" + text[end:]
        else:
            text = text[:start].rstrip("\n") + text[end:]
    page.write_text(text)


def main(arguments: list[str]) -> int:
    pages = [Path(argument) for argument in arguments if argument != "--update"]
    wrong = 0
    for page in pages:
        results = list(run_page(page))
        if "--update" in arguments:
            update(page, results)
        for block, printed in results:
            if not fits(block.expected, printed):
                wrong += 1
                print(difference(block, printed), end="\n\n")
        print(f"{page}: {len(results)} blocks, {wrong} differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
