"""R: the jobs of the calling figures done by hand. Two Python processes, sockets, pickle, and nothing else.

    python raw_python.py calls|inflight|threads|items COUNT
    python raw_python.py pool COUNT TURNS

Prints one JSON line: nanoseconds of single calls, one after the other, or for the other jobs how many were done in a
second. No multiplexing, no errors, no daemon: what the job costs in Python before anything is added to it. Each job is
written as is best for it: `inflight` is one thread on TCP with `TCP_NODELAY`, whose buffers, unlike a Unix socket's,
hold a thousand small messages; `threads` has a connection for each thread; what comes is read through a buffer. `pool`
is E, the same map by `concurrent.futures`.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from jobs import IN_FLIGHT, THREADS, WORKERS, burn, count_up, in_threads

WARM_UP = 100
PREFIX = struct.Struct("<I")


def send(end: socket.socket, value: object) -> None:
    content = pickle.dumps(value, 5)
    end.sendall(PREFIX.pack(len(content)) + content)


def receive(end: socket.socket) -> Any:
    buffer = end.recv(65536)
    if not buffer:
        raise EOFError
    (size,) = PREFIX.unpack_from(buffer)
    while len(buffer) < PREFIX.size + size:
        buffer += end.recv(65536)
    return pickle.loads(memoryview(buffer)[PREFIX.size :])


def messages(end: socket.socket) -> Iterator[Any]:
    """What comes, until the end, when many messages may have come at once."""
    with end.makefile("rb", 65536) as file:
        read, size_of, loads = file.read, PREFIX.unpack, pickle.loads
        while prefix := read(PREFIX.size):
            yield loads(read(size_of(prefix)[0]))


FUNCTIONS = {"add_one": lambda x: x + 1}


def serve(end: socket.socket) -> None:
    while True:
        try:
            request = receive(end)
        except EOFError:
            return
        name, args = request
        send(end, FUNCTIONS[name](*args))


def serve_many(end: socket.socket) -> None:
    for name, args in messages(end):
        send(end, FUNCTIONS[name](*args))


def serve_items(end: socket.socket) -> None:
    """Each request is for a stream of that many items."""
    for (count,) in messages(end):
        for item in count_up(count):
            send(end, item)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        here = socket.create_connection(listening.getsockname())
        there, _ = listening.accept()
    for end in (here, there):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return here, there


def forked(work: Callable[[], None], ours: list[socket.socket], theirs: list[socket.socket]) -> int:
    child = os.fork()
    if child == 0:
        for end in ours:
            end.close()
        work()
        os._exit(0)
    for end in theirs:
        end.close()
    return child


def used_ns(usage: resource.struct_rusage) -> int:
    return int((usage.ru_utime + usage.ru_stime) * 1e9)


def calls(count: int) -> dict[str, float]:
    here, there = socket.socketpair()
    child = forked(lambda: serve(there), [here], [there])
    took = []
    own, clock = time.process_time_ns(), time.perf_counter_ns
    for _ in range(WARM_UP + count):
        before = clock()
        send(here, ("add_one", (1,)))
        receive(here)
        took.append(clock() - before)
    here.close()
    _, _, usage = os.wait4(child, 0)
    own = time.process_time_ns() - own
    took = sorted(took[WARM_UP:])
    return {
        "minimum_ns": took[0],
        "median_ns": took[count // 2],
        "p99_ns": took[count * 99 // 100],
        "cpu_ns": (own + used_ns(usage)) // (WARM_UP + count),
    }


def rate(count: int, job: Callable[[], None], ours: list[socket.socket], child: int) -> dict[str, float]:
    own, start = time.process_time_ns(), time.perf_counter_ns()
    job()
    elapsed, own = time.perf_counter_ns() - start, time.process_time_ns() - own
    for end in ours:
        end.close()
    _, _, usage = os.wait4(child, 0)
    return {"rate": count / elapsed * 1e9, "cpu_ns": (own + used_ns(usage)) / count}


def check(right: bool) -> None:
    if not right:
        raise RuntimeError("the raw baseline got a wrong answer")


def inflight(count: int) -> dict[str, float]:
    here, there = tcp_pair()
    child = forked(lambda: serve_many(there), [here], [there])
    answers = messages(here)

    def job() -> None:
        for _ in range(IN_FLIGHT):
            send(here, ("add_one", (1,)))
        for _ in range(count - IN_FLIGHT):
            check(next(answers) == 2)
            send(here, ("add_one", (1,)))
        for _ in range(IN_FLIGHT):
            check(next(answers) == 2)
        answers.close()  # type: ignore[attr-defined]

    return rate(count, job, [here], child)


def threads(count: int) -> dict[str, float]:
    pairs = [socket.socketpair() for _ in range(THREADS)]
    ours, theirs = ([pair[side] for pair in pairs] for side in (0, 1))
    child = forked(lambda: in_threads(serve, theirs), ours, theirs)

    def one(end: socket.socket) -> None:
        for _ in range(count // THREADS):
            send(end, ("add_one", (1,)))
            check(receive(end) == 2)

    return rate(count, lambda: in_threads(one, ours), ours, child)


def items(count: int) -> dict[str, float]:
    here, there = socket.socketpair()
    child = forked(lambda: serve_items(there), [here], [there])
    expected = sum(count_up(count))

    def stream() -> Iterator[int]:
        send(here, (count,))
        here.shutdown(socket.SHUT_WR)
        return messages(here)

    def job() -> None:
        total = 0
        for item in stream():
            total += item
        check(total == expected)

    return rate(count, job, [here], child)


def pool(count: int, turns: int) -> dict[str, float]:
    """E: a pool that has started, as the workers have beside which it is measured."""
    from concurrent.futures import ProcessPoolExecutor

    own = time.process_time_ns()
    with ProcessPoolExecutor(WORKERS) as executor:
        list(executor.map(burn, [turns] * 2 * WORKERS))
        start = time.perf_counter_ns()
        told = list(executor.map(burn, [turns] * count))
        elapsed = time.perf_counter_ns() - start
    check(len({result for result, *_ in told}) == 1)
    own = time.process_time_ns() - own
    used = own + used_ns(resource.getrusage(resource.RUSAGE_CHILDREN))
    return {"rate": count / elapsed * 1e9, "cpu_ns": used / (count + 2 * WORKERS)}


def main() -> None:
    job, *counts = sys.argv[1:]
    jobs: dict[str, Any] = {"calls": calls, "inflight": inflight, "threads": threads, "items": items, "pool": pool}
    print(json.dumps(jobs[job](*map(int, counts))))


main()
