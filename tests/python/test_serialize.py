from __future__ import annotations

import functools
import pickle
import socket
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import roundhouse as rh
from roundhouse import _blame, _json, _msgpack, _serialize, _signature


def round_trip(value: Any, encoding: int = _serialize.PICKLE) -> Any:
    parts = _serialize.encode(encoding, value)
    return _serialize.decode(
        encoding, [bytes(parts[0]), *(bytearray(memoryview(part).cast("B")) for part in parts[1:])]
    )


def test_plain_values_take_the_plain_pickle() -> None:
    parts = _serialize.dumps((1, "text", {"k": [1.5, None]}))
    assert parts == [pickle.dumps((1, "text", {"k": [1.5, None]}), 5)]


def test_arrays_travel_outside_the_pickle_and_come_back_writable() -> None:
    array = np.arange(100_000, dtype="<f8").reshape(100, 1000)
    parts = _serialize.dumps({"x": array, "y": np.asfortranarray(array)})
    assert len(parts) == 3
    assert len(parts[0]) % 64 == 0
    assert len(parts[0]) < 1000
    back = round_trip({"x": array})["x"]
    assert np.array_equal(back, array)
    back[0, 0] = 7


def test_more_buffers_than_a_body_has_parts() -> None:
    arrays = [np.full(10, number) for number in range(6000)]
    parts = _serialize.dumps(arrays)
    assert len(parts) <= 4096
    assert np.array_equal(round_trip(arrays), arrays)


def test_lambdas_and_closures_travel_by_value() -> None:
    factor = 3
    assert round_trip(lambda x: x * factor)(5) == 15


def test_a_mention_of_main_goes_by_value() -> None:
    # As text it is only text; the detour must not change it.
    assert round_trip({"name": "__main__"}) == {"name": "__main__"}


def test_only_the_programs_own_names_take_the_detour() -> None:
    for text, detour in (("__main__", True), ("__mp_main__", True), ("domain__name", False), ("mp_main__", False)):
        for value in (text, {text: [text]}, f"of {text}.part"):
            assert _serialize.names_program(pickle.dumps(value, 5)) is detour, value


def test_a_local_class_comes_home_as_itself_and_untouched() -> None:
    class Local:
        def method(self) -> int:
            return 1

    before = Local.method
    assert type(round_trip(Local())) is Local
    assert Local.method is before


class Holder:
    def __init__(self) -> None:
        self.cache = {"k": [0, threading.Lock()]}


@pytest.mark.parametrize(
    ("value", "path", "kind"),
    [
        (threading.Lock(), "x", "_thread.lock"),
        ([1, {"a": threading.Lock()}], "x[1]['a']", "_thread.lock"),
        (Holder(), "x.cache['k'][1]", "_thread.lock"),
        ((i for i in ()), "x", "generator"),
        (functools.partial(print, file=open(__file__, "rb")), "x.keywords['file']", "_io.BufferedReader"),  # noqa: SIM115
        (socket.socketpair()[0], "x", "socket.socket"),
    ],
)
def test_the_culprit_is_named(value: Any, path: str, kind: str) -> None:
    try:
        _serialize.dumps(value)
    except Exception as error:
        blamed = _blame.not_serializable("x", value, error)
    assert blamed.path == path
    assert blamed.facts["type"] == kind
    assert "Try: " in str(blamed)


def test_a_culprit_in_a_closure_is_named() -> None:
    lock = threading.Lock()

    def locked() -> None:
        with lock:
            pass

    with pytest.raises(TypeError) as caught:
        _serialize.dumps(locked)
    blamed = _blame.not_serializable("function 'locked'", locked, caught.value)
    assert blamed.path == "variable 'lock' that function 'locked' uses"


def test_arguments_are_named_by_their_parameters() -> None:
    error = _blame.call_not_serializable((1, threading.Lock()), {}, ["self", "guard"], TypeError())
    assert error.path == "argument 'guard'"
    assert _blame.call_not_serializable((), {"k": threading.Lock()}, [], TypeError()).path == "argument 'k'"


@pytest.mark.parametrize("value", [None, True, 0, -5, 1.5, "ü", b"bytes", [1, [2]], {"a": {"b": 1}}, {1: 2}])
def test_msgpack_values(value: Any) -> None:
    assert round_trip(value, _serialize.MSGPACK) == value


@pytest.mark.parametrize("dtype", ["<f4", "<f8", "|u1", "<i8", "|b1", "<c16", ">f4"])
@pytest.mark.parametrize("side", [3, 1500])
def test_msgpack_arrays(dtype: str, side: int) -> None:
    array = np.ones((side, 4), dtype=dtype)
    parts = _serialize.encode(_serialize.MSGPACK, {"a": array, "b": [array[:, ::2]]})
    # Large ones have parts of their own, which begin at a multiple of 64; small ones stand in the value.
    assert len(parts) == (1 if side == 3 else 5)
    starts = np.cumsum([0, *map(len, parts)])
    assert all(start % 64 == 0 for start in starts[2:-1:2])
    back = round_trip({"a": array, "b": [array[:, ::2]]}, _serialize.MSGPACK)
    assert np.array_equal(back["a"], array)
    assert back["a"].dtype == np.dtype(dtype).newbyteorder("<")
    assert np.array_equal(back["b"][0], array[:, ::2])
    for shape in ((0, 3), ()):
        assert round_trip(np.zeros(shape), _serialize.MSGPACK).shape == shape


def test_msgpack_numbers_of_numpy_are_numbers() -> None:
    assert round_trip([np.int32(3), np.float64(2.5), np.bool_(True)], _serialize.MSGPACK) == [3, 2.5, True]


@pytest.mark.parametrize("value", [object(), 1 << 70, lambda: 0])
def test_msgpack_refuses_what_it_has_no_form_for(value: Any) -> None:
    with pytest.raises(rh.NotSerializable, match="another language"):
        _msgpack.encode(value)


@pytest.mark.parametrize("value", [None, 1, "x", "ü\n", 1.5, [], {}, {"a": [1, {"b": None}]}, [True, False]])
def test_json_round_trip(value: Any) -> None:
    assert _json.decode(_json.encode(value)) == value


@pytest.mark.parametrize("text", [b"", b"{", b"[1] 2", b"nul", b'{"a"}', b"'a'"])
def test_json_refuses_what_is_not_json(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        _json.decode(text)


def test_a_call_is_arguments_and_keyword_arguments() -> None:
    assert _serialize.decode_call(_serialize.JSON, [b'[[1],{"a":2}]']) == ([1], {"a": 2})
    assert _serialize.decode_call(_serialize.EMPTY, []) == ((), {})
    for wrong in (b"[]", b"3", b"[1,2]", b"[[],[]]"):
        with pytest.raises(ValueError, match="arguments"):
            _serialize.decode_call(_serialize.JSON, [wrong])


def everything(a: int, b: str = "x", /, c: float = 1.5, *rest: int, d: bool, e: Any = None, **more: str) -> list[int]:
    return []


def bare(a, b=2, *, c):  # type: ignore[no-untyped-def]
    return a


async def waits() -> None:
    pass


def yields() -> Any:
    yield 1


async def both() -> Any:
    yield 1


@pytest.mark.parametrize("function", [everything, bare, waits, lambda: 0, lambda x, *y: x])
def test_signatures_are_what_inspect_says(function: Callable[..., Any]) -> None:
    import inspect

    assert _signature.text_of(function) == str(inspect.signature(function)).replace("'", "").replace(
        "=x", "='x'"
    ).replace(" = x", " = 'x'")


def test_signatures_are_read_without_evaluating_them() -> None:
    parsed = _signature.parse("(self, a: int, b=__import__('os').abort(), *, c: Any = None) -> list[int]")
    assert parsed is not None
    assert list(parsed.parameters) == ["self", "a", "b", "c"]
    assert str(parsed) == "(self, a: int, b=__import__('os').abort(), *, c: Any = None) -> list[int]"
    assert _signature.parse("(double) -> 3 (") is None


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (bare, "sync"),
        (waits, "async"),
        (yields, "generator"),
        (both, "async_generator"),
        (functools.partial(waits), "async"),
        (len, "sync"),
        (Holder, "sync"),
    ],
)
def test_kinds_of_functions(function: Callable[..., Any], kind: str) -> None:
    assert _signature.kind_of(function) == kind
