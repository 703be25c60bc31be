"""`array_local` and `array_tcp`: a large array as an argument, and its raw counterparts in the same process.

    arrays.py CLUSTER MEGABYTES TIMES

Prints one JSON line of nanoseconds, medians and minima. The receiver reads one number of every page. Local: the raw
side copies the array into a buffer that it has used before, and reads it in the same way. TCP: the raw side sends as
many bytes over loopback to a process that receives them into a buffer that it has used before, and answers.
"""

import json
import os
import socket
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import roundhouse as rh

PAGE = 4096


def read(array: np.ndarray) -> int:
    return int(array[::PAGE].sum(dtype=np.int64))


def serve(listening: socket.socket, size: int) -> None:
    there, _ = listening.accept()
    buffer = memoryview(bytearray(size))
    while True:
        got = 0
        while got < size:
            count = there.recv_into(buffer[got:])
            if count == 0:
                return
            got += count
        there.sendall(b"!")


def raw_sender(size: int) -> Callable[[np.ndarray], None]:
    listening = socket.create_server(("127.0.0.1", 0))
    if os.fork() == 0:
        try:
            serve(listening, size)
        finally:
            os._exit(0)
    here = socket.create_connection(listening.getsockname())

    def send(array: np.ndarray) -> None:
        here.sendall(array)
        assert here.recv(1) == b"!"

    return send


def taken(ways: dict[str, Callable[[], object]], times: int) -> dict[str, float]:
    """Each way in turn, so that a noisy moment meets all of them."""
    for way in ways.values():
        way()
    all_ns: dict[str, list[int]] = {name: [] for name in ways}
    for _ in range(times):
        for name, way in ways.items():
            began = time.perf_counter_ns()
            way()
            all_ns[name].append(time.perf_counter_ns() - began)
    told: dict[str, float] = {f"{name}_ns": statistics.median(each) for name, each in all_ns.items()}
    return told | {f"{name}_min_ns": min(each) for name, each in all_ns.items()}


def main() -> None:
    cluster, size, times = sys.argv[1], int(sys.argv[2]) * 1_000_000, int(sys.argv[3])
    array = np.arange(size, dtype=np.uint8)
    target = np.zeros_like(array)
    send = raw_sender(size)

    def copy() -> None:
        np.copyto(target, array)
        read(target)

    with rh.compute(cluster) as box:
        local = rh.function(read).to(box)
        assert local(array) == read(array)
        listener = box.listen(tls=False)
        over = rh.cluster(
            f"{cluster}-by-tcp", host=listener.host, server_port=listener.port, server_connection_type="none",
            token=box.create_token("by-tcp", scope="deploy"),
        )  # fmt: skip
        by_tcp = over.get(local.name, remote=True)
        ways = {"local": lambda: local(array), "copy": copy, "tcp": lambda: by_tcp(array), "raw": lambda: send(array)}
        print(json.dumps(taken(ways, times)))


main()
