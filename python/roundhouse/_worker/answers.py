"""What becomes of a call: its value, what it raised, or why it could not be run, as the engine takes it."""

from __future__ import annotations

import sys

from roundhouse import _engine, _raised, _serialize
from roundhouse.exceptions import CallCancelled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Failure: TypeAlias = tuple[int, str, dict[str, str]]
    Answer: TypeAlias = tuple[int, int, list[Any], _engine.Raised | None, Failure | None]

RETURNED = 0
RAISED = 1
FAILED = 2


class Refused(Exception):
    """A failure of ours: unlike an exception that user code raised, it reaches the caller as our own exception."""

    def __init__(self, code: str, message: str, facts: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.failure: Failure = (_engine.codes[code], message, facts or {})


def of_value(encoding: int, value: Any, what: str, accept: str = "") -> Answer:
    """`what` names the value where it cannot travel. `accept` is what a caller over HTTP takes."""
    if value is None:
        return RETURNED, _serialize.EMPTY, [], None, None
    if encoding == _serialize.JSON:
        from roundhouse._worker import to_json

        return RETURNED, encoding, to_json.parts_of(value, what, accept), None, None
    encoding = encoding or _serialize.PICKLE
    return RETURNED, encoding, encoded(encoding, value, what), None, None


def encoded(encoding: int, value: Any, what: str) -> list[Any]:
    if encoding == _serialize.JSON:
        from roundhouse._worker import to_json

        return [to_json.encode(value, what)]
    try:
        return _serialize.encode(encoding, value)
    except CallCancelled:
        raise
    except Exception as error:
        raise not_serializable(what, value, error) from None


def of_json(value: Any) -> Answer:
    return RETURNED, _serialize.JSON, _serialize.encode(_serialize.JSON, value), None, None


def cancelled() -> Answer:
    return FAILED, 0, [], None, (_engine.codes["cancelled"], "the call was cancelled", {"started": "yes"})


def of_failure(encoding: int, error: BaseException) -> Answer:
    if isinstance(error, Refused):
        return FAILED, 0, [], None, error.failure
    snapshots = sys.modules.get("roundhouse._worker.snapshots")
    if snapshots is not None and isinstance(error, (ImportError, SyntaxError)):
        snapshots.tell_home(error)
    parts = _raised.encode(error) if encoding in (_serialize.PICKLE, _serialize.EMPTY) else []
    return RAISED, _serialize.PICKLE if parts else _serialize.EMPTY, parts, told(error), None


def told(error: BaseException) -> _engine.Raised:
    """Type, message and traceback as text."""
    from roundhouse._worker import traces

    kind = type(error)
    try:
        message = str(error)
    except Exception:
        message = "(its __str__ failed)"
    return f"{kind.__module__}.{kind.__qualname__}", _sendable(message), _sendable(traces.text_of(error))


def is_cancel(error: BaseException) -> bool:
    if isinstance(error, CallCancelled):
        return True
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and isinstance(error, asyncio.CancelledError)


def not_serializable(what: str, value: Any, error: Exception) -> Refused:
    if hasattr(type(value), "__next__") or hasattr(type(value), "__anext__"):
        # Its callers were told that it is no generator, so they would not take the items.
        return Refused(
            "unsupported",
            f"{what} is a {type(value).__name__}, which cannot travel: items are streamed from functions that are "
            "generators themselves. Try: `yield from` it there (`async for` and `yield`, if it is an async one), or "
            "return a list",
            {"started": "yes"},
        )
    from roundhouse import _blame
    from roundhouse.exceptions import NotSerializable

    found = error if isinstance(error, NotSerializable) else _blame.not_serializable(what, value, error)
    return Refused(
        "not_serializable", found.message, {"started": "yes", **{key: str(fact) for key, fact in found.facts.items()}}
    )


def _sendable(text: str) -> str:
    """Text may hold half characters, which UTF-8 refuses."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
