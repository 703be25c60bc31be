"""Packages by name, and at which version they are installed where a name is all that was given."""

from __future__ import annotations

import os
import re
from functools import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from roundhouse._cluster import Cluster

METHODS = ("pip", "uv", "conda", "local")
# A name, with extras perhaps, and nothing that says which version.
_BARE = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(\[[^\]]*\])?")


class Package:
    """Something to install: what, and with which installer. ``from_string`` reads what Runhouse's users write.

    >>> import roundhouse as rh
    >>> rh.Package.from_string("uv:numpy==2.1")
    Package(install_method='uv', install_target='numpy==2.1')
    """

    def __init__(self, install_method: str, install_target: str, name: str | None = None) -> None:
        if install_method not in METHODS:
            raise ValueError(f"there is no installer {install_method!r}. Try: {', '.join(METHODS)}")
        self.install_method = install_method
        self.install_target = install_target
        self.name = name or _name_of(install_method, install_target)

    @classmethod
    def from_string(cls, specifier: str, dryrun: bool = False) -> Package:
        """``"numpy"``, ``"pip:numpy>=2"``, ``"conda:gcc"``, ``"local:./"``; a path that is there is ``local``.

        ValueError for another installer. What follows the package, such as ``--index-url URL``, goes to the installer.

        >>> import os, roundhouse as rh
        >>> package = rh.Package.from_string("./")
        >>> package.install_method, package.install_target == os.getcwd()
        ('local', True)
        """
        if not isinstance(specifier, str) or not specifier.strip():
            raise ValueError(f"a package is text like 'numpy' or 'pip:numpy>=2', not {specifier!r}")
        method, colon, target = specifier.strip().partition(":")
        if not colon or "/" in method or " " in method or target[:2] == "//" or "@" in method:
            method, target = "", specifier.strip()
        path = os.path.abspath(os.path.expanduser(target.split("[")[0]))
        if method in ("", "local") and ("/" in target or target in (".", "..") or method) and os.path.exists(path):
            return cls("local", path)
        if method == "local":
            raise ValueError(f"the package {specifier!r} is at {path}, where nothing is. Try: another path")
        return cls(method or "pip", target)

    def to(self, system: Cluster | str, path: str | None = None) -> Package:
        """Installs it there, as ``cluster.install_package``, and returns it."""
        from roundhouse._cluster import cluster_of

        cluster_of(system).install_package(self)
        return self

    def config(self, condensed: bool = True) -> dict[str, Any]:
        """What describes it."""
        return {
            "name": self.name,
            "resource_type": "package",
            "install_method": self.install_method,
            "install_target": self.install_target,
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Package) and self.config() == other.config()

    def __hash__(self) -> int:
        return hash((self.install_method, self.install_target))

    def __repr__(self) -> str:
        return f"Package(install_method={self.install_method!r}, install_target={self.install_target!r})"


def package(name: str | None = None, install_method: str = "pip", install_str: str | None = None, **_: Any) -> Package:
    """The package that ``install_str`` (else ``name``) says, for that installer.

    >>> import roundhouse as rh
    >>> rh.package("numpy", install_str="numpy>=2")
    Package(install_method='pip', install_target='numpy>=2')
    """
    target = install_str or name
    if not target:
        raise ValueError("rh.package() needs a name or install_str=. Try: rh.package('numpy')")
    return Package(install_method, target, name)


def _name_of(method: str, target: str) -> str:
    if method == "local":
        return os.path.basename(target.rstrip("/"))
    found = _BARE.match(target)
    return found.group(1) if found else target


def texts(requirements: str | Sequence[Any], what: str) -> list[str]:
    """What an installer is to be given, as text; "pip:" in front goes without saying."""
    if isinstance(requirements, (str, Package)):
        requirements = [requirements]
    found = []
    for requirement in requirements:
        if isinstance(requirement, Package):
            requirement = requirement.install_target
        if not isinstance(requirement, str) or not requirement.strip():
            raise TypeError(f"{what}() takes packages as text, not {requirement!r}. Try: {what}(['numpy'])")
        for method in METHODS:
            requirement = requirement.strip().removeprefix(method + ":")
        found.append(requirement)
    if not found:
        raise ValueError(f"{what}([]) installs nothing. Try: {what}(['numpy'])")
    return found


def resolved(requirement: str) -> str:
    """As the caller has it: "numpy" becomes "numpy==2.1.0" where that is installed here. A version that was given, and
    whatever else is no bare name, stays."""
    first, space, rest = requirement.partition(" ")
    bare = _BARE.fullmatch(first)
    if bare is None or (space and rest[:1] != "-"):
        return requirement
    here = _installed(bare.group(1))
    if here is None:
        return requirement
    if here[:1] == "/":
        return f"-e {here}{bare.group(2) or ''}{space}{rest}"
    return f"{first}=={here}{space}{rest}"


def listed(requirement: str) -> list[str]:
    """What stands in the file that it names ("-r requirements.txt"), since that is what is installed."""
    import shlex

    words = shlex.split(requirement) if requirement[:1] == "-" else []
    if words[:1] not in (["-r"], ["--requirement"]) or len(words) < 2:
        return []
    try:
        with open(os.path.expanduser(words[1]), encoding="utf-8") as file:
            return [file.read()]
    except OSError as error:
        from roundhouse.exceptions import SetupError

        raise SetupError(f"the packages of {requirement!r} cannot be read: {error}. Try: another path") from None


@cache
def _installed(name: str) -> str | None:
    """The version that this process would import, or the folder of one that is edited in place."""
    from importlib import metadata

    try:
        found = metadata.distribution(name)
    except (metadata.PackageNotFoundError, ValueError):
        return None
    folder = source_folder(name)
    # What was built for this machine ("2.1+cu118") is not what an index has; "==2.1" takes both.
    return folder if folder is not None else found.version.partition("+")[0]


def source_folder(name: str) -> str | None:
    """Where the source of a package stands that is installed so that it can be edited; None for every other."""
    import json
    from importlib import metadata
    from urllib.parse import unquote, urlsplit

    try:
        told = json.loads(metadata.distribution(name).read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        return None
    if not told.get("dir_info", {}).get("editable"):
        return None
    return unquote(urlsplit(told["url"]).path)
