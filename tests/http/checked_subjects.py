"""Services that say by their type hints what they take and give, and do no harm with anything that fits.

Random calls of test_schemathesis.py reach them, a generated client and the page in a browser."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypedDict

import numpy as np
import roundhouse as rh


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


@dataclass
class Point:
    """A place."""

    x: float
    y: float = 0.0
    names: list[str] = field(default_factory=list)
    next: Point | None = None


class Found(TypedDict):
    count: int
    colour: Colour


def scale(point: Point, by: float = 2.0) -> Point:
    """Moves a point away from the origin.

    What it is named stays.
    """
    return Point(point.x * by if abs(point.x) < 1e9 and abs(by) < 1e9 else 0.0, 0.0, point.names)


def tally(words: list[str], colour: Colour = Colour.RED, mode: Literal["few", "many"] = "few") -> Found:
    """Counts words."""
    return {"count": len(words) if mode == "many" else min(len(words), 3), "colour": colour}


def countdown(start: int, text: str = "left") -> Iterator[str]:
    """Counts down, and says so."""
    for number in range(min(max(start, 0), 100), 0, -1):
        print("at", number)
        yield f"{number} {text}"


def mirror(given: dict[str, Any] | None = None, raw: bytes = b"") -> bytes:
    """What was given is not looked at; the bytes come back."""
    return raw[::-1]


def later(day: datetime.date, pair: tuple[int, bool]) -> str | None:
    """The day as text, if the second of the pair says so."""
    return day.isoformat() if pair[1] else None


def refuse(amount: int) -> int:
    """Raises, whatever it is given."""
    raise ValueError(f"no {amount} <b>here</b>")


class Switch:
    def __init__(self, on: bool = False) -> None:
        self.on = on

    def turn(self, on: bool) -> bool:
        """How it was before."""
        self.on, before = on, self.on
        return before

    @rh.readonly
    def is_on(self, inverted: bool = False) -> bool:
        """Whether it is on."""
        return self.on is not inverted


class Digits:
    """Reads scans of 8x8 pixels: the digit whose mean scan is the nearest."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.means: Any = None

    def fit(self, scans: np.ndarray, labels: np.ndarray) -> float:
        """Learns from scans of shape (n, 64); the share of them that it then reads right."""
        self.means = np.stack([scans[labels == digit].mean(axis=0) for digit in range(10)])
        return self.evaluate(scans, labels).accuracy

    def predict(self, scans: list[list[float]]) -> list[int]:
        """The digit that each scan shows."""
        distances = ((np.asarray(scans)[:, None, :] - self.means[None]) ** 2).sum(axis=2)
        return [int(digit) for digit in distances.argmin(axis=1)]

    def evaluate(self, scans: np.ndarray, labels: np.ndarray) -> Score:
        """How many of the scans it reads right."""
        right = int((np.array(self.predict(scans.tolist())) == labels).sum())
        return Score(right, len(labels), right / len(labels))

    @rh.readonly
    def is_trained(self, loudly: bool = False) -> Annotated[bool, "whether fit() was called"]:
        """Whether it has learned."""
        if loudly:
            print("asked")
        return self.means is not None


@dataclass
class Score:
    """How well it reads."""

    right: int
    of: int
    accuracy: float
