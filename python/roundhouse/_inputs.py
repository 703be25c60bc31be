"""Generators as arguments: they stay here, and a thread of each passes on what they yield when the worker wants it."""

from __future__ import annotations

import sys

from roundhouse import _engine, _raised, _serialize
from roundhouse._service import PUMPED
from roundhouse.exceptions import NotSerializable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from roundhouse._engine import Raised

_VALUE = 0
_EXCEPTION = 1
_END = 2

# How often a pump that waits for an event loop looks whether there is still somebody to pump for.
_LOOK_SECONDS = 1.0


class RemoteInput:
    """Stands for a generator among the arguments that travel; the worker makes an iterator of it."""

    def __init__(self, source: int, is_async: bool) -> None:
        self.source = source
        self.is_async = is_async

    def __reduce__(self) -> tuple[Any, ...]:
        return receive, (self.source, self.is_async)


def receive(source: int, is_async: bool) -> Any:
    """In the worker: the iterator over what comes for that argument."""
    from roundhouse._worker import inputs

    return inputs.make(source, is_async)


def taken_apart(
    args: tuple[Any, ...], kwargs: dict[str, Any], waited: bool
) -> tuple[tuple[Any, ...], dict[str, Any], Inputs | None]:
    """The arguments as they travel, and the generators among them, which do not. `waited`: this thread will block."""
    inputs = Inputs(waited)
    args = tuple(inputs.placeholder(value) if type(value) in PUMPED else value for value in args)
    kwargs = {name: inputs.placeholder(value) if type(value) in PUMPED else value for name, value in kwargs.items()}
    return args, kwargs, inputs if inputs.generators else None


class Inputs:
    """The generator arguments of one call."""

    def __init__(self, waited: bool) -> None:
        self.generators: list[Any] = []
        self._loop: Any = None
        asyncio = sys.modules.get("asyncio")
        if asyncio is not None and not waited:
            self._loop = asyncio._get_running_loop()

    def placeholder(self, generator: Any) -> RemoteInput:
        self.generators.append(generator)
        is_async = hasattr(generator, "__anext__") and not hasattr(generator, "__next__")
        return RemoteInput(len(self.generators), is_async)

    def pump(self, call: _engine.Call) -> None:
        """Starts to pass on what they yield. Ends with the call."""
        import contextvars
        import threading

        for source, generator in enumerate(self.generators, 1):
            step: Any = (
                _Steps(generator) if hasattr(generator, "__next__") else _AsyncSteps(generator, self._loop, call)
            )
            context = contextvars.copy_context()
            name = f"roundhouse-argument-{source}"
            threading.Thread(target=context.run, args=(_pump, call, source, step), name=name, daemon=True).start()


class _Steps:
    def __init__(self, generator: Any) -> None:
        self.generator = generator
        self.next = generator.__next__

    def close(self) -> None:
        close = getattr(self.generator, "close", None)
        if close is not None:
            close()


class _AsyncSteps:
    """An async generator takes its steps on the loop of whoever made the call, or on one of its own."""

    def __init__(self, generator: Any, loop: Any, call: _engine.Call) -> None:
        self.generator = generator
        self._call = call
        self._theirs = loop
        self._own: Any = None

    def next(self) -> Any:
        async def step() -> Any:
            return await self.generator.__anext__()

        try:
            return self._run(step())
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        async def close() -> None:
            await self.generator.aclose()

        try:
            self._run(close())
        except RuntimeError:
            # A loop that ends closes the async generators that are left on it.
            if self._theirs is None or self._theirs.is_running():
                raise
        finally:
            if self._own is not None:
                self._own.close()

    def _run(self, coroutine: Any) -> Any:
        import asyncio

        if self._theirs is None:
            if self._own is None:
                self._own = asyncio.new_event_loop()
            return self._own.run_until_complete(coroutine)
        from concurrent.futures import wait

        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._theirs)
        except RuntimeError:  # The loop is closed.
            coroutine.close()
            raise
        while not wait([future], _LOOK_SECONDS).done:
            if self._call.done() or not self._theirs.is_running():
                future.cancel()
                raise RuntimeError("the event loop that this async generator belongs to has stopped")
        return future.result()


def _pump(call: _engine.Call, source: int, steps: Any) -> None:
    try:
        while call.await_room(source):
            try:
                value = steps.next()
            except StopIteration:
                call.send_item(source, _END, _serialize.EMPTY, [])
                break
            except BaseException as error:
                encoding, parts, raised = failure_of(error)
                call.send_item(source, _EXCEPTION, encoding, parts, raised)
                break
            try:
                parts = _serialize.dumps(value)
            except Exception as error:
                encoding, parts, raised = failure_of(_unsendable(value, error))
                call.send_item(source, _EXCEPTION, encoding, parts, raised)
                break
            if not call.send_item(source, _VALUE, _serialize.PICKLE, parts):
                break
    except _engine.EngineError:
        # The connection is gone, which the caller hears as well.
        pass
    finally:
        try:
            steps.close()
        except Exception:
            sys.excepthook(*sys.exc_info())


def _unsendable(value: Any, error: Exception) -> Exception:
    from roundhouse import _blame

    if isinstance(error, NotSerializable):
        return error
    return _blame.not_serializable("an item of a generator that is an argument", value, error)


def failure_of(error: BaseException) -> tuple[int, list[Any], Raised]:
    """An exception on its way to the worker: encoding, parts, and what it is in words."""
    from roundhouse._worker import traces

    try:
        message = str(error)
    except Exception:
        message = "(its __str__ failed)"
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    parts = _raised.encode(error)
    text = traces.text_of(error).encode("utf-8", "backslashreplace").decode("utf-8")
    message = message.encode("utf-8", "backslashreplace").decode("utf-8")
    return (_serialize.PICKLE if parts else _serialize.EMPTY), parts, (kind, message, text)
