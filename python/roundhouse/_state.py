"""What an instance is besides its class, as pickle has it: how one is made again of another version of the class."""

from __future__ import annotations

import copyreg
import sys

from roundhouse.exceptions import NotFound, RoundhouseError, WorkerDied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from roundhouse._cluster import Cluster
    from roundhouse._options import Options
    from roundhouse._service import Service


class State:
    """Of one instance: what its class's ``__new__`` takes, what ``__getstate__`` gives, the items of a list or dict."""

    def __init__(self, target: Any) -> None:
        make, arguments, *rest = target.__reduce_ex__(4)
        # Names of pickle's own for "the class, called without its constructor".
        if make is copyreg.__newobj__:  # type: ignore[attr-defined]
            self._new: tuple[tuple[Any, ...], dict[str, Any]] = (arguments[1:], {})
        elif make is copyreg.__newobj_ex__:  # type: ignore[attr-defined]
            self._new = (arguments[1], arguments[2])
        else:
            raise TypeError(
                f"{type(target).__qualname__} has a __reduce__ of its own, which names no class to put in place"
            )
        self._state, values, pairs = (*rest, None, None, None)[:3]
        self._values = list(values or ())
        self._pairs = list(pairs or ())

    def made(self, of: type) -> Any:
        """Another instance, of that class, without its constructor."""
        arguments, keywords = self._new
        target = of.__new__(of, *arguments, **keywords)
        state = self._state
        if state is not None and hasattr(target, "__setstate__"):
            target.__setstate__(state)
        elif state is not None:
            attributes, slots = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
            vars(target).update(attributes or {})
            for name, value in (slots or {}).items():
                setattr(target, name, value)
        if self._values:
            target.extend(self._values)
        for key, value in self._pairs:
            target[key] = value
        return target


def instances_of(cluster: Cluster, name: str) -> list[str]:
    """Those that live there of the class of that name."""
    found = []
    for service in cluster._link.ask_node("status", {})["services"]:
        if service["kind"] != "instance" or not service["alive"]:
            continue
        try:
            there = cluster._link.ask_node("describe", {"name": service["name"]})
        except (NotFound, WorkerDied):
            continue  # Gone meanwhile.
        if there["class"] == name:
            found.append(service["name"])
    return found


def carry_over(service: Service, options: Options, names: list[str]) -> dict[str, str | None]:
    """Makes each of these an instance of the class that the service is now; why not, where it could not be.

    Says so on the screen: whoever relies on a state wants to know that it is there."""
    kept: dict[str, str | None] = {}
    for name in names:
        try:
            _carry(service, options, name)
            kept[name] = None
        except RoundhouseError as error:
            kept[name] = error.message
        except Exception as error:
            kept[name] = f"{type(error).__name__}: {error}"
    _tell(service.name, kept)
    return kept


def _carry(service: Service, options: Options, name: str) -> None:
    from roundhouse import _serialize
    from roundhouse._service import result_of

    process = service._link.ask_node("describe", {"name": name})["process"]
    state = service._link.call(name, "@state", _serialize.PICKLE, _serialize.dumps(((), {})))
    result_of(service.keep(None, options.merged({"name": name, "process": process}), (state,), {}))


def _tell(called: str, kept: dict[str, str | None]) -> None:
    if sys.stderr is None:
        return
    done = [name for name, why in kept.items() if why is None]
    if done:
        sys.stderr.write(f"{called}: kept the state of {', '.join(done)}\n")
    for name, why in kept.items():
        if why is not None:
            sys.stderr.write(f"{called}: {name} stays what it was: {why}\n")
