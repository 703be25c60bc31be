"""`rh.Image`: what the environment of a cluster's workers is made of, step by step."""

from __future__ import annotations

import os
import shlex
import sys

from roundhouse import _packages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from typing_extensions import Self

    from roundhouse._packages import Package
    from roundhouse._secret import Secret

    Requirements = str | Sequence[str | Package]


class Image:
    """What workers find where they run: packages, variables, files, and what commands have set up.

    Each method adds a step and returns the image. The steps are carried out in that order before the cluster is first
    used, each once; what fails is a SetupError that names the step and has its output. With packages,
    ``python_version`` or ``set_venv`` workers run in an environment of the image's own, which is built once on a
    machine, by its content. Your own environment is never changed, and of what is installed in it only the versions
    matter: a package that is given without one is installed at the version that you have.

    >>> import roundhouse as rh
    >>> image = rh.Image("shouting").set_env_vars({"SHOUT": "yes"}).run_bash("echo ready")
    >>> box = rh.compute("example-image", image=image)
    >>> with box:
    ...     rh.function(lambda: __import__("os").environ["SHOUT"]).to(box)()
    image 'shouting': step 2 of 2: run_bash('echo ready')
    ready
    'yes'
    """

    def __init__(self, name: str | None = None, image_id: str | None = None, python_version: str | None = None) -> None:
        self.name = name
        self.python_version = None if python_version is None else str(python_version)
        self.image_id: str | None = None
        self.docker_secret: str | None = None
        self.conda_env_name: str | None = None
        self.venv_path: str | None = None
        # Each a dict of "step", the method's name, and what it was given: what JSON can hold.
        self.steps: list[dict[str, Any]] = []
        if image_id is not None:
            self.from_docker(image_id.removeprefix("docker:"))

    # Packages.

    def pip_install(self, reqs: Requirements, conda_env_name: str | None = None, venv_path: str | None = None) -> Self:
        """Installs packages, by ``uv`` where that is present, else by ``pip``.

        Each is what ``pip install`` takes, options behind the package included: ``"torch --index-url URL"``."""
        return self._install("pip_install", reqs, conda_env_name, venv_path)

    def uv_install(self, reqs: Requirements, conda_env_name: str | None = None, venv_path: str | None = None) -> Self:
        """The same as ``pip_install``."""
        return self._install("uv_install", reqs, conda_env_name, venv_path)

    def install_packages(
        self, reqs: Requirements, conda_env_name: str | None = None, venv_path: str | None = None
    ) -> Self:
        """``pip_install``, except that a path ("./mine", "local:mine") is ``sync_package`` and "conda:gcc" is
        ``conda_install``."""
        for given in [reqs] if isinstance(reqs, (str, _packages.Package)) else reqs:
            package = _packages.Package.from_string(given) if isinstance(given, str) else given
            if package.install_method == "local":
                self.sync_package(package)
            elif package.install_method == "conda":
                self.conda_install([package.install_target], conda_env_name)
            else:
                self._install("install_packages", [package], conda_env_name, venv_path)
        return self

    def conda_install(self, reqs: Requirements, conda_env_name: str | None = None) -> Self:
        """Installs packages with ``conda``, ``mamba`` or ``micromamba``; a SetupError where there is none of these."""
        return self._install("conda_install", reqs, conda_env_name, None)

    def setup_conda_env(self, name: str, config: dict[str, Any] | str) -> Self:
        """The environment is what ``conda env create`` makes of ``config``: a dict, or the path of a YAML file."""
        self._one_base("setup_conda_env")
        self.conda_env_name = name
        return self._add("setup_conda_env", name=name, config=conda_text(config))

    def set_venv(self, path: str) -> Self:
        """Workers run with the interpreter and the packages of the virtual environment at that path, which stays as it
        is: what further steps install goes beside it. Roundhouse need not be installed in it."""
        self._one_base("set_venv")
        self.venv_path = path
        return self._add("set_venv", path=path)

    def sync_package(self, package: str | Package) -> Self:
        """Code that workers can import: a folder (or its ``src``), or the name of a package that is installed here so
        that it can be edited."""
        if isinstance(package, _packages.Package):
            package = package.install_target
        return self._add("sync_package", package=package.removeprefix("local:"))

    # Everything else.

    def run_bash(self, command: str, conda_env_name: str | None = None, venv_path: str | None = None) -> Self:
        """Runs a command in a shell, in the image's environment as it is after the steps before it. In an image without
        packages that is one in which yours is seen, and which keeps what the command installs."""
        _no_other_environment("run_bash", conda_env_name, venv_path)
        if not isinstance(command, str):
            raise TypeError(f"run_bash() takes a command as text, not {type(command).__name__}")
        return self._add("run_bash", command=command)

    def rsync(self, source: str, dest: str, contents: bool = False, filter_options: str | None = None) -> Self:
        """Copies a file or a folder (with ``contents`` what is in it) to ``dest``, without what its .gitignore names.

        ``filter_options`` may have ``--exclude PATTERN``."""
        from roundhouse import _copy

        _copy.excluded(filter_options)
        return self._add("rsync", source=source, dest=dest, contents=contents, filter_options=filter_options)

    def set_env_vars(self, env_vars: dict[str, str] | str) -> Self:
        """Variables of every worker, and of the steps behind this one: a dict, or the path of a .env file."""
        if isinstance(env_vars, str):
            return self._add("set_env_vars", path=env_vars)
        from roundhouse._processes import _checked

        return self._add("set_env_vars", env_vars=dict(_checked(env_vars, none_too=False)))

    def sync_secrets(self, providers: Sequence[str | Secret]) -> Self:
        """``cluster.sync_secrets`` once the steps are done. A secret that is no provider's has to be saved."""
        if isinstance(providers, str):
            raise TypeError(f"sync_secrets() takes a list of names. Try: sync_secrets([{providers!r}])")
        return self._add("sync_secrets", providers=[getattr(each, "name", each) for each in providers])

    def from_docker(self, image_id: str, docker_secret: str | Any = None) -> Self:
        """The cluster is a container of that image; for launchers that have containers."""
        if self.image_id is not None:
            raise ValueError(f"the image is made from {self.image_id!r} already. Try: another rh.Image")
        self.image_id = f"docker:{image_id}"
        self.docker_secret = getattr(docker_secret, "name", docker_secret)
        return self

    # As a description.

    def config(self) -> dict[str, Any]:
        """What describes it, for ``from_config``: what JSON can hold.

        >>> import roundhouse as rh
        >>> image = rh.Image("small").pip_install(["six"]).run_bash("true")
        >>> rh.Image.from_config(image.config()).config() == image.config()
        True
        """
        return {
            "name": self.name,
            "python_version": self.python_version,
            "image_id": self.image_id,
            "docker_secret": self.docker_secret,
            "conda_env_name": self.conda_env_name,
            "venv_path": self.venv_path,
            "setup_steps": [dict(step) for step in self.steps],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Image:
        """The image that ``config()`` described."""
        image = cls(config.get("name"), None, config.get("python_version"))
        for field in ("image_id", "docker_secret", "conda_env_name", "venv_path"):
            setattr(image, field, config.get(field))
        for step in config.get("setup_steps", ()):
            if step.get("step") not in _STEPS:
                raise ValueError(f"an image has no step {step.get('step')!r}; it may have {', '.join(_STEPS)}")
            image.steps.append(dict(step))
        return image

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Image) and self.config() == other.config()

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        steps = ", ".join(step["step"] for step in self.steps)
        return f"<Image {self.name!r}{': ' if steps else ''}{steps}>"

    def _add(self, step: str, **given: Any) -> Self:
        self.steps.append({"step": step, **{key: value for key, value in given.items() if value not in (None, False)}})
        return self

    def _install(self, step: str, reqs: Requirements, conda_env_name: str | None, venv_path: str | None) -> Self:
        _no_other_environment(step, conda_env_name, venv_path)
        return self._add(step, reqs=_packages.texts(reqs, step))

    def _one_base(self, step: str) -> None:
        if self.venv_path is not None or self.conda_env_name is not None:
            raise ValueError(
                f"{step}() says again what the environment is based on, which is "
                f"{self.venv_path or self.conda_env_name!r}. Try: one of set_venv() and setup_conda_env()"
            )


INSTALLS = ("pip_install", "uv_install", "install_packages", "conda_install")
BASES = ("setup_conda_env", "set_venv")
_STEPS = (*INSTALLS, *BASES, "sync_package", "run_bash", "rsync", "set_env_vars", "sync_secrets")


CONDAS = ("micromamba", "mamba", "conda")


def conda_text(config: dict[str, Any] | str) -> str:
    """What describes a conda environment, as YAML."""
    if isinstance(config, str):
        with open(os.path.expanduser(config), encoding="utf-8") as file:
            return file.read()
    from roundhouse import _json

    # JSON is YAML.
    return _json.encode(config).decode()


def _no_other_environment(step: str, conda_env_name: str | None, venv_path: str | None) -> None:
    if conda_env_name is not None or venv_path is not None:
        from roundhouse.exceptions import Unsupported

        raise Unsupported(
            f"{step}() works in the image's own environment, and changes no other ({venv_path or conda_env_name!r}). "
            "Try: set_venv() or setup_conda_env() first, and leave that argument out"
        )


class _Images:
    """Images for well-known frameworks, to which further steps can be added.

    >>> import roundhouse as rh
    >>> rh.images.pytorch().set_env_vars({"OMP_NUM_THREADS": "1"})
    <Image 'pytorch': pip_install, set_env_vars>
    """

    def pytorch(self) -> Image:
        """With torch."""
        return Image("pytorch").pip_install(["torch"])

    def ray(self) -> Image:
        """With ray, for tuning, data and training."""
        return Image("ray").pip_install(["ray[tune,data,train]"])

    def dask(self) -> Image:
        """With dask, distributed and dask-ml."""
        return Image("dask").pip_install(["dask[distributed,dataframe]", "dask-ml"])


images = _Images()


# What is asked of a node.


def asked(image: Image) -> dict[str, Any]:
    """The image as a node is asked for it: with this process's versions, paths and interpreter."""
    steps: list[dict[str, Any]] = []
    for number, step in enumerate(image.steps, 1):
        step = {**step, "number": number, "text": _text(step)}
        if "reqs" in step and step["step"] != "conda_install":
            step["reqs"] = [_packages.resolved(requirement) for requirement in step["reqs"]]
            step["files"] = [text for requirement in step["reqs"] for text in _packages.listed(requirement)]
        elif step["step"] == "set_env_vars" and "path" in step:
            step["env_vars"] = read_env_file(step["path"])
        elif step["step"] == "sync_package":
            step["path"] = _folder_of(step["package"])
        elif step["step"] in ("set_venv", "rsync"):
            which = "path" if step["step"] == "set_venv" else "source"
            step[which] = _absolute(step[which])
        steps.append(step)
    return {
        "name": image.name,
        "steps": steps,
        "python_version": image.python_version,
        # From what is installed here.
        "isolated": image.python_version is not None or any(step["step"] in (*INSTALLS, *BASES) for step in steps),
        "interpreter": sys.executable,
        "version": ".".join(map(str, sys.version_info[:3])),
    }


def digests(asked: dict[str, Any]) -> list[str]:
    """What tells an image from every other, as it is asked for: of what stands before its first step, and of everything
    up to each step."""
    import hashlib
    import json

    base = [asked["isolated"], asked["python_version"], os.path.realpath(asked["interpreter"]), asked["version"]]
    found = [hashlib.sha256(json.dumps(base).encode()).hexdigest()[:32]]
    for step in asked["steps"]:
        content = {key: value for key, value in step.items() if key not in ("number", "text")}
        text = json.dumps([found[-1], content], sort_keys=True)
        found.append(hashlib.sha256(text.encode()).hexdigest()[:32])
    return found


def _text(step: dict[str, Any]) -> str:
    """The step as it was written, for people."""
    given = next((repr(value) for key, value in step.items() if key != "step"), "")
    return f"{step['step']}({given if len(given) <= 200 else given[:200] + '...'})"


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _folder_of(package: str) -> str:
    path = _absolute(package)
    if not os.path.exists(path):
        found = _packages.source_folder(package) if "/" not in package else None
        if found is None:
            from roundhouse.exceptions import SetupError

            raise SetupError(
                f"sync_package({package!r}): there is nothing at {path}, and no package of that name is installed here "
                "so that it can be edited. Try: the path of its folder"
            )
        path = found
    inside = os.path.join(path, "src")
    return inside if os.path.isdir(inside) and not os.path.exists(os.path.join(path, "__init__.py")) else path


def read_env_file(path: str) -> dict[str, str]:
    """The variables of a .env file: NAME=value, "export" in front perhaps, # for comments, quotes as a shell has them.

    Between single quotes and without any, everything is as it stands."""
    from roundhouse.exceptions import SetupError

    try:
        with open(_absolute(path), encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"set_env_vars({path!r}): the file cannot be read: {error}. Try: another path") from None
    variables = {}
    for number, line in enumerate(lines, 1):
        line = line.strip().removeprefix("export ").strip()
        if not line or line[0] == "#":
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.strip().isidentifier():
            # The line may be a secret, and is not shown.
            raise SetupError(f"line {number} of {path} is not NAME=value. Try: quote what stands on several lines")
        variables[name.strip()] = _env_value(value.strip(), path, number)
    return variables


def _env_value(text: str, path: str, number: int) -> str:
    if text[:1] not in ("'", '"'):
        return text.partition(" #")[0].rstrip()
    lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    try:
        value = lexer.get_token() or ""
    except ValueError:
        from roundhouse.exceptions import SetupError

        raise SetupError(f"a quote in line {number} of {path} has no end. Try: close it") from None
    return value.replace("\\n", "\n") if text[0] == '"' else value
