"""Checked by mypy and pyright, never run: a remote callable has its own signature."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import roundhouse as rh
from typing_extensions import assert_type


def train(data: list[float], *, epochs: int = 1) -> dict[str, float]:
    return {"loss": sum(data) / epochs}


async def download(url: str) -> bytes:
    return url.encode()


def steps(n: int) -> Iterator[int]:
    yield from range(n)


async def ticks(n: int) -> AsyncIterator[int]:
    for i in range(n):
        yield i


class Trainer:
    def __init__(self, lr: float, depth: int = 3) -> None:
        self.lr = lr

    def fit(self, epochs: int) -> float:
        return self.lr / epochs

    @property
    def score(self) -> float:
        return self.lr


class Model(rh.Module):
    def __init__(self, scale: int) -> None:
        super().__init__(name="model")
        self.scale = scale

    def predict(self, x: int) -> int:
        return self.scale * x


@rh.function
def decorated(x: int) -> str:
    return str(x)


def functions(box: rh.Cluster) -> None:
    fit = rh.function(train).to(box, name="fit", workers=2, memory="1GiB")
    assert_type(fit([1.0], epochs=3), dict[str, float])
    assert_type(fit.submit([1.0]), rh.Call[dict[str, float]])
    assert_type(fit.submit([1.0]).result(timeout=3), dict[str, float])
    assert_type(fit.options(timeout=60)([1.0], epochs=3), dict[str, float])
    assert_type(fit.options(timeout=60).submit([1.0]), rh.Call[dict[str, float]])
    again = fit.options(retries=3, backoff=0.5, idempotent=True, retry_on=(OSError, rh.OutOfMemory))
    assert_type(again([1.0]), dict[str, float])
    assert_type(again.submit([1.0]), rh.Call[dict[str, float]])
    assert_type(fit.map([[1.0], [2.0]]), list[dict[str, float]])
    assert_type(fit.get_or_to(box, name="fit")([1.0]), dict[str, float])
    assert_type(fit.replicate(2)[0]([1.0]), dict[str, float])
    assert_type(fit.distribute("pool", num_replicas=2)([1.0]), dict[str, float])
    assert_type(decorated(3), str)
    assert_type(decorated.to(box)(3), str)
    assert_type(rh.gather(fit.submit([1.0]), fit.submit([2.0]))[0], dict[str, float])
    for call in rh.as_completed([fit.submit([1.0])]):
        assert_type(call.result(), dict[str, float])
    for step in rh.function(steps).to(box)(3):
        assert_type(step, int)
    assert_type(fit.options(run_async=True)([1.0]), rh.Call[dict[str, float]])


async def asynchronous(box: rh.Cluster) -> None:
    get = rh.function(download).to(box)
    assert_type(await get("here"), bytes)
    assert_type(await get.submit("here"), bytes)
    assert_type(get.submit("here").result(), bytes)
    assert_type(get.map(["a", "b"]), list[bytes])
    fit = rh.function(train).to(box)
    assert_type(await fit.submit([1.0]), dict[str, float])
    assert_type(await rh.gather(fit.submit([1.0])), list[dict[str, float]])
    async for tick in rh.function(ticks).to(box)(3):
        assert_type(tick, int)


def classes(box: rh.Cluster) -> None:
    remote_class = rh.cls(Trainer).to(box, process="p")
    assert_type(remote_class(0.1), Trainer)
    assert_type(remote_class(0.1, depth=2, name="digits"), Trainer)
    assert_type(remote_class.options(name="digits", timeout=3)(lr=0.1), Trainer)
    assert_type(remote_class.get_or_create(0.1, name="digits"), Trainer)
    assert_type(remote_class(0.1).fit(3), float)
    assert_type(remote_class(0.1).score, float)
    assert_type(remote_class.submit(0.1), rh.Call[Trainer])
    assert_type(Model(3).to(box), Model)
    assert_type(Model(3).to(box).predict(2), int)
    assert_type(Model(3).get_or_to(box, name="m").predict(2), int)
    handle = rh.handle(remote_class(0.1))
    assert_type(handle.name, str)
    assert_type(handle.submit("fit", 3), rh.Call[Any])
    assert_type(handle.cluster, rh.Cluster)
