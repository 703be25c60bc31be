"""`keep_state=True`: instances that become those of the class as it is now."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import roundhouse as rh


def counter(version: int) -> type[Any]:
    """A class of that name, as an edited script defines it anew."""

    class Counter:
        def __init__(self, start: int) -> None:
            self.value = start

        def add(self) -> int:
            self.value += version
            return self.value

        def version(self) -> int:
            return version

        def wait(self, seconds: float) -> None:
            time.sleep(seconds)

    return Counter


def pid_of(box: rh.Cluster, name: str) -> int:
    return next(each["pid"] for each in box.status()["services"] if each["name"] == name)


def test_an_idle_instance_goes_on_with_new_code(box: rh.Cluster, capfd: pytest.CaptureFixture[str]) -> None:
    first = rh.cls(counter(1)).to(box)(40, name="answer")
    assert first.add() == 41
    before = pid_of(box, "answer")
    again = rh.cls(counter(10)).to(box, keep_state=True)
    assert again.kept == {"answer": None}
    assert "Counter: kept the state of answer" in capfd.readouterr().err
    found = box.get("answer", remote=True)
    assert (found.version(), found.add()) == (10, 51)
    assert first.add() == 61  # By its name it is the same.
    assert pid_of(box, "answer") != before


def test_without_it_instances_stay_what_they_are(box: rh.Cluster) -> None:
    first = rh.cls(counter(1)).to(box)(0, name="stays")
    assert rh.cls(counter(2)).to(box).kept == {}
    assert first.version() == 1


def test_a_busy_one_stays_and_is_named(box: rh.Cluster, capfd: pytest.CaptureFixture[str]) -> None:
    made = rh.cls(counter(1)).to(box, name="Busy")(0, name="busy")
    waiting = threading.Thread(target=made.wait, args=(5.0,))
    waiting.start()
    try:
        while not next(each["calls"] for each in box.status()["services"] if each["name"] == "busy"):
            time.sleep(0.01)
        kept = rh.cls(counter(2)).to(box, name="Busy", keep_state=True).kept
    finally:
        waiting.join()
    assert "busy" in kept["busy"]
    assert "busy stays what it was" in capfd.readouterr().err
    assert made.version() == 1


class Asked:
    """Says what it is made of, and how."""

    __slots__ = ("kept", "lost")

    def __init__(self, kept: int) -> None:
        self.kept, self.lost = kept, threading.Lock()

    def __getstate__(self) -> dict[str, int]:
        return {"kept": self.kept}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.kept = state["kept"] + 1
        self.lost = threading.Lock()

    def value(self) -> int:
        return self.kept


class Locked:
    def __init__(self) -> None:
        self.lock = threading.Lock()

    def value(self) -> int:
        return 7


class Listed(list):  # type: ignore[type-arg]
    def __init__(self) -> None:
        super().__init__([1, 2])
        self.name = "of two"

    def value(self) -> tuple[list[int], str]:
        return list(self), self.name


def test_a_class_says_what_its_state_is(box: rh.Cluster) -> None:
    rh.cls(Asked).to(box)(3, name="asked")
    assert rh.cls(Asked).to(box, keep_state=True).kept == {"asked": None}
    assert box.get("asked", remote=True).value() == 4
    rh.cls(Listed).to(box)(name="listed")
    assert rh.cls(Listed).to(box, keep_state=True).kept == {"listed": None}
    assert box.get("listed", remote=True).value() == ([1, 2], "of two")


def test_what_cannot_be_carried_stays_and_says_why(box: rh.Cluster) -> None:
    rh.cls(Locked).to(box)(name="locked")
    kept = rh.cls(Locked).to(box, keep_state=True).kept
    assert "pickle" in kept["locked"]
    assert box.get("locked", remote=True).value() == 7
