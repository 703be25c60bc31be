"""Makes a node's image: the work of a Python worker of the node's own, the service here.

What it prints is its caller's progress. Steps are carried out in order, each once on a node for the same content of all
steps up to there; packages and what commands do to them go into an environment of this machine (`_environments`)."""

from __future__ import annotations

import asyncio
import glob
import json
import os
import shutil
import signal

from roundhouse import _copy, _environments, _proof, _secret_files
from roundhouse._image import BASES, CONDAS, INSTALLS, digests
from roundhouse.exceptions import SetupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SERVICE = "roundhouse-images"
# Of what a step prints.
_SHOWN_BYTES_MAX = 4000
_KEPT_BYTES_MAX = 64 * 1024
_GRACE_SECONDS = 1.0
# Roundhouse's own: what a worker needs that an environment may be without.
_OWN = ("roundhouse", "cloudpickle", "msgpack")

# One image at a time: a node has one.
_making = asyncio.Lock()


async def apply(proof: str, asked: dict[str, Any], environ: dict[str, str], folder: str) -> dict[str, Any]:
    """The image is there; what workers need to know of it (`_prepared`). `environ` and `folder` are the caller's."""
    _proof.check(proof, SERVICE)
    async with _making:
        return await _Making(asked, environ, folder).make()


class _Making:
    def __init__(self, asked: dict[str, Any], environ: dict[str, str], folder: str) -> None:
        self.asked = asked
        self.steps: list[dict[str, Any]] = asked["steps"]
        self.digests = digests(asked)
        self.environ = dict(environ)
        self.folder = folder
        self.node = os.environ["ROUNDHOUSE_NODE"]
        self.kept = os.path.join(self.node, "kept")
        self.root = _environments.root_of(self.node)
        self.variables: dict[str, str] = {}
        self.paths: list[str] = []
        self.environment: str | None = None
        # After how many steps it is what it is.
        self.length = max(
            (n for n, step in enumerate(self.steps, 1) if step["step"] in (*INSTALLS, *BASES, "run_bash")), default=0
        )
        self.base = next((step for step in self.steps if step["step"] in BASES), None)
        self.installs = self._has(*INSTALLS, "setup_conda_env")
        self.uv = shutil.which("uv", path=environ.get("PATH"))

    def _has(self, *kinds: str) -> bool:
        return any(step["step"] in kinds for step in self.steps)

    async def make(self) -> dict[str, Any]:
        self._check_python()
        for each in ("steps", "environments"):
            os.makedirs(os.path.join(self.kept, each), mode=0o700, exist_ok=True)
        if self.base is not None and self.base["step"] == "set_venv":
            await self._check_venv(self.base)
        if self.installs or self._has("run_bash") or (self.asked["python_version"] and self.base is None):
            name = self.digests[self.length]
            self.environment = os.path.join(self.root, name)
            # Before it can be collected.
            self._mark("environments", name)
            async with _environments.alone_with(self.environment):
                await self._build()
            await asyncio.to_thread(_environments.collect, self.root, self._in_use())
        else:
            await self._carry_out(len(self.steps))
        return await self._record()

    async def _build(self) -> None:
        assert self.environment is not None
        if _environments.is_complete(self.environment):
            _environments.used(self.environment)
            return await self._carry_out(len(self.steps))
        _environments.remove(self.environment)
        done = await self._begin_with_shorter()
        try:
            if done < 0:
                await self._begin()
            await self._carry_out(max(done, 0))
            await self._check_version({"number": 0, "text": "its Python environment"}, self._python())
            _environments.complete(self.environment)
        except BaseException:
            _environments.remove(self.environment)
            raise
        return None

    async def _begin_with_shorter(self) -> int:
        """Copies the environment of the longest image that this one begins with, and returns how many steps that had;
        -1 where there is none. What conda makes cannot be copied."""
        assert self.environment is not None
        if self._has("conda_install", "setup_conda_env"):
            return -1
        # One that is based on something else is no beginning.
        shortest = self.steps.index(self.base) + 1 if self.base is not None else 0
        for count in range(self.length - 1, shortest - 1, -1):
            shorter = os.path.join(self.root, self.digests[count])
            if count == 0 and self.asked["isolated"]:
                # Nearly all images begin with that.
                await self._make_bare(shorter)
            if _environments.is_complete(shorter):
                try:
                    _environments.used(shorter)
                    _environments.copy_of(shorter, self.environment)
                except OSError:
                    # It was collected just now.
                    _environments.remove(self.environment)
                    continue
                return count
        return -1

    async def _make_bare(self, folder: str) -> None:
        async with _environments.alone_with(folder):
            if _environments.is_complete(folder):
                return
            _environments.remove(folder)
            built, self.environment = self.environment, folder
            try:
                await self._begin()
                _environments.complete(folder)
            finally:
                self.environment = built

    async def _begin(self) -> Any:
        assert self.environment is not None
        if self._has("setup_conda_env"):
            return None
        first = {"number": 0, "text": "its Python environment"}
        if self._has("conda_install"):
            version = self.asked["version"].rpartition(".")[0]
            return await self._run(first, self._conda(first, "create", f"python={version}"))
        python = self._interpreter()
        if not self.installs and not self.asked["python_version"]:
            # For commands alone, which may install something.
            await self._run(first, [python, "-m", "venv", "--without-pip", self.environment], silent=True)
            _environments.borrow_pip(self.environment)
        elif self.uv is not None:
            version = self.asked["python_version"] or python
            await self._run(first, [self.uv, "venv", "--seed", "--quiet", "--python", version, self.environment])
        else:
            await self._run(first, [python, "-m", "venv", self.environment])
        if self.base is not None or not self.asked["isolated"]:
            below = (await self._ask(python))["path"]
            _environments.put_above((await self._ask(self._python()))["purelib"], below)
        return None

    async def _carry_out(self, done: int) -> None:
        """The steps; those up to `done` have been done to the environment, and where this node has seen them nothing is
        left of them to do."""
        for number, step in enumerate(self.steps, 1):
            kind, digest = step["step"], self.digests[number]
            if kind == "set_env_vars":
                self.variables.update(step["env_vars"])
            elif kind == "sync_package":
                self.paths.append(step["path"])
            elif kind == "rsync":
                count = await asyncio.to_thread(self._rsync, step)
                self._say(step, f"{count} files were copied")
            elif kind == "run_bash":
                if number > done or not os.path.exists(os.path.join(self.kept, "steps", digest)):
                    shell = "/bin/bash" if os.path.exists("/bin/bash") else "/bin/sh"
                    await self._run(step, [shell, "-c", step["command"]])
                    self._mark("steps", digest)
            elif kind in (*INSTALLS, "setup_conda_env") and number > done:
                await self._install(step)

    async def _install(self, step: dict[str, Any]) -> Any:
        assert self.environment is not None
        if step["step"] == "setup_conda_env":
            described = os.path.join(self.root, f"{os.path.basename(self.environment)}.yml")
            with open(described, "w", encoding="utf-8") as file:
                file.write(step["config"])
            try:
                return await self._run(step, self._conda(step, "env", "create", "-f", described))
            finally:
                os.unlink(described)
        words = [word for requirement in step["reqs"] for word in _words(requirement)]
        if step["step"] == "conda_install":
            line = self._conda(step, "install", *words)
        elif self.uv is not None:
            line = [self.uv, "pip", "install", "--python", self._python(), *words]
        else:
            quiet = ("--no-input", "--disable-pip-version-check", "--progress-bar", "off")
            line = [self._python(), "-m", "pip", "install", *quiet, *words]
        # What is on the caller's own path is not installed in here.
        await self._run(step, line, without=("PYTHONPATH",))
        return None

    def _rsync(self, step: dict[str, Any]) -> int:
        dest = os.path.join(self.folder, os.path.expanduser(step["dest"]))
        try:
            exclude = _copy.excluded(step.get("filter_options"))
            return _copy.copy(step["source"], dest, bool(step.get("contents")), exclude)
        except (OSError, ValueError) as error:
            raise self._failed(step, f"failed: {error}", str(error)) from None

    # Interpreters.

    def _check_python(self) -> None:
        """Code that travels by value, and Roundhouse itself, are for one minor version of Python."""
        wanted, here = self.asked["python_version"], self.asked["version"]
        if wanted is not None and wanted.split(".")[:2] != here.split(".")[:2]:
            raise SetupError(
                f"the image{_named(self.asked)} has python_version {wanted!r}, and you run Python {here}: what you "
                f"send is for {_minor(here)}. Try: python_version={_minor(here)!r}, or run yours with Python {wanted}"
            )

    def _interpreter(self) -> str:
        if self.base is not None:
            return os.path.join(self.base["path"], "bin", "python")
        wanted, here = self.asked["python_version"], self.asked["version"]
        if wanted in (None, here, _minor(here)):
            return str(self.asked["interpreter"])
        found = shutil.which(f"python{wanted}", path=self.environ.get("PATH"))
        if found is None and self.uv is None:
            raise SetupError(
                f"the image{_named(self.asked)} has python_version {wanted!r}, you run Python {here}, and there is "
                f"neither uv nor python{wanted} here. Try: python_version={_minor(here)!r}, or install uv"
            )
        return found or str(wanted)

    async def _check_venv(self, step: dict[str, Any]) -> None:
        python = os.path.join(step["path"], "bin", "python")
        if not os.access(python, os.X_OK):
            raise self._failed(step, f"is no virtual environment: there is no {python}", "")
        await self._check_version(step, python)

    async def _check_version(self, step: dict[str, Any], python: str) -> None:
        there, here = (await self._ask(python))["version"], self.asked["version"]
        if _minor(there) != _minor(here):
            raise self._failed(
                step,
                f"has Python {there}, and you run {here}: what you send is for {_minor(here)}. Try: one that was made "
                f"with python{_minor(here)}",
                "",
            )

    def _python(self) -> str:
        if self.environment is not None:
            return os.path.join(self.environment, "bin", "python")
        return os.path.join(self.base["path"], "bin", "python") if self.base is not None else ""

    async def _ask(self, python: str) -> dict[str, Any]:
        """What an interpreter says of itself."""
        code = (
            "import sys, sysconfig, json; print(json.dumps({'path': [p for p in sys.path if p], "
            "'purelib': sysconfig.get_path('purelib'), 'version': '.'.join(map(str, sys.version_info[:3]))}))"
        )
        step = {"number": 0, "text": python}
        text = await self._run(step, [python, "-c", code], without=("PYTHONPATH",), silent=True)
        found: dict[str, Any] = json.loads(text)
        return found

    def _conda(self, step: dict[str, Any], *words: str) -> list[str]:
        assert self.environment is not None
        for name in CONDAS:
            found = shutil.which(name, path=self.environ.get("PATH"))
            if found is not None:
                # It knows no channel by itself.
                channel = ("-c", "conda-forge") if name == "micromamba" and words[0] != "env" else ()
                return [found, *words, *channel, "-y", "-p", self.environment]
        raise self._failed(step, f"needs one of {', '.join(CONDAS)}, and none is on PATH. Try: pip_install()", "")

    # Commands.

    def _environ(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if name.startswith("ROUNDHOUSE_")}
        environ = {**self.environ, **self.variables, **own}
        python = self._python()
        if python:
            programs = os.path.dirname(python)
            environ["VIRTUAL_ENV"] = os.path.dirname(programs)
            environ["PATH"] = programs + os.pathsep + environ.get("PATH", os.defpath)
            environ.pop("PYTHONHOME", None)
        return environ

    async def _run(
        self, step: dict[str, Any], line: list[str], without: tuple[str, ...] = (), silent: bool = False
    ) -> str:
        """Its output; SetupError where it fails. Whoever cancels the call ends the command."""
        if not silent:
            self._say(step)
        environ = {name: value for name, value in self._environ().items() if name not in without}
        try:
            process = await asyncio.create_subprocess_exec(
                *line,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env={"GIT_TERMINAL_PROMPT": "0", **environ},
                cwd=self.folder,
                # What it leaves behind can be ended with it.
                start_new_session=True,
            )
        except OSError as error:
            raise self._failed(step, f"cannot be run: {error}", "") from None
        assert process.stdout is not None
        kept = b""
        over = False
        try:
            while data := await process.stdout.read(65536):
                kept = (kept + data)[-_KEPT_BYTES_MAX:]
                if not silent:
                    print(data.decode("utf-8", "replace"), end="", flush=True)
            code = await process.wait()
            over = True
        finally:
            if not over:
                await asyncio.shield(_end(process))
        text = kept.decode("utf-8", "replace")
        if code:
            how = f"exit code {code}" if code > 0 else f"signal {-code}"
            raise self._failed(step, f"failed with {how}", text)
        return text

    def _say(self, step: dict[str, Any], what: str = "") -> None:
        number = f"step {step['number']} of {len(self.steps)}: " if step["number"] else ""
        print(f"image{_named(self.asked)}: {number}{step['text']}{': ' if what else ''}{what}", flush=True)

    def _failed(self, step: dict[str, Any], how: str, output: str) -> SetupError:
        shown = output.strip()[-_SHOWN_BYTES_MAX:]
        lines = "".join(f"\n    {line}" for line in shown.splitlines())
        number = f"step {step['number']} of " if step["number"] else ""
        return SetupError(
            f"{number}the image{_named(self.asked)}, {step['text']}, {how}"
            + (f"\nits last output:{lines}" if lines else ""),
            step=str(step["number"]),
            step_text=step["text"],
            output=output,
        )

    # What is kept.

    def _mark(self, what: str, name: str) -> None:
        with open(os.path.join(self.kept, what, name), "w", encoding="ascii"):
            pass

    def _in_use(self) -> list[str]:
        pattern = os.path.join(
            glob.escape(os.path.dirname(os.path.realpath(self.node))), "*", "kept", "environments", "*"
        )
        return [os.path.basename(path) for path in glob.glob(pattern)]

    async def _record(self) -> dict[str, Any]:
        python = self._python()
        record: dict[str, Any] = {
            "key": self.digests[-1],
            "variables": self.variables,
            "paths": self.paths,
            "interpreter": python,
            "config": self.asked["config"],
        }
        if python:
            record["own"] = self._own()
            record["environment_path"] = (await self._ask(python))["path"]
        _secret_files.write_private(os.path.join(self.kept, "image.json"), json.dumps(record).encode())
        return record

    def _own(self) -> str:
        """A folder from which a worker imports Roundhouse and what that needs, and nothing of what is beside them."""
        from importlib.util import find_spec

        folder = os.path.join(self.kept, "own")
        os.makedirs(folder, mode=0o700, exist_ok=True)
        for name in _OWN:
            spec = find_spec(name)
            link = os.path.join(folder, name)
            if spec is None or not spec.submodule_search_locations:
                continue
            target = os.path.realpath(spec.submodule_search_locations[0])
            if not os.path.islink(link) or os.readlink(link) != target:
                beside = f"{link}.{os.getpid()}.new"
                os.symlink(target, beside)
                os.replace(beside, link)
        return folder


def _words(requirement: str) -> list[str]:
    """One package, and the options behind it. ("a >= 2" and "a ; marker" are one word.)"""
    import shlex

    head, space, options = requirement.partition(" -")
    if requirement[:1] == "-":
        return shlex.split(requirement)
    return [head, *(shlex.split(f"-{options}") if space else ())]


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _named(asked: dict[str, Any]) -> str:
    return f" {asked['name']!r}" if asked["name"] else ""


async def _end(process: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            await asyncio.wait_for(process.wait(), _GRACE_SECONDS)
        except (TimeoutError, asyncio.TimeoutError):
            continue
