"""Sending a function, a class or an object to a cluster: into workers of its own, or into a process that is there."""

from __future__ import annotations

import os
import sys

from roundhouse import _options, _prepared, _secret_variables, _serialize
from roundhouse._service import Service
from roundhouse.exceptions import NameTaken, NotFound, SetupError, WorkerDied, WrongArguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from roundhouse._cluster import Cluster
    from roundhouse._link import Link
    from roundhouse._prepared import Prepared
    from roundhouse._program import Program

# What the program's own module is called, also where multiprocessing spawned this process.
_PROGRAM = ("__main__", "__mp_main__")
_TIMES_SENT_MAX = 3


class Placement:
    """Where and how a service is to live, as `.to(...)` was told."""

    __slots__ = (
        *("cpus", "gpus", "max_concurrency", "max_queue", "memory", "name", "process", "replace", "sync_local"),
        "workers",
    )

    def __init__(
        self,
        name: str | None = None,
        process: str | dict[str, Any] | None = None,
        workers: int = 1,
        memory: int | str | None = None,
        cpus: int | None = None,
        gpus: int | None = None,
        replace: bool = False,
        max_concurrency: int | None = None,
        max_queue: int | None = None,
        sync_local: bool = True,
    ) -> None:
        self.name = name
        self.sync_local = sync_local
        self.process = process
        self.replace = replace
        self.workers: int = _options.whole("workers", workers, 1) or 1
        self.memory = None if memory is None else _options.bytes_of(memory)
        self.cpus = _options.whole("cpus", cpus)
        self.gpus = _options.whole("gpus", gpus)
        self.max_concurrency = _options.whole("max_concurrency", max_concurrency)
        self.max_queue = _options.whole("max_queue", max_queue)

    def check(self, kind: str, name: str) -> None:
        if kind != "function" and self.workers > 1:
            raise WrongArguments(
                f"workers={self.workers} is for functions: an {'instance' if kind == 'object' else 'object'} of "
                f"{name!r} lives in one process, and calls to it go there. Try: leave workers= out, or .replicate()"
            )
        caps = {"memory": self.memory, "cpus": self.cpus, "gpus": self.gpus}
        given = [cap for cap, value in caps.items() if value is not None]
        if self.process is not None and given:
            raise WrongArguments(
                f"{given[0]}= caps a worker that .to() makes, and process= names one that has its own caps. "
                f"Try: process={{'name': ..., 'compute': {{...}}}}, or leave process= out"
            )
        if self.process is not None and self.workers > 1:
            raise WrongArguments(
                f"workers={self.workers} makes worker processes of {name!r}'s own, and process= names one that is "
                "shared. Try: leave one of them out"
            )


class Own(Placement):
    """Of a service of the node's own, whose workers have nothing of the cluster's image."""

    __slots__ = ()


def _source(prepared: Prepared | None) -> dict[str, Any]:
    """What the worker needs besides the code: where to import from, and which log records are wanted."""
    source: dict[str, Any] = {"sys_path": import_path(prepared)}
    logging = sys.modules.get("logging")
    if logging is not None and logging.getLogger().handlers:
        source["logging"] = logging.getLogger().level
    return source


def import_path(prepared: Prepared | None) -> list[str]:
    """From where a worker imports: this process's path, as far as the image has nothing in its place."""
    return _path() if prepared is None else prepared.path(_path())


def _path() -> list[str]:
    found = []
    for entry in sys.path:
        if not isinstance(entry, str):
            continue
        try:
            found.append(os.path.abspath(entry))
        except FileNotFoundError:  # Within the current folder, which was deleted under us, so nothing is there.
            continue
    return found


def deploy(cluster: Cluster, kind: str, target: Any, placement: Placement, exist_ok: bool = False) -> Service:
    """Sends a function, a class or an object there, and returns the service that it is there.

    With `exist_ok` what has the name already is taken instead, and whoever makes that just now is waited for.
    """
    if not sys.executable:
        raise SetupError(
            "sys.executable is empty, so the worker's interpreter is not known. Try: set it before sending"
        )
    called = getattr(target, "__name__", None) or type(target).__name__
    name = placement.name if placement.name is not None else called.strip("<>")
    placement.check(kind, name)
    prepared = None if isinstance(placement, Own) else _prepared.of(cluster)
    request: dict[str, Any] = {
        "name": name,
        "kind": kind,
        "source": _source(prepared),
        "encoding": _serialize.PICKLE,
        "replace": bool(placement.replace),
        "exist_ok": exist_ok,
        "max_concurrency": placement.max_concurrency or 0,
        "max_queue": placement.max_queue or 0,
    }
    if exist_ok and kind == "object":
        request["of_class"] = type(target).__qualname__
    for _ in range(_TIMES_SENT_MAX - 1):
        try:
            return _deployed(cluster, kind, called, target, placement, request, prepared)
        except NotFound as error:
            # Newer ones of that project came so fast that this was collected before it was deployed.
            if "snapshot" not in error.facts:
                raise
    return _deployed(cluster, kind, called, target, placement, request, prepared)


def _deployed(
    cluster: Cluster,
    kind: str,
    called: str,
    target: Any,
    placement: Placement,
    request: dict[str, Any],
    prepared: Prepared | None,
) -> Service:
    link = cluster._link
    if placement.process is not None:
        _send_code(link, kind, target, placement, request)
        parts = _encoded(kind, called, target)
        request["process"] = process_on(cluster, placement.process, f"{request['name']}_process")
        return Service(cluster, link.ask_node("deploy", request, parts))
    started = link.ask_node("start", _start_request(target, placement, request, prepared))
    if "service" in started:
        return Service(cluster, started["service"])
    try:
        # While the workers start.
        _send_code(link, kind, target, placement, request)
        parts = _encoded(kind, called, target)
    except BaseException:
        link.ask_node("abandon", started)
        raise
    request["workers"] = started["workers"]
    return Service(cluster, link.ask_node("deploy", request, parts))


def deploy_program(
    cluster: Cluster, kind: str, callable_name: str, program: Program, placement: Placement, exist_ok: bool = False
) -> Service:
    """Starts a program of another language there, and gives what it serves under that name a name on the cluster."""
    name = placement.name or callable_name
    placement.check(kind, name)
    link = cluster._link
    started = {"command": program.command, "env": {**environ(_prepared.of(cluster)), **program.env}, "cwd": folder()}
    request: dict[str, Any] = {
        "name": name,
        "kind": kind,
        "source": {"callable": callable_name},
        "encoding": _serialize.EMPTY,
        "replace": bool(placement.replace),
        "exist_ok": exist_ok,
        "max_concurrency": placement.max_concurrency or 0,
        "max_queue": placement.max_queue or 0,
    }
    if placement.process is not None:
        link.ask_node("create_process", {"name": placement.process, "vars": {}, "exist_ok": True, **started})
        request["process"] = placement.process
    else:
        caps = {"cpus": placement.cpus, "gpus": placement.gpus, "memory": placement.memory}
        sought = {"name": name, "kind": kind, "exist_ok": True} if exist_ok else {}
        answer = link.ask_node("start", {**started, **sought, "count": placement.workers, **caps})
        if "service" in answer:
            return Service(cluster, answer["service"])
        request["workers"] = answer["workers"]
    return Service(cluster, link.ask_node("deploy", request))


def get_or_deploy(
    cluster: Cluster, kind: str, target: Any, placement: Placement, kinds: tuple[str, ...] = ()
) -> Service:
    """The service of that name, where there is one of that kind or of one of `kinds`; what is sent otherwise."""
    if placement.process is not None:
        # A process that nothing comes to need not be made.
        try:
            there = cluster._link.ask_node("describe", {"name": placement.name})
        except (NotFound, WorkerDied):
            pass
        else:
            if there["kind"] in (kind, *kinds) and kind != "object":
                return Service(cluster, there)
    try:
        return deploy(cluster, kind, target, placement, exist_ok=True)
    except NameTaken:
        if not kinds:
            raise
        there = cluster._link.ask_node("describe", {"name": placement.name})
        if there["kind"] not in kinds:
            raise
        return Service(cluster, there)


def wanted(placed: dict[str, Any]) -> dict[str, Any]:
    """What `to` takes besides name and process, for a Placement."""
    for given in placed:
        if given not in Placement.__slots__:
            raise TypeError(f"get_or_to() has no argument {given!r}. Try: {', '.join(Placement.__slots__)}")
    return placed


def process_on(cluster: Cluster, process: str | dict[str, Any], default_name: str | None) -> str:
    """The name of a process that is there now: made, where there was none."""
    if isinstance(process, str):
        cluster.ensure_process_created(process)
        return process
    if not isinstance(process, dict):
        raise TypeError(
            f"process= is a process's name, or the arguments of create_process in a dict, not {type(process).__name__}"
        )
    arguments = dict(process)
    name = arguments.pop("name", None) or default_name
    if name is None:
        raise WrongArguments("process= is a dict without 'name'. Try: {'name': 'my-process', ...}")
    cluster.ensure_process_created(name, **arguments)
    return str(name)


def _send_code(link: Link, kind: str, target: Any, placement: Placement, request: dict[str, Any]) -> None:
    """What the worker imports, and what tells this code from another version of it."""
    from roundhouse import _code, _code_digest

    if placement.sync_local:
        snapshot = _code.send(link, target, request["source"]["sys_path"])
        if snapshot is not None:
            request["source"]["snapshot"] = snapshot
    request["code_digest"] = _code_digest.digest_of(type(target) if kind == "object" else target)


def _encoded(kind: str, called: str, target: Any) -> list[Any]:
    try:
        return _serialize.dumps(_importable(target))
    except Exception as error:
        from roundhouse import _blame

        raise _blame.not_serializable(f"{kind} {called!r}", target, error) from None


def _start_request(
    target: Any, placement: Placement, request: dict[str, Any], prepared: Prepared | None
) -> dict[str, Any]:
    sought: dict[str, Any] = {}
    if request["exist_ok"]:
        # Told what is to be found or made, the node starts nothing for what is there.
        sought = {key: request[key] for key in ("name", "kind", "exist_ok", "of_class") if key in request}
    return {
        **sought,
        "command": command(target, prepared),
        "env": environ(prepared),
        "cwd": folder(),
        "import_path": request["source"]["sys_path"],
        "count": placement.workers,
        "cpus": placement.cpus,
        "gpus": placement.gpus,
        "memory": placement.memory,
    }


class _Decorated:
    """Something importable whose name there belongs to the Function or RemoteClass that a decorator made of it."""

    def __init__(self, module: str, name: str) -> None:
        self.module = module
        self.name = name

    def __reduce__(self) -> tuple[Any, ...]:
        return _undecorated, (self.module, self.name)


def _importable(target: Any) -> Any:
    module, name = getattr(target, "__module__", None), getattr(target, "__qualname__", "")
    if module in (None, *_PROGRAM) or module not in sys.modules or not name.isidentifier():
        return target
    found = getattr(sys.modules[module], name, None)
    if found is not target and getattr(found, "__wrapped__", None) is target and hasattr(found, "_service"):
        return _Decorated(module, name)
    return target


def _undecorated(module: str, name: str) -> Any:
    from importlib import import_module

    return getattr(import_module(module), name).__wrapped__


def command(target: Any = None, prepared: Prepared | None = None) -> list[str]:
    """What starts a worker."""
    package = (prepared.worker if prepared is not None else "") or os.path.dirname(os.path.abspath(__file__))
    worker = os.path.join(package, "_worker", "__main__.py")
    interpreter = (prepared.interpreter if prepared is not None else "") or sys.executable
    # Code that travels by value needs cloudpickle there, which the worker can import while the code is encoded here.
    by_value = getattr(target, "__module__", None) in _PROGRAM or "<" in getattr(target, "__qualname__", "")
    return [interpreter, worker, *(["cloudpickle"] if by_value else [])]


def environ(prepared: Prepared | None = None) -> dict[str, str]:
    """What a worker starts with: this process's variables, but not the secrets among them, and the image's."""
    found = _secret_variables.without(os.environ)
    return found if prepared is None else prepared.environ(found)


def folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # Deleted under us; the worker needs some folder.
        return "/"
