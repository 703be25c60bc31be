"""The worker's Python part alone: no daemon, no socket, a host that only listens."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
import roundhouse as rh
import subjects
from roundhouse import _engine, _json, _raised, _serialize
from roundhouse._worker import output, runner

RETURNED, RAISED, FAILED = 0, 1, 2


class Listener:
    """Stands in for the engine's host."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, int, bytes]] = []
        self.connected = True

    def output(self, id: int, channel: int, text: bytes) -> bool:
        if self.connected:
            self.heard.append((id, channel, text))
        return self.connected


class Worker:
    def __init__(self) -> None:
        self.host = Listener()
        self.runner = runner.Runner()
        self.runner.host = self.host  # type: ignore[assignment]
        self.calls = 0

    def run(self, service: str, method: str, encoding: int, parts: list[Any]) -> Any:
        self.calls += 1
        # pytest changes the streams between the phases of a test, so a worker's own are in place during a call only.
        with pytest.MonkeyPatch.context() as patch:
            for channel, name in ((output.OUT, "stdout"), (output.ERR, "stderr")):
                own = getattr(sys, name)
                patch.setitem(output._own_streams, channel, own)
                patch.setattr(sys, name, output.CallStream(channel, own))
            return self.runner.run(self.calls, service, method, encoding, parts, b"s" * 16, 0)

    def own(self, method: str, request: dict[str, Any], parts: list[Any]) -> Any:
        request.setdefault("source", {"sys_path": list(sys.path)})
        return self.run("_worker", method, _serialize.JSON, [_json.encode(request), *parts])

    def load(self, name: str, kind: str, target: Any) -> Any:
        kind_of_answer, encoding, parts, *_ = self.own("load", {"name": name, "kind": kind}, _serialize.dumps(target))
        assert kind_of_answer == RETURNED
        return _serialize.decode(encoding, parts)

    def call(self, service: str, method: str, *args: Any, **kwargs: Any) -> Any:
        return self.run(service, method, _serialize.PICKLE, _serialize.dumps((args, kwargs)))


@pytest.fixture
def worker() -> Iterator[Worker]:
    before = list(sys.path)
    yield Worker()
    output.current.set(None)
    sys.path[:] = before


def value(answer: Any) -> Any:
    kind, encoding, parts, raised, error = answer
    assert (kind, raised, error) == (RETURNED, None, None)
    return _serialize.decode(encoding, parts)


def test_a_function_is_described_and_called(worker: Worker) -> None:
    assert worker.load("add", "function", subjects.add) == {
        "methods": {"call": {"signature": "(a: int, b: int = 1) -> int", "doc": "The sum.", "kind": "sync"}},
        "doc": "The sum.",
    }
    assert value(worker.call("add", "call", 1, b=2)) == 3


def test_a_class_is_described(worker: Worker) -> None:
    methods = worker.load("Counter", "class", subjects.Counter)["methods"]
    assert set(methods) == {
        "__init__", "__call__", "add", "count_inside", "die", "fixed", "get", "let_go", "named", "spin", "wait",
    }  # fmt: skip
    assert methods["__init__"]["signature"] == "(start: int = 0) -> None"
    assert methods["fixed"]["signature"] == "() -> str"
    assert methods["named"]["signature"] == "() -> str"


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (_serialize.JSON, [b'[[20],{"b":22}]']),
        (_serialize.MSGPACK, _serialize.encode(_serialize.MSGPACK, [[20], {"b": 22}])),
    ],
)
def test_other_encodings_are_answered_in_kind(worker: Worker, encoding: int, body: list[Any]) -> None:
    worker.load("add", "function", subjects.add)
    answer = worker.run("add", "call", encoding, body)
    assert answer[1] == encoding
    assert value(answer) == 42


def test_an_instance_lives_on(worker: Worker) -> None:
    worker.load("Counter", "class", subjects.Counter)
    request = {"class": "Counter", "name": "c", "encoding": _serialize.PICKLE}
    described = value(worker.own("create", request, _serialize.dumps(((5,), {}))))
    assert "__init__" not in described["methods"]
    assert value(worker.call("c", "add", 2)) == 7
    assert worker.runner.services() == ["Counter", "c"]
    value(worker.own("delete", {"name": "c"}, []))
    assert worker.runner.services() == ["Counter"]


@pytest.mark.parametrize(
    ("service", "method", "args", "code", "words"),
    [
        ("none", "call", (), "not_found", "it has 'add'"),
        ("add", "cal", (1,), "not_found", "Did you mean 'call'"),
        ("add", "__init__", (1,), "not_found", "'__init__'"),
        ("add", "call", (), "bad_arguments", "add(a: 'int', b: 'int' = 1)"),
        ("add", "call", (1, 2, 3), "bad_arguments", "too many positional arguments"),
    ],
)
def test_refusals(worker: Worker, service: str, method: str, args: Any, code: str, words: str) -> None:
    worker.load("add", "function", subjects.add)
    kind, _, _, _, error = worker.call(service, method, *args)
    assert kind == FAILED
    assert error[0] == _engine.codes[code]
    assert words in error[1]


@pytest.mark.parametrize("body", [b"[]", b"\xff", b"[1,2,3]", b"{"])
def test_a_body_that_is_no_call(worker: Worker, body: bytes) -> None:
    worker.load("add", "function", subjects.add)
    kind, _, _, _, error = worker.run("add", "call", _serialize.JSON, [body])
    assert kind == FAILED
    assert error[0] == _engine.codes["bad_arguments"]


def test_an_exception_is_told_and_carried(worker: Worker) -> None:
    worker.load("fail", "function", subjects.fail)
    kind, encoding, parts, raised, _ = worker.call("fail", "call", "custom")
    assert (kind, encoding) == (RAISED, _serialize.PICKLE)
    assert raised[:2] == ("subjects.CustomError", "7 because asked to")
    assert "raise CustomError(7" in raised[2]
    assert "runner.py" not in raised[2]
    assert isinstance(_raised.decode(parts, raised), subjects.CustomError)


def test_callers_in_other_languages_get_the_text(worker: Worker) -> None:
    worker.load("fail", "function", subjects.fail)
    kind, encoding, parts, raised, _ = worker.run("fail", "call", _serialize.JSON, [b'[["custom"],{}]'])
    assert (kind, encoding, parts) == (RAISED, _serialize.EMPTY, [])
    assert raised[0] == "subjects.CustomError"


def test_a_result_that_cannot_travel(worker: Worker) -> None:
    import threading

    worker.load("lock", "function", lambda: {"k": threading.Lock()})
    kind, _, _, _, error = worker.call("lock", "call")
    assert kind == FAILED
    assert error[0] == _engine.codes["not_serializable"]
    assert "the result of lock.call['k'] of type _thread.lock" in error[1]


def test_text_belongs_to_its_call_and_leaves_in_lines(worker: Worker) -> None:
    def speak() -> None:
        print("one", "two")
        print("half", end="")
        print("oops", file=sys.stderr)
        sys.stdout.flush()
        sys.stdout.write("rest")

    worker.load("speak", "function", speak)
    worker.host.heard.clear()
    value(worker.call("speak", "call"))
    assert worker.host.heard == [
        (worker.calls, output.OUT, b"one two\n"),
        (worker.calls, output.ERR, b"oops\n"),
        (worker.calls, output.OUT, b"half"),
        (worker.calls, output.OUT, b"rest"),
    ]


def test_text_that_nobody_takes_is_kept_in_the_workers_file(worker: Worker, capsys: pytest.CaptureFixture[str]) -> None:
    worker.load("speak", "function", lambda: print("said late"))
    worker.host.connected = False
    value(worker.call("speak", "call"))
    assert capsys.readouterr().out == "said late\n"


def test_half_characters_can_be_printed_and_raised(worker: Worker) -> None:
    def speak() -> None:
        print("\ud800")
        raise ValueError("\ud800")

    worker.load("speak", "function", speak)
    worker.host.heard.clear()
    kind, _, _, raised, _ = worker.call("speak", "call")
    assert kind == RAISED
    assert raised[1] == "\\ud800"
    assert worker.host.heard[0][2] == b"\\ud800\n"


def test_generators_are_refused_before_they_run(worker: Worker) -> None:
    worker.load("counting", "function", subjects.counting)
    kind, _, _, _, error = worker.call("counting", "call", 3)
    assert kind == FAILED
    assert error[0] == _engine.codes["unsupported"]


def test_async_functions_and_their_cancel(worker: Worker) -> None:
    import threading
    import time

    worker.load("later", "function", subjects.add_later)
    worker.load("sleep", "function", subjects.sleep_async)
    assert value(worker.call("later", "call", 1, 2)) == 3
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(worker.call("sleep", "call", 30)))
    thread.start()
    while not worker.runner._tasks:
        time.sleep(0.001)
    assert worker.runner.cancel(worker.calls)
    thread.join(10)
    kind, _, _, _, error = answers[0]
    assert kind == FAILED
    assert error[0] == _engine.codes["cancelled"]


def test_our_exception_in_user_code_is_the_users(worker: Worker) -> None:
    worker.load("fail", "function", subjects.fail)
    kind, _, parts, raised, _ = worker.call("fail", "call", "cancelled")
    assert kind == RAISED
    assert isinstance(_raised.decode(parts, raised), rh.NotFound)
