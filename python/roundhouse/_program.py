"""Programs in other languages, whose functions and classes are sent to a cluster like Python's own."""

from __future__ import annotations

import os

from roundhouse import _deploy
from roundhouse._cluster import Cluster, cluster_of
from roundhouse._deploy import Placement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from roundhouse._function import Function
    from roundhouse._module import RemoteClass
    from roundhouse._service import Service


def program(
    command: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], *, env: dict[str, str] | None = None
) -> Program:
    """A program that serves functions and classes: one in C++ that ends with ``worker.run()`` (docs/cpp.md).

    ``command`` is its path, or a list of its path and arguments. It starts with this process's environment and ``env``,
    in its current folder.

    >>> import roundhouse as rh
    >>> trainer = rh.program(["build/trainer", "--verbose"])
    >>> trainer.cls("Trainer")
    <class 'Trainer' of build/trainer>
    """
    words = [command] if isinstance(command, (str, os.PathLike)) else list(command)
    if not words or not all(isinstance(word, (str, os.PathLike)) for word in words):
        raise TypeError("rh.program() takes the path of a program, or a list of its path and arguments")
    return Program([os.fspath(word) for word in words], dict(env or {}))


class Program:
    """What ``rh.program`` returns: ``function(name)`` and ``cls(name)`` are what it serves under those names.

    >>> import roundhouse as rh
    >>> dot = rh.program("build/dot_service").function("dot")
    >>> dot
    <function 'dot' of build/dot_service>

    ``dot.to(box)`` starts the program there, and returns what ``rh.function(f).to(box)`` returns of a Python function.
    """

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.command = command
        self.env = env

    def function(self, name: str) -> Served[Function[..., Any]]:
        """The function of that name in the program."""
        return Served(self, "function", name)

    def cls(self, name: str) -> Served[RemoteClass[..., Any]]:
        """The class of that name in the program."""
        return Served(self, "class", name)

    def __repr__(self) -> str:
        return f"<Program {' '.join(self.command)}>"


if TYPE_CHECKING:
    from typing import Generic, TypeVar

    R = TypeVar("R")
else:
    from roundhouse._generic import Generic, R


class Served(Generic[R]):
    """A function or class of a program, which is not on a cluster yet."""

    def __init__(self, of: Program, kind: str, name: str) -> None:
        self.program = of
        self.kind = kind
        self.name = name

    def to(
        self,
        box: Cluster | str,
        process: str | None = None,
        name: str | None = None,
        *,
        workers: int = 1,
        memory: int | str | None = None,
        cpus: int | None = None,
        gpus: int | None = None,
        replace: bool = False,
        max_concurrency: int | None = None,
        max_queue: int | None = None,
    ) -> R:
        """Starts the program on that cluster, and returns the remote function or class; ``name`` renames it there.

        The arguments mean what they mean for a Python function (`Function.to`). With ``process`` it joins what else of
        the program lives in the process of that name, which is started with it where there is none.
        """
        placed = Placement(
            name if name is not None else self.name,
            *(process, workers, memory, cpus, gpus, replace, max_concurrency, max_queue),
        )
        from roundhouse import _stubs

        return _stubs.stub(self._deploy(cluster_of(box), placed))  # type: ignore[no-any-return]

    def get_or_to(self, box: Cluster | str, process: str | None = None, name: str | None = None, **placed: Any) -> R:
        """What has that name there already, if it is one; otherwise as ``to``."""
        from roundhouse import _stubs

        placement = Placement(name or self.name, process, **placed)
        return _stubs.stub(self._deploy(cluster_of(box), placement, exist_ok=True))  # type: ignore[no-any-return]

    def _deploy(self, cluster: Cluster, placement: Placement, exist_ok: bool = False) -> Service:
        return _deploy.deploy_program(cluster, self.kind, self.name, self.program, placement, exist_ok)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name!r} of {self.program.command[0]}>"
