"""A process that has imported what workers need, and that they are forked from: a fresh worker without the wait.

It only imports: it starts no thread, connects to nothing and runs no code of a user's project. The keeper, which has
started it and holds the other end of its descriptor 3, passes on what the daemon says and asks for the forks
(protocol/node.md, Fork servers). Whatever goes wrong here, the keeper starts the worker in the other way."""

from __future__ import annotations

import gc
import json
import os
import select
import socket
import struct
import sys
import time
import warnings

from roundhouse import _engine
from roundhouse._worker import output, preload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from roundhouse._worker.preload import Modules

_KEEPER_FD = 3
_PACKET_BYTES_MAX = 256 * 1024
_TOLD_BYTES_MAX = 128 * 1024
# Made by one helper process, which is a copy of this one: the first waits for the last.
_FORKS_AT_ONCE = 16
# So often it is made anew to leave out modules; what is still to be imported then is imported by the workers.
_LIVES_MAX = 8
_PARENT_SECONDS_MAX = 5.0
# Kinds of messages (src/process/keeper_messages.cpp).
_START_FORKED = 20
_TELL = 22


def serve(known: frozenset[str]) -> None:
    """Returns in each process that is forked, as a worker that begins. In the fork server itself never.

    `known` are the modules that any worker has from its start."""
    # A module that keeps sys.stdout when it is imported keeps what it would in a worker.
    output.install()
    server = _ForkServer([int(number) for number in sys.argv[2:]], known)
    request = server.serve()
    server.become(request)


class _Request:
    """A process that the keeper asks for."""

    def __init__(self, fields: _Fields, descriptors: list[int]) -> None:
        self.id = fields.text()
        self.argv = fields.texts()
        self.env = fields.texts()
        self.cwd = fields.text()
        fields.text(), fields.text()  # Where its output goes, which is open here already.
        fields.skip(4 * fields.number())  # Its CPUs and
        fields.skip(8)  # memory, which the keeper sees to.
        fields.text()
        self.import_path = [os.fsdecode(entry) for entry in fields.texts()]
        self.socket, self.out, self.err = descriptors

    def variables(self) -> dict[bytes, bytes]:
        return dict(entry.split(b"=", 1) for entry in self.env if b"=" in entry)

    def close(self) -> None:
        for descriptor in (self.socket, self.out, self.err):
            os.close(descriptor)


class _Fields:
    def __init__(self, packet: bytes) -> None:
        self._packet = packet
        self._at = 5  # Behind its length and its kind.

    def number(self) -> int:
        (value,) = struct.unpack_from("<I", self._packet, self._at)
        self._at += 4
        return value  # type: ignore[no-any-return]

    def text(self) -> bytes:
        size = self.number()
        self._at += size
        return self._packet[self._at - size : self._at]

    def texts(self) -> list[bytes]:
        return [self.text() for _ in range(self.number())]

    def skip(self, count: int) -> None:
        self._at += count


class _ForkServer:
    def __init__(self, state: list[int], known: frozenset[str]) -> None:
        self._keeper = socket.socket(fileno=_KEEPER_FD)
        self._keeper_pid = os.getppid()
        self._id = os.environb[b"ROUNDHOUSE_WORKER"]
        # As it began, before any module could change it.
        self._environment = dict(os.environb)
        self._path = list(sys.path)
        self._lives = 1
        self._forks = 0
        self._busy = False
        said: dict[str, Any] = {}
        # What workers of this kind are started with, before their arguments.
        self._program = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]
        self._script = sys.argv[0]
        if state:
            with os.fdopen(state[0], "rb") as file:
                said = json.load(file)
            self._lives = said["lives"] + 1
            self._forks = said["forks"]
        # Of the import path that its workers have; without any, they have the interpreter's own.
        self._packages: list[str] = said.get("asked", [])
        self._modules: Modules = preload.Modules(said, known)

    def serve(self) -> _Request:
        self._busy = bool(self._modules.wanted)
        self._tell()
        while True:
            busy = self._busy
            if not self._wait(None if not busy else 0):
                self._go_on()
                continue
            forked = self._read()
            if forked is not None:
                return forked

    def _wait(self, timeout: float | None) -> bool:
        return bool(select.select([self._keeper], [], [], timeout)[0])

    def _go_on(self) -> None:
        """With the imports, one at a time."""
        if self._modules.import_next():
            return
        if self._modules.is_spoiled:
            self._begin_anew()
        self._modules.note_files()
        self._busy = False
        gc.collect()
        self._tell()

    def _begin_anew(self) -> None:
        """As another program in this process: the keeper's socket is kept, and what is asked there meanwhile."""
        state = self._modules.state() | {"lives": self._lives, "forks": self._forks, "asked": self._packages}
        if self._lives >= _LIVES_MAX:
            for name in state["wanted"]:
                state["after_fork"].setdefault(name, "too many others are left out")
        file = os.memfd_create("fork server", 0)
        os.write(file, json.dumps(state).encode())
        os.lseek(file, 0, os.SEEK_SET)
        os.set_inheritable(_KEEPER_FD, True)
        os.execve(sys.executable, [*self._program, "--fork-server", str(file)], self._environment)

    def _tell(self) -> None:
        modules = self._modules
        said = {
            "busy": self._busy,
            "modules": modules.shown(),
            "after_fork": modules.after_fork,
            "forks": self._forks,
            "packages": self._packages,
            "read": sorted(modules.read),
            "prefixes": preload.PREFIXES,
            "own": preload.OWN_OF_WORKERS,
            "cwd": self._modules.is_of_this_folder,
        }
        text = json.dumps(said).encode()
        if len(text) > _TOLD_BYTES_MAX:
            text = json.dumps(said | {"modules": [], "after_fork": {}, "busy": True}).encode()
        body = struct.pack("<BI", _TELL, len(self._id)) + self._id + struct.pack("<I", len(text)) + text
        self._keeper.send(struct.pack("<I", len(body)) + body)

    def _read(self) -> _Request | None:
        """What the keeper says; in a forked process, its request."""
        requests: list[_Request] = []
        while True:
            packet, descriptors, _, _ = socket.recv_fds(self._keeper, _PACKET_BYTES_MAX, 3)
            if not packet:
                os._exit(0)
            if packet[4] == _START_FORKED and len(descriptors) == 3:
                requests.append(_Request(_Fields(packet), descriptors))
            elif packet[4] == _TELL:
                self._hear(_Fields(packet))
            if len(requests) >= _FORKS_AT_ONCE or not self._wait(0):
                break
        return self._fork(requests) if requests else None

    def _hear(self, fields: _Fields) -> None:
        fields.text()
        said = json.loads(fields.text())
        self._packages = preload.packages_in(said["import_path"])
        if self._modules.want(said["import"], self._packages or preload.packages_in(self._path)):
            self._busy = True
            self._tell()

    def _fork(self, requests: list[_Request]) -> _Request | None:
        if not self._modules.are_as_imported():
            # A package was installed over one that is here.
            os._exit(0)
        wanted = [request for request in requests if self._fits(request)]
        forked = self._fork_twice(wanted) if wanted else None
        if forked is not None:
            for request in requests:
                if request is not forked:
                    request.close()
            self._keeper.close()
            return forked
        for request in requests:
            request.close()
        self._forks += len(wanted)
        self._tell()
        return None

    def _fits(self, request: _Request) -> bool:
        if self._modules.is_spoiled or self._modules.hidden_by(request.import_path):
            return False
        theirs = request.variables()

        def matters(name: bytes) -> bool:
            text = os.fsdecode(name)
            return text in self._modules.read or (
                text.startswith(preload.PREFIXES) and text not in preload.OWN_OF_WORKERS
            )

        if request.cwd != os.getcwdb() and self._modules.is_of_this_folder:
            return False
        names = {*theirs, *self._environment}
        return all(theirs.get(name) == self._environment.get(name) for name in names if matters(name))

    def _fork_twice(self, requests: list[_Request]) -> _Request | None:
        """The process between is gone when this returns, so that the new ones are children of the keeper's."""
        gc.freeze()
        try:
            between = _forked()
        except OSError:
            return None
        if between != 0:
            os.waitpid(between, 0)
            return None
        try:
            for request in requests:
                if _forked() == 0:
                    return request
        except OSError:
            pass
        os._exit(0)

    def become(self, request: _Request) -> None:
        """A worker like any other, once the keeper says so. Where anything of this fails, that starts one itself."""
        try:
            self._leave_server(request)
            self._begin_afresh(request)
            os.write(request.socket, struct.pack("=i", os.getpid()))
            if os.read(request.socket, 1) != b"g":
                os._exit(1)
            os.close(request.socket)
        except BaseException:
            os._exit(1)

    def _leave_server(self, request: _Request) -> None:
        """A process of its own, as the keeper and the kernel see it."""
        deadline = time.monotonic() + _PARENT_SECONDS_MAX
        while os.getppid() != self._keeper_pid:
            if time.monotonic() > deadline:
                os._exit(1)
            time.sleep(0.0002)
        if not _engine.end_with_parent(self._keeper_pid):
            os._exit(1)
        os.setsid()
        os.dup2(request.out, 1)
        os.dup2(request.err, 2)
        os.close(request.out)
        os.close(request.err)
        os.chdir(request.cwd)

    def _begin_afresh(self, request: _Request) -> None:
        """The interpreter of a program that has just begun."""
        _set_environment(request.variables(), self._modules.end())
        # Now that the C library reads nothing there any more.
        shown = sorted(request.env, key=lambda entry: not entry.startswith(b"ROUNDHOUSE_"))
        if not _engine.show_process(request.argv, shown):
            os._exit(1)
        sys.orig_argv = [os.fsdecode(argument) for argument in request.argv]
        sys.argv = [self._script, *sys.orig_argv[len(self._program) :]]
        sys.path[:] = self._path
        sys.path_importer_cache.clear()
        for module, do in _AFRESH.items():
            if (found := sys.modules.get(module)) is not None:
                do(found)


def _forked() -> int:
    with warnings.catch_warnings():
        # Of threads that are known to end before a fork.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _set_environment(variables: dict[bytes, bytes], written: dict[bytes, bytes | None]) -> None:
    """What the modules had set while they were imported, they would have set here."""
    for name in list(os.environb):
        del os.environb[name]
    for name, value in variables.items():
        os.environb[name] = value
    for name, changed in written.items():
        if changed is None:
            os.environb.pop(name, None)
        else:
            os.environb[name] = changed
    time.tzset()


def _afresh_multiprocessing(process: Any) -> None:
    process.ORIGINAL_DIR = os.getcwd()
    current = process.current_process()
    current._config["authkey"] = process.AuthenticationString(os.urandom(32))
    current._children = set()


def _afresh_logging(logging: Any) -> None:
    logging._startTime = time.time_ns() if sys.version_info >= (3, 13) else time.time()


# What a module has drawn or noted for its process, whose fork is another one.
_AFRESH: dict[str, Callable[[Any], object]] = {
    "random": lambda random: random.seed(),
    "numpy.random": lambda random: random.seed(),
    "torch": lambda torch: torch.default_generator.seed(),
    "multiprocessing.process": _afresh_multiprocessing,
    "logging": _afresh_logging,
}
