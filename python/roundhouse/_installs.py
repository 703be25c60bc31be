"""The part of `Cluster` about what its workers run with: its image, files, and secrets."""

from __future__ import annotations

import os

from roundhouse._node import Node
from roundhouse.exceptions import SetupError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from roundhouse._image import Image, Requirements
    from roundhouse._packages import Package
    from roundhouse._secret import Secret


class Installs(Node):
    state_folder: str
    _image: Image | None

    @property
    def image(self) -> Image | None:
        """What ``rh.compute(image=)`` was given; else the image that the cluster was last given by anybody."""
        from roundhouse import _prepared

        if self._image is not None:
            return self._image
        there = _prepared.written_down(self._self())
        if there is None:
            return None
        from roundhouse._image import Image

        return Image.from_config(there.config)

    @property
    def conda_env_name(self) -> str | None:
        """The image's."""
        image = self.image
        return None if image is None else image.conda_env_name

    @property
    def venv_path(self) -> str | None:
        """The image's."""
        image = self.image
        return None if image is None else image.venv_path

    def pip_install(self, reqs: Requirements, node: int | str | None = None, **given: Any) -> None:
        """Adds ``pip_install`` to the cluster's image, and carries it out: for workers that start from now on.

        Those then run in an environment of the image's own. SetupError, with pip's own words, where it fails; the image
        is then as it was.
        """
        self._extend("pip_install", reqs, **_without_ours(given))

    def uv_install(self, reqs: Requirements, node: int | str | None = None, **given: Any) -> None:
        """The same as ``pip_install``."""
        self._extend("uv_install", reqs, **_without_ours(given))

    def install_packages(self, reqs: Requirements, node: int | str | None = None, **given: Any) -> None:
        """The same for ``Image.install_packages``."""
        self._extend("install_packages", reqs, **_without_ours(given))

    def install_package(self, package: str | Package, *_: Any, **given: Any) -> None:
        """``install_packages`` of one."""
        self._extend("install_packages", [package], **_without_ours(given))

    def conda_install(self, reqs: Requirements, node: int | str | None = None, **given: Any) -> None:
        """The same for ``Image.conda_install``."""
        self._extend("conda_install", reqs, **_without_ours(given))

    def sync_package(self, package: str | Package, node: int | str | None = None) -> None:
        """The same for ``Image.sync_package``: workers can import what is in that folder."""
        self._extend("sync_package", package)

    def create_conda_env(self, conda_env_name: str, conda_config: dict[str, Any] | str) -> None:
        """Makes a conda environment of that name; SetupError where conda is not there, or cannot."""
        import tempfile

        from roundhouse import _image

        text = _image.conda_text(conda_config)
        with tempfile.NamedTemporaryFile("w", suffix=".yml", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            self._conda("env", "create", "-y", "-n", conda_env_name, "-f", file.name)

    def remove_conda_env(self, conda_env_name: str) -> None:
        """Removes the conda environment of that name."""
        self._conda("env", "remove", "-y", "-n", conda_env_name)

    def rsync(
        self,
        source: str,
        dest: str,
        up: bool = True,
        node: int | str | None = None,
        src_node: int | str | None = None,
        contents: bool = False,
        filter_options: str | None = None,
        stream_logs: bool = False,
        ignore_existing: bool = False,
        parallel: bool = False,
    ) -> None:
        """Copies a file or a folder (with ``contents`` what is in it) into the folder ``dest``, as far as it differs.

        What a .gitignore names stays behind, and so does .git. ``filter_options`` may have ``--exclude PATTERN``. A
        local cluster is this machine, so that ``up`` says nothing. ValueError where there is no ``source``.

        >>> import os, tempfile, roundhouse as rh
        >>> folder = tempfile.mkdtemp()
        >>> open(f"{folder}/notes.txt", "w").write("seven")
        5
        >>> rh.compute("example").up_if_not().rsync(f"{folder}/notes.txt", f"{folder}/copies/")
        >>> os.listdir(f"{folder}/copies")
        ['notes.txt']
        """
        from roundhouse import _copy

        self._only_local("rsync")
        exclude = _copy.excluded(filter_options)
        # A slash behind the name says something.
        source, dest = (os.path.join(os.getcwd(), os.path.expanduser(path)) for path in (source, dest))
        count = _copy.copy(source, dest, contents, exclude, ignore_existing)
        if stream_logs:
            print(f"{count} files were copied to {dest}")

    def sync_secrets(self, providers: Sequence[str | Secret] | None = None, process: str | None = None) -> None:
        """Sends the secrets of those providers, and those that are saved under those names; None: all that are found
        on this machine. As ``Secret.to``, of each."""
        from roundhouse._secret import Secret, found_here

        if isinstance(providers, str):
            raise TypeError(f"sync_secrets() takes a list of names. Try: sync_secrets([{providers!r}])")
        for each in [*Secret.extract_provider_secrets().values()] if providers is None else providers:
            secret = each if isinstance(each, Secret) else found_here(each)
            secret.to(self._self(), process=process)

    def _extend(self, step: str, *args: Any, **given: Any) -> None:
        from roundhouse import _prepared
        from roundhouse._image import Image

        self._only_local(step)
        before = self._image
        image = self.image
        longer = Image() if image is None else Image.from_config(image.config())
        getattr(longer, step)(*args, **given)
        self._image = longer
        try:
            _prepared.of(self._self())
        except BaseException:
            self._image = before
            raise

    def _conda(self, *line: str) -> None:
        import shlex
        import shutil

        from roundhouse._image import CONDAS

        program = next((name for name in CONDAS if shutil.which(name)), None)
        if program is None:
            raise SetupError(f"{' '.join(line[:2])} needs one of {', '.join(CONDAS)}, and none is on PATH")
        done = self._self().run_bash(shlex.join([program, *line]))
        if done[0]:
            raise SetupError(f"{program} {' '.join(line)} failed with exit code {done[0]}:\n{done[2] or done[1]}")

    def _only_local(self, what: str) -> None:
        if not self.state_folder:
            raise Unsupported(
                f"{what}() of cluster {self.name!r}, which is reached by TCP, is not yet supported by this version. "
                "Try: run_bash() there"
            )


def _without_ours(given: dict[str, Any]) -> dict[str, Any]:
    """Runhouse's, that change nothing: where a version is not given, it is the caller's."""
    for argument in given:
        if argument not in ("conda_env_name", "venv_path", "override_remote_version"):
            raise TypeError(f"installing takes no argument {argument!r}")
    return {key: value for key, value in given.items() if key != "override_remote_version" and value is not None}
