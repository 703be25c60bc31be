"""What the secret tests send."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import roundhouse as rh


def digits(secret: rh.Secret) -> int:
    print("it is", secret)
    return len(secret.values["api_key"])


def fails_with(secret: rh.Secret) -> None:
    """A traceback of frames in which it is."""
    value = secret.values["api_key"]
    raise LookupError(f"not with {len(value)} characters of {secret}")


def variable_length(name: str) -> int:
    return len(os.environ.get(name, ""))


def from_here(name: str) -> int:
    """What a worker sees that a process with the secret starts."""
    return rh.function(variable_length).to(rh.here, name="from-here")(name)


def by_name(name: str) -> int:
    return len(rh.secret(name).values["api_key"])


class Holder:
    def __init__(self, secret: rh.Secret) -> None:
        self.secret = secret

    def length(self) -> int:
        return len(self.secret.values["api_key"])


def until(path: str, secret: Any) -> str:
    while not Path(path).exists():
        time.sleep(0.01)
    return repr(secret)
