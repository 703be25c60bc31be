from __future__ import annotations

import copy
import pickle
import re
import sys
import threading
from pathlib import Path

import pytest
import roundhouse as rh
from roundhouse import _engine, _raised, exceptions

KINDS = [kind for kind in vars(exceptions).values() if isinstance(kind, type) and issubclass(kind, rh.RoundhouseError)]


ROOT = Path(__file__).parents[2]


def test_the_tree_is_that_of_the_engines_one_table() -> None:
    assert set(_engine.code_types) == set(_engine.codes.values())
    # What user code raised is no code of the engine's.
    assert set(_engine.code_types.values()) == {kind.__name__ for kind in KINDS} - {"RemoteError"}
    for code, name in _engine.code_types.items():
        error = exceptions.from_engine(code, "what failed", {"started": "no"})
        assert (type(error).__name__, error.started) == (name, "no")
        assert exceptions.code_of(error) == code
    # A code that only a newer engine knows.
    assert type(exceptions.from_engine(9999, "new", {})) is rh.RoundhouseError


def test_http_and_the_command_line_say_what_the_table_says() -> None:
    source = (ROOT / "src/base/result.cpp").read_text()
    table = re.findall(r'\{Code::\w+, "(\w+)", "\w+", (\d+), (\d+)\}', source)
    assert {word for word, _, _ in table} == set(_engine.codes)
    page = (ROOT / "protocol/http.md").read_text()
    rows = re.findall(r"^\| ([\d, ]+) \| (.+) \|$", page.partition("## Errors")[2].partition("\n## ")[0], re.MULTILINE)
    documented = {
        (word, status)
        for statuses, words in rows
        for status in statuses.split(", ")
        for word in re.findall(r"`(\w+)`", words)
    }
    for word, status, exit_code in table:
        assert (word, status) in documented, f"protocol/http.md does not say that {word} is {status}"
        assert f"\n| {exit_code} | " in (ROOT / "docs/cli.md").read_text()


def test_what_a_process_wrote_stays_text() -> None:
    error = rh.OutOfMemory("gone", stderr_tail="3", limit="5", growth_s="2.5")
    assert (error.stderr_tail, error.limit, error.growth_s) == ("3", 5, 2.5)


@pytest.mark.parametrize("kind", KINDS)
def test_ours_can_be_pickled_and_copied(kind: type[rh.RoundhouseError]) -> None:
    error = kind("what failed", started="yes", signal="9", note="text")
    error.__notes__ = ["seen on Monday"]  # type: ignore[attr-defined]
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is kind
        assert twin.message == "what failed"
        assert twin.facts == error.facts
        assert (twin.started, twin.signal, twin.note) == ("yes", 9, "text")
        assert twin.__notes__ == ["seen on Monday"]


def test_facts_are_attributes_of_the_kind_that_they_stand_for() -> None:
    error = rh.WorkerDied("gone", signal="11", exit_code="-1", still_running="False", stderr_tail="a\nb\n")
    assert (error.signal, error.exit_code, error.still_running) == (11, -1, False)  # type: ignore[attr-defined]
    assert str(error) == "gone\nlast lines of its stderr:\n    a\n    b"


def test_a_long_stderr_shows_its_end() -> None:
    tail = "".join(f"line {number}\n" for number in range(1000))
    text = str(rh.WorkerDied("gone", stderr_tail=tail))
    assert text.endswith("line 999")
    assert text.count("\n") < 20


def round_trip(exc: BaseException) -> BaseException:
    parts = _raised.encode(exc)
    assert parts
    return _raised.decode(parts, ("m.T", str(exc), "Traceback: there\n"))


class OddConstructor(Exception):
    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


class OwnReduce(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__("own")
        self.pair = (a, b)

    def __reduce__(self) -> tuple[object, ...]:
        return OwnReduce, self.pair


class Odd(OSError):
    def __init__(self, path: str) -> None:
        super().__init__(2, "No such file", path)
        self.extra = [path]


def test_a_constructor_that_demands_more_is_not_called() -> None:
    back = round_trip(OddConstructor(7, reason="because"))
    assert isinstance(back, OddConstructor)
    assert (str(back), back.code, back.reason, back.args) == ("7: because", 7, "because", ("7: because",))


def test_a_reduce_of_its_own_is_used() -> None:
    back = round_trip(OwnReduce(1, 2))
    assert isinstance(back, OwnReduce)
    assert back.pair == (1, 2)


@pytest.mark.parametrize(
    "exc",
    [
        ValueError("plain"),
        KeyError("k"),
        OSError(2, "No such file", "name", None, "other"),
        FileNotFoundError(2, "No such file", "name"),
        Odd("name"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        ImportError("no", name="module", path="/path"),
        StopIteration(5),
        SystemExit(3),
        SyntaxError("bad", ("file.py", 1, 2, "text")),
    ],
)
def test_builtin_exceptions_keep_all_of_themselves(exc: BaseException) -> None:
    back = round_trip(exc)
    assert type(back) is type(exc)
    assert str(back) == str(exc)
    assert back.args == exc.args
    for name in (
        "errno",
        "strerror",
        "filename",
        "filename2",
        "name",
        "path",
        "value",
        "code",
        "start",
        "lineno",
        "extra",
    ):
        assert getattr(back, name, None) == getattr(exc, name, None)


def raised(exc: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise exc from cause
    except BaseException as caught:
        return caught


def test_causes_contexts_and_notes_arrive() -> None:
    exc = raised(ValueError("outer"), raised(KeyError("inner")))
    exc.__notes__ = ["a note"]  # type: ignore[attr-defined]
    back = round_trip(exc)
    assert isinstance(back.__cause__, KeyError)
    assert back.__suppress_context__
    assert back.__notes__ == ["a note"]  # type: ignore[attr-defined]
    # The remote traceback stands at the end of the chain.
    assert "Traceback: there" in str(back.__cause__.__cause__)


def test_the_remote_traceback_is_the_cause() -> None:
    back = round_trip(ValueError("alone"))
    assert isinstance(back.__cause__, _raised.RemoteTraceback)
    assert "Traceback: there" in str(back.__cause__)


def test_an_unpicklable_cause_does_not_take_the_exception_with_it() -> None:
    inner = ValueError("inner")
    inner.lock = threading.Lock()  # type: ignore[attr-defined]
    back = round_trip(raised(KeyError("outer"), inner))
    assert isinstance(back, KeyError)


def test_an_attribute_that_cannot_be_pickled_is_left_out() -> None:
    exc = ValueError("holds a lock")
    exc.lock = threading.Lock()  # type: ignore[attr-defined]
    exc.kept = [1]  # type: ignore[attr-defined]
    exc.__notes__ = ["a note"]  # type: ignore[attr-defined]
    back = round_trip(raised(exc, KeyError("cause")))
    assert isinstance(back, ValueError)
    assert (str(back), back.kept) == ("holds a lock", [1])  # type: ignore[attr-defined]
    assert not hasattr(back, "lock")
    assert back.__notes__[0] == "a note"  # type: ignore[attr-defined]
    assert "cannot be pickled: lock" in back.__notes__[1]  # type: ignore[attr-defined]
    assert isinstance(back.__cause__, KeyError)
    # The original is as it was.
    assert exc.__notes__ == ["a note"]  # type: ignore[attr-defined]


def test_what_cannot_be_pickled_becomes_a_remote_error() -> None:
    assert _raised.encode(ValueError(threading.Lock())) == []
    back = _raised.decode([], ("mine.Held", "holds a lock", "Traceback: there\n"))
    assert isinstance(back, rh.RemoteError)
    assert (back.type, back.message, back.traceback) == ("mine.Held", "holds a lock", "Traceback: there\n")


def test_pythons_own_come_back_from_words_alone() -> None:
    """From a worker in another language, or to a caller who may send and get no pickles."""
    back = _raised.decode([], ("builtins.ValueError", "holds a lock", "Traceback: there\n"))
    assert type(back) is ValueError
    assert str(back) == "holds a lock"
    assert "Traceback: there" in str(back.__cause__)
    for other in (
        "builtins.UnicodeDecodeError",
        "builtins.print",
        "builtins.SystemExit",
        "builtins.nothing",
        "os.error",
    ):
        assert type(_raised.decode([], (other, "x", ""))) is rh.RemoteError


class Slotted(Exception):
    __slots__ = ("code", "unset")

    def __init__(self, code: int) -> None:
        super().__init__("slotted")
        self.code = code


class SlottedBelow(Slotted):
    __slots__ = "detail"

    def __init__(self) -> None:
        super().__init__(5)
        self.detail = {"a": 1}
        self.loose = 2


def test_slots_arrive() -> None:
    back = round_trip(SlottedBelow())
    assert isinstance(back, SlottedBelow)
    assert (back.code, back.detail, back.loose, back.args) == (5, {"a": 1}, 2, ("slotted",))
    assert not hasattr(back, "unset")


class OwnState(Exception):
    def __init__(self, code: int) -> None:
        super().__init__("state")
        self.code = code

    def __setstate__(self, state: dict[str, object] | None) -> None:
        assert state is not None
        self.code = f"set {state['code']}"


def test_a_setstate_of_its_own_is_used() -> None:
    assert round_trip(OwnState(5)).code == "set 5"  # type: ignore[attr-defined]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="this Python has no exception groups")
def test_groups_arrive_with_everything_in_them() -> None:
    class Own(ExceptionGroup):  # noqa: F821
        pass

    inner = raised(OddConstructor(7, reason="because"), KeyError("its cause"))
    inner.add_note("its note")  # type: ignore[attr-defined]
    nested = ExceptionGroup("nested", [inner, OSError(2, "No such file", "name")])  # noqa: F821
    for group in (ExceptionGroup("all", [nested, ValueError("v")]), Own("all", [nested, ValueError("v")])):  # noqa: F821
        back = round_trip(raised(group))
        assert str(back) == "all (2 sub-exceptions)"
        assert [type(exc).__name__ for exc in back.exceptions] == ["ExceptionGroup", "ValueError"]  # type: ignore[attr-defined]
        odd, missing = back.exceptions[0].exceptions  # type: ignore[attr-defined]
        assert (odd.code, odd.reason, odd.__notes__) == (7, "because", ["its note"])
        assert isinstance(odd.__cause__, KeyError)
        assert missing.filename == "name"
        # One can still be picked out of it.
        assert back.subgroup(KeyError) is None  # type: ignore[attr-defined]
        assert back.subgroup(OSError) is not None  # type: ignore[attr-defined]
    mixed = BaseExceptionGroup("mixed", [KeyboardInterrupt(), ValueError("v")])  # noqa: F821
    assert type(round_trip(mixed)) is BaseExceptionGroup  # noqa: F821


def test_a_long_chain_of_causes_arrives_or_is_cut() -> None:
    exc: BaseException = ValueError("0")
    for number in range(1, 5000):
        exc = raised(ValueError(str(number)), exc)
    back = round_trip(exc)
    assert isinstance(back, ValueError)
    assert str(back) == "4999"


def test_a_local_class_arrives() -> None:
    class Local(Exception):
        def __init__(self, code: int, *, reason: str) -> None:
            super().__init__(reason)
            self.code = code

    back = round_trip(Local(3, reason="here"))
    assert type(back) is Local
    assert (back.code, str(back)) == (3, "here")


def test_an_exception_travels_among_other_values() -> None:
    from roundhouse import _serialize

    error = raised(OddConstructor(7, reason="because"), KeyError("inner"))
    told = ("test.OddConstructor", "7: because", "Traceback: there\n")
    (back,) = _serialize.loads(_serialize.dumps([_raised.Carried(error, told)]))
    assert isinstance(back, OddConstructor)
    assert back.reason == "because"
    assert isinstance(back.__cause__, KeyError)
    (back,) = _serialize.loads(_serialize.dumps([_raised.Carried(ValueError(threading.Lock()), told)]))
    assert isinstance(back, rh.RemoteError)
    assert (back.type, back.traceback) == (told[0], told[2])


def test_what_cannot_be_rebuilt_becomes_a_remote_error() -> None:
    back = _raised.decode([b"\x80\x05cnot_a_module\nnot_a_name\n."], ("not_a_module.E", "lost", ""))
    assert isinstance(back, rh.RemoteError)
    assert str(back) == "not_a_module.E: lost"


def test_a_cycle_of_causes_ends() -> None:
    first, second = ValueError("1"), ValueError("2")
    first.__cause__, second.__cause__ = second, first
    back = round_trip(first)
    assert isinstance(back, ValueError)
