"""`%%roundhouse`: a cell of a notebook that runs on a cluster. IPython itself is not imported: it loads this."""

from __future__ import annotations

import argparse
import atexit
import os
import shlex
import sys

from roundhouse import _cells, _serialize
from roundhouse.exceptions import NotFound, RoundhouseError, WorkerDied, WrongArguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from roundhouse._cluster import Cluster
    from roundhouse._function import Function

_USAGE = """%%roundhouse CLUSTER [--process NAME] [-i NAMES] [-o NAMES]

Runs the cell on that cluster: a variable that holds one, or a name. What it reads of this notebook goes there with
it, and what it assigns comes back. What it prints appears below the cell; the stop button cancels it.

  --process NAME   in that process, which is made where there is none: what cells assign stays there, besides
  -i NAMES         only these of the notebook's names go there ("a,b", or "" for none)
  -o NAMES         only these that it assigns come back
"""


class _Options(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise WrongArguments(f"{message}.\n{_USAGE}")


class Cells:
    """What a notebook has on its clusters for its cells: a function of each process that runs them."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._functions: dict[tuple[str, str], Function[Any, Any]] = {}
        self._options = _Options(add_help=False)
        self._options.add_argument("cluster")
        self._options.add_argument("--process", default="")
        self._options.add_argument("-i", dest="inputs", type=_listed)
        self._options.add_argument("-o", dest="outputs", type=_listed)

    def run(self, line: str, cell: str) -> Any:
        asked = self._options.parse_args(shlex.split(line))
        # The magic's own line counts, so that numbers are those of the cell.
        source, called = f"\n{cell}", f"<cell {self._shell.execution_count}>"
        read, assigned = _cells.names_in(_cells.compiled(source, called))
        names = {name: self._shell.user_ns[name] for name in self._sent(read, asked.inputs)}
        wanted = sorted(assigned if asked.outputs is None else asked.outputs)
        function = self._function(self._cluster(asked.cluster), asked.process)
        try:
            values, why, shows, last = function(source, called, names, wanted, bool(asked.process))
        except RoundhouseError:
            raise
        except Exception as error:
            _shown_as_it_was(error)
            raise
        self._take(values, why)
        return _serialize.loads(last) if shows else None

    def _sent(self, read: set[str], asked: list[str] | None) -> list[str]:
        here, hidden = self._shell.user_ns, self._shell.user_ns_hidden
        if asked is None:
            return sorted(name for name in read if name in here and here[name] is not hidden.get(name, self))
        for name in asked:
            if name not in here:
                raise NotFound(f"this notebook has no {name!r} to send there (-i)")
        return asked

    def _take(self, values: dict[str, list[Any]], why: dict[str, str]) -> None:
        for name, parts in values.items():
            try:
                self._shell.user_ns[name] = _serialize.loads(parts)
            except Exception as error:
                why[name] = f"{type(error).__name__}: {error}"
        for name, reason in sorted(why.items()):
            print(f"{name} stays there: {reason}", file=sys.stderr)

    def _cluster(self, name: str) -> Cluster:
        from roundhouse._cluster import Cluster, compute

        found = self._shell.user_ns.get(name)
        return found if isinstance(found, Cluster) else compute(name)

    def _function(self, cluster: Cluster, process: str) -> Function[Any, Any]:
        """That cluster's, which stays until this notebook ends; its name is this notebook's own."""
        from roundhouse._function import function

        there = self._functions.get((cluster.name, process))
        if there is not None:
            try:
                cluster._ask("describe", {"name": there._service.name})  # type: ignore[union-attr]
                return there
            except (NotFound, WorkerDied):
                pass
        name = f"cells-{os.getpid()}-{len(self._functions)}"
        made = function(_cells.run).to(cluster, process=process or None, name=name, replace=True)
        if (cluster.name, process) not in self._functions:
            atexit.register(_forget, cluster, name)
        self._functions[cluster.name, process] = made
        return made


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _forget(cluster: Cluster, name: str) -> None:
    try:
        cluster.delete(name)
    except Exception:
        # The cluster is down, or has forgotten it.
        pass


def _shown_as_it_was(error: BaseException) -> None:
    """In the notebook: the traceback of the cell, without that of how it got there and back."""
    from roundhouse._raised import RemoteTraceback

    told, seen = error.__cause__, {id(error)}
    while told is not None and not isinstance(told, RemoteTraceback) and id(told) not in seen:
        seen.add(id(told))
        told = told.__cause__
    if isinstance(told, RemoteTraceback):
        lines = told.text.splitlines()
        error._render_traceback_ = lambda: lines  # type: ignore[attr-defined]


def load(shell: Any) -> None:
    cells = Cells(shell)

    def roundhouse(line: str, cell: str) -> Any:
        return cells.run(line, cell)

    roundhouse.__doc__ = _USAGE
    shell.register_magic_function(roundhouse, "cell", "roundhouse")
