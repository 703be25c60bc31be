"""What a fork server imports before its workers need it, and what it must leave to them.

A module is left to the workers when its import does something that a fork would not repeat or could not share: it
starts a thread, touches a GPU, opens a file or prints, changes `sys.path`, or reads what is a worker's own in the
environment. All that import it are left with it. Which other variables were read is remembered: only a worker with the
same values may be forked."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

# Their pools of threads (OpenBLAS) are known to end before a fork and to start again behind it.
_RESTARTING = ("numpy", "scipy")
# Look through the whole environment for names with a beginning that PREFIXES has.
_CHOOSING = ("tqdm.utils",)
# Read by libraries of another language, where nobody sees it, and by those that look through everything.
PREFIXES = (
    "ATEN_",
    "BLIS_",
    "COVERAGE_",
    "CUDA_",
    "GLIBC_",
    "GOMP_",
    "HOME",
    "JAX_",
    "KMP_",
    "LANG",
    "LC_",
    "LD_",
    "MALLOC_",
    "MKL_",
    "NCCL_",
    "NUMEXPR_",
    "NVIDIA_",
    "OMP_",
    "OPENBLAS_",
    "PYTHON",
    "PYTORCH_",
    "TF_",
    "TORCH",
    "TQDM_",
    "TZ",
    "VECLIB_",
    "XLA_",
)
# Each worker has its own, and nobody has looked as long as no GPU was touched.
OWN_OF_WORKERS = ("CUDA_VISIBLE_DEVICES",)
_MARKS = "ROUNDHOUSE_"

_getcwd = os.getcwd
_PACKAGES = ("site-packages", "dist-packages")
_STANDARD = os.path.dirname(os.__file__)
_NAMES_BYTES_MAX = 96 * 1024


def packages_in(path: Sequence[str]) -> list[str]:
    """The folders of an import path that hold packages, rather than a user's own modules."""
    return [entry for entry in path if os.path.basename(entry.rstrip("/")) in _PACKAGES]


def imported(known: frozenset[str]) -> list[str]:
    """What a fork server could have imported for this process, in order: packages and the standard library, without
    `known`."""
    places = (*(entry.rstrip("/") + "/" for entry in packages_in(sys.path)), _STANDARD + "/")
    names: list[str] = []
    size = 0
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if name in known or spec is None or spec.name != name or not isinstance(spec.origin, str):
            continue
        if not spec.origin.startswith(places) and not name.startswith("roundhouse."):
            continue
        size += len(name) + 4
        if size > _NAMES_BYTES_MAX:
            break
        names.append(name)
    return names


class _LeftOut(BaseException):
    """A module that is being imported imports one that is left to the workers. No `except Exception` may take that for
    a module that is not there."""


class _Environment(os._Environ):  # type: ignore[type-arg]
    """`os.environ` while modules are imported: the same object, of another class."""

    def __getitem__(self, key: Any) -> Any:
        _watch.reads(os.fsdecode(key), sys._getframe(1))
        return super().__getitem__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        _watch.written[os.fsencode(key)] = os.fsencode(value)

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(key)
        _watch.written[os.fsencode(key)] = None

    def __iter__(self) -> Iterator[Any]:
        _watch.reads_all(sys._getframe(1))
        return super().__iter__()


class _Watch:
    """Sees every import from its place in `sys.meta_path`."""

    def __init__(self) -> None:
        self.after_fork: dict[str, str] = {}
        self.read: set[str] = set()
        self.written: dict[bytes, bytes | None] = {}
        self.reads_folder = False
        self.spoiled = False
        self._importing: list[str] = []
        self._threads = 1
        self._files: set[str] = set()
        self._printed = 0
        self._path: list[str] = []

    def begin(self) -> None:
        self._threads, self._files, self._printed = _threads(), _files(), _printed()
        self._path = list(sys.path)
        os.environ.__class__ = _Environment
        os.environb.__class__ = _Environment
        os.getcwd = self._getcwd
        sys.meta_path.insert(0, self)

    def end(self) -> None:
        sys.meta_path.remove(self)
        os.getcwd = _getcwd
        os.environ.__class__ = os._Environ
        os.environb.__class__ = os._Environ

    # Of the environment.

    def _getcwd(self) -> str:
        if self._importing and not _is_standard(_reader(sys._getframe(1), "os", "posixpath", "pathlib")):
            self.reads_folder = True
        return _getcwd()

    def reads(self, name: str, frame: Any) -> None:
        reader = _reader(frame, "os", "collections.abc", "_collections_abc", __name__)
        if _module_of(reader) in _CHOOSING:
            return
        if not name.startswith(_MARKS):
            self.read.add(name)
        elif not _is_standard(reader):
            self._leave(f"it reads {name}")

    def reads_all(self, frame: Any) -> None:
        reader = _reader(frame, "os", "collections.abc", "_collections_abc", __name__)
        # The standard library only passes it on to a program that it starts.
        if _module_of(reader) not in _CHOOSING and not _is_standard(reader):
            self._leave("it copies the environment")

    # Of imports.

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        self.look()
        if name in self.after_fork:
            self._leave(f"it imports {name}")
            raise _LeftOut(name)
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find is not None else None
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader)
                return spec  # type: ignore[no-any-return]
        return None

    def enter(self, name: str) -> None:
        self._importing.append(name)

    def leave(self) -> None:
        self.look()
        self._importing.pop()

    def look(self) -> None:
        """Whether the module that is being imported has done what a fork would not repeat."""
        if not self._importing:
            return
        threads = _threads()
        if threads > self._threads:
            self._threads = threads
            if self._importing[-1].partition(".")[0] not in _RESTARTING:
                self._leave("it starts a thread")
        files = _files()
        if new := files - self._files:
            self._files = files
            self._leave(f"it opens {min(new)}")
        if (printed := _printed()) != self._printed:
            self._printed = printed
            self._leave("it prints")
        if sys.path != self._path:
            self._path = list(sys.path)
            self._leave("it changes sys.path")

    def _leave(self, why: str) -> None:
        if not self._importing:
            return
        self.spoiled = True
        *importers, name = self._importing
        self.after_fork.setdefault(name, why)
        for importer in importers:
            self.after_fork.setdefault(importer, f"it imports {name}")


class _Loader:
    """A module's own loader, watched."""

    def __init__(self, own: Any) -> None:
        self._own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        # The library of a compiled one is loaded here.
        _watch.enter(spec.name)
        try:
            return self._own.create_module(spec)  # type: ignore[no-any-return]
        finally:
            _watch.leave()

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._own
        module.__loader__ = self._own
        _watch.enter(module.__name__)
        try:
            self._own.exec_module(module)
        finally:
            _watch.leave()


_watch = _Watch()


def _reader(frame: Any, *between: str) -> Any:
    """The code that asks, by way of those modules."""
    while _module_of(frame) in between:
        frame = frame.f_back
    return frame


def _module_of(frame: Any) -> str:
    return "" if frame is None else frame.f_globals.get("__name__", "")


def _is_standard(frame: Any) -> bool:
    file = "" if frame is None else frame.f_code.co_filename
    return file.startswith(_STANDARD + "/") and "-packages/" not in file


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


def _files() -> set[str]:
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            file = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue  # The one that the list was read from.
        if file not in ("/dev/null", "/dev/urandom", "/dev/random"):
            found.add(file)
    return found


def _printed() -> int:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    return os.fstat(1).st_size + os.fstat(2).st_size


class Modules:
    """What is imported here, what is still to come, and what is left to the workers."""

    def __init__(self, state: dict[str, Any], known: frozenset[str]) -> None:
        self.packages: list[str] = state.get("packages", [])
        self.wanted: dict[str, None] = dict.fromkeys(state.get("wanted", ()))
        self._next: list[str] = list(self.wanted)[::-1]
        _watch.after_fork.update(state.get("after_fork", {}))
        self._own = known
        self._seen: dict[str, tuple[int, ...]] = {}
        _watch.begin()

    def state(self) -> dict[str, Any]:
        """For the one that takes this one's place."""
        return {"packages": self.packages, "wanted": list(self.wanted), "after_fork": self.after_fork}

    after_fork = property(lambda self: _watch.after_fork)
    is_spoiled = property(lambda self: _watch.spoiled)
    read = property(lambda self: _watch.read)
    is_of_this_folder = property(lambda self: _watch.reads_folder)

    def want(self, names: list[str], packages: list[str]) -> bool:
        """True where there is anything new."""
        new = [name for name in names if name not in self.wanted]
        self.packages = packages or self.packages
        self.wanted.update(dict.fromkeys(new))
        self._next = new[::-1] + self._next
        return bool(new)

    def import_next(self) -> bool:
        """False when there is no more."""
        while self._next:
            name = self._next.pop()
            parts = name.split(".")
            left = any(".".join(parts[: count + 1]) in self.after_fork for count in range(len(parts)))
            if name not in sys.modules and not left:
                self._import(name)
                return True
        return False

    def _import(self, name: str) -> None:
        own_path = sys.path[:]
        sys.path[:] = [entry for entry in own_path if _is_standard_entry(entry)] + self.packages
        _watch._path = list(sys.path)
        try:
            __import__(name)
        except BaseException:
            pass  # Its worker will be told why.
        finally:
            sys.path[:] = own_path

    def shown(self) -> list[str]:
        """The packages among what is imported."""
        places = tuple(entry.rstrip("/") + "/" for entry in self.packages)
        here = {name.partition(".")[0] for name in self.wanted if name in sys.modules}
        return sorted(name for name in here if _origin(sys.modules.get(name)).startswith(places) and places)

    def note_files(self) -> None:
        self._seen = {}
        for module in list(sys.modules.values()):
            file = _origin(module)
            if file.startswith("/"):
                self._seen[file] = _stamp(file)

    def are_as_imported(self) -> bool:
        return all(_stamp(file) == stamp for file, stamp in self._seen.items())

    def hidden_by(self, path: Sequence[str]) -> str | None:
        """A module of that import path that would have been imported instead of one that is here."""
        tops = {name.partition(".")[0] for name in sys.modules if name not in self._own} - self._own
        homes = {name: os.path.dirname(_home(sys.modules.get(name))) for name in tops}
        open_names = {name for name, home in homes.items() if home}
        for entry in path:
            open_names -= {name for name in open_names if homes[name] == entry}
            if not open_names:
                break
            found = _modules_in(entry, open_names)
            if found:
                return min(found)
        return None

    def end(self) -> dict[bytes, bytes | None]:
        """In a worker: nothing is watched any more. What the modules have set in the environment."""
        _watch.end()
        return _watch.written


def _is_standard_entry(entry: str) -> bool:
    name = os.path.basename(entry)
    return (entry.startswith(_STANDARD) and name not in _PACKAGES) or (
        name.startswith("python3") and name[-4:] == ".zip"
    )


def _origin(module: Any) -> str:
    found = getattr(getattr(module, "__spec__", None), "origin", None)
    return found if isinstance(found, str) else ""


def _home(module: Any) -> str:
    """The file or folder that stands in an entry of the import path."""
    origin = _origin(module)
    return os.path.dirname(origin) if os.path.basename(origin).startswith("__init__.") else origin


def _stamp(file: str) -> tuple[int, ...]:
    try:
        found = os.stat(file)
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _is_package(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir() and any(file.startswith("__init__.") for file in os.listdir(entry))


def _modules_in(folder: str, names: set[str]) -> set[str]:
    """Which of these modules stand there."""
    found = set()
    try:
        for entry in os.scandir(folder):
            stem, dot, ending = entry.name.partition(".")
            if stem not in names:
                continue
            if ending.rpartition(".")[2] in ("py", "pyc", "so") if dot else _is_package(entry):
                found.add(stem)
    except OSError:
        pass  # Nothing can be imported from there.
    return found
