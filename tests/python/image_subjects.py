"""What the image tests send. It is imported in environments that have nothing of this one's."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import roundhouse as rh

# Of pure Python, small, and not in this environment at that version.
SIX = "six==1.16.0"


def surroundings(module: str) -> tuple[str, str | None, str | None]:
    """Interpreter, that module's version, and a variable."""
    version: str | None
    try:
        version = getattr(importlib.import_module(module), "__version__", "there")
    except ImportError:
        version = None
    return sys.executable, version, os.environ.get("SHOUT")


def from_here() -> tuple[str, Any]:
    """Its own interpreter, and the surroundings of a worker that it makes."""
    return sys.executable, rh.function(surroundings).to(rh.here, name="inner")("six")


def install_from_here() -> str | None:
    rh.here.pip_install([SIX])
    return rh.function(surroundings).to(rh.here, name="inner")("six")[1]
