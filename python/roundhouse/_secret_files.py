"""Secrets on a disk: one file each, which only its user can read; of a node, and of this user's own."""

from __future__ import annotations

import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def check_name(name: Any) -> str:
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        from roundhouse.exceptions import InvalidName

        raise InvalidName(f"a secret cannot be called {name!r}. Try: letters, digits, '-', '_' and '.'")
    return name


def on_node() -> str:
    """The folder of the node that this process belongs to; "" where it belongs to none."""
    node = os.environ.get("ROUNDHOUSE_NODE", "")
    return os.path.join(node, "kept", "secrets") if node else ""


def saved() -> str:
    """The folder of what this user has saved on this machine, beside the registry."""
    from roundhouse import _registry

    with _registry.registry() as registry:
        return os.path.join(os.path.dirname(registry.path), "secrets")


def write(folder: str, name: str, record: dict[str, Any]) -> None:
    from roundhouse import _json

    os.makedirs(folder, mode=0o700, exist_ok=True)
    write_private(os.path.join(folder, check_name(name)), _json.encode(record))


def read(folder: str, name: str) -> dict[str, Any] | None:
    """None where there is no secret of that name."""
    from roundhouse import _json

    if not folder:
        return None
    try:
        with open(os.path.join(folder, check_name(name)), "rb") as file:
            found: dict[str, Any] = _json.decode(file.read())
            return found
    except FileNotFoundError:
        return None


def remove(folder: str, name: str) -> bool:
    try:
        os.unlink(os.path.join(folder, check_name(name)))
    except FileNotFoundError:
        return False
    return True


def names(folder: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if _NAME.fullmatch(name) and not name.endswith(".new"))
    except FileNotFoundError:
        return []


def write_private(path: str, data: bytes) -> None:
    """Whole or not at all, and never to be read by others in between."""
    beside = f"{path}.{os.getpid()}.new"
    try:
        file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(file, "wb") as writer:
            writer.write(data)
        os.replace(beside, path)
    except BaseException:
        if os.path.lexists(beside):
            os.unlink(beside)
        raise


def variables_on_node(name: str) -> dict[str, str]:
    """The variables that the secret sets in a process that has it."""
    record = read(on_node(), name)
    return {} if record is None else variables(record)


def variables(record: dict[str, Any]) -> dict[str, str]:
    values = record["values"]
    return {variable: values[key] for key, variable in record["env_vars"].items() if isinstance(values.get(key), str)}
