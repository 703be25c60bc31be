"""Deliberate mistakes: a type checker has to complain about each line that says `wrong`, and about no other."""

from __future__ import annotations

import roundhouse as rh


def train(data: list[float], *, epochs: int = 1) -> dict[str, float]:
    return {"loss": sum(data) / epochs}


class Trainer:
    def __init__(self, lr: float) -> None:
        self.lr = lr

    def fit(self, epochs: int) -> float:
        return self.lr / epochs


def mistakes(box: rh.Cluster) -> None:
    fit = rh.function(train).to(box)
    fit("no list of numbers")  # wrong
    fit([1.0], epoch=3)  # wrong
    fit([1.0], 3)  # wrong
    fit.submit([1.0], epochs="3")  # wrong
    fit.options(timeout=3)([1.0], epochs="3")  # wrong
    fit.options(timout=3)  # wrong
    fit.options(retries=3, retry_on="OSError")  # wrong
    fit([1.0]).append(3)  # wrong
    fit.submit([1.0]).get()  # wrong
    rh.function(train).to(box, worker=2)  # wrong
    rh.function(3)  # wrong
    remote_class = rh.cls(Trainer).to(box)
    remote_class()  # wrong
    remote_class(lr="fast")  # wrong
    remote_class(0.1).fit()  # wrong
    remote_class(0.1).fits(3)  # wrong
    remote_class.to(box, nam="x")  # wrong
