#!/usr/bin/env python3
"""The rules of this repository that a machine can check: layers, files, names. Prints `file:line: what, what to do`.

The first two tables are the map that ARCHITECTURE.md draws. Whoever changes the map changes them in the same commit.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

# Each folder of src/ and what it may include besides itself. A name with a slash is one header only.
LAYERS: dict[str, tuple[str, ...]] = {
    "base": (),
    "wire": ("base",),
    "sync": ("base",),
    "process": ("base",),
    "net": ("base",),
    "shm": ("base",),
    "isolate": ("process", "base"),
    "store": ("base",),
    "registry": ("store/database.h", "base"),
    "rpc": ("wire", "net", "base"),
    "keeper": ("process", "isolate", "base"),
    "launch": ("roundhouse", "registry", "process", "net", "base"),
    "worker": ("roundhouse", "rpc", "wire", "net", "shm", "base"),
    "client": ("roundhouse", "rpc", "wire", "net", "sync", "shm", "registry", "process", "base"),
    "sdk": ("roundhouse", "client", "worker", "launch", "base"),
    "daemon": ("rpc", "wire", "net", "process", "isolate", "shm", "store", "sync", "base"),
    "http": ("daemon/api.h", "net", "base"),
    "cli": ("client", "launch", "registry", "process", "base"),
    "binding": ("roundhouse", "client", "launch", "worker", "registry", "base"),
}
ANYTHING = ("bin",)  # main() wires everything, third-party objects included
PUBLIC = "roundhouse"  # include/roundhouse/

EVERYWHERE = (*LAYERS, *ANYTHING)

# Third-party headers, by how their names begin, and the folders that may include them. The first match decides.
THIRD_PARTY: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("fmt/", EVERYWHERE),
    ("spdlog/", EVERYWHERE),
    ("tl/", EVERYWHERE),
    ("nlohmann/", EVERYWHERE),
    ("boost/beast", ("http", "net")),
    ("boost/asio", ("net", "rpc", "daemon", "http")),
    ("boost/system/", ("net", "rpc", "daemon", "http")),  # Asio's error codes
    ("google/protobuf/", ("wire", "rpc")),
    ("protocol/", ("wire", "rpc")),  # the headers that protoc generates
    ("openssl/", ("net",)),
    ("sqlite3", ("store", "registry")),
    ("xxhash", ("store",)),
    ("blake3/", ("sync",)),
    ("zstd", ("sync", "client", "daemon")),
    ("CLI/", ("cli",)),
    ("nanobind/", ("binding",)),
    ("Python.h", ("binding",)),
)
TEST_ONLY = ("gtest/", "gmock/")
SYSTEM_FOLDERS = ("sys/", "linux/", "netinet/", "arpa/", "asm/", "sanitizer/", "mach/")
SYSTEM_HEADERS = {"net/if.h", "net/if_arp.h", "net/route.h"}  # those whose folder is called like one of ours

LINES_MAX = 600
VAGUE_FOLDERS = {"util", "utils", "common", "helper", "helpers"}
PUBLIC_MODULES = {"__init__.py", "__main__.py", "exceptions.py"}
# Main functions, nouns and the module need no header of their own; sdk's headers are the public ones.
UNNAMED_SOURCES = {"bin", "cli", "binding", "sdk"}

SKIPPED_FOLDERS = {".git", ".venv", "third_party", "__pycache__"} | {
    f".{tool}" for tool in ("mypy_cache", "ruff_cache", "pytest_cache", "hypothesis", "ipynb_checkpoints")
}
SKIPPED_AT_ROOT = {"build", "dist"}
CODE_SUFFIXES = {".h", ".hpp", ".cpp", ".cc", ".c", ".cmake", ".py", ".pyi", ".sh", ".proto", ".sql"}
TEXT_SUFFIXES = CODE_SUFFIXES | {".map", ".txt", ".md", ".toml", ".yaml", ".yml", ".json", ".cfg"}
TEXT_NAMES = {"Makefile", "run", ".clang-format", ".clang-tidy", ".editorconfig", ".gitignore"}

# Split, so that this file passes its own rule.
UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
HOME_FOLDER = re.compile(r"(?<![\w.~$}/-])/(?:home|Users)/[A-Za-z_][\w.-]*/")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


class Problem(NamedTuple):
    path: Path
    line: int
    text: str


@dataclass
class File:
    root: Path
    path: Path  # relative to the root
    text: str
    lines: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.lines = self.text.split("\n")

    @property
    def is_cpp(self) -> bool:
        return self.path.suffix in {".h", ".hpp", ".cpp", ".cc", ".c"}

    @property
    def is_test(self) -> bool:
        return self.path.stem.endswith(("_test", "_fuzz"))

    @property
    def layer(self) -> str | None:
        """The folder under src/, or `roundhouse` for the public headers; None for what is no layer."""
        parts = self.path.parts
        if len(parts) > 2 and parts[0] == "src":
            return parts[1]
        if parts[:2] == ("include", PUBLIC):
            return PUBLIC
        return None

    def problem(self, line: int, text: str) -> Problem:
        return Problem(self.path, line, text)


def check_includes(file: File) -> Iterator[Problem]:
    layer = file.layer
    if layer is None or not file.is_cpp:
        return
    for number, line in enumerate(file.lines, 1):
        match = INCLUDE.match(line)
        if match:
            reason = include_reason(layer, match[2], quoted=match[1] == '"', test=file.is_test)
            if reason:
                yield file.problem(number, reason)


def include_reason(layer: str, header: str, *, quoted: bool, test: bool) -> str | None:
    """Why a file of this layer may not include this header; None when it may."""
    folder, slash, _rest = header.partition("/")
    if layer == PUBLIC:
        if folder == PUBLIC or ("/" not in header and "." not in header):
            return None
        return f"a public header includes {header}, but may show only the standard library: move it to a source"
    if header.startswith(TEST_ONLY):
        return None if test else f"{header} is included outside a *_test.cpp: move it there"
    for prefix, layers in THIRD_PARTY:
        if header.startswith(prefix):
            if layer in layers or layer in ANYTHING:
                return None
            return f"{header} is included in {layer}, but belongs to {', '.join(layers)}: hide it behind their headers"
    if not quoted and header in SYSTEM_HEADERS:
        return None
    if quoted or folder in LAYERS or folder in (*ANYTHING, PUBLIC):
        return layer_reason(layer, header, folder if slash else "")
    if slash and not header.startswith(SYSTEM_FOLDERS):
        return f"{header} is of a library that is not on the list: use one that is, or add it to THIRD_PARTY here"
    return None


def layer_reason(layer: str, header: str, folder: str) -> str | None:
    if not folder:
        return f'"{header}" names no folder: write "{layer}/{header}"'
    if layer in ANYTHING or folder == layer:
        return None
    allowed = LAYERS.get(layer, ())
    if folder in allowed or header in allowed:
        return None
    return f"{layer} may not include {header}: only {', '.join(allowed) or 'itself'} (ARCHITECTURE.md)"


def check_folders(files: list[File]) -> Iterator[Problem]:
    seen: set[Path] = set()
    for file in files:
        for folder in file.path.parents:
            if folder in seen:
                continue
            seen.add(folder)
            if folder.name in VAGUE_FOLDERS:
                yield file.problem(1, f"the folder {folder} has a name that says nothing: name it after what is in it")
            if folder.parent == Path("src") and folder.name not in EVERYWHERE:
                yield file.problem(1, f"src/{folder.name} is not on the map: add it to LAYERS and ARCHITECTURE.md")


def check_header(file: File) -> Iterator[Problem]:
    if file.path.suffix in {".h", ".hpp"} and "#pragma once" not in file.lines:
        yield file.problem(1, "has no #pragma once: begin the header with it")


def check_pairs(files: list[File]) -> Iterator[Problem]:
    """A source is named after its header, or begins with its name: daemon.h, daemon.cpp, daemon_calls.cpp."""
    headers: dict[str, set[str]] = {}
    for file in files:
        if file.layer and file.path.suffix == ".h":
            headers.setdefault(file.layer, set()).add(file.path.stem)
    for file in files:
        layer = file.layer
        if layer is None or layer in UNNAMED_SOURCES or file.path.suffix != ".cpp" or file.is_test:
            continue
        stem = file.path.stem
        known = headers.get(layer, set()) | headers.get(PUBLIC, set())
        if not any(stem == name or stem.startswith(name + "_") for name in known):
            yield file.problem(1, f"has no header of its name: add {layer}/{stem}.h, or name it after its header")


def check_python_module(file: File) -> Iterator[Problem]:
    parts = file.path.parts
    if parts[:2] != ("python", "roundhouse") or file.path.suffix not in {".py", ".pyi"}:
        return
    inner = parts[2:]
    if any(part.startswith("_") for part in inner[:-1]):
        return
    if inner[-1] not in PUBLIC_MODULES and not inner[-1].startswith("_"):
        yield file.problem(1, f"{inner[-1]} is a public module: call it _{inner[-1]}, export from __init__.py")


def check_text(file: File) -> Iterator[Problem]:
    own_places = [str(place) + "/" for place in (file.root, Path.home()) if len(place.parts) > 1]
    for number, line in enumerate(file.lines, 1):
        if line != line.rstrip():
            yield file.problem(number, "has white space at its end: remove it")
        if match := UNFINISHED.search(line):
            yield file.problem(number, f"says {match[0]}: finish it, or write down why it is as it is")
        places = [place for place in own_places if place in line]
        if match := HOME_FOLDER.search(line):
            places.append(match[0])
        if places:
            yield file.problem(number, f"contains {places[0]}, a path of one machine: make it relative, or ask for it")
    if file.text and not file.text.endswith("\n"):
        yield file.problem(len(file.lines), "does not end with a new line: add one")
    if file.text.endswith("\n\n"):
        yield file.problem(len(file.lines) - 1, "ends with an empty line: remove it")
    count = len(file.lines) - 1
    if file.path.suffix in CODE_SUFFIXES and count > LINES_MAX:
        yield file.problem(LINES_MAX, f"has {count} lines, more than {LINES_MAX}: split it by what its parts are for")


def read_tree(root: Path) -> tuple[list[File], list[Problem]]:
    files, problems = [], []
    for path in sorted(walk(root, at_root=True)):
        relative = path.relative_to(root)
        try:
            files.append(File(root, relative, path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            problems.append(Problem(relative, 1, "is not UTF-8: save it as such"))
    return files, problems


def walk(folder: Path, *, at_root: bool = False) -> Iterator[Path]:
    for entry in folder.iterdir():
        if entry.is_symlink():
            continue
        if entry.is_dir():
            if entry.name not in SKIPPED_FOLDERS and not (at_root and entry.name in SKIPPED_AT_ROOT):
                yield from walk(entry)
        elif entry.suffix in TEXT_SUFFIXES or entry.name in TEXT_NAMES:
            yield entry


def check_tree(root: Path) -> list[Problem]:
    files, problems = read_tree(root)
    problems += check_folders(files)
    problems += check_pairs(files)
    for file in files:
        for check in (check_includes, check_header, check_python_module, check_text):
            problems += check(file)
    return sorted(problems)


def main(arguments: list[str]) -> int:
    root = Path(arguments[0] if arguments else Path(__file__).parent.parent).resolve()
    problems = check_tree(root)
    for problem in problems:
        print(f"{problem.path}:{problem.line}: {problem.text}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
