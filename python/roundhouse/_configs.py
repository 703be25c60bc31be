"""`rh.configs`: this user's settings on this machine."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DEFAULTS: dict[str, Any] = {
    "autosave": False,
    "default_autostop": 60,
    "default_folder": "~",
    "default_pool": None,
    "default_provider": None,
    "default_ssh_key": None,
    "disable_observability": False,
    "launcher": "local",
    "secrets": {},
    "use_spot": False,
}


class Configs:
    """Settings by name, kept in this user's registry on this machine. Values are what JSON can hold.

    A variable ``RH_`` and the name in capitals wins over what is kept.

    >>> import roundhouse as rh
    >>> rh.configs.set("default_provider", "kubernetes")
    >>> rh.configs.get("default_provider")
    'kubernetes'
    >>> rh.configs.delete("default_provider")
    >>> rh.configs.get("no-such-setting", default="none")
    'none'
    """

    def get(self, key: str, default: Any = None) -> Any:
        """The setting: from the environment, as it was set, or as it is by default; ``default`` where there is none."""
        said = os.environ.get(f"RH_{key.upper()}")
        if said is not None:
            return _value_of(said)
        kept = self._kept()
        if key in kept:
            return kept[key]
        return _DEFAULTS.get(key, default) if _DEFAULTS.get(key) is not None else default

    def set(self, key: str, value: Any) -> None:
        """Keeps a setting."""
        self.set_many({key: value})

    def set_nested(self, key: str, value: dict[str, Any]) -> None:
        """Adds to a setting that is a dict, where ``set`` would replace it."""
        if not isinstance(value, dict):
            raise TypeError(f"set_nested({key!r}, ...) adds a dict, not {type(value).__name__}. Try: set()")
        before = self._kept().get(key, _DEFAULTS.get(key)) or {}
        if not isinstance(before, dict):
            raise ValueError(f"the setting {key!r} is {before!r}, to which nothing can be added. Try: set()")
        self.set_many({key: {**before, **value}})

    def set_many(self, settings: dict[str, Any]) -> None:
        """Keeps several settings: all of them or, where one cannot be kept, none."""
        from roundhouse import _json, _registry

        changes: dict[str, str | None] = {}
        for key, value in settings.items():
            if not isinstance(key, str) or not key:
                raise ValueError(f"a setting's name is text, not {key!r}")
            changes[key] = _json.encode(value).decode()
        with _registry.registry() as kept:
            kept.change_settings(changes)

    def delete(self, key: str) -> None:
        """Forgets a setting; fine when it was not set."""
        from roundhouse import _registry

        with _registry.registry() as kept:
            kept.change_settings({key: None})

    def disable_observability(self) -> None:
        """Keeps that nothing is to be reported anywhere. Roundhouse never reports anything."""
        self.set("disable_observability", True)

    def enable_observability(self) -> None:
        """Takes ``disable_observability`` back. Roundhouse reports nothing all the same."""
        self.set("disable_observability", False)

    def __repr__(self) -> str:
        kept = ", ".join(f"{key}={value!r}" for key, value in sorted(self._kept().items()))
        return f"<configs {kept or 'as by default'}>"

    def _kept(self) -> dict[str, Any]:
        from roundhouse import _json, _registry

        with _registry.registry() as kept:
            settings = kept.settings()
        return {key: _json.decode(value.encode()) for key, value in settings.items()}


def _value_of(text: str) -> Any:
    """A variable's text, or the number, truth or null that it spells."""
    from roundhouse import _json

    lower = text.strip().lower()
    if lower in ("true", "false"):
        return lower == "true"
    try:
        return _json.decode(text.encode())
    except ValueError:
        return text


configs = Configs()
