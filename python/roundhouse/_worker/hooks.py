"""What is to be done to a module once user code has imported it, without importing it for that."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    Then = Callable[[ModuleType], None]

_waiting: dict[str, Then] = {}


def when_imported(name: str, then: Then) -> None:
    """Calls `then` with the module: now, or as soon as it has been imported."""
    module = sys.modules.get(name)
    if module is not None:
        then(module)
        return
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
    _waiting[name] = then


def imported(name: str) -> Any:
    """The module. The call that needs it does not import it itself: a cancel that strikes in the middle of that would
    leave half a module to the calls behind it."""
    module = sys.modules.get(name)
    if module is None or getattr(module.__spec__, "_initializing", False):
        from threading import Thread

        thread = Thread(target=__import__, args=(name,), name="roundhouse-import", daemon=True)
        thread.start()
        thread.join()
        module = sys.modules[name]
    return module


class _Finder:
    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        then = _waiting.pop(name, None) if _waiting else None
        if then is None:
            return None
        for finder in sys.meta_path:
            spec = None if finder is _Finder else finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader, then)  # type: ignore[assignment]
                return spec
        return None


class _Loader:
    """The module's own loader, and our work behind it."""

    def __init__(self, own: Any, then: Then) -> None:
        self._own = own
        self._then = then

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._own.create_module(spec)  # type: ignore[no-any-return]

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._own
        module.__loader__ = self._own
        self._own.exec_module(module)
        self._then(module)
