"""The methods that every service has, whatever its class, as protocol/node.md tells of them: `@get`, `@map`, .."""

from __future__ import annotations

from roundhouse import _raised, _serialize
from roundhouse._context import current_call
from roundhouse._worker import answers, services
from roundhouse._worker.answers import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def call(service: services.Service, method: str, args: Sequence[Any], cancelling: set[int], id: int) -> Any:
    """What the method returns; for `@map` over an async method, what to await for that."""
    try:
        if method == "@get":
            (name,) = args
            return getattr(service.target, name)
        if method == "@set":
            name, value = args
            return setattr(service.target, name, value)
        if method == "@fetch":
            () = args
            return service.target
        if method == "@state":
            () = args
            from roundhouse._state import State

            return State(service.target)
        if method == "@map":
            name, calls = args
            return _map(service, name, calls, cancelling, id)
        if method == "@debug":
            name, lines, positional, named = args
            return _debug(service, name, lines, positional, named)
    except ValueError as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is None:
            raise Refused("bad_arguments", f"{method} of {service.name!r}: {error}") from None
        raise
    raise Refused(
        "not_found", f"a service has no method {method!r}; every one has @get, @set, @fetch, @map, @state, @debug"
    )


def _debug(service: services.Service, name: str, lines: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """The call itself, whose `breakpoint()` takes those lines (debugger.py)."""
    from roundhouse._worker.inputs import Items

    if not isinstance(lines, Items):
        # What is typed is code, which only those may send who may send a pickle, as which alone these come.
        raise Refused("not_allowed", f"@debug of {service.name!r} runs code: its lines come from its caller's debugger")
    function, kind = service.find(name)
    if kind not in ("sync", "async"):
        raise Refused("unsupported", f"{service.called(name)} is a generator, which cannot be debugged from its caller")
    call = current_call.get()
    assert call is not None
    call.lines = lines
    return services.call(function, args, kwargs, service.called(name))


def _map(service: services.Service, name: str, calls: Sequence[Any], cancelling: set[int], id: int) -> Any:
    function, kind = service.find(name)
    called = service.called(name)
    if kind not in ("sync", "async"):
        raise Refused("unsupported", f"{called} is a generator, which cannot be mapped. Try: call it for each")
    if kind == "async":
        return _map_async(function, calls, called)
    results: list[Any] = []
    for args, kwargs in calls:
        if id in cancelling:
            break  # The cancel struck where it could not be raised; the answer is not read by anybody.
        try:
            results.append((True, services.call(function, args, kwargs, called)))
        except BaseException as error:
            if id in cancelling or isinstance(error, Refused):
                raise
            results.append(failed(error))
            break
    return results


async def _map_async(function: Any, calls: Sequence[Any], called: str) -> list[Any]:
    """All at once, as asyncio.gather would; those behind a failed one are cancelled."""
    import asyncio

    async def one(args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        # Nothing is left to the task: it would pass a SystemExit on to the loop.
        try:
            return True, await services.call(function, args, kwargs, called)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            return error if isinstance(error, Refused) else failed(error)

    tasks = [asyncio.ensure_future(one(args, kwargs)) for args, kwargs in calls]
    results: list[Any] = []
    try:
        for task in tasks:
            result = await task
            if isinstance(result, Refused):
                raise result
            results.append(result)
            if not result[0]:
                break
    finally:
        for task in tasks:
            task.cancel()
    return results


def failed(error: BaseException) -> tuple[bool, Any, Any]:
    told = answers.told(error)
    return False, _raised.Carried(error, told), told


def answer(encoding: int, value: Any, what: str, accept: str = "") -> answers.Answer:
    if value is None:
        return answers.of_value(encoding, None, what)
    if encoding not in (_serialize.PICKLE, _serialize.EMPTY) and isinstance(value, list):
        # Other languages get no exception but its text.
        value = [
            (False, None, entry[2]) if isinstance(entry, tuple) and len(entry) == 3 and not entry[0] else entry
            for entry in value
        ]
    return answers.of_value(encoding, value, what, accept)
