#!/usr/bin/env python3
"""Prints what pyproject.toml asks for, one a line: for the build, the package, and the groups named as arguments."""

from __future__ import annotations

import sys
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10: pip carries the same parser
    from pip._vendor import tomli as tomllib  # type: ignore[no-redef]


def main() -> int:
    pyproject = Path(__file__).resolve().parent.parent / "pyproject.toml"
    settings = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    requirements = [*settings["build-system"]["requires"], *settings["project"]["dependencies"]]
    for group in sys.argv[1:]:
        requirements += settings["project"]["optional-dependencies"][group]
    print("\n".join(sorted(set(requirements))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
