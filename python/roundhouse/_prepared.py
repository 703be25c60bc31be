"""The image that a cluster's workers use: made there before the first of them starts, and written down on the node."""

from __future__ import annotations

import os
import sys

from roundhouse._code_digest import is_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from roundhouse._cluster import Cluster
    from roundhouse._image import Image
    from roundhouse._secret import Secret

# By launcher, the steps that it has no way to carry out.
_WITHOUT = {"local": {"from_docker": "a local cluster is this machine, and no container"}}


class Prepared:
    """What the node wrote down of its image (`_images`)."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.key: str = record["key"]
        self.config: dict[str, Any] = record["config"]
        # Empty where workers use the interpreter, and the packages, of whoever sends the code.
        self.interpreter: str = record["interpreter"]
        self._variables: dict[str, str] = record["variables"]
        self._paths: list[str] = record["paths"]
        self._environment_path: list[str] = record.get("environment_path", [])
        self._own: str = record.get("own", "")

    def is_gone(self) -> bool:
        """Its environment was removed: it is made again."""
        return bool(self.interpreter) and not os.path.exists(self.interpreter)

    @property
    def worker(self) -> str:
        """The folder that a worker's package is imported from."""
        return os.path.join(self._own, "roundhouse") if self._own else ""

    def environ(self, environ: dict[str, str]) -> dict[str, str]:
        environ = {**environ, **self._variables}
        if self.interpreter:
            programs = os.path.dirname(self.interpreter)
            environ["VIRTUAL_ENV"] = os.path.dirname(programs)
            environ["PATH"] = programs + os.pathsep + environ.get("PATH", os.defpath)
            environ.pop("PYTHONHOME", None)
        return environ

    def path(self, path: Sequence[str]) -> list[str]:
        """Where a worker imports from, of the caller's own path: not from where the caller's packages are installed."""
        if not self.interpreter:
            return [*self._paths, *path]
        installed = tuple(_installed_in())
        own = [entry for entry in path if not _is_installed(entry, installed)]
        return [*self._paths, *own, *self._environment_path, self._own]


def _is_installed(entry: str, folders: Sequence[str]) -> bool:
    entry = os.path.realpath(entry)
    return os.path.basename(entry) in ("site-packages", "dist-packages") or any(
        is_in(entry, folder) for folder in folders
    )


def _installed_in() -> list[str]:
    """Of this interpreter: its library, which has the packages that are installed."""
    import sysconfig

    found = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    library = os.path.dirname(sysconfig.get_path("stdlib"))
    version = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    return [os.path.realpath(path) for path in (*found, os.path.join(library, version))]


def check(image: Image, launcher: str = "local") -> None:
    """Refuses, before anything is launched, what that launcher cannot do."""
    used = {step["step"] for step in image.steps} | ({"from_docker"} if image.image_id else set())
    for step, why in _WITHOUT[launcher].items():
        if step in used:
            from roundhouse.exceptions import Unsupported

            raise Unsupported(
                f"{step}() of the image {image.name!r} is not supported by the launcher {launcher!r}: {why}. Try: "
                "pip_install() and run_bash()"
            )


def written_down(cluster: Cluster) -> Prepared | None:
    """What the node has now, whoever asked for it."""
    if not cluster.state_folder:
        return None
    from roundhouse import _json

    try:
        with open(os.path.join(cluster.state_folder, "kept", "image.json"), "rb") as file:
            return Prepared(_json.decode(file.read()))
    except (FileNotFoundError, NotADirectoryError):
        return None


def of(cluster: Cluster) -> Prepared | None:
    """The image for a worker that is about to be started: what the cluster was given, made there if it is not yet."""
    there = written_down(cluster)
    image = cluster._image
    if there is not None and there.is_gone():
        image = cluster.image
        there = None
    if image is None:
        return there
    from roundhouse import _image

    asked = {**_image.asked(image), "config": image.config()}
    if there is None or there.key != _image.digests(asked)[-1]:
        there = _make(cluster, asked)
    return there


def _make(cluster: Cluster, asked: dict[str, Any]) -> Prepared:
    from roundhouse import _deploy, _images, _proof
    from roundhouse._function import Function
    from roundhouse.exceptions import SetupError

    # Before anything is done: what is not here cannot be sent.
    secrets = _secrets_of(asked)
    service = _deploy.get_or_deploy(cluster, "function", _images.apply, _deploy.Own(_images.SERVICE))
    apply: Function[..., Any] = Function(None, service).options(run_async=False)
    try:
        made = Prepared(apply(_proof.of(cluster, _images.SERVICE), asked, _deploy.environ(), _deploy.folder()))
    except SetupError as error:
        # Where in our own code it was raised tells nobody anything.
        error.started = "no"
        raise error.with_traceback(None) from None
    for secret in secrets:
        secret.to(cluster)
    return made


def _secrets_of(asked: dict[str, Any]) -> list[Secret]:
    from roundhouse._secret import found_here
    from roundhouse.exceptions import SetupError

    found = []
    for step in asked["steps"]:
        for name in step["providers"] if step["step"] == "sync_secrets" else ():
            try:
                found.append(found_here(name))
            except ValueError as error:
                named = f" {asked['name']!r}" if asked["name"] else ""
                raise SetupError(
                    f"step {step['number']} of the image{named}, {step['text']}, failed: {error}",
                    step=str(step["number"]),
                    step_text=step["text"],
                ) from None
    return found
