"""The part of `Cluster` about its processes with names, and about commands that run in them."""

from __future__ import annotations

import os

from roundhouse._node import Node
from roundhouse.exceptions import NameTaken, NotFound, RoundhouseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# Where objects and commands go that are addressed to no process. It is made when it is first needed.
DEFAULT_PROCESS = "default_process"


class UnknownProcess(NotFound, ValueError):
    """There is no process of that name on the cluster."""


class Processes(Node):
    def create_process(
        self,
        name: str,
        env_vars: dict[str, str] | None = None,
        compute: dict[str, Any] | None = None,
        runtime_env: dict[str, Any] | None = None,
    ) -> str:
        """Makes a process in which services and objects can live together, and returns its name.

        ``env_vars`` is added to the caller's environment. ``compute`` may have ``CPU`` and ``GPU`` (whole numbers: as
        many are the process's alone) and ``memory`` (more, and it is ended: rh.OutOfMemory). Nothing happens when the
        process is there and was made like that; NameTaken where it was made otherwise.

        >>> import roundhouse as rh
        >>> box = rh.compute("example").up_if_not()
        >>> box.create_process("polite", env_vars={"GREETING": "hello"})
        'polite'
        >>> box.run_bash("echo $GREETING", process="polite", stream_logs=False)
        [0, 'hello\\n', '']
        >>> box.kill_process("polite")
        """
        variables = _variables(env_vars, runtime_env)
        sizes = _sizes_of(compute)
        try:
            self._create(name, variables, sizes, exist_ok=False)
        except NameTaken:
            there = self._ask("processes", {}).get(name)
            if there is None:
                raise
            self._check_same(name, there, variables, sizes)
        return name

    def ensure_process_created(
        self,
        name: str,
        env_vars: dict[str, str] | None = None,
        compute: dict[str, Any] | None = None,
        runtime_env: dict[str, Any] | None = None,
    ) -> str:
        """``create_process``, except that one of that name that is there is taken as it is."""
        self._create(name, _variables(env_vars, runtime_env), _sizes_of(compute), exist_ok=True)
        return name

    def list_processes(self) -> dict[str, dict[str, Any]]:
        """The processes by name: ``name``, ``compute``, ``runtime_env`` and ``env_vars``, ``pid`` and ``services``.

        ``default_process`` is always among them; without a pid it was not needed yet."""
        listed = {DEFAULT_PROCESS: _listed(DEFAULT_PROCESS, {})}
        for name, process in self._ask("processes", {}).items():
            listed[name] = _listed(name, process)
        return listed

    def kill_process(self, name: str) -> None:
        """Ends the process, with what lives in it; NotFound, a KeyError, when there is none of that name."""
        try:
            self._ask("kill_process", {"name": name})
        except NotFound:
            # It is always listed.
            if name != DEFAULT_PROCESS:
                raise

    def set_process_env_vars(self, name: str, env_vars: dict[str, str | None]) -> None:
        """Sets variables in a process that is running; a value of None unsets one."""
        if name == DEFAULT_PROCESS:
            self.ensure_process_created(name)
        self._ask("set_env", {"process": name, "vars": _checked(env_vars)})

    def set_env_vars_globally(self, env_vars: dict[str, str | None]) -> None:
        """The same in every process of the cluster, now and later. A process's own win when it is made."""
        self._ask("set_env", {"process": None, "vars": _checked(env_vars)})

    # Commands.

    def run_bash(
        self,
        commands: str | Sequence[str],
        node: int | str | None = None,
        process: str | None = None,
        stream_logs: bool = True,
        require_outputs: bool = True,
    ) -> Any:
        """Runs commands, each in a shell of its own: ``[exit code, stdout, stderr]``, for a list a list of those.

        With ``require_outputs=False`` exit codes only. They run in ``process`` (``default_process``) and see its
        environment. ``node`` is 0 or "head", as this cluster has one node; with "all" the result is a list of each
        node's. ValueError for another node, for both ``node`` and ``process``, and for a process that is not there.

        >>> import roundhouse as rh
        >>> box = rh.compute("example").up_if_not()
        >>> box.run_bash("echo out; echo err >&2; exit 3", stream_logs=False)
        [3, 'out\\n', 'err\\n']
        >>> box.run_bash(["true", "false"], require_outputs=False)
        [0, 1]
        """
        return self._run("bash", commands, node, process, stream_logs, require_outputs)

    def run_bash_over_ssh(
        self,
        commands: str | Sequence[str],
        node: int | str | None = None,
        stream_logs: bool = True,
        require_outputs: bool = True,
        conda_env_name: str | None = None,
        venv_path: str | None = None,
    ) -> Any:
        """``run_bash`` of a list, always: a local cluster needs no SSH. ValueError on the cluster itself."""
        if self._socket_path == os.environ.get("ROUNDHOUSE_SOCKET"):
            raise ValueError(f"this runs on cluster {self.name!r} itself. Try: run_bash()")
        commands = [commands] if isinstance(commands, str) else commands
        return self._run("bash", commands, node, None, stream_logs, require_outputs)

    def run_python(
        self,
        commands: str | Sequence[str],
        conda_env_name: str | None = None,
        venv_path: str | None = None,
        stream_logs: bool = True,
        node: int | str | None = None,
        process: str | None = None,
    ) -> Any:
        """Runs lines of Python as one program of its own: a list of one ``[exit code, stdout, stderr]``.

        >>> import roundhouse as rh
        >>> box = rh.compute("example").up_if_not()
        >>> box.run_python(["word = 'it\\\\'s'", 'print(word, "quoted")'], stream_logs=False)
        [[0, "it's quoted\\n", '']]
        """
        lines = [commands] if isinstance(commands, str) else list(commands)
        return self._run("python", ["\n".join(lines)], node, process, stream_logs, True)

    def run(self, commands: str | Sequence[str], *args: Any, **kwargs: Any) -> Any:
        """Runhouse's older name for ``run_bash``."""
        return self.run_bash(commands, *args, **kwargs)

    def _run(
        self,
        kind: str,
        commands: str | Sequence[str],
        node: int | str | None,
        process: str | None,
        stream_logs: bool,
        require_outputs: bool,
    ) -> Any:
        if node is not None and process is not None:
            raise ValueError(f"node={node!r} and process={process!r} both say where to run. Try: one of them")
        if node not in (None, 0, "0", "head", "all", *self._addresses()):
            raise ValueError(f"cluster {self.name!r} has no node {node!r}: it has one, which is node 0")
        if not isinstance(commands, str) and not all(isinstance(command, str) for command in commands):
            raise TypeError("a command is text. Try: run_bash('ls'), or a list of such texts")
        request = {
            "process": process or DEFAULT_PROCESS,
            "kind": kind,
            "commands": [commands] if isinstance(commands, str) else list(commands),
            "stream": stream_logs,
        }
        try:
            results = self._ask("run", request, silent=not stream_logs)
        except NotFound as error:
            if process not in (None, DEFAULT_PROCESS):
                raise UnknownProcess(error.message, **error.facts) from None
            self.ensure_process_created(DEFAULT_PROCESS)
            results = self._ask("run", request, silent=not stream_logs)
        if not require_outputs:
            results = [result[0] for result in results]
        found = results[0] if isinstance(commands, str) else results
        return [found] if node == "all" else found

    def _addresses(self) -> tuple[str, ...]:
        return ("127.0.0.1", "localhost")

    def _create(
        self, name: str, variables: dict[str, str], sizes: dict[str, int | None], exist_ok: bool
    ) -> dict[str, Any]:
        from roundhouse import _deploy, _prepared

        prepared = _prepared.of(self._self())
        request = {
            "name": name,
            "command": _deploy.command(None, prepared),
            "env": _deploy.environ(prepared),
            "cwd": _deploy.folder(),
            "import_path": _deploy.import_path(prepared),
            "vars": variables,
            "exist_ok": exist_ok,
            **sizes,
        }
        made: dict[str, Any] = self._ask("create_process", request)
        return made

    def _check_same(
        self, name: str, there: dict[str, Any], variables: dict[str, str], sizes: dict[str, int | None]
    ) -> None:
        has = there.get("vars", {})
        for variable, value in variables.items():
            if has.get(variable) != value:
                raise _made_otherwise(name, f"{variable}={has.get(variable)!r}, not {value!r}")
        resources = there.get("resources", {})
        for what, asked in sizes.items():
            promised = resources.get(what) or 0
            number = promised if isinstance(promised, int) else len(promised)
            if asked is not None and asked != number:
                raise _made_otherwise(name, f"{number} {what}, not {asked}")


def _made_otherwise(name: str, how: str) -> RoundhouseError:
    return NameTaken(
        f"there is a process {name!r} already, with {how}. Try: another name, ensure_process_created() to take it as "
        f"it is, or kill_process({name!r}) first",
        name=name,
    )


def _listed(name: str, process: dict[str, Any]) -> dict[str, Any]:
    resources = process.get("resources") or {}
    compute = {
        "CPU": len(resources.get("cpus") or ()),
        "GPU": len(resources.get("gpus") or ()),
        "memory": resources.get("memory") or 0,
    }
    return {
        "name": name,
        "compute": {what: number for what, number in compute.items() if number},
        "runtime_env": {},
        "env_vars": process.get("vars", {}),
        "pid": process.get("pid"),
        "services": process.get("services", []),
    }


def _checked(env_vars: dict[str, Any], none_too: bool = True) -> dict[str, Any]:
    if not isinstance(env_vars, dict):
        raise TypeError(f"env_vars= is a dict of names and values, not {type(env_vars).__name__}")
    for name, value in env_vars.items():
        if not isinstance(name, str) or not (isinstance(value, str) or (none_too and value is None)):
            raise ValueError(
                f"the variable {name!r} has the value {value!r}: names and values are text. Try: {str(value)!r}"
            )
    return env_vars


def _variables(env_vars: dict[str, str] | None, runtime_env: dict[str, Any] | None) -> dict[str, str]:
    variables = dict(_checked(env_vars or {}, none_too=False))
    for key, value in (runtime_env or {}).items():
        if key == "env_vars":
            variables = {**_checked(value or {}, none_too=False), **variables}
        elif value:
            from roundhouse.exceptions import Unsupported

            raise Unsupported(
                f"runtime_env={{{key!r}: ...}} is not yet supported by this version. Try: env_vars=, and what the "
                "process needs in the environment of the program that makes it"
            )
    return variables


def _sizes_of(compute: dict[str, Any] | None) -> dict[str, int | None]:
    """Of Runhouse's `compute`, what the node is asked for."""
    given = {key: value for key, value in (compute or {}).items() if value is not None}
    unknown = sorted(set(given) - {"CPU", "GPU", "memory", "node_idx"})
    if unknown:
        raise ValueError(f"compute= has no {unknown[0]!r}; it may have 'CPU', 'GPU', 'memory' and 'node_idx'")
    if "node_idx" in given:
        if given["node_idx"] != 0:
            raise ValueError(f"compute={{'node_idx': {given['node_idx']!r}}} is no node here: there is one, node 0")
        if given.get("CPU") or given.get("GPU"):
            raise ValueError("compute= takes 'node_idx', or 'CPU' and 'GPU', not both. Try: leave 'node_idx' out")
    sizes: dict[str, int | None] = {"cpus": None, "gpus": None, "memory": None}
    for key, what in (("CPU", "cpus"), ("GPU", "gpus")):
        number = given.get(key)
        if isinstance(number, float) and number.is_integer():
            number = int(number)
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 0):
            raise ValueError(f"compute={{{key!r}: {number!r}}} is no whole number. Try: {key!r}: 1")
        sizes[what] = number or None
    if given.get("memory"):
        from roundhouse import _sizes

        sizes["memory"] = _sizes.parse_bytes(given["memory"], "compute['memory']")
    return sizes
