"""Many calls or items at once, through Roundhouse and by hand, one after the other in one program.

    python many.py calls_inflight|calls_threads|stream_items|map_cpu COUNT

Prints one JSON line: how many a second of ours and of the raw job, and the processor time of ours by process. The raw
job is two Python processes, one TCP connection (for threads one each) and pickle, every message with its length in
front; for `map_cpu` it is a `ProcessPoolExecutor` of two.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import roundhouse as rh
from processes import cpu_ns

IN_FLIGHT = 1000
THREADS = 16
PREFIX = struct.Struct("<I")


def add_one(x: int) -> int:
    return x + 1


class Adder:
    def add_one(self, x: int) -> int:
        return x + 1


def count_to(n: int) -> Any:
    yield from range(n)


def work(seconds: float) -> tuple[int, float, float]:
    begun = time.time()
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(1000))
    return os.getpid(), begun, time.time()


# --- by hand ---------------------------------------------------------------------------------------------------------


def send(end: socket.socket, value: object) -> None:
    content = pickle.dumps(value, 5)
    end.sendall(PREFIX.pack(len(content)) + content)


def receive(file: Any) -> Any:
    head = file.read(PREFIX.size)
    return pickle.loads(file.read(PREFIX.unpack(head)[0])) if head else None


def serve(end: socket.socket) -> None:
    file = end.makefile("rb")
    while (request := receive(file)) is not None:
        if isinstance(request, int):
            for item in range(request):
                send(end, item)
        else:
            send(end, add_one(*request))
    os._exit(0)


class Raw:
    """A forked server and connections to it, each served by a thread of the server's."""

    def __init__(self, connections: int) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.child = os.fork()
        if self.child == 0:
            for _ in range(connections):
                end, _ = listener.accept()
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=serve, args=(end,)).start()
            threading.Event().wait()
        self.ends = [socket.create_connection(listener.getsockname()) for _ in range(connections)]
        for end in self.ends:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.files = [end.makefile("rb") for end in self.ends]
        listener.close()

    def close(self) -> None:
        for end, file in zip(self.ends, self.files, strict=True):
            file.close()
            end.close()
        os.waitpid(self.child, 0)


def rate(job: Callable[[], int]) -> float:
    begun = time.perf_counter()
    done = job()
    return done / (time.perf_counter() - begun)


def raw_in_flight(raw: Raw, count: int) -> int:
    end, file = raw.ends[0], raw.files[0]
    for number in range(count + IN_FLIGHT):
        if number >= IN_FLIGHT:
            receive(file)
        if number < count:
            send(end, (number,))
    return count


def in_threads(call: Callable[[int, int], object], count: int) -> int:
    each = count // THREADS

    def run(thread: int) -> None:
        for number in range(each):
            call(thread, number)

    threads = [threading.Thread(target=run, args=(thread,)) for thread in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return each * THREADS


def raw_call(raw: Raw, thread: int, number: int) -> object:
    send(raw.ends[thread], (number,))
    return receive(raw.files[thread])


def raw_items(raw: Raw, count: int) -> int:
    send(raw.ends[0], count)
    return sum(1 for _ in range(count) if receive(raw.files[0]) is not None)


def by_hand(key: str, count: int) -> float:
    if key == "map_cpu":
        with ProcessPoolExecutor(2) as pool:
            list(pool.map(work, [0.001] * 4))
            return rate(lambda: len(list(pool.map(work, [SECONDS] * count))))
    raw = Raw(THREADS if key == "calls_threads" else 1)
    jobs: dict[str, Callable[[int], int]] = {
        "calls_inflight": lambda n: raw_in_flight(raw, n),
        "calls_threads": lambda n: in_threads(lambda thread, number: raw_call(raw, thread, number), n),
        "stream_items": lambda n: raw_items(raw, n),
    }
    try:
        jobs[key](count // 10)
        return rate(lambda: jobs[key](count))
    finally:
        raw.close()


# --- ours ------------------------------------------------------------------------------------------------------------

SECONDS = 0.05


def in_flight(f: Any, count: int) -> int:
    calls: deque[Any] = deque()
    for number in range(count):
        if len(calls) == IN_FLIGHT:
            calls.popleft().result()
        calls.append(f.submit(number))
    while calls:
        calls.popleft().result()
    return count


def ours(key: str, count: int, box: rh.Cluster) -> dict[str, float]:
    remote: Any
    job: Callable[[int], int]
    if key == "calls_inflight":
        remote = rh.function(add_one).to(box)
        job = lambda n: in_flight(remote, n)  # noqa: E731
    elif key == "calls_threads":
        remote = rh.cls(Adder).to(box)()
        job = lambda n: in_threads(lambda _, number: remote.add_one(number), n)  # noqa: E731
    elif key == "stream_items":
        remote = rh.function(count_to).to(box)
        job = lambda n: sum(1 for _ in remote(n))  # noqa: E731
    else:
        remote = rh.function(work).to(box, workers=2)
        results = remote.map([0.001] * 4)
        begun = time.perf_counter()
        results = remote.map([SECONDS] * count)
        took = time.perf_counter() - begun
        by_pid: dict[int, list[tuple[float, float]]] = {}
        for pid, first, last in results:
            by_pid.setdefault(pid, []).append((first, last))
        spans = [(min(a for a, _ in each), max(b for _, b in each)) for each in by_pid.values()]
        overlap = min(b for _, b in spans) - max(a for a, _ in spans) if len(spans) == 2 else 0.0
        return {"ours": count / took, "pids": len(spans), "overlap": overlap / took}
    job(count // 10)
    pids = {"client": os.getpid(), "daemon": box.status()["pid"], "worker": rh.handle(remote).service["pid"]}
    before = {name: cpu_ns([pid]) for name, pid in pids.items()}
    taken = {"ours": rate(lambda: job(count))}
    return taken | {name: (cpu_ns([pid]) - before[name]) / count / 1000 for name, pid in pids.items()}


def main() -> None:
    key, count = sys.argv[1], int(sys.argv[2])
    # Before there are threads of ours, because it forks.
    raw = by_hand(key, count)
    with rh.compute("many") as box:
        print(json.dumps(ours(key, count, box) | {"raw": raw}))


if __name__ == "__main__":
    main()
