"""A client that is a process of its own, for the trials that kill or stop one: `client CLUSTER FOLDER PREFIX SEED COUNT
SECONDS KIND...`."""

from __future__ import annotations

import random
import sys
from typing import Any

import roundhouse as rh

from . import oracle
from .calls import DEADLINE_SECONDS, DESKS, Caller


class _Cluster:
    def __init__(self, name: str) -> None:
        self.box = rh.compute(name)

    def reach(self, name: str) -> Any:
        return self.box.get(name, remote=True)


def main() -> None:
    cluster, folder, prefix, seed, count, seconds, *kinds = sys.argv[1:]
    chance = random.Random(seed)
    caller = Caller(folder, _Cluster(cluster))
    for number in range(int(count)):
        kind = chance.choice(kinds)
        caller.ask(kind, f"{prefix}-{number}", float(seconds) * chance.uniform(0.3, 1.0), chance.choice(DESKS))
    if not caller.has_settled(DEADLINE_SECONDS + oracle.GRACE_SECONDS + 5):
        sys.exit(f"never came back: {caller.waiting()}")


if __name__ == "__main__":
    main()
