"""The worker's one event loop: `async def` methods of all its services run on it, so that they can share locks, queues
and connections across calls. It has a thread of its own, which the first such call starts."""

from __future__ import annotations

import asyncio
import sys
import threading
from _contextvars import Context, copy_context
from _thread import allocate_lock
from collections import deque

from roundhouse._context import current_call
from roundhouse._worker import answers, output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from roundhouse._worker.runner import Runner

    # A call, its encoding, what to await, what makes the answer of that, and the context to run in.
    Work: TypeAlias = tuple[output.CallOutput, int, Any, Callable[[Any], answers.Answer], Context]

_GONE = object()
# Instead of a task, one that cleans up: a cancel does not interrupt that.
_LEAVING = object()


class Loop:
    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._lock = allocate_lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        # The calls that run here, by id; None for one that has not begun. Whoever takes a call out answers it.
        self._tasks: dict[int, Any] = {}
        self._new: deque[Work] = deque()
        self._woken = False
        # Streams that wait until their caller wants more.
        self._rooms: dict[int, asyncio.Event] = {}

    # From any thread.

    def start(
        self, call: output.CallOutput, encoding: int, awaitable: Any, then: Callable[[Any], answers.Answer]
    ) -> None:
        """Awaits it on the loop, in a copy of this context; its answer follows by itself."""
        loop = self._loop or self._open()
        self._tasks[call.id] = None
        self._new.append((call, encoding, awaitable, then, copy_context()))
        if not self._woken:
            self._woken = True
            loop.call_soon_threadsafe(self._begin)

    def take_back(self, id: int) -> None:
        """The call is answered otherwise."""
        task = self._tasks.pop(id, _GONE)
        if isinstance(task, asyncio.Task) and self._loop is not None:
            self._loop.call_soon_threadsafe(task.cancel)

    def cancel(self, id: int) -> bool:
        """False for a call that does not run here."""
        if id not in self._tasks or self._loop is None:
            return False
        self._loop.call_soon_threadsafe(self._cancel, id)
        return True

    def room(self, id: int) -> None:
        event = self._rooms.get(id)
        if event is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(event.set)

    def tasks(self) -> list[tuple[int, asyncio.Task[Any]]]:
        """Those that are there just now, each with the call that it is, or 0."""
        calls = {task: id for id, task in list(self._tasks.items())}
        found = set() if self._loop is None else asyncio.all_tasks(self._loop)
        return [(calls.get(task, 0), task) for task in found]

    def _open(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                threading.Thread(target=self._serve, args=(loop,), name="roundhouse-loop", daemon=True).start()
                self._loop = loop
            return self._loop

    # On the loop's thread.

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        current_call.set(None)  # Inherited from the call that started this thread.
        asyncio.set_event_loop(loop)
        while True:
            try:
                loop.run_forever()
            except BaseException:
                # A task of user code's own raised SystemExit, which stops a loop. Others' calls are on this one.
                sys.excepthook(*sys.exc_info())

    def _begin(self) -> None:
        loop = self._loop
        assert loop is not None
        self._woken = False
        while self._new:
            call, encoding, awaitable, then, context = self._new.popleft()
            if call.id not in self._tasks:
                _close(awaitable)
            elif call.id in self._runner.cancelling:
                # A task that is cancelled before it begins never runs at all.
                _close(awaitable)
                self._finish(call, answers.cancelled())
            else:
                run = self._run(call, encoding, awaitable, then)
                self._tasks[call.id] = context.run(loop.create_task, run)

    async def _run(
        self, call: output.CallOutput, encoding: int, awaitable: Any, then: Callable[[Any], answers.Answer]
    ) -> None:
        try:
            answer = then(await awaitable)
        except BaseException as error:
            if output.is_forked():
                self._runner.leave_child()
            answer = self._runner.failure(call.id, encoding, error)
        if output.is_forked():
            self._runner.leave_child()
        self._finish(call, answer)

    def _finish(self, call: output.CallOutput, answer: answers.Answer) -> None:
        if self._tasks.pop(call.id, _GONE) is not _GONE:
            self._runner.end(call)
            call.host.finish(call.id, answer)

    def _cancel(self, id: int) -> None:
        task = self._tasks.get(id)
        if isinstance(task, asyncio.Task):
            task.cancel()

    # For streams, in their own task.

    async def await_room(self, call: output.CallOutput, state: int) -> int:
        """Waits until another item is wanted, from what item() or await_room() just said: 1, or -1 as they do."""
        event = self._rooms.get(call.id)
        if event is None:
            event = self._rooms[call.id] = asyncio.Event()
        while state == 0:
            event.clear()
            state = call.host.await_room(call.id, False)
            if state == 0:
                await event.wait()
        return state

    def leave(self, id: int) -> None:
        """The stream ends: what remains to be done is not to be interrupted."""
        self._rooms.pop(id, None)
        if id in self._tasks:
            self._tasks[id] = _LEAVING


def _close(awaitable: Any) -> None:
    close = getattr(awaitable, "close", None)
    if close is not None:
        close()
