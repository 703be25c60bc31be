"""What is told to have failed for want of memory, and what is then tried."""

from __future__ import annotations

import sys

import pytest
import roundhouse as rh


def made(module: str, name: str, base: type[Exception] = RuntimeError) -> type[Exception]:
    return type(name, (base,), {"__module__": module, "__qualname__": name})


def caused_by(cause: BaseException) -> ValueError:
    error = ValueError("the outer one")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        rh.OutOfMemory("killed"),
        MemoryError(),
        made("torch", "OutOfMemoryError")("no room"),
        made("torch.cuda", "OutOfMemoryError")("no room"),
        made("cupy.cuda.memory", "OutOfMemoryError", MemoryError)("no room"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        made("jaxlib.xla_extension", "XlaRuntimeError")("RESOURCE_EXHAUSTED: Out of memory while trying to allocate"),
        rh.RemoteError("no room", type="torch.OutOfMemoryError"),
        caused_by(MemoryError()),
    ],
    ids=lambda error: f"{type(error).__module__}.{type(error).__name__}",
)
def test_these_are(error: BaseException) -> None:
    assert rh.is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [None, ValueError(), rh.WorkerDied("killed", signal="9"), RuntimeError("out of paper"), caused_by(KeyError("x"))],
    ids=str,
)
def test_these_are_not(error: BaseException | None) -> None:
    assert not rh.is_out_of_memory(error)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups came with Python 3.11")
def test_in_a_group() -> None:
    assert rh.is_out_of_memory(ExceptionGroup("several", [ValueError(), caused_by(MemoryError())]))  # type: ignore[name-defined]  # noqa: F821


def test_a_circle_of_causes_ends() -> None:
    error = ValueError()
    other = caused_by(error)
    error.__cause__ = other
    assert not rh.is_out_of_memory(error)


class Tried:
    def __init__(self, needs: int) -> None:
        self.needs = needs
        self.sizes: list[int | str] = []

    def __call__(self, memory: int | str) -> int | str:
        self.sizes.append(memory)
        if len(self.sizes) < self.needs:
            raise rh.OutOfMemory("killed", suggested_memory=str(600 << 20))
        return memory


def test_the_next_larger_size_is_tried() -> None:
    tried = Tried(2)
    assert rh.on_larger(tried, ["256MiB", "1GiB", "4GiB"]) == "1GiB"
    assert tried.sizes == ["256MiB", "1GiB"]


def test_a_size_below_the_suggestion_is_left_out() -> None:
    tried = Tried(2)
    assert rh.on_larger(tried, ["256MiB", "512MiB", "1GiB", "4GiB"]) == "1GiB"


def test_the_largest_is_tried_whatever_is_suggested() -> None:
    tried = Tried(2)
    assert rh.on_larger(tried, ["256MiB", "512MiB"]) == "512MiB"


def test_the_last_failure_is_raised() -> None:
    tried = Tried(10)
    with pytest.raises(rh.OutOfMemory):
        rh.on_larger(tried, ["256MiB", "1GiB"])
    assert tried.sizes == ["256MiB", "1GiB"]


def test_other_failures_are_raised_at_once() -> None:
    def run(memory: int | str) -> None:
        raise ValueError(memory)

    with pytest.raises(ValueError, match="256MiB"):
        rh.on_larger(run, ["256MiB", "1GiB"])
    with pytest.raises(ValueError, match="no sizes"):
        rh.on_larger(run, [])
