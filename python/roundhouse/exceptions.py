"""What Roundhouse raises when a call, a name or a cluster fails.

The exceptions of your own code are not among them: they arrive as what they are. Each of these is also the builtin
exception that fits it, so that code which never heard of Roundhouse catches it too::

    RoundhouseError
    ├── InvalidName (ValueError)            a name that no service or cluster can have
    ├── NotFound (KeyError)                 no service, object, method or cluster of that name
    ├── NameTaken                           the name belongs to something that is in use
    ├── WrongArguments (TypeError)          the call does not fit the signature
    ├── NotSerializable (TypeError)         a value that cannot travel
    ├── LimitExceeded                       a bound of the node's was reached
    ├── NotAllowed (PermissionError)        the node refuses this caller
    ├── Unsupported (NotImplementedError)   this version cannot do it
    ├── WorkerDied                          the process that ran the code is gone
    │   └── OutOfMemory (MemoryError)       killed for its memory
    ├── NodeLost (ConnectionError)          the daemon cannot be reached, or any longer
    ├── RunConflict                         a run of that name has other arguments, or other code
    ├── RecordDamaged                       what a node has stored is not what it wrote
    ├── CodeSyncError                       a project's code cannot be sent as it is
    ├── CallCancelled                       someone asked the call to stop
    ├── CallTimeout (TimeoutError)          no result in time
    ├── LaunchError                         compute could not be started
    ├── SetupError                          compute is there, its environment could not be made
    ├── ProtocolError                       a peer sent what the protocol does not allow
    ├── HostError (OSError)                 the operating system of a node refused: no room, no descriptors
    ├── RemoteError                         your code raised something that cannot be rebuilt here
    └── InternalError                       a mistake of ours

Every one has ``message`` and ``facts`` (what the engine knows about the failure, by name):

>>> import roundhouse as rh
>>> try:
...     raise rh.WorkerDied("the worker of 'fit' was killed", signal="9", stderr_tail="Loading\\n")
... except rh.RoundhouseError as error:
...     print(error.signal, error)
9 the worker of 'fit' was killed
last lines of its stderr:
    Loading
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# More than this of a dead worker's stderr is in `stderr_tail`; a traceback shows its end.
_STDERR_LINES_SHOWN = 12


class RoundhouseError(Exception):
    """The root of everything that Roundhouse raises of its own accord.

    ``message`` says what failed, on which name, and what to try; ``facts`` is a dict of what else is known. Facts are
    attributes as well: ``error.started`` says whether the code of the call that failed had begun to run, ``"no"``,
    ``"yes"``, or ``"unknown"`` where nobody is left who could know.

    >>> import roundhouse as rh
    >>> str(rh.RoundhouseError("no such thing"))
    'no such thing'
    """

    message: str
    facts: dict[str, Any]
    started: str = "unknown"

    def __init__(self, message: str = "", **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts
        for name, value in facts.items():
            if name not in ("args", "message", "facts") and not name.startswith("_"):
                setattr(self, name, _fact(name, value))

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.facts), self.__dict__.copy()


def _rebuild(kind: type[RoundhouseError], message: str, facts: dict[str, Any]) -> RoundhouseError:
    return kind(message, **facts)


# What a process wrote stays as it was written, be it a number.
_WORDS = frozenset(("stderr_tail", "traceback", "type", "name", "service", "run", "old", "new"))


def _fact(name: str, value: Any) -> Any:
    """Facts travel as text; the attribute is the number or truth that the text stands for. Seconds have fractions."""
    if isinstance(value, str) and name not in _WORDS:
        if name.endswith("_s"):
            try:
                return float(value)
            except ValueError:
                return value
        if value in ("True", "False"):
            return value == "True"
        digits = value[1:] if value[:1] == "-" else value
        if digits.isascii() and digits.isdigit() and len(digits) < 20:
            return int(value)
    return value


class InvalidName(RoundhouseError, ValueError):
    """A name has letters, digits, ``_``, ``-`` and ``.``, and begins with a letter, a digit or ``_``.

    >>> import roundhouse as rh
    >>> try:
    ...     rh.compute("not/a/name")
    ... except ValueError as error:
    ...     print(type(error).__name__)
    InvalidName
    """

    started: str = "no"


class NotFound(RoundhouseError, KeyError):
    """There is no service, object, method or cluster of that name; the message lists those that are there.

    >>> import roundhouse as rh
    >>> box = rh.compute("example").up_if_not()
    >>> try:
    ...     box.delete("no-such-service")
    ... except KeyError as error:
    ...     print(type(error).__name__)
    NotFound
    """

    started: str = "no"


class NameTaken(RoundhouseError):
    """The name belongs to a service that is in use; ``replace=True`` takes it all the same.

    >>> import roundhouse as rh
    >>> issubclass(rh.NameTaken, rh.RoundhouseError)
    True
    """

    started: str = "no"


class WrongArguments(RoundhouseError, TypeError):
    """The arguments do not fit the signature of what was called; nothing has run.

    >>> import roundhouse as rh
    >>> def half(x: float) -> float:
    ...     return x / 2
    >>> remote_half = rh.function(half).to(rh.compute("example").up_if_not())
    >>> try:
    ...     remote_half(1, 2)
    ... except rh.WrongArguments as error:
    ...     print("half(x: float) -> float" in str(error))
    True
    """

    started: str = "no"


class NotSerializable(RoundhouseError, TypeError):
    """A value cannot be turned into bytes; the message names the place where it sits.

    >>> import roundhouse as rh, threading
    >>> def first(things): return things[0]
    >>> remote_first = rh.function(first).to(rh.compute("example").up_if_not())
    >>> try:
    ...     remote_first([threading.Lock()])
    ... except rh.NotSerializable as error:
    ...     print(error.path)
    argument 'things'[0]
    """

    path: str = ""


class LimitExceeded(RoundhouseError):
    """A bound of the node's was reached: so many calls, services or workers at once.

    >>> import roundhouse as rh
    >>> issubclass(rh.LimitExceeded, rh.RoundhouseError)
    True
    """

    started: str = "no"


class NotAllowed(RoundhouseError, PermissionError):
    """The node refuses this caller, or its socket belongs to another user.

    >>> import roundhouse as rh
    >>> issubclass(rh.NotAllowed, PermissionError)
    True
    """

    started: str = "no"


class Unsupported(RoundhouseError, NotImplementedError):
    """This version cannot do what was asked, and says so rather than ignoring it.

    >>> import roundhouse as rh
    >>> try:
    ...     rh.compute("example").ssh_tunnel(8888)
    ... except NotImplementedError as error:
    ...     print(type(error).__name__)
    Unsupported
    """

    started: str = "no"


class WorkerDied(RoundhouseError):
    """The process that ran the code is gone: ``signal`` or ``exit_code`` and ``stderr_tail`` say how.

    ``peak`` is the most memory that it had, in bytes, as far as that is known, and ``uptime_s`` how long it lived.

    >>> import os, roundhouse as rh
    >>> def leave(): os._exit(3)
    >>> remote_leave = rh.function(leave).to(rh.compute("example").up_if_not())
    >>> try:
    ...     remote_leave()
    ... except rh.WorkerDied as error:
    ...     print(error.exit_code)
    3
    """

    signal: int | None = None
    exit_code: int | None = None
    stderr_tail: str = ""
    peak: int | None = None
    uptime_s: float | None = None

    @property
    def backtrace(self) -> str:
        """Where it crashed, innermost frame first, as far as it said so itself: C++ programs do, and Python does when a
        signal such as SIGSEGV ends it (``faulthandler``). Otherwise empty."""
        tail = str(self.stderr_tail)
        for words in ("*** crash: ", "Fatal Python error: "):
            begin = tail.rfind(words)
            if begin >= 0:
                return tail[begin:]
        return ""

    def __str__(self) -> str:
        tail = str(self.stderr_tail).rstrip()
        if not tail:
            return self.message
        if self.backtrace:
            lines = self.backtrace.rstrip().splitlines()[: _STDERR_LINES_SHOWN + 1]
            return "\n".join([self.message, *lines])
        lines = tail.splitlines()[-_STDERR_LINES_SHOWN:]
        return "\n".join([self.message, "last lines of its stderr:", *("    " + line for line in lines)])


class OutOfMemory(WorkerDied, MemoryError):
    """The worker, or a process that it started, was killed for its memory.

    In bytes, where they are known: ``limit`` is what it might have, ``peak`` what it had, ``growth`` by how much it had
    grown in the last ``growth_s`` seconds, and ``suggested_memory`` what to try next: half as much again as the limit,
    or up to twice as much where it grew that fast. ``enforced_by`` says who ended it: ``"cgroup2"``, ``"cgroup1"``,
    ``"monitor"``, or ``"kernel"`` when the machine had no memory left. Where the worker itself lives, there is neither
    ``signal`` nor ``exit_code``.

    >>> import roundhouse as rh
    >>> def fill(): return len(b"x" * (400 << 20))
    >>> remote_fill = rh.function(fill).to(rh.compute("example").up_if_not(), memory="200MiB")
    >>> try:
    ...     remote_fill()
    ... except MemoryError as error:
    ...     print(type(error).__name__, error.limit >> 20)
    OutOfMemory 200
    """

    limit: int | None = None
    growth: int | None = None
    growth_s: float | None = None
    suggested_memory: int | None = None
    enforced_by: str = ""


class NodeLost(RoundhouseError, ConnectionError):
    """The daemon cannot be reached. ``started`` says whether the call had begun: "no", "yes" or "unknown".

    >>> import roundhouse as rh
    >>> try:
    ...     rh.compute("example-that-is-down").ping()
    ... except ConnectionError as error:
    ...     print(type(error).__name__)
    NodeLost
    """


class RunConflict(RoundhouseError):
    """A run of that name is there already, with other arguments or other code: ``differs`` says what, ``old`` and
    ``new`` are both of them, ``run`` and ``attempt`` say which. Nothing has run.

    >>> import roundhouse as rh
    >>> half = rh.function(lambda x: x / 2).to(rh.compute("example").up_if_not(), name="half")
    >>> half.options(run_name="halved", replace=True)(4)
    2.0
    >>> try:
    ...     half.options(run_name="halved")(6)
    ... except rh.RunConflict as error:
    ...     print(error.differs, error.old, error.new)
    other arguments (4) (6)
    """

    started: str = "no"
    run: str = ""
    differs: str = ""
    old: str = ""
    new: str = ""


class RecordDamaged(RoundhouseError):
    """What a node has stored of a run is not what it wrote: its checksum does not fit. Other records can be read.

    >>> import roundhouse as rh
    >>> issubclass(rh.RecordDamaged, rh.RoundhouseError)
    True
    """


class CodeSyncError(RoundhouseError):
    """A project's code cannot be sent as it is: it is too big, its root is a home folder, a file of it keeps changing.

    >>> import roundhouse as rh
    >>> issubclass(rh.CodeSyncError, rh.RoundhouseError)
    True

    ``biggest`` names what a project that is too big holds, ``changed`` the file that did not keep still.
    """

    biggest: str = ""
    changed: str = ""


class CallCancelled(RoundhouseError):
    """Someone asked the call to stop. Raised inside the running code as well, where it can clean up.

    >>> import roundhouse as rh, time
    >>> def count():
    ...     while True:
    ...         time.sleep(0.01)
    >>> call = rh.function(count).to(rh.compute("example").up_if_not()).submit()
    >>> call.cancel()
    True
    >>> try:
    ...     call.result()
    ... except rh.CallCancelled:
    ...     print("stopped")
    stopped
    """

    still_running: bool = False


class CallTimeout(RoundhouseError, TimeoutError):
    """No result in time. ``still_running`` says whether the code goes on nevertheless.

    >>> import roundhouse as rh, time
    >>> call = rh.function(time.sleep).to(rh.compute("example").up_if_not()).submit(0.5)
    >>> try:
    ...     call.result(timeout=0.01)
    ... except TimeoutError as error:
    ...     print(type(error).__name__, error.still_running)
    CallTimeout True
    """

    still_running: bool = False


class LaunchError(RoundhouseError):
    """Compute could not be started; the message has the reason and the launcher's own words.

    >>> import roundhouse as rh
    >>> try:
    ...     rh.compute("example", host="10.0.0.1")
    ... except rh.LaunchError as error:
    ...     print(type(error).__name__)
    LaunchError
    """


class SetupError(RoundhouseError):
    """Compute is there, but the environment that the code needs could not be made on it.

    >>> import roundhouse as rh
    >>> issubclass(rh.SetupError, rh.RoundhouseError)
    True
    """


class ProtocolError(RoundhouseError):
    """A peer sent what the protocol does not allow: another version, or not Roundhouse at all.

    >>> import roundhouse as rh
    >>> issubclass(rh.ProtocolError, rh.RoundhouseError)
    True
    """


class HostError(RoundhouseError, OSError):
    """The operating system refused the node something: a full disk, no descriptors. ``errno`` is its number for that.

    >>> import errno, roundhouse as rh
    >>> try:
    ...     raise rh.HostError("cannot write /state/store: No space left on device", errno=str(errno.ENOSPC))
    ... except OSError as error:
    ...     print(error.errno == errno.ENOSPC, error)
    True cannot write /state/store: No space left on device
    """


class RemoteError(RoundhouseError):
    """Your code raised an exception that cannot be rebuilt here: ``type``, ``message`` and ``traceback`` are text.

    >>> import roundhouse as rh
    >>> error = rh.RemoteError("it broke", type="engine.Broken", traceback="")
    >>> str(error)
    'engine.Broken: it broke'
    """

    type: str = ""
    traceback: str = ""

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.type else self.message


class InternalError(RoundhouseError):
    """A mistake of ours; your process lives on. Please report it with its message.

    >>> import roundhouse as rh
    >>> issubclass(rh.InternalError, rh.RoundhouseError)
    True
    """


_by_number: dict[int, type[RoundhouseError]] = {}


def _kinds() -> dict[int, type[RoundhouseError]]:
    """By the engine's numbers; which of these is for which stands in its own table (src/base/result.cpp)."""
    if not _by_number:
        from roundhouse import _engine

        _by_number.update({number: globals()[name] for number, name in _engine.code_types.items()})
    return _by_number


def from_engine(code: int, message: str, facts: dict[str, str]) -> RoundhouseError:
    """The exception for one of the engine's errors."""
    return _kinds().get(code, RoundhouseError)(message, **facts)


def code_of(error: RoundhouseError) -> int:
    """The engine's code for an exception of ours, for its way back over the wire."""
    for code, kind in _kinds().items():
        if type(error) is kind:
            return code
    return 0  # "unknown"
