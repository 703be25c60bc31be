"""Services from the text of a file (protocol/node.md, `load`)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bare_worker import RAISED, Worker, fresh_worker, value
from json_worker import ask, refused, said
from roundhouse import _serialize

SOURCE = '''
from __future__ import annotations
import dataclasses

@dataclasses.dataclass
class Point:
    x: int

def double(x: int) -> int:
    """Twice as much."""
    return x + x

def far(point: Point) -> int:
    return point.x

def fail():
    raise ValueError("as asked")  # the line that is shown

class Counter:
    def __init__(self, start: int = 0):
        self.value = start
    def add(self, by: int) -> int:
        self.value += by
        return self.value

answer = 42
if __name__ == "__main__":
    raise SystemExit("it was run as a script")
'''


@pytest.fixture(name="worker")
def clean_worker() -> Iterator[Worker]:
    before = set(sys.modules)
    yield from fresh_worker()
    for name in set(sys.modules) - before:
        if not name.startswith(("roundhouse", "_", "numpy", "pandas", "pydantic")):
            file = getattr(sys.modules[name], "__file__", None) or ""
            if file.startswith("/project"):
                del sys.modules[name]


def load(
    worker: Worker, name: str | None, kind: str | None = None, file: str = "/project/train.py", **more: Any
) -> Any:
    text = more.get("text", SOURCE)
    source = {"file": file, "callable": name}
    request = {"name": "it", "kind": kind, "source": source, "encoding": _serialize.EMPTY}
    return worker.own("load", request, [text if isinstance(text, bytes) else text.encode()])


@pytest.mark.parametrize("kind", [None, "function"])
def test_a_function_of_a_file(worker: Worker, kind: str | None) -> None:
    described = value(load(worker, "double", kind))
    assert described["kind"] == "function"
    assert described["methods"]["call"]["signature"] == "(x: int) -> int"
    assert described["doc"] == "Twice as much."
    assert said(ask(worker, "it", "call", 21)) == 42
    assert sys.modules["train"].double(2) == 4


def test_a_class_of_a_file(worker: Worker) -> None:
    assert value(load(worker, "Counter"))["kind"] == "class"
    value(
        worker.own("create", {"class": "it", "name": "c", "encoding": _serialize.JSON}, [b'{"kwargs": {"start": 2}}'])
    )
    assert said(ask(worker, "c", "add", 3)) == 5
    value(load(worker, "Counter.add", "function"))


def test_hints_and_dataclasses_of_the_file_are_found(worker: Worker) -> None:
    value(load(worker, "far"))
    assert said(ask(worker, "it", "call", {"x": 3})) == 3
    assert "argument 'point'['x'] must be int" in refused(ask(worker, "it", "call", {"x": "3"}))[1]


def test_tracebacks_show_the_lines(worker: Worker) -> None:
    value(load(worker, "fail"))
    kind, _, _, raised, _ = ask(worker, "it")
    assert (kind, raised[0], raised[1]) == (RAISED, "builtins.ValueError", "as asked")
    assert 'File "/project/train.py", line 17, in fail' in raised[2]
    assert "the line that is shown" in raised[2]


def test_what_the_file_does_not_have(worker: Worker) -> None:
    code, message, _ = refused(load(worker, "doubel"))
    assert code == "bad_arguments"
    assert "/project/train.py has no 'doubel': it has Point, double, far, fail, Counter" in message
    assert "Did you mean 'double'?" in message
    assert "is a int, neither" in refused(load(worker, "answer"))[1]
    assert "'double' of /project/train.py is a function, not a class" in refused(load(worker, "double", "class"))[1]
    assert "is a class, not a function" in refused(load(worker, "Counter", "function"))[1]
    assert "say which function" in refused(load(worker, None))[1]
    assert "no function and no class" in refused(load(worker, "f", text="x = 1"))[1]
    assert value(load(worker, "answer", "object"))["kind"] == "object"
    assert worker.runner.object_of("it") == 42


def test_errors_of_the_file_are_the_users(worker: Worker) -> None:
    kind, _, _, raised, _ = load(worker, "f", text="def f(:\n  pass\n")
    assert (kind, raised[0]) == (RAISED, "builtins.SyntaxError")
    assert "def f(:" in raised[2]
    kind, _, _, raised, _ = load(worker, "f", text="import no_such_module_here\n")
    assert (kind, raised[0]) == (RAISED, "builtins.ModuleNotFoundError")
    assert 'File "/project/train.py", line 1' in raised[2]
    assert "train" not in sys.modules
    assert load(worker, "f", text=b"\xff\xfe\x00f")[3][0] in ("builtins.SyntaxError", "builtins.ValueError")
    assert said_latin(worker) == "\xe4"


def said_latin(worker: Worker) -> Any:
    value(load(worker, "f", text="# -*- coding: latin-1 -*-\ndef f(): return '\xe4'\n".encode("latin-1")))
    return said(ask(worker, "it"))


def test_a_name_that_is_taken_hides_nothing(worker: Worker) -> None:
    import json

    value(load(worker, "double", file="/project/json.py"))
    assert sys.modules["json"] is json
    assert sys.modules["json_file"].double(1) == 2
    value(load(worker, "double", file="/project/my-script.py"))
    value(load(worker, "double", file="/project/my-script.py", text="def double(x): return 3 * x"))
    assert said(ask(worker, "it", "call", 2)) == 6


def test_what_stands_beside_the_file_is_found(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "beside_the_source.py").write_text("VALUE = 7\n")
    value(
        load(
            worker,
            "f",
            file=str(tmp_path / "main_of_it.py"),
            text="import beside_the_source as b\ndef f(): return b.VALUE",
        )
    )
    assert said(ask(worker, "it")) == 7
    del sys.modules["beside_the_source"], sys.modules["main_of_it"]


def test_decorated_by_roundhouse(worker: Worker) -> None:
    text = "import roundhouse as rh\n@rh.readonly\n@rh.function\ndef f(x: int):\n    return x\n"
    described = value(load(worker, "f", text=text))
    assert described["methods"]["call"]["readonly"] is True
    assert said(ask(worker, "it", "call", 1)) == 1
