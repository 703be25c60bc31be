"""Generators: their items go to the caller as they come, and no faster than the caller wants them.

A generator runs only while its caller has asked for more. When nobody listens any more it is closed, so that its
`finally` runs, and no cancel interrupts that."""

from __future__ import annotations

from _pickle import dumps as _dumps

from roundhouse import _raised, _serialize
from roundhouse._worker import answers, inputs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator
    from typing import Any

    from roundhouse._worker.loop import Loop
    from roundhouse._worker.output import CallOutput

# Values that pickle by themselves, whatever they hold: no buffers, no names.
_PLAIN = frozenset((int, float, bool, type(None), str, bytes, complex))
# An async generator that never awaits lets others run after so many items.
_BREATH = 128


def encoder(encoding: int, what: str) -> Callable[[Any], Any]:
    """Makes what `Host.item` takes of a value."""
    if encoding != _serialize.PICKLE:
        return lambda value: answers.encoded(encoding, value, what)

    def pickled(value: Any) -> Any:
        if type(value) in _PLAIN:
            return _dumps(value, 5)
        parts = answers.encoded(_serialize.PICKLE, value, what)
        return parts[0] if len(parts) == 1 else parts

    return pickled


def run(
    call: CallOutput, generator: Iterator[Any], encoding: int, prefetch: int, called: str, running: dict[int, Any]
) -> answers.Answer:
    """Streams it to its end, on this thread. In `running` stands None while the generator is closed."""
    id, host, item = call.id, call.host, call.host.item
    encoding = encoding or _serialize.PICKLE
    encode = encoder(encoding, f"an item of {called}")
    advance: Callable[[], Any] = generator.__next__
    plain = _PLAIN if encoding == _serialize.PICKLE else ()
    running[id] = generator
    try:
        listening = host.await_room(id) > 0
        if listening and prefetch == 0 and hasattr(generator, "send"):
            advance = _taking(call, generator)
        while listening:
            try:
                value = advance()
            except StopIteration as stop:
                return answers.of_value(encoding, stop.value, f"what {called} returned")
            data = _dumps(value, 5) if type(value) in plain else encode(value)
            listening = item(id, encoding, data) > 0
        return answers.cancelled()
    finally:
        running[id] = None
        try:
            close = getattr(generator, "close", None)
            if close is not None:
                close()
        finally:
            del running[id]


def _taking(call: CallOutput, generator: Any) -> Callable[[], Any]:
    """Advances it with what its caller has sent, if anything."""
    begun = False

    def advance() -> Any:
        nonlocal begun
        given = call.host.next_input(call.id, 0, False) if begun else None
        begun = True
        if given is None:
            return next(generator)
        kind, encoding, parts, raised = given
        if kind == inputs.VALUE:
            return generator.send(_serialize.decode(encoding, parts))
        if kind == inputs.RAISED:
            return generator.throw(_raised.decode(parts, raised))
        generator.close()
        raise StopIteration

    return advance


async def run_async(
    call: CallOutput, generator: AsyncGenerator[Any, Any], encoding: int, prefetch: int, called: str, loop: Loop
) -> answers.Answer:
    """The same on the loop."""
    import asyncio

    id, host, item = call.id, call.host, call.host.item
    encoding = encoding or _serialize.PICKLE
    encode = encoder(encoding, f"an item of {called}")
    sent = 0
    try:
        state = await loop.await_room(call, 0)
        while state > 0:
            given = host.next_input(id, 0, False) if prefetch == 0 and sent else None
            try:
                value = await (generator.__anext__() if given is None else _give(generator, given))
            except StopAsyncIteration:
                return answers.of_value(encoding, None, called)
            state = item(id, encoding, encode(value), False)
            sent += 1
            if state == 0:
                state = await loop.await_room(call, 0)
            elif sent % _BREATH == 0:
                await asyncio.sleep(0)
        return answers.cancelled()
    finally:
        loop.leave(id)
        close = getattr(generator, "aclose", None)
        if close is not None:
            await close()


async def _give(generator: AsyncGenerator[Any, Any], given: Any) -> Any:
    kind, encoding, parts, raised = given
    if kind == inputs.VALUE:
        return await generator.asend(_serialize.decode(encoding, parts))
    if kind == inputs.RAISED:
        return await generator.athrow(_raised.decode(parts, raised))
    await generator.aclose()
    raise StopAsyncIteration
