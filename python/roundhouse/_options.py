"""What `.options(...)`, and Runhouse's keywords on a call, say about how a call is made."""

from __future__ import annotations

from roundhouse.exceptions import WrongArguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Runhouse's, accepted on the call itself where the user's own signature leaves them free.
KEYWORDS = frozenset(("stream_logs", "run_name", "remote", "run_async", "save"))

PREFETCH = 1024

_FIELDS = {
    "timeout": None,
    "kill": False,
    "name": None,
    "replace": False,
    "process": None,
    "stream_logs": True,
    "run_async": None,
    "remote": False,
    "prefetch": None,
    "run_name": None,
    "accept_old_code": False,
    "keep_for": None,
    "keep_bytes": None,
    "webhook": None,
    "run_store": None,
    "retries": 0,
    "backoff": 0.2,
    "retry_on": (),
    "idempotent": False,
    "debug": False,
}
# They say how a call is made again, which only `retries` says that it is.
_OF_RETRIES = ("backoff", "retry_on", "idempotent")


class Options:
    """How a call is made. Never changed: `merged` gives another."""

    __slots__ = tuple(_FIELDS)

    timeout: float | None
    kill: bool
    name: str | None
    replace: bool
    process: str | None
    stream_logs: bool
    run_async: bool | None
    remote: bool
    prefetch: int | None
    run_name: str | None
    accept_old_code: bool
    keep_for: Any
    keep_bytes: int | None
    webhook: str | None
    run_store: Any
    retries: int
    backoff: float
    retry_on: type[Exception] | tuple[type[Exception], ...]
    idempotent: bool
    debug: bool

    def __init__(self) -> None:
        for field, default in _FIELDS.items():
            setattr(self, field, default)

    def merged(self, given: dict[str, Any]) -> Options:
        """These, with what is given laid over them."""
        made = Options()
        for field in _FIELDS:
            setattr(made, field, getattr(self, field))
        for field, value in given.items():
            if field in _FIELDS:
                setattr(made, field, value)
            elif field != "save":
                raise WrongArguments(_unknown(field))
        for field in _OF_RETRIES:
            if field in given and "retries" not in given and not made.retries:
                raise WrongArguments(f"{field}= says how a call is made again. Try: retries=3 beside it")
        if made.run_name is not None and made.remote:
            # Runhouse's meaning: the value stays there, under that name.
            made.name, made.run_name = made.run_name, None
        made._check()
        return made

    def _check(self) -> None:
        timeout, prefetch = self.timeout, self.prefetch
        if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or timeout < 0):
            raise ValueError(f"timeout= is a number of seconds, or None for no deadline, not {timeout!r}")
        if prefetch is not None and (isinstance(prefetch, bool) or not isinstance(prefetch, int) or prefetch < 0):
            raise ValueError(f"prefetch= is how many items may be under way, 0 or more, not {prefetch!r}")
        if self.retries or self.backoff != _FIELDS["backoff"] or self.retry_on:
            from roundhouse import _retries

            _retries.check(self)

        if self.run_name is not None and (not isinstance(self.run_name, str) or not self.run_name):
            raise ValueError(f"run_name= is the run's name, a text, not {self.run_name!r}")
        whole("keep_bytes", self.keep_bytes)
        if self.webhook is not None and self.run_name is None:
            raise WrongArguments("webhook= is told how a run has ended. Try: run_name=... beside it")
        if self.run_store is not None:
            from roundhouse import _run_store

            self.run_store = _run_store.place_of(self.run_store)
            if self.run_name is None:
                raise WrongArguments("run_store= keeps a run beyond its compute. Try: run_name=... beside it")

    def __reduce__(self) -> tuple[Any, ...]:
        changed = {field: getattr(self, field) for field in _FIELDS if getattr(self, field) != _FIELDS[field]}
        return (revive, (changed,)) if changed else (revive, ())


DEFAULT = Options()


def revive(given: dict[str, Any] | None = None) -> Options:
    return DEFAULT.merged(given) if given else DEFAULT


def _unknown(field: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(field, _FIELDS, 1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f".options() has no option {field!r}; it has {', '.join(_FIELDS)}.{hint}"


def bytes_of(memory: int | str) -> int:
    """ "2GiB", "512 MB" or a number of bytes, as bytes."""
    from roundhouse import _sizes

    return _sizes.parse_bytes(memory, "memory")


def whole(what: str, value: int | None, least: int = 0) -> int | None:
    """A count that somebody gave: a whole number, or None."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise ValueError(f"{what}= is a whole number of at least {least}, not {value!r}")
    return value


def keywords_of(signature: Any) -> frozenset[str] | None:
    """The names that the user's function takes; None where it takes any keyword."""
    parameters = signature.parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return frozenset(parameter.name for parameter in parameters)
