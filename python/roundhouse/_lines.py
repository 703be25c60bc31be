"""The lines of functions that travel by value, so that a traceback or a debugger shows them wherever their file is not,
or says something else by now. Only a function's own lines travel, never the rest of its file."""

from __future__ import annotations

import linecache
from types import CodeType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    # The file, the number of the first line, and the text; None where nobody knows it.
    Lines: TypeAlias = tuple[str, int, str | None]

_BYTES_MAX = 256 * 1024


def of(code: CodeType) -> Lines:
    """Where it stands, and what its file says there."""
    first, last = code.co_firstlineno, _last(code)
    lines = linecache.getlines(code.co_filename)[first - 1 : last]
    text = "".join(lines)
    known = len(lines) == last - first + 1 and len(text) <= _BYTES_MAX
    return code.co_filename, first, text if known else None


def restored(code: CodeType, lines: Lines) -> CodeType:
    """The code with its file, which cloudpickle forgets. From now on that says these lines, for this process."""
    file, first, text = lines
    if text is not None:
        _keep(file, first, text.splitlines(keepends=True))
    return _placed(code, file)


def _placed(code: CodeType, file: str) -> CodeType:
    inner = tuple(_placed(value, file) if isinstance(value, CodeType) else value for value in code.co_consts)
    return code.replace(co_filename=file, co_consts=inner)


def _keep(file: str, first: int, wanted: list[str]) -> None:
    here = slice(first - 1, first - 1 + len(wanted))
    known = linecache.getlines(file)
    if known[here] == wanted and _is_kept(file):
        return
    if known[here] != wanted:
        linecache.checkcache(file)
        known = linecache.getlines(file)
    if known[here] != wanted:
        known = known if _is_kept(file) else []
        known = [*known, *["\n"] * (here.stop - len(known))]
        known[here] = wanted
    # Without a time of change nothing looks whether the file has changed since.
    linecache.cache[file] = (sum(map(len, known)), None, known, file)


def _is_kept(file: str) -> bool:
    entry = linecache.cache.get(file)
    return entry is not None and len(entry) == 4 and entry[1] is None


def _last(code: CodeType) -> int:
    last = max((line for _, _, line in code.co_lines() if line is not None), default=code.co_firstlineno)
    return max([last, *(_last(inner) for inner in code.co_consts if isinstance(inner, CodeType))])
