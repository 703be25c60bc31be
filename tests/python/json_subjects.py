"""Functions with every kind of type hint, which stay text here: this module is as users write theirs."""

from __future__ import annotations

import datetime
import decimal
import enum
import itertools
import pathlib
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, TypedDict, Union

import numpy as np
import numpy.typing as npt
import pydantic
import roundhouse as rh


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Point:
    """A place."""

    x: float
    y: float = 0.0


@dataclass
class Line:
    points: list[Point]
    colour: Colour = Colour.RED
    tags: set[str] = field(default_factory=set)
    parent: Line | None = None


@dataclass
class Checked:
    age: int

    def __post_init__(self) -> None:
        if self.age < 0:
            raise ValueError("an age is not negative")


class Options(TypedDict, total=False):
    depth: int
    name: str


class Pair(NamedTuple):
    left: int
    right: str = "r"


class Model(pydantic.BaseModel):
    size: int = pydantic.Field(gt=0)
    when: datetime.date | None = None


class Plain:
    """A class that JSON has no form for."""

    def __init__(self, value: int = 0) -> None:
        self.value = value


Metres = NewType("Metres", float)


def same(value: Any) -> Any:
    return value


def untyped(value, more=None):  # type: ignore[no-untyped-def]
    return [value, more]


def add(a: int, b: int = 1) -> int:
    """The sum of two whole numbers.

    b: what is added."""
    return a + b


def length(line: Line) -> float:
    points = line.points
    return sum(abs(one.x - two.x) + abs(one.y - two.y) for one, two in itertools.pairwise(points))


def mean(array: np.ndarray) -> float:
    assert isinstance(array, np.ndarray)
    return float(array.mean())


def doubled(array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    assert array.dtype == np.float32
    return array * 2


def take_plain(plain: Plain) -> int:
    return plain.value


def make_plain(value: int = 3) -> Plain:
    return Plain(value)


def nested(value: Any) -> str:
    return type(value["a"][1]).__name__


def size(data: bytes) -> int:
    assert type(data) is bytes
    return len(data)


def rest(first: int, *others: float, **named: bool) -> list[Any]:
    return [first, others, named]


def shout(text: str) -> str:
    return text.upper()


async def later(a: int) -> int:
    return a + 1


def count(to: int) -> Iterator[int]:
    yield from range(to)


async def count_async(to: int) -> AsyncIterator[Point]:
    for number in range(to):
        yield Point(number)


def items(kind: str) -> Iterator[Any]:
    yield {"bytes": b"\x00\x01", "array": np.arange(3)}[kind]


@rh.readonly
def look(digits: int = 1) -> str:
    return "0" * digits


class Counter:
    """Counts."""

    def __init__(self, start: int = 0, at: Point | None = None) -> None:
        self.value = start
        self.at = at

    def add(self, amount: int) -> int:
        self.value += amount
        return self.value

    @rh.readonly
    def get(self) -> int:
        return self.value

    @staticmethod
    @rh.readonly
    def fixed() -> str:
        return "fixed"

    @rh.readonly
    @classmethod
    def named(cls) -> str:
        return cls.__name__

    def other(self, counter: Counter) -> bool:
        return counter is self


HINTS: dict[str, Any] = {
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "bytes": bytes,
    "none": None,
    "any": Any,
    "optional": Optional[int],  # noqa: UP045
    "union": Union[int, str],  # noqa: UP007
    "literal": Literal["a", 1, True],
    "enum": Colour,
    "level": Level,
    "ints": list[int],
    "points": list[Point],
    "floats": Sequence[float],
    "set": set[int],
    "fixed": tuple[int, str],
    "tuple": tuple[int, ...],
    "dict": dict[str, float],
    "by_number": Mapping[int, Point],
    "point": Point,
    "line": Line,
    "checked": Checked,
    "options": Options,
    "pair": Pair,
    "model": Model,
    "datetime": datetime.datetime,
    "date": datetime.date,
    "time": datetime.time,
    "duration": datetime.timedelta,
    "uuid": uuid.UUID,
    "path": pathlib.Path,
    "decimal": decimal.Decimal,
    "array": np.ndarray,
    "floats32": npt.NDArray[np.float32],
    "scalar": np.float64,
    "annotated": Annotated[int, "metres"],
    "newtype": Metres,
    "plain": Plain,
}
