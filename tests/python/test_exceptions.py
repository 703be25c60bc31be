from __future__ import annotations

import copy
import pickle

import pytest
import roundhouse as rh
from roundhouse import _raised, exceptions

KINDS = [kind for kind in vars(exceptions).values() if isinstance(kind, type) and issubclass(kind, rh.RoundhouseError)]


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
    inner.lock = __import__("threading").Lock()  # type: ignore[attr-defined]
    back = round_trip(raised(KeyError("outer"), inner))
    assert isinstance(back, KeyError)


def test_what_cannot_be_pickled_becomes_a_remote_error() -> None:
    exc = ValueError("holds a lock")
    exc.lock = __import__("threading").Lock()  # type: ignore[attr-defined]
    assert _raised.encode(exc) == []
    back = _raised.decode([], ("builtins.ValueError", "holds a lock", "Traceback: there\n"))
    assert isinstance(back, rh.RemoteError)
    assert (back.type, back.message, back.traceback) == ("builtins.ValueError", "holds a lock", "Traceback: there\n")


def test_what_cannot_be_rebuilt_becomes_a_remote_error() -> None:
    back = _raised.decode([b"\x80\x05cnot_a_module\nnot_a_name\n."], ("not_a_module.E", "lost", ""))
    assert isinstance(back, rh.RemoteError)
    assert str(back) == "not_a_module.E: lost"


def test_a_cycle_of_causes_ends() -> None:
    first, second = ValueError("1"), ValueError("2")
    first.__cause__, second.__cause__ = second, first
    back = round_trip(first)
    assert isinstance(back, ValueError)
