"""How much: of memory as text, of CPUs and GPUs as numbers, and of all three what this machine has."""

from __future__ import annotations

import os

from roundhouse.exceptions import LaunchError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_BINARY_UNITS = {"ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40}
# Nothing runs in less, so that a smaller number is one whose unit was forgotten.
_LEAST_BYTES = 1 << 20


class OtherSizes(LaunchError, ValueError):
    """The cluster is up with other sizes than those that are asked for."""


def parse_bytes(amount: int | str, what: str = "memory") -> int:
    """Bytes of "2GiB", "512 MB", or of a number of bytes; ValueError, naming `what`, for anything else."""
    if isinstance(amount, int) and not isinstance(amount, bool):
        number = amount
    elif isinstance(amount, str):
        number = _bytes_of_text(amount, what)
    else:
        raise TypeError(f"{what}= is text like '2GiB', or a number of bytes, not {type(amount).__name__}")
    if number <= 0:
        raise ValueError(f"{what}={amount!r} is no amount of memory. Try: '512MiB', '2GiB', or a number of bytes")
    return number


def _bytes_of_text(text: str, what: str) -> int:
    lower = text.strip().lower()
    digits = lower.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = lower[len(digits) :].strip().removesuffix("bytes").removesuffix("b")
    factor = _BINARY_UNITS.get(unit) or _UNITS.get(unit)
    try:
        amount = float(digits)
    except ValueError:
        amount = -1.0
    if factor is None or not 0 < amount < 1e15:
        raise ValueError(f"{what}={text!r} is no amount of memory. Try: '512MiB', '2GiB', or a number of bytes")
    return int(amount * factor)


def format_bytes(number: int) -> str:
    """The shortest text that parse_bytes reads as the same number."""
    for unit, factor in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20)):
        if number >= factor and number % factor == 0:
            return f"{number // factor}{unit}"
    return f"{number} bytes"


class Amount:
    """What was asked for: so much, or ("4+") at least so much."""

    __slots__ = ("at_least", "number")

    def __init__(self, number: int, at_least: bool) -> None:
        self.number = number
        self.at_least = at_least

    def fits(self, there: int) -> bool:
        return there >= self.number if self.at_least else there == self.number


def parse_amount(asked: Any, what: str) -> Amount | None:
    """`num_cpus`, `gpus` or `memory` as a user gives it; None asks for nothing."""
    if asked is None:
        return None
    at_least = isinstance(asked, str) and asked.strip().endswith("+")
    given = asked.strip()[:-1] if at_least else asked
    if what == "memory":
        number = parse_bytes(given, what)
        if number < _LEAST_BYTES:
            raise ValueError(
                f"{what}={asked!r} is {number} bytes, too little to run anything in. Try: {what}='{number}GiB'"
            )
        return Amount(number, at_least)
    if isinstance(given, float) and given.is_integer():
        given = int(given)
    if isinstance(given, str) and given.strip().isascii() and given.strip().isdigit():
        given = int(given)
    if what == "gpus" and isinstance(given, str) and given[:1].isalpha():
        raise LaunchError(
            f"gpus={asked!r} asks for a make of GPU, which means a cloud; launching one is not yet supported by this "
            "version. Try: gpus=1, a number of this machine's"
        )
    least = 1 if what == "num_cpus" else 0
    if isinstance(given, bool) or not isinstance(given, int) or given < least:
        raise ValueError(f"{what}={asked!r} is no number of {_WORDS[what]}. Try: {what}=2, or '2+' for at least two")
    return Amount(given, at_least)


_WORDS = {"num_cpus": "CPUs", "gpus": "GPUs", "memory": "bytes of memory"}
_VARIABLES = {"num_cpus": "ROUNDHOUSE_CPUS", "gpus": "ROUNDHOUSE_GPUS", "memory": "ROUNDHOUSE_MEMORY"}


class Sizes:
    """What a cluster was asked to have, and whether that can be."""

    __slots__ = ("amounts", "asked")

    def __init__(self, asked: dict[str, Any]) -> None:
        # As it was given, for configurations and messages.
        self.asked = {what: asked[what] for what in _WORDS if asked.get(what) is not None}
        amounts = {what: parse_amount(value, what) for what, value in self.asked.items()}
        self.amounts = {what: amount for what, amount in amounts.items() if amount is not None}

    def for_launch(self, name: str) -> dict[str, int]:
        """The arguments of up_local; LaunchError for more than this machine has."""
        sizes = {}
        for what, amount in self.amounts.items():
            there = machine(what)
            if there < amount.number:
                raise LaunchError(
                    f"cluster {name!r} was to have {_text(what, amount.number)} ({what}={self.asked[what]!r}), and "
                    f"this machine has {_text(what, there)}. Try: a smaller {what}="
                )
            # "At least" is all of the machine.
            if not amount.at_least:
                sizes["cpus" if what == "num_cpus" else what] = amount.number
        return sizes

    def check(self, name: str, resources: dict[str, Any]) -> None:
        """OtherSizes where a cluster that is up has others than those that were asked for."""
        there = {
            "num_cpus": len(resources.get("cpus", ())),
            "gpus": len(resources.get("gpus", ())),
            "memory": resources.get("memory", 0),
        }
        for what, amount in self.amounts.items():
            if not amount.fits(there[what]):
                raise OtherSizes(
                    f"cluster {name!r} is up with {_text(what, there[what])}, and {what}={self.asked[what]!r} asks for "
                    f"{_text(what, amount.number)}. Try: rh.compute({name!r}) to use it as it is, or "
                    f"rh.compute({name!r}).teardown() first"
                )


def _text(what: str, number: int) -> str:
    return f"{format_bytes(number)} of memory" if what == "memory" else f"{number} {_WORDS[what]}"


def machine(what: str) -> int:
    """What the daemon will find on this machine (src/daemon/resources.cpp)."""
    said = os.environ.get(_VARIABLES[what], "")
    if said.isascii() and said.isdigit():
        return int(said)
    if what == "num_cpus":
        affinity = getattr(os, "sched_getaffinity", None)
        return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    if what == "gpus":
        return sum(name[:6] == "nvidia" and name[6:].isdigit() for name in os.listdir("/dev"))
    return memory_now()["total_memory"]


def memory_now() -> dict[str, int]:
    """This machine's memory in bytes, by Runhouse's names."""
    found = {}
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                key, _, rest = line.partition(":")
                if key in ("MemTotal", "MemAvailable"):
                    found[key] = int(rest.split()[0]) * 1024
    except OSError:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        found = {"MemTotal": pages, "MemAvailable": pages}
    total = found.get("MemTotal", 0)
    free = found.get("MemAvailable", total)
    return {"total_memory": total, "free_memory": free, "used_memory": total - free}
