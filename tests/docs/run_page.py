"""The process that a page runs in: `run_page.py BLOCKS RESULTS OUTPUT`. Each block is what somebody types at a prompt.

Its own stdout and stderr are the file OUTPUT, so that what threads, child processes and C code print is seen as well.
Of each block, what was added to that file goes as a line of JSON to RESULTS.
"""

from __future__ import annotations

import ast
import faulthandler
import json
import linecache
import os
import subprocess
import sys
import traceback
import types
from pathlib import Path
from typing import Any

BLOCK_SECONDS_MAX = 40


def run_python(block: dict[str, Any], main: types.ModuleType) -> None:
    code, name = block["code"], f"<{block['page']}:{block['line']}>"
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    try:
        tree = ast.parse(code, name)
        last = tree.body[-1] if tree.body else None
        if isinstance(last, ast.Expr):
            tree.body.pop()
        exec(compile(tree, name, "exec"), main.__dict__)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), name, "eval"), main.__dict__)
            if value is not None:
                print(repr(value))
    except BaseException as error:
        if error.__traceback__ is not None:
            error = error.with_traceback(error.__traceback__.tb_next)  # without the frame of this file
        if "Traceback (most recent call last):" in block["expected"]:
            traceback.print_exception(error)
        else:
            sys.stderr.write("".join(traceback.format_exception_only(error)))


def run_sh(block: dict[str, Any]) -> None:
    done = subprocess.run(["/bin/sh", "-c", block["code"]], check=False)
    if done.returncode:
        print(f"(exit code {done.returncode})")


def main() -> None:
    blocks, results, output = (Path(argument) for argument in sys.argv[1:])
    sys.argv = [""]
    sys.path[0] = ""  # As at a prompt: the current folder instead of this file's.
    session = types.ModuleType("__main__")
    sys.modules["__main__"] = session
    seen = 0
    for block in json.loads(blocks.read_text()):
        # A block that hangs ends the page, and every thread says where it stands.
        faulthandler.dump_traceback_later(BLOCK_SECONDS_MAX, exit=True)
        if block["file"]:
            Path(block["file"]).write_text(block["code"])
        elif block["language"] == "sh":
            run_sh(block)
        else:
            run_python(block, session)
        sys.stdout.flush()
        sys.stderr.flush()
        size = output.stat().st_size
        with open(output, "rb") as file:
            file.seek(seen)
            printed = file.read(size - seen).decode(errors="replace")
        seen = size
        if printed and not printed.endswith("\n"):  # A page cannot show that the last line has no end.
            printed += "\n"
        with open(results, "a") as file:
            file.write(json.dumps(printed) + os.linesep)


if __name__ == "__main__":
    main()
