"""Variables of a process whose values are secrets of its node: known by name everywhere but here.

A process that was given the secret NAME has a variable ROUNDHOUSE_SECRET_NAME, which tells the node's own records, and
whoever asks for them, nothing. The worker reads the values when it starts, or when the variable is set."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "ROUNDHOUSE_SECRET_"

# What was set here, by the secret's name.
_set: dict[str, dict[str, str]] = {}


def variable_of(name: str) -> str:
    """The variable by which a process is given that secret."""
    return PREFIX + "".join(c if c.isalnum() else f"_{ord(c):02x}" for c in name)


def resolve(variables: Mapping[str, str | None]) -> None:
    """Sets what those of these variables stand for that stand for secrets; None takes it away again."""
    for variable, name in variables.items():
        if not variable.startswith(PREFIX):
            continue
        for each in _set.pop(variable, {}):
            os.environ.pop(each, None)
        if name is not None:
            values = _values_of(name)
            os.environ.update(values)
            _set[variable] = values


def without(environ: Mapping[str, str]) -> dict[str, str]:
    """Of a process's variables those that others may be started with."""
    found = dict(environ)
    for variable in [name for name in found if name.startswith(PREFIX)]:
        # A program that a worker started has them by inheritance.
        values = _set.get(variable) or _values_of(found[variable])
        del found[variable]
        for name, value in values.items():
            if found.get(name) == value:
                del found[name]
    return found


def _values_of(name: str) -> dict[str, str]:
    from roundhouse import _secret_files

    return _secret_files.variables_on_node(name)
