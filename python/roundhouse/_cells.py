"""Cells of a notebook on a cluster: what `%%roundhouse` sends there (`run`), and what both sides know of one."""

from __future__ import annotations

import ast
import builtins
import dis
import linecache
import sys
from types import CodeType, ModuleType

from roundhouse import _serialize

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    # The names that come back, pickled one by one; why others do not; whether there is a value to show, and that.
    Outcome: TypeAlias = tuple[dict[str, list[Any]], dict[str, str], bool, Any]

_LAST = "_roundhouse_last"
# What the cells of this process have in common, where they are to.
_kept: dict[str, Any] = {}


def compiled(source: str, called: str) -> CodeType:
    """The cell, which may await. What its last line gives is kept under a name of its own, as a notebook shows it."""
    tree = ast.parse(source, called)
    if tree.body and isinstance(tree.body[-1], ast.Expr) and not source.rstrip().endswith(";"):
        last = tree.body[-1]
        target = ast.copy_location(ast.Name(_LAST, ast.Store()), last)
        tree.body[-1] = ast.copy_location(ast.Assign([target], last.value), last)
    code: CodeType = compile(tree, called, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    return code


def names_in(code: CodeType) -> tuple[set[str], set[str]]:
    """The names of the cell's own level that it reads, in whatever function, and those that it assigns."""
    read, assigned = _names(code, True)
    return read, assigned - {_LAST}


def _names(code: CodeType, outermost: bool) -> tuple[set[str], set[str]]:
    read, assigned = set(), set()
    for step in dis.get_instructions(code):
        # What a class's body stores is the class's.
        if step.opname == "STORE_GLOBAL" or (step.opname == "STORE_NAME" and outermost):
            assigned.add(step.argval)
        elif step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            read.add(step.argval)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            more, stored = _names(inner, False)
            read |= more
            assigned |= stored
    return read, assigned


def run(source: str, called: str, names: dict[str, Any], wanted: list[str], keep: bool) -> Any:
    """On the cluster: runs the cell among those names, and tells what became of the `wanted` ones."""
    space = _kept if keep else {}
    space.update(names)
    space.update({"__name__": "__main__", "__builtins__": builtins})
    linecache.cache[called] = (len(source), None, source.splitlines(keepends=True), called)
    code = compiled(source, called)
    done = eval(code, space)
    if code.co_flags & 0x80:  # CO_COROUTINE: it awaits.

        async def awaited() -> Outcome:
            await done
            return _outcome(space, wanted)

        return awaited()
    return _outcome(space, wanted)


def _outcome(space: dict[str, Any], wanted: list[str]) -> Outcome:
    shows = _LAST in space
    last = space.pop(_LAST, None)
    values, why = {}, {}
    for name in wanted:
        # A module is imported where it is wanted.
        if name in space and not isinstance(space[name], ModuleType):
            try:
                values[name] = _serialize.dumps(space[name])
            except Exception as error:
                why[name] = f"{type(error).__name__}: {error}"
    try:
        last = _serialize.dumps(last)
    except Exception:
        sys.stdout.write(f"{last!r}\n")
        shows = False
    return values, why, shows, last if shows else None
