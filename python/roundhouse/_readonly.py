"""`rh.readonly`: a mark for what changes nothing."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    F = TypeVar("F")

MARK = "__roundhouse_readonly__"


def readonly(function: F) -> F:
    """Marks a function or method as one that changes nothing, so that an HTTP GET may call it.

    A GET can be sent by a link, a crawler or a browser that looks ahead, so it calls nothing else. The function itself
    is returned, and behaves as before everywhere. Of decorators it may be the first or the last.

    >>> import roundhouse as rh
    >>> class Counter:
    ...     def __init__(self): self.value = 0
    ...     def add(self, amount: int) -> int:
    ...         self.value += amount
    ...         return self.value
    ...     @rh.readonly
    ...     def show(self, digits: int = 1) -> str:
    ...         return f"{self.value:0{digits}}"
    >>> counter = rh.cls(Counter).to(rh.compute("example").up_if_not())(name="counter")
    >>> counter.add(2), counter.show(digits=3)
    (2, '002')
    >>> rh.handle(counter).service["methods"]["show"]["readonly"]
    True
    """
    inner: Any = getattr(function, "__func__", function)
    # What `rh.function` made of it is called by its own name, over there.
    inner = getattr(inner, "__wrapped__", inner) if hasattr(inner, "_service") else inner
    try:
        if not callable(inner) or isinstance(inner, type):
            raise AttributeError
        setattr(inner, MARK, True)
    except AttributeError:  # As built-in functions say.
        kind = type(function).__qualname__
        raise TypeError(f"rh.readonly marks functions and methods that are Python, not a {kind}") from None
    return function
