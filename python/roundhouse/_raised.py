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


def reduce(exc: BaseException, *, alone: bool = False, bare: bool = False) -> tuple[Any, ...]:
    """As `__reduce__`, with the causes, which pickle forgets, and without calling a constructor that may not fit.

    `alone` leaves the causes out, `bare` the attributes that cannot be pickled."""
    kind = type(exc)
    reduced = exc.__reduce_ex__(5)
    own = reduced[2] if len(reduced) > 2 else None
    ours = [vars(base) for base in kind.__mro__ if base.__module__ != "builtins"]
    if own is None or isinstance(own, dict):
        if not any("__setstate__" in names for names in ours):
            own = {**(own or {}), **_slots_of(exc, ours)}
        if bare:
            own = _bare(own)
    causes = (None, None) if alone else (exc.__cause__, exc.__context__)
    state = (own, *causes, exc.__suppress_context__)
    # A __reduce__ of the class's own knows better than we do.
    if any("__reduce__" in names or "__reduce_ex__" in names for names in ours):
        return reduced[0], reduced[1], state, None, None, fill
    # The reduced arguments, not exc.args: an OSError keeps its file name only there.
    return make, (kind, reduced[1]), state, None, None, fill


def _slots_of(exc: BaseException, ours: list[Any]) -> dict[str, Any]:
    """What stands in slots, which exceptions forget when they are pickled."""
    found: dict[str, Any] = {}
    for names in ours:
        slots = names.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if slot not in ("__dict__", "__weakref__") and not slot.startswith("__") and hasattr(exc, slot):
                found[slot] = getattr(exc, slot)
    return found


def _bare(own: dict[str, Any] | None) -> dict[str, Any]:
    from roundhouse import _serialize

    kept, left_out = {}, []
    for name, value in (own or {}).items():
        try:
            _serialize.dumps(value)
            kept[name] = value
        except Exception:
            left_out.append(name)
    if left_out:
        note = f"(left out on its way here, because it cannot be pickled: {', '.join(left_out)})"
        kept["__notes__"] = [*kept.get("__notes__", ()), note]
    return kept


class ExceptionPickler(Pickler):
    alone = False
    bare = False

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, BaseException):
            return reduce(obj, alone=self.alone, bare=self.bare)
        return NotImplemented


def _dumps(exc: BaseException, alone: bool, bare: bool) -> bytes:
    from io import BytesIO

    from roundhouse import _serialize

    try:
        file = BytesIO()
        pickler = ExceptionPickler(file, 5)
        pickler.alone, pickler.bare = alone, bare
        pickler.dump(exc)
        data = file.getvalue()
        if not _serialize.names_program(data):
            return data
    except Exception:
        # A class that has to travel by value, perhaps.
        pass
    from roundhouse import _by_value

    file = BytesIO()
    by_value = _by_value.Pickler(file, protocol=5)
    by_value.alone, by_value.bare = alone, bare
    by_value.dump(exc)
    return file.getvalue()


def encode(exc: BaseException) -> list[Any]:
    """The exception as the parts of a PICKLE body, without its traceback; [] where it cannot be pickled."""
    # An attribute, or one that it was raised from, may be to blame: then it goes without those.
    for alone, bare in ((False, False), (False, True), (True, True)):
        try:
            return [_dumps(exc, alone, bare)]
        except Exception:
            continue
    return []


class Carried:
    """Stands for an exception among other values, so that it travels as exceptions do."""

    def __init__(self, exc: BaseException, told: Raised) -> None:
        self._exc = exc
        self._told = told

    def __reduce__(self) -> tuple[Any, ...]:
        return revive, (encode(self._exc), self._told)


def revive(parts: Sequence[Any], told: Raised) -> BaseException:
    """The exception itself, or the RemoteError that stands for it; its traceback is told apart."""
    return decode(parts, (told[0], told[1], "") if parts else told)


def _known(kind_name: str, message: str) -> BaseException | None:
    """Python's own exception of that name, or one of ours: what is rebuilt from text, which may come from anywhere."""
    import builtins

    from roundhouse import exceptions

    module, _, name = kind_name.rpartition(".")
    homes = {"builtins": builtins, "roundhouse.exceptions": exceptions}
    kind = getattr(homes.get(module), name, None)
    if not isinstance(kind, type) or not issubclass(kind, Exception):
        return None
    try:
        return kind(message)
    except TypeError:  # A UnicodeDecodeError, say, which wants more than words.
        return None


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
    else:
        exc = _known(kind, message)
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
