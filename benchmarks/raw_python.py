"""R: the job of `call_py` done by hand. Two Python processes, one Unix socket, pickle, and nothing else.

    python raw_python.py CALLS

Prints one JSON line of nanoseconds. No multiplexing, no errors, no daemon: what a call costs in Python before anything
is added to it.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import struct
import sys
import time
from typing import Any

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


def serve(end: socket.socket) -> None:
    functions = {"add_one": lambda x: x + 1}
    while True:
        try:
            request = receive(end)
        except EOFError:
            return
        name, args = request
        send(end, functions[name](*args))


def main() -> None:
    calls = int(sys.argv[1])
    here, there = socket.socketpair()
    child = os.fork()
    if child == 0:
        here.close()
        serve(there)
        os._exit(0)
    there.close()
    took = []
    clock = time.perf_counter_ns
    for _ in range(WARM_UP + calls):
        before = clock()
        send(here, ("add_one", (1,)))
        receive(here)
        took.append(clock() - before)
    here.close()
    _, _, usage = os.wait4(child, 0)
    own = time.process_time_ns()
    took = sorted(took[WARM_UP:])
    used = usage.ru_utime + usage.ru_stime
    print(
        json.dumps(
            {
                "minimum_ns": took[0],
                "median_ns": took[calls // 2],
                "p99_ns": took[calls * 99 // 100],
                # The interpreter's own start is in it, and small beside the calls.
                "cpu_ns": (own + int(used * 1e9)) // (WARM_UP + calls),
            }
        )
    )


main()
