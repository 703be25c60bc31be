#!/usr/bin/env python3
"""Writes docs/api.md from the signatures and docstrings of what `roundhouse` exports; `--check` only compares.

A name stands in the section of the module that defines it. Nothing is described here but what has no docstring: the
examples are those of the docstrings, which tests/python/test_docstrings.py runs.
"""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "api.md"

HEAD = """\
# API reference

Every name that `import roundhouse as rh` gives you, with its signature and docstring. [guide.md](guide.md) goes by
task, [from-runhouse.md](from-runhouse.md) by Runhouse's names. This page is written by `tools/api_reference.py`: change
the docstrings, and run it again.
"""

# Sections in the order of the page: the modules that define their names. What is not here comes behind, by itself.
SECTIONS = {
    "Clusters": ("_cluster", "_here", "_registry", "_configs"),
    "Functions": ("_function", "_method", "_program"),
    "Classes and objects": ("_module", "_module_base", "_instance", "_handle"),
    "Calls": ("_call", "_many", "_stream"),
    "Images, packages and secrets": ("_image", "_packages", "_secret"),
    "Failures": ("exceptions",),
}
# Attributes of the package that are values and so have no docstring.
VALUES = {
    "__version__": "The version of Roundhouse, as text.",
    "here": 'The cluster whose worker this code runs in; elsewhere the text `"file"`. Looked up at each use.',
}
SPECIAL_METHODS = ("__call__", "__await__", "__iter__", "__next__", "__aiter__", "__anext__")


def section_of(module: str) -> str:
    name = module.rpartition(".")[2]
    for section, modules in SECTIONS.items():
        if name in modules:
            return section
    return "More"


def exported() -> dict[str, list[tuple[str, Any, list[str]]]]:
    """By section: each name, what it is, and its other names."""
    rh = import_module("roundhouse")
    canonical: dict[int, tuple[str, Any, list[str]]] = {}
    for name in rh.__all__:
        if name in VALUES:
            continue
        value = getattr(rh, name)
        if id(value) in canonical:
            canonical[id(value)][2].append(name)
        elif getattr(value, "__name__", name) != name and getattr(rh, value.__name__, None) is value:
            canonical[id(value)] = (value.__name__, value, [name])
        else:
            canonical[id(value)] = (name, value, [])
    sections: dict[str, list[tuple[str, Any, list[str]]]] = {section: [] for section in (*SECTIONS, "More")}
    for name, value, others in canonical.values():
        sections[section_of(value.__module__)].append((name, value, [other for other in others if other != name]))
    for name in VALUES:
        if name in rh.__all__:
            sections["Clusters" if name == "here" else "More"].append((name, VALUES[name], []))
    return {section: names for section, names in sections.items() if names}


def order(entry: tuple[str, Any, list[str]]) -> tuple[bool, str]:
    """Functions, which one begins with, before the classes that they return."""
    return isinstance(entry[1], type), entry[0].lower()


def signature_of(value: Any, *, skip_first: bool = False) -> str:
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return "(...)"
    parameters = list(signature.parameters.values())[1 if skip_first else 0 :]
    text = str(signature.replace(parameters=parameters))
    # Annotations are text in the sources, which `inspect` shows in quotes.
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)


def prose(doc: str) -> Iterator[str]:
    """A docstring as Markdown: its examples and its indented pieces as code."""
    yield ""
    fence = ""
    for line in [*inspect.cleandoc(doc).splitlines(), ""]:
        example, indented = line.startswith((">>> ", "...")), line.startswith("    ")
        if fence and not line.strip() and fence == "```pycon":
            yield "```"
            fence = ""
        elif not fence and (example or indented):
            fence = "```pycon" if example else "```text"
            yield fence
        elif fence == "```text" and line.strip() and not indented:
            yield "```"
            yield ""
            fence = ""
        if fence == "```text" and not line.strip():
            yield "```"
            fence = ""
        text = line[4:] if fence == "```text" else line
        yield text if fence else re.sub(r"``([^`]+)``", r"`\1`", text).replace("::", ":")


def members(kind: type) -> Iterator[tuple[str, str, str]]:
    """Name, how it is used, and docstring of what is public in a class of ours, inherited or not."""
    seen = set()
    for base in kind.__mro__:
        if not base.__module__.startswith("roundhouse"):
            continue
        for name, member in vars(base).items():
            if name in seen or (name.startswith("_") and name not in SPECIAL_METHODS):
                continue
            seen.add(name)
            if isinstance(member, property):
                yield name, f".{name}", member.__doc__ or ""
                continue
            bound = isinstance(member, staticmethod)
            function = member.__func__ if isinstance(member, (staticmethod, classmethod)) else member
            if inspect.isfunction(function):
                shown = f"{name}{signature_of(function, skip_first=not bound)}"
                prefix = f"{kind.__name__}." if isinstance(member, (staticmethod, classmethod)) else "."
                yield name, prefix + shown, function.__doc__ or ""


def entry(name: str, value: Any, others: list[str]) -> Iterator[str]:
    yield ""
    yield f"### `rh.{name}`"
    if isinstance(value, str):
        yield ""
        yield value
        return
    if isinstance(value, type) and issubclass(value, BaseException):
        bases = [base for base in value.__bases__ if base is not object]
        shown = [f"`{base.__name__}`" if base.__module__ == "builtins" else f"`rh.{base.__name__}`" for base in bases]
        yield ""
        yield f"An exception; it is also a {', a '.join(shown)}."
        yield from prose(value.__dict__.get("__doc__") or "")
        return
    if not isinstance(value, type):
        yield from ["", "```text", f"rh.{name}{signature_of(value)}", "```"]
    if others:
        yield ""
        yield f"Also called {', '.join(f'`rh.{other}`' for other in others)}."
    yield from prose(inspect.getdoc(value) or "")
    if isinstance(value, type):
        listed = [(member, shown, doc) for member, shown, doc in members(value) if doc]
        for _, shown, doc in sorted(listed, key=lambda item: item[0].startswith("__")):
            yield ""
            yield f"#### `{shown}`"
            yield from prose(doc)


def page() -> str:
    lines = [HEAD]
    for section, names in exported().items():
        lines += [f"\n## {section}"]
        for name, value, others in names if section == "Failures" else sorted(names, key=order):
            lines += entry(name, value, others)
    text = "\n".join(line.rstrip() for line in "\n".join(lines).splitlines())
    return re.sub(r"\n{3,}", "\n\n", text).rstrip("\n") + "\n"


def main(arguments: list[str]) -> int:
    sys.path.insert(0, str(ROOT / "python"))
    made = page()
    if "--check" not in arguments:
        PAGE.write_text(made, encoding="utf-8")
        return 0
    there = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    lines = difflib.unified_diff(
        there.splitlines(), made.splitlines(), "docs/api.md", "what it should say", lineterm=""
    )
    for line in lines:
        print(line)
    if there != made:
        print("docs/api.md is not what the docstrings say: run tools/api_reference.py")
    return int(there != made)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
