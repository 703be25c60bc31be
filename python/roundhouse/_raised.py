"""The user's exceptions on their way: type, attributes, causes and notes intact, whatever their constructors demand."""

from __future__ import annotations

from _pickle import Pickler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from roundhouse._engine import Raised


class RemoteTraceback(Exception):
    """Stands as the cause of a remote exception, so that Python prints where it was raised."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return "\n" + self.text


def make(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """An exception without its own constructor, which may demand anything: only what Python itself keeps is set."""
    native = next(base for base in kind.__mro__ if base.__module__ == "builtins")
    made: BaseException = native.__new__(kind, *args)
    try:
        native.__init__(made, *args)  # type: ignore[misc]
    except TypeError:
        # A UnicodeDecodeError, say, whose class passed on nothing that its base needs.
        made.args = args
    return made


def fill(made: BaseException, state: tuple[Any, Any, Any, bool]) -> None:
    own, cause, context, suppress = state
    if own:
        made.__setstate__(own)
    made.__cause__ = cause
    made.__context__ = context
    made.__suppress_context__ = suppress


def reduce(exc: BaseException, *, alone: bool = False) -> tuple[Any, ...]:
    """As `__reduce__`, with the causes, which pickle forgets, and without calling a constructor that may not fit."""
    kind = type(exc)
    reduced = exc.__reduce_ex__(5)
    own = reduced[2] if len(reduced) > 2 else None
    causes = (None, None) if alone else (exc.__cause__, exc.__context__)
    state = (own, *causes, exc.__suppress_context__)
    # A __reduce__ of the class's own knows better than we do.
    ours = [vars(base) for base in kind.__mro__ if base.__module__ != "builtins"]
    if any("__reduce__" in names or "__reduce_ex__" in names for names in ours):
        return reduced[0], reduced[1], state, None, None, fill
    # The reduced arguments, not exc.args: an OSError keeps its file name only there.
    return make, (kind, reduced[1]), state, None, None, fill


class ExceptionPickler(Pickler):
    alone = False

    def reducer_override(self, obj: Any) -> Any:
        return reduce(obj, alone=self.alone) if isinstance(obj, BaseException) else NotImplemented


def _dumps(exc: BaseException, alone: bool) -> bytes:
    from io import BytesIO

    try:
        file = BytesIO()
        pickler = ExceptionPickler(file, 5)
        pickler.alone = alone
        pickler.dump(exc)
        data = file.getvalue()
        if b"__main__" not in data:
            return data
    except Exception:
        # A class that has to travel by value, perhaps.
        pass
    from roundhouse import _by_value

    file = BytesIO()
    by_value = _by_value.Pickler(file, protocol=5)
    by_value.alone = alone
    by_value.dump(exc)
    return file.getvalue()


def encode(exc: BaseException) -> list[Any]:
    """The exception as the parts of a PICKLE body, without its traceback; [] where it cannot be pickled."""
    for alone in (False, True):
        try:
            return [_dumps(exc, alone)]
        except Exception:
            # One that it was raised from may be to blame: the second time it goes without those.
            continue
    return []


def decode(parts: Sequence[Any], raised: Raised | None) -> BaseException:
    """The exception to raise here: itself, or a RemoteError that tells of it."""
    from roundhouse import _serialize

    kind, message, text = raised or ("", "", "")
    exc: Any = None
    if parts:
        try:
            exc = _serialize.loads(parts)
        except Exception:
            # Its module is not here, or its constructor refuses: what follows tells as much as can be known.
            pass
    if not isinstance(exc, BaseException):
        from roundhouse.exceptions import RemoteError

        exc = RemoteError(message, type=kind, traceback=text)
    if text:
        last, seen = exc, {id(exc)}
        while last.__cause__ is not None and id(last.__cause__) not in seen:
            last = last.__cause__
            seen.add(id(last))
        last.__cause__ = RemoteTraceback(text)
    return exc  # type: ignore[no-any-return]
