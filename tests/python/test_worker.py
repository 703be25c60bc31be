"""The worker's Python part alone: no daemon, no socket, a host that only listens."""

from __future__ import annotations

import functools
import os
import sys
from typing import Any

import pytest
import roundhouse as rh
import subjects
from bare_worker import FAILED, RAISED, Worker, fresh_worker, value
from roundhouse import _engine, _raised, _serialize
from roundhouse._worker import output

worker = pytest.fixture(fresh_worker)


def test_a_function_is_described_and_called(worker: Worker) -> None:
    assert worker.load("add", "function", subjects.add) == {
        "methods": {
            "call": {
                "signature": "(a: int, b: int = 1) -> int",
                "doc": "The sum.",
                "kind": "sync",
                "binding": "static",
            }
        },
        "doc": "The sum.",
        "properties": [],
        "attributes": [],
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
        (_serialize.JSON, [b'{"args":[20],"kwargs":{"b":22}}']),
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
        ("add", "call", (1, 2, 3), "bad_arguments", "takes from 1 to 2 positional arguments but 3 were given"),
    ],
)
def test_refusals(worker: Worker, service: str, method: str, args: Any, code: str, words: str) -> None:
    worker.load("add", "function", subjects.add)
    kind, _, _, _, error = worker.call(service, method, *args)
    assert kind == FAILED
    assert error[0] == _engine.codes[code]
    assert words in error[1]


@pytest.mark.parametrize("body", [b"[]", b"\xff", b"[1,2,3]", b"{", b'{"args":{}}', b'{"args":[1],"kwargs":[]}'])
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
    kind, encoding, parts, raised, _ = worker.run("fail", "call", _serialize.JSON, [b'{"args":["custom"]}'])
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


def test_our_exception_in_user_code_is_the_users(worker: Worker) -> None:
    worker.load("fail", "function", subjects.fail)
    kind, _, parts, raised, _ = worker.call("fail", "call", "cancelled")
    assert kind == RAISED
    assert isinstance(_raised.decode(parts, raised), rh.NotFound)


class Base:
    def shared(self) -> int:
        return 1

    def changed(self) -> int:
        return 1


class Rich(Base):
    limit = 5
    __slots__ = ("slotted",)

    def __init__(self) -> None:
        self.slotted = 1
        self.plain = [1]
        self._hidden = 2

    @property
    def changed(self) -> int:  # type: ignore[override]
        return 7

    @functools.cached_property
    def once(self) -> list[int]:
        return [*self.plain]

    @classmethod
    def make(cls) -> Rich:
        return cls()

    @staticmethod
    def two() -> int:
        return 2

    def ones(self):  # type: ignore[no-untyped-def]
        yield 1
        yield from (1, 1)

    def echoes(self):  # type: ignore[no-untyped-def]
        got = None
        while True:
            got = yield got

    async def later(self):  # type: ignore[no-untyped-def]
        import asyncio

        yield await asyncio.sleep(0, 1)

    async def later_echoes(self):  # type: ignore[no-untyped-def]
        got = yield
        yield got


def test_what_a_description_says(worker: Worker) -> None:
    described = worker.load("Rich", "class", Rich)
    methods = described["methods"]
    assert {name: told["binding"] for name, told in methods.items()} == {
        "__init__": "class", "shared": "instance", "make": "class", "two": "static", "ones": "instance",
        "echoes": "instance", "later": "instance", "later_echoes": "instance",
    }  # fmt: skip
    assert {name: told["sends"] for name, told in methods.items() if "sends" in told} == {
        "ones": False, "echoes": True, "later": False, "later_echoes": True,
    }  # fmt: skip
    assert described["properties"] == ["changed", "once"]
    assert described["class"] == "Rich"
    made = value(worker.own("create", {"class": "Rich", "name": "r"}, _serialize.dumps(((), {}))))
    assert sorted(made["attributes"]) == ["plain", "slotted"]
    assert made["properties"] == ["changed", "once"]
    assert made["class"] == "Rich"
    assert "__init__" not in made["methods"]


def test_a_class_offers_what_needs_no_instance(worker: Worker) -> None:
    worker.load("Rich", "class", Rich)
    assert isinstance(value(worker.call("Rich", "make")), Rich)
    assert value(worker.call("Rich", "two")) == 2
    kind, _, _, _, error = worker.call("Rich", "shared")
    assert kind == FAILED
    assert "for the instances of class 'Rich'" in error[1]


def test_what_a_method_returns_is_kept(worker: Worker) -> None:
    worker.load("Rich", "class", Rich)
    made = value(worker.own("create", {"class": "Rich", "method": "make", "name": "r"}, []))
    assert (made["class"], sorted(made["attributes"])) == ("Rich", ["plain", "slotted"])
    assert value(worker.call("r", "shared")) == 1

    async def plus(n: int) -> int:
        return n + 1

    worker.load("plus", "function", plus)
    made = value(worker.own("create", {"class": "plus", "method": "call", "name": "n"}, _serialize.dumps(((1,), {}))))
    assert made["class"] == "int"
    assert value(worker.call("n", "@fetch")) == 2


def test_what_an_attribute_holds_is_kept(worker: Worker) -> None:
    worker.load("Rich", "class", Rich)
    value(worker.own("create", {"class": "Rich", "name": "r"}, []))
    body = _serialize.dumps((("plain",), {}))
    assert value(worker.own("create", {"class": "r", "method": "@get", "name": "p"}, body))["class"] == "list"
    value(worker.call("p", "append", 2))
    # The object itself, not a copy.
    assert value(worker.call("r", "@get", "plain")) == [1, 2]


def test_any_value_is_an_object(worker: Worker) -> None:
    described = worker.load("list", "object", [3, 1, 2], encoding=_serialize.PICKLE)
    assert described["class"] == "list"
    assert described["methods"]["__iter__"]["kind"] == "generator"
    assert value(worker.call("list", "__len__")) == 3
    assert value(worker.call("list", "sort")) is None
    assert value(worker.call("list", "@fetch")) == [1, 2, 3]
    worker.host.stream(worker.calls + 1)
    value(worker.call("list", "__iter__"))
    assert worker.host.streams[worker.calls].items == [1, 2, 3]
    kind, _, _, _, error = worker.call("list", "srt")
    assert (kind, error[0]) == (FAILED, _engine.codes["not_found"])


def test_attributes_are_read_and_set(worker: Worker) -> None:
    worker.load("Rich", "class", Rich)
    value(worker.own("create", {"class": "Rich", "name": "r"}, []))
    assert value(worker.call("r", "@set", "_hidden", {"new": 1})) is None
    assert value(worker.call("r", "@get", "_hidden")) == {"new": 1}
    assert value(worker.call("r", "@get", "changed")) == 7
    kind, _, parts, raised, _ = worker.call("r", "@get", "nothing")
    assert kind == RAISED
    assert isinstance(_raised.decode(parts, raised), AttributeError)
    for method, args in (("@get", ()), ("@set", ("a",)), ("@fetch", (1,)), ("@map", (1,)), ("@none", ())):
        assert worker.call("r", method, *args)[0] == FAILED


def test_map_stops_at_the_first_failure(worker: Worker) -> None:
    def half(n: int) -> int:
        print("half of", n)
        if n % 2:
            raise subjects.CustomError(n, reason="odd")
        return n // 2

    async def half_later(n: int) -> int:
        return half(n)

    for name, function in (("half", half), ("half_later", half_later)):
        worker.load(name, "function", function)
        entries = value(worker.call(name, "@map", "call", [((2,), {}), ((), {"n": 4}), ((5,), {}), ((6,), {})]))
        assert entries[:2] == [(True, 1), (True, 2)]
        ok, error, told = entries[2]
        assert len(entries) == 3
        assert not ok
        assert isinstance(error, subjects.CustomError)
        assert (error.code, error.reason) == (5, "odd")
        assert told[:2] == ("subjects.CustomError", "5 because odd")
    assert b"".join(text for id, _, text in worker.host.heard if id == worker.calls).count(b"half") >= 3


def test_a_mapped_exception_that_cannot_travel_is_told_of(worker: Worker) -> None:
    class Hold(Exception):
        def __reduce__(self) -> Any:
            raise TypeError("never")

    def fail() -> None:
        raise Hold("told")

    worker.load("fail", "function", fail)
    ((ok, error, told),) = value(worker.call("fail", "@map", "call", [((), {})]))
    assert not ok
    assert isinstance(error, rh.RemoteError)
    assert error.message == "told"
    assert told[1] == "told"


def test_rename_delete_and_limits(worker: Worker) -> None:
    worker.load("add", "function", subjects.add, max_concurrency=2, max_queue=3)
    assert worker.host.limits["add"] == (2, 3)
    value(worker.own("rename", {"name": "add", "to": "sum"}, []))
    assert worker.host.limits == {"add": (0, 0), "sum": (2, 3)}
    assert value(worker.call("sum", "call", 1, 2)) == 3
    value(worker.own("delete", {"name": "sum"}, []))
    assert worker.runner.services() == []
    assert worker.own("rename", {"name": "sum", "to": "add"}, [])[0] == FAILED


def test_the_environment_is_set_and_unset(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RH_TEST_GONE", "1")
    monkeypatch.delenv("RH_TEST_NEW", raising=False)
    value(worker.own("set_env", {"vars": {"RH_TEST_GONE": None, "RH_TEST_NEW": "2"}}, []))
    assert "RH_TEST_GONE" not in os.environ
    assert os.environ.pop("RH_TEST_NEW") == "2"


def test_calls_know_where_they_come_from(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    from roundhouse import _context

    monkeypatch.setattr(_context, "worker_id", "w7")
    worker.load("chain", "function", lambda: list(_context.parents()))
    body = _serialize.dumps(((), {}))
    assert value(worker.run("chain", "call", 1, body, parents=["w1/5"])) == [f"w7/{worker.calls}", "w1/5"]
    many = [f"w1/{number}" for number in range(40)]
    assert len(value(worker.run("chain", "call", 1, body, parents=many))) == 32
    _context.current_call.set(None)
    assert _context.parents() == ()
