"""The Python client of the benchmarks: a program of its own, to be bound to one core with all that it starts.

Each line on stdin is a request, {"do": NAME, ...}; each is answered by one JSON line. At the end of its stdin it tears
its cluster down. Nothing here is special: a script of a user's could stand in its place, and what it defines
travels by value, as from any script; what jobs.py defines is imported there.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TextIO

import roundhouse as rh
from jobs import IN_FLIGHT, RUN_CALLERS, THREADS, WORKERS, at_once, burn, count_up, in_threads
from roundhouse import _serialize


def add_one(x: int) -> int:
    return x + 1


def print_lines(count: int, pause: float) -> None:
    """Each line is the moment before it was printed; the monotonic clock is the same for all processes of one host."""
    for _ in range(count):
        time.sleep(pause)
        print(time.monotonic_ns())


class Grinder:
    """Computes in one call, in pure Python that never waits, while another call asks."""

    def __init__(self) -> None:
        self.grinding = False
        self.stop_asked = False

    def grind(self, seconds: float) -> int:
        self.grinding = True
        turns = 0
        until = time.monotonic() + seconds
        while not self.stop_asked and time.monotonic() < until:
            turns += sum(i * i for i in range(100)) & 1
        self.grinding = False
        return turns

    def is_grinding(self) -> bool:
        return self.grinding

    def stop(self) -> None:
        self.stop_asked = True

    def add_one(self, x: int) -> int:
        return x + 1

    def switch_interval(self) -> float:
        return sys.getswitchinterval()


class StampedScreen:
    """In the place of sys.stdout: notes when each piece of text arrived."""

    def __init__(self) -> None:
        self.arrived: list[tuple[int, str]] = []

    def write(self, text: str) -> int:
        self.arrived.append((time.monotonic_ns(), text))
        return len(text)

    def flush(self) -> None:
        pass

    def delays(self) -> list[int]:
        """Per line, from just before print there to its arrival here. A line counts when its end has arrived."""
        delays, rest = [], ""
        for at, text in self.arrived:
            *lines, rest = (rest + text).split("\n")
            delays += [at - int(line) for line in lines]
        return delays


def summary(took: list[int], **more: Any) -> dict[str, Any]:
    took = sorted(took)
    return {
        "minimum_ns": took[0],
        "median_ns": took[len(took) // 2],
        "p99_ns": took[len(took) * 99 // 100],
        "count": len(took),
        **more,
    }


def timed(call: Any, count: int, pause: float) -> dict[str, Any]:
    took = []
    clock = time.perf_counter_ns
    cpu, start = time.process_time_ns(), clock()
    for _ in range(count):
        if pause:
            time.sleep(pause)
        before = clock()
        call(1)
        took.append(clock() - before)
    elapsed, cpu = clock() - start, time.process_time_ns() - cpu
    if call(1) != 2:
        raise RuntimeError("f(1) is not 2")
    return summary(took, elapsed_ns=elapsed, own_cpu_ns=cpu)


def counted(job: Callable[[], None], count: int) -> dict[str, Any]:
    """What `count` of something took together."""
    cpu, start = time.process_time_ns(), time.perf_counter_ns()
    job()
    elapsed, cpu = time.perf_counter_ns() - start, time.process_time_ns() - cpu
    return {"count": count, "elapsed_ns": elapsed, "own_cpu_ns": cpu}


def check(right: bool) -> None:
    if not right:
        raise RuntimeError("a wrong answer")


class HttpCall:
    """One call as JSON over HTTP on a connection that stays, by hand: no HTTP library is measured."""

    def __init__(self, connection: socket.socket, service: str, token: str = "") -> None:
        self.connection = connection
        body = b"[1]"
        lines = [f"POST /v1/services/{service}/call HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
        lines += [f"Content-Length: {len(body)}"] + ([f"Authorization: Bearer {token}"] if token else [])
        self.request = "\r\n".join([*lines, "", ""]).encode() + body

    def __call__(self, _: int) -> int:
        self.connection.sendall(self.request)
        received = self.connection.recv(65536)
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._more()
        head = received[:end].lower()
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(received.decode(errors="replace"))
        at = head.index(b"content-length:") + len(b"content-length:")
        whole = end + 4 + int(head[at:].split(b"\r\n", 1)[0])
        while len(received) < whole:
            received += self._more()
        return int(received[end + 4 : whole])

    def _more(self) -> bytes:
        more = self.connection.recv(65536)
        if not more:
            raise RuntimeError("the node closed the connection")
        return more


class Caller:
    def __init__(self, cluster: str) -> None:
        self.box = rh.compute(cluster)
        self.add_one: Any = None
        self.grinder: Any = None
        self.count_up: Any = None
        self.burn: Any = None
        self.by_http: dict[bool, HttpCall] = {}
        self.by_tls: Any = None

    def up(self) -> dict[str, Any]:
        self.box.up_if_not()
        status = self.box.status()
        return {"pid": status["pid"], "keeper_pid": status["keeper_pid"], "socket": self.box._socket_path}

    def send(self) -> dict[str, Any]:
        """Puts the function and the object there; the pids of their workers."""
        self.add_one = rh.function(add_one).to(self.box)
        self.grinder = rh.cls(Grinder).to(self.box)(name="grinder")
        pids = {
            name: rh.handle(of).service["pid"] for name, of in (("add_one", self.add_one), ("grinder", self.grinder))
        }
        return {"pids": pids, "switch_interval": self.grinder.switch_interval()}

    def send_count_up(self) -> dict[str, Any]:
        self.count_up = rh.function(count_up).to(self.box)
        return {"pids": [rh.handle(self.count_up).service["pid"]]}

    def send_burn(self) -> dict[str, Any]:
        """The pids of its workers are those that answer, and `at_once` sees to it that all do."""
        self.burn = rh.function(burn).to(self.box, workers=WORKERS)
        told = self.burn.map([100_000] * 20)
        at_once(told, WORKERS)
        return {"pids": sorted({pid for _, pid, _, _ in told})}

    def pid_of(self, name: str) -> dict[str, Any]:
        return {"pid": rh.handle(self.box.get(name)).service["pid"]}

    def calls(self, count: int, pause: float = 0) -> dict[str, Any]:
        return timed(self.add_one, count, pause)

    def http(self, count: int, tcp: bool = False) -> dict[str, Any]:
        """Over the cluster's socket, or over loopback TCP with a token."""
        if tcp not in self.by_http:
            name = rh.handle(self.add_one).service["name"]
            if tcp:
                listener = self.box.listen(tls=False)
                connection = socket.create_connection((listener.host, listener.port))
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.by_http[tcp] = HttpCall(connection, name, self.box.create_token("by-http"))
            else:
                connection = socket.socket(socket.AF_UNIX)
                connection.connect(self.box._socket_path)
                self.by_http[tcp] = HttpCall(connection, name)
        return timed(self.by_http[tcp], count, 0)

    def tls(self, count: int) -> dict[str, Any]:
        if self.by_tls is None:
            listener = self.box.listen(tls=True)
            there = rh.cluster(
                f"{self.box.name}-by-tls", host=listener.host, server_port=listener.port,
                server_connection_type="tls", pin=listener.pin, token=self.box.create_token("by-tls"),
            )  # fmt: skip
            self.by_tls = there.get(rh.handle(self.add_one).service["name"])
        return timed(self.by_tls, count, 0)

    def inflight(self, count: int) -> dict[str, Any]:
        """One thread; each answer that is taken makes room for one more call."""
        submit = self.add_one.submit

        def job() -> None:
            under_way = deque(submit(1) for _ in range(IN_FLIGHT))
            for _ in range(count - IN_FLIGHT):
                check(under_way.popleft().result() == 2)
                under_way.append(submit(1))
            for call in under_way:
                check(call.result() == 2)

        return counted(job, count)

    def threads(self, count: int) -> dict[str, Any]:
        def one(_: int) -> None:
            for _ in range(count // THREADS):
                check(self.grinder.add_one(1) == 2)

        return counted(lambda: in_threads(one, range(THREADS)), count // THREADS * THREADS)

    def durable(self, count: int) -> dict[str, Any]:
        """Runs, each with a name of its own, that the node has acknowledged: asked for by many threads at once."""
        service = rh.handle(self.add_one).service["name"]
        parts = _serialize.encode_call(_serialize.PICKLE, (1,), {})
        stem = f"bench-{time.monotonic_ns()}"

        def one(number: int) -> None:
            for step in range(count // RUN_CALLERS):
                request = {"name": f"{stem}-{number}-{step}", "service": service, "keep_s": 1}
                check(self.box._ask("run_start", request, parts)["how"] == "made")

        return counted(lambda: in_threads(one, range(RUN_CALLERS)), count // RUN_CALLERS * RUN_CALLERS)

    def synced(self, count: int) -> dict[str, Any]:
        """What one writer gets onto the same disk: 4 KiB appended and synced, again and again."""
        path = os.path.join(os.environ["ROUNDHOUSE_STATE"], f"synced-{os.getpid()}")
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        block = b"\0" * 4096

        def job() -> None:
            for _ in range(count):
                os.write(file, block)
                os.fsync(file)

        try:
            return counted(job, count)
        finally:
            os.close(file)
            os.unlink(path)

    def items(self, count: int) -> dict[str, Any]:
        def job() -> None:
            total = 0
            for item in self.count_up(count):
                total += item
            check(total == expected)

        expected = sum(count_up(count))
        return counted(job, count)

    def mapped(self, count: int, turns: int) -> dict[str, Any]:
        told: list[Any] = []
        measured = counted(lambda: told.extend(self.burn.map([turns] * count)), count)
        check(len(told) == count and len({result for result, *_ in told}) == 1)
        return {**measured, "facts": at_once(told, WORKERS)}

    def busy(self, count: int, seconds: float) -> dict[str, Any]:
        grind = self.grinder.grind.submit(seconds)
        deadline = time.monotonic() + seconds
        while not self.grinder.is_grinding():
            if time.monotonic() > deadline:
                raise RuntimeError("the grinding call did not start")
            time.sleep(0.01)
        measured = timed(self.grinder.add_one, count, 0.001)
        if not self.grinder.is_grinding():
            raise RuntimeError("the grinding call ended before the calls beside it")
        grind.cancel()
        try:
            grind.result(timeout=seconds)
        except rh.CallCancelled:
            pass
        return measured

    def lines(self, count: int, pause: float) -> dict[str, Any]:
        remote = rh.function(print_lines).to(self.box)
        screen, own = StampedScreen(), sys.stdout
        sys.stdout = screen  # type: ignore[assignment]
        try:
            remote(count, pause)
        finally:
            sys.stdout = own
        delays = screen.delays()
        if len(delays) != count:
            raise RuntimeError(f"{len(delays)} of {count} lines arrived")
        return summary(delays)

    def down(self) -> dict[str, Any]:
        self.box.teardown()
        return {}


def serve(caller: Caller, answers: TextIO) -> None:
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(caller, request.pop("do"))(**request)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main() -> None:
    # What remote code prints must not stand among the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    caller = Caller(sys.argv[1])
    try:
        serve(caller, answers)
    finally:
        caller.down()


main()
