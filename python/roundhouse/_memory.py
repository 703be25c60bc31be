"""Failures for want of memory: how they are told from others, and how the work is tried on larger compute."""

from __future__ import annotations

from roundhouse._sizes import parse_bytes
from roundhouse.exceptions import OutOfMemory, RemoteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeVar

    R = TypeVar("R")

# By their names, because a driver need not have what raised them: PyTorch's (both spellings), CuPy's.
_TYPES = frozenset(("torch.OutOfMemoryError", "torch.cuda.OutOfMemoryError", "cupy.cuda.memory.OutOfMemoryError"))
# What others say in an exception that means many things: PyTorch before 1.13, JAX.
_WORDS = ("CUDA out of memory", "RESOURCE_EXHAUSTED: Out of memory")


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether that failed for want of memory: a killed worker, a MemoryError of its own, or a GPU's.

    The exception itself, what it was raised from (``__cause__``), and the members of a group are looked at. PyTorch's,
    CuPy's and JAX's are known by their names, so that the driver need not have them installed.

    >>> import roundhouse as rh
    >>> def take(): raise MemoryError("no room for 10 GiB")
    >>> try:
    ...     rh.function(take).to(rh.compute("example").up_if_not())()
    ... except Exception as error:
    ...     print(rh.is_out_of_memory(error), rh.is_out_of_memory(ValueError()))
    True False
    """
    return any(_is_it(each) for each in _all_of(error))


def on_larger(run: Callable[[int | str], R], memory: Iterable[int | str]) -> R:
    """Calls ``run`` with the first size, and with the next larger one each time that it runs out of memory.

    ``memory`` are sizes as ``memory=`` takes them, the smallest first. One that is no larger than the last is left out,
    and so is one below what the failure suggests, unless it is the largest. What fails otherwise is raised, as is the
    last failure. ``run`` makes the compute as well: what it made for a smaller size is its own to give back.

    >>> import roundhouse as rh
    >>> box = rh.compute("example").up_if_not()
    >>> def work(mib): return len(b"x" * (mib << 20)) >> 20
    >>> def work_in(memory):
    ...     return rh.function(work).to(box, memory=memory, name="work")(300)
    >>> rh.on_larger(work_in, ["200MiB", "1GiB"])
    300
    """
    sizes = list(memory)
    if not sizes:
        raise ValueError("memory= has no sizes to try. Try: ['1GiB', '4GiB']")
    largest = max(parse_bytes(size, "memory") for size in sizes)
    least = 0
    failed: BaseException | None = None
    for size in sizes:
        has = parse_bytes(size, "memory")
        if has < least and has < largest:
            continue
        try:
            return run(size)
        except Exception as error:
            if not is_out_of_memory(error) or has >= largest:
                raise
            failed = error
            suggested = error.suggested_memory if isinstance(error, OutOfMemory) else None
            least = max(has + 1, suggested or 0)
    assert failed is not None
    raise failed


def _is_it(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    kind = error.type if isinstance(error, RemoteError) else f"{type(error).__module__}.{type(error).__qualname__}"
    return kind in _TYPES or kind == "builtins.MemoryError" or any(words in str(error) for words in _WORDS)


def _all_of(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting.append(each.__cause__)
        waiting.extend(getattr(each, "exceptions", ()))
