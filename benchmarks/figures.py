"""What is measured, how, beside what, and the ratio that is aimed at. One function per figure; README.md says more."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from places import BUILT, HERE, IDLE, ONE_CORE, Baselines, Ground, Place, starts
from processes import Program, Trouble, cpu_ns, cpu_ticks, load_average, pss_bytes, run_program

MICROSECONDS, MILLISECONDS, MEGABYTES, PERCENT = "µs", "ms", "MB", "%"
CALLS, ITEMS = "calls/s", "items/s"
DIVISOR = {MICROSECONDS: 1e3, MILLISECONDS: 1e6}  # of nanoseconds

PACED_SECONDS = 0.01
LINE_SECONDS = 0.01
IDLE_CONNECTIONS = 1000
IDLE_SECONDS = 5
PASSES = 2  # of a rate and its baseline, in turn, for a figure of one round
BURN_TURNS = 150_000  # some 10 ms


@dataclass
class Sample:
    """One figure of one round. `measured` and `minimum` are in the figure's unit, as is `baseline`."""

    measured: float
    minimum: float
    baseline: float | None = None
    cpu_us: float | None = None
    facts: dict[str, float] = field(default_factory=dict)  # what the note is made of: medians of these over the rounds
    load: float = field(default_factory=load_average)

    @property
    def ratio(self) -> float | None:
        return self.measured / self.baseline if self.baseline else None


@dataclass(frozen=True)
class Target:
    """At most `limit` times the baseline, or at least that where more is better; in the figure's own unit where it has
    no baseline.

    Without a limit the figure is shown, not judged.
    """

    limit: float | None
    beside: str = ""
    at_least: bool = False

    def met_by(self, judged: float) -> bool | None:
        if self.limit is None:
            return None
        return judged >= self.limit if self.at_least else judged <= self.limit


@dataclass(frozen=True)
class Bench:
    """What a measuring function gets."""

    place: Place
    baselines: Baselines
    ground: Ground
    quick: bool

    @property
    def regime(self) -> str:
        return self.place.regime

    @property
    def core(self) -> int | None:
        return self.baselines.core_of(self.regime)


@dataclass(frozen=True)
class Figure:
    key: str
    what: str
    unit: str
    targets: dict[str, Target]  # by regime: those that it is measured in
    measure: Callable[[Bench], Sample]
    note: str = ""  # formatted with the facts of its samples
    why: dict[str, str] = field(default_factory=dict)  # by regime: why it falls short, where it is known to


def latency(measured: dict[str, Any], baseline: dict[str, float], unit: str = MICROSECONDS) -> Sample:
    divisor = DIVISOR[unit]
    sample = Sample(measured["median_ns"] / divisor, measured["minimum_ns"] / divisor, baseline["median_ns"] / divisor)
    sample.facts["p99"] = measured["p99_ns"] / divisor
    if "cpu_ns" in measured:
        sample.cpu_us = measured["cpu_ns"] / 1000
        sample.facts.update(measured["cpu_parts_us"])
        sample.facts["cpu_baseline"] = baseline.get("cpu_ns", 0) / 1000
        sample.facts["rate"] = measured["count"] / measured["elapsed_ns"] * 1e9
    return sample


def echo_cpp(bench: Bench) -> Sample:
    unix = bench.baselines.ping_pong(bench.regime, "U")
    baseline = bench.baselines.ping_pong(bench.regime, "T")
    sample = latency(bench.place.echo_calls(1000 if bench.quick else 5000), baseline)
    sample.facts["unix"] = unix["median_ns"] / 1000
    return sample


def call_py(bench: Bench) -> Sample:
    raw = bench.baselines.python_calls(bench.regime)
    baseline = bench.baselines.ping_pong(bench.regime, "T")
    sample = latency(bench.place.python_calls(1000 if bench.quick else 5000), baseline)
    sample.facts["raw"] = raw["median_ns"] / 1000
    return sample


def call_paced(bench: Bench) -> Sample:
    paced = bench.baselines.ping_pong(bench.regime, "T", int(PACED_SECONDS * 1e6))
    baseline = bench.baselines.ping_pong(bench.regime, "T")
    sample = latency(bench.place.python_calls(50 if bench.quick else 200, PACED_SECONDS), baseline)
    sample.facts["paced"] = paced["median_ns"] / 1000
    return sample


def call_http(bench: Bench) -> Sample:
    count = 1000 if bench.quick else 5000
    tcp = bench.place.door_calls("http", count, tcp=True)
    baseline = bench.baselines.ping_pong(bench.regime, "T")
    sample = latency(bench.place.door_calls("http", count), baseline)
    sample.facts["tcp"] = tcp["median_ns"] / 1000
    return sample


def call_tls(bench: Bench) -> Sample:
    baseline = bench.baselines.ping_pong(bench.regime, "T")
    return latency(bench.place.door_calls("tls", 1000 if bench.quick else 5000), baseline)


def call_busy(bench: Bench) -> Sample:
    bench.place.send()
    measured = bench.place.ask("busy", count=20 if bench.quick else 100, seconds=30, timeout=90)
    return latency(measured, {"median_ns": bench.place.switch_interval * 1e9}, MILLISECONDS)


def cold(bench: Bench) -> Sample:
    argv = [sys.executable, str(HERE / "cold_start.py"), "cold"]
    # In a state folder of its own, where nothing has ever run.
    runs = []
    for number in range(1 if bench.quick else 3):
        baseline = bench.baselines.python_start(bench.regime)
        state = os.path.join(bench.ground.env["ROUNDHOUSE_STATE"], f"cold-{time.monotonic_ns()}-{number}")
        env = dict(bench.ground.env, ROUNDHOUSE_STATE=state)
        taken = json.loads(run_program(argv, bench.core, env))
        runs.append(dict(taken, p_ns=baseline["median_ns"]))
    middle = {name: statistics.median(run[name] for run in runs) / 1e6 for name in runs[0]}
    sample = Sample(middle["cold_ns"], min(run["cold_ns"] for run in runs) / 1e6, middle["p_ns"])
    sample.facts.update({name.removesuffix("_ns"): middle[name] for name in middle})
    return sample


def array(bench: Bench, way: str, raw: str) -> Sample:
    megabytes, times = (10, 3) if bench.quick else (100, 9)
    argv = [sys.executable, str(HERE / "arrays.py"), f"arrays-{time.monotonic_ns()}", str(megabytes), str(times)]
    taken = {name: ns / 1e6 for name, ns in json.loads(run_program(argv, bench.core, bench.ground.env)).items()}
    facts = {"megabytes": megabytes, "raw": taken[f"{raw}_ns"]}
    return Sample(taken[f"{way}_ns"], taken[f"{way}_min_ns"], taken[f"{raw}_ns"], facts=facts)


def array_local(bench: Bench) -> Sample:
    return array(bench, "local", "copy")


def array_tcp(bench: Bench) -> Sample:
    return array(bench, "tcp", "raw")


def sync(bench: Bench, which: str) -> Sample:
    files, times = (1000, 3) if bench.quick else (10_000, 9)
    argv = [sys.executable, str(HERE / "code_sync.py"), f"sync-{time.monotonic_ns()}", str(files), str(times)]
    taken = json.loads(run_program(argv, bench.core, bench.ground.env))
    ours, rsync = taken[f"{which}_sync_ns"] / 1e6, taken[f"{which}_rsync_ns"] / 1e6
    return Sample(ours, taken[f"{which}_sync_min_ns"] / 1e6, rsync, facts={"files": files, "rsync": rsync})


def sync_same(bench: Bench) -> Sample:
    return sync(bench, "same")


def sync_one(bench: Bench) -> Sample:
    return sync(bench, "one")


def log_line(bench: Bench) -> Sample:
    paced = bench.baselines.ping_pong(bench.regime, "T", int(LINE_SECONDS * 1e6))
    baseline = bench.baselines.ping_pong(bench.regime, "T")
    count = 50 if bench.quick else 200
    sample = latency(bench.place.ask("lines", count=count, pause=LINE_SECONDS, timeout=60), baseline)
    sample.facts["paced"] = paced["median_ns"] / 1000
    return sample


def cli(bench: Bench) -> Sample:
    program = str(BUILT.parent / "bin" / "roundhouse")
    count = 20 if bench.quick else 200
    baseline = bench.baselines.true_start(bench.regime)
    version = starts([program, "--version"], bench.core, count)
    taken = starts([program, "status", bench.place.name], bench.core, count, bench.ground.env)
    sample = Sample(taken["median_ns"] / 1e6, taken["minimum_ns"] / 1e6, baseline["median_ns"] / 1e6)
    sample.facts["version"] = version["median_ns"] / 1e6
    return sample


def fresh(bench: Bench, *arguments: str) -> Sample:
    argv = [sys.executable, str(HERE / "fresh_workers.py"), *arguments]
    taken = json.loads(run_program(argv, bench.core, bench.ground.env, timeout=300))
    return Sample(statistics.median(taken["ns"]) / 1e6, min(taken["ns"]) / 1e6, taken["raw_ns"] / 1e6)


def redeploy(bench: Bench) -> Sample:
    return fresh(bench, "redeploy", "edit", "5" if bench.quick else "20")


def redeploy_shell(bench: Bench) -> Sample:
    return fresh(bench, "redeploy", "shell", "5" if bench.quick else "20", str(BUILT.parent / "bin" / "roundhouse"))


def workers_100(bench: Bench) -> Sample:
    return fresh(bench, "workers", "100")


def rate(bench: Bench, job: str, do: str, worker: str, count: int, **arguments: int) -> Sample:
    """The raw job and ours in turn; the round's figure is the median of each."""
    count = count // 10 if bench.quick else count
    raw, ours = [], []
    for _ in range(1 if bench.quick else PASSES):
        raw.append(bench.baselines.python_rate(bench.regime, job, count, *arguments.values()))
        ours.append(bench.place.rate(do, worker, count, **arguments))
    rates = [each["rate"] for each in ours]
    sample = Sample(statistics.median(rates), min(rates), statistics.median(each["rate"] for each in raw))
    sample.cpu_us = statistics.median(each["cpu_ns"] for each in ours) / 1000
    sample.facts["cpu_raw"] = statistics.median(each["cpu_ns"] for each in raw) / 1000
    for part in ours[0]["cpu_parts_us"]:
        sample.facts[part] = statistics.median(each["cpu_parts_us"][part] for each in ours)
    for fact in ours[0].get("facts", {}):
        sample.facts[fact] = statistics.median(each["facts"][fact] for each in ours)
    return sample


def calls_inflight(bench: Bench) -> Sample:
    bench.place.send()
    return rate(bench, "inflight", "inflight", "add_one", 20_000)


def calls_threads(bench: Bench) -> Sample:
    return rate(bench, "threads", "threads", "grinder", 8_000)


def run_ack(bench: Bench) -> Sample:
    count = 640 if bench.quick else 6_400
    synced, ours = [], []
    for _ in range(1 if bench.quick else PASSES):
        disk = bench.place.ask("synced", count=50 if bench.quick else 300, timeout=120)
        synced.append(disk["count"] / disk["elapsed_ns"] * 1e9)
        ours.append(bench.place.rate("durable", "add_one", count))
    rates = [each["rate"] for each in ours]
    sample = Sample(statistics.median(rates), min(rates), statistics.median(synced))
    sample.cpu_us = statistics.median(each["cpu_ns"] for each in ours) / 1000
    for part in ours[0]["cpu_parts_us"]:
        sample.facts[part] = statistics.median(each["cpu_parts_us"][part] for each in ours)
    return sample


def stream_items(bench: Bench) -> Sample:
    return rate(bench, "items", "items", "count_up", 100_000)


def map_cpu(bench: Bench) -> Sample:
    return rate(bench, "pool", "mapped", "burn", 100, turns=BURN_TURNS)


def memory_mb(place: Place) -> tuple[float, float]:
    daemon, keeper = (pss_bytes(place.pids[name]) / 1e6 for name in ("daemon", "keeper"))
    return daemon, keeper


def idle_memory(bench: Bench) -> Sample:
    time.sleep(0.3)
    daemon, keeper = memory_mb(bench.place)
    sample = Sample(daemon + keeper, daemon + keeper)
    sample.facts.update(daemon=daemon, keeper=keeper)
    return sample


def idle_connections(bench: Bench) -> Sample:
    argv = [sys.executable, str(HERE / "idle_connections.py"), bench.place.socket, str(IDLE_CONNECTIONS)]
    program = Program(argv, bench.core, bench.ground.env)
    try:
        program.answer()
        time.sleep(0.5)
        daemon, keeper = memory_mb(bench.place)
    finally:
        program.end()
    sample = Sample(daemon + keeper, daemon + keeper)
    sample.facts.update(daemon=daemon, keeper=keeper)
    return sample


def idle_cpu(bench: Bench) -> Sample:
    """After calls, with their worker and their client still there: what costs nothing must cost nothing then."""
    place = bench.place
    place.python_calls(WARM_CALLS)
    time.sleep(0.5)
    ours = [place.pids["daemon"], place.pids["keeper"]]
    ends = [place.pids["add_one"], place.caller.pid]
    ticks = sum(map(cpu_ticks, ours))
    before, ends_before, start = cpu_ns(ours), cpu_ns(ends), time.monotonic_ns()
    time.sleep(1 if bench.quick else IDLE_SECONDS)
    elapsed = time.monotonic_ns() - start
    percent = 100 * (cpu_ns(ours) - before) / elapsed
    sample = Sample(percent, percent)
    sample.facts["ticks"] = sum(map(cpu_ticks, ours)) - ticks
    sample.facts["ends"] = 100 * (cpu_ns(ends) - ends_before) / elapsed
    return sample


WARM_CALLS = 100

CALL_NOTE = (
    "CPU: client {client:.0f}, daemon {daemon:.0f}, worker {worker:.0f} µs; {rate:,.0f} calls/s; p99 {p99:.0f} µs"
)

RATE_NOTE = (
    "CPU: client {client:.1f}, daemon {daemon:.1f}, worker {worker:.1f} µs, and {cpu_raw:.1f} µs for R, both ends of it"
)

# Taken on the clusters that stay up for the whole run. Where targets name no regime, they hold in both; but on one core
# what happens every 10 ms is only shown: T itself, at that pace, takes several times as long as T there.
FIGURES = [
    Figure(
        "echo_cpp",
        "64 bytes, C++ client, daemon, C++ worker, and back",
        MICROSECONDS,
        {IDLE: Target(0.35, "T"), ONE_CORE: Target(2, "T")},
        echo_cpp,
        "U {unix:.1f} µs; " + CALL_NOTE,
        {
            ONE_CORE: "the four context switches alone take two round trips of U; the rest is mostly the kernel's, "
            "for the daemon's epoll and the sockets"
        },
    ),
    Figure(
        "call_py",
        "f(1) is 2, Python, daemon, Python",
        MICROSECONDS,
        {IDLE: Target(0.5, "T"), ONE_CORE: Target(2.5, "T")},
        call_py,
        "R {raw:.1f} µs; " + CALL_NOTE,
    ),
    Figure(
        "call_http",
        "the same as JSON over HTTP, connection kept",
        MICROSECONDS,
        {IDLE: Target(2, "T"), ONE_CORE: Target(None, "T")},
        call_http,
        "over loopback TCP with a token {tcp:.1f} µs; " + CALL_NOTE,
    ),
    Figure(
        "call_tls",
        "the same in frames over TCP with TLS",
        MICROSECONDS,
        {IDLE: Target(0.8, "T"), ONE_CORE: Target(None, "T")},
        call_tls,
        CALL_NOTE,
    ),
    Figure(
        "call_paced",
        "the same, one call every 10 ms",
        MICROSECONDS,
        {IDLE: Target(2.5, "T"), ONE_CORE: Target(None, "T")},
        call_paced,
        "T at the same pace {paced:.0f} µs; CPU: client {client:.0f}, daemon {daemon:.0f}, worker {worker:.0f} µs",
        {
            IDLE: "a call that finds everything asleep needs four wake-ups and T two, and at this pace each costs more "
            "than back to back: compare T at the same pace, in the notes"
        },
    ),
    Figure(
        "call_busy",
        "the same, while another call computes in that object",
        MILLISECONDS,
        {IDLE: Target(2, "I"), ONE_CORE: Target(2, "I")},
        call_busy,
        "I is the worker's switch interval; p99 {p99:.1f} ms",
    ),
    Figure(
        "cold",
        "nothing running, to the first result",
        MILLISECONDS,
        {IDLE: Target(4, "P"), ONE_CORE: Target(4, "P")},
        cold,
        "up {up:.0f}, to {to:.0f}, first call {call:.1f} ms; besides, import {import:.1f} and teardown {down:.0f} ms",
        {ONE_CORE: "what overlaps on two cores, the client's pickling and the worker's start, adds up on one"},
    ),
    Figure(
        "redeploy",
        "edit a file, send it again, first result",
        MILLISECONDS,
        {IDLE: Target(1 / 50, "H")},
        redeploy,
        "each from a fresh process; at most 100 ms besides",
    ),
    Figure(
        "redeploy",
        "the same by `roundhouse run`",
        MILLISECONDS,
        {IDLE: Target(1 / 50, "H")},
        redeploy_shell,
        "each from a fresh process; at most 100 ms besides",
    ),
    Figure(
        "workers_100",
        "100 fresh workers with numpy, ready to serve",
        MILLISECONDS,
        {IDLE: Target(1.5, "F")},
        workers_100,
        "F forks the same interpreter and does nothing else",
    ),
    Figure(
        "log_line",
        "remote print to local screen",
        MICROSECONDS,
        {IDLE: Target(2, "T"), ONE_CORE: Target(None, "T")},
        log_line,
        "one line every 10 ms, and T at the same pace {paced:.0f} µs; p99 {p99:.0f} µs",
        {
            IDLE: "a line after a pause needs two wake-ups, as T does at the same pace, and each costs more than "
            "back to back"
        },
    ),
    Figure(
        "cli",
        "roundhouse status NAME, from start to end",
        MILLISECONDS,
        {IDLE: Target(5, "B"), ONE_CORE: Target(5, "B")},
        cli,
        "--version alone {version:.2f} ms",
    ),
    Figure(
        "calls_inflight",
        "1,000 calls in flight, one client thread, one worker",
        CALLS,
        {IDLE: Target(1, "R", at_least=True), ONE_CORE: Target(None, "R")},
        calls_inflight,
        RATE_NOTE,
    ),
    Figure(
        "calls_threads",
        "16 Python threads call one object",
        CALLS,
        {IDLE: Target(1.5, "R", at_least=True), ONE_CORE: Target(None, "R")},
        calls_threads,
        RATE_NOTE,
    ),
    Figure(
        "run_ack",
        "durable runs acknowledged, 64 callers",
        CALLS,
        {IDLE: Target(20, "S", at_least=True)},
        run_ack,
        "CPU: client {client:.0f}, daemon {daemon:.0f}, worker {worker:.0f} µs a run, each of which also runs",
    ),
    Figure(
        "array_local",
        "a large array as an argument, of which the receiver reads every page",
        MILLISECONDS,
        {IDLE: Target(1.5, "memcpy")},
        array_local,
        "{megabytes:.0f} MB; to copy them into a buffer that was used before, and read that, takes {raw:.0f} ms",
    ),
    Figure(
        "array_tcp",
        "the same over loopback TCP",
        MILLISECONDS,
        {IDLE: Target(1 / 0.8, "raw TCP")},
        array_tcp,
        "{megabytes:.0f} MB; raw sockets, into a buffer that was used before, take {raw:.0f} ms",
    ),
    Figure(
        "sync_same",
        "a project that has not changed, sent again",
        MILLISECONDS,
        {IDLE: Target(0.4, "rsync -a")},
        sync_same,
        "{files:,.0f} files, for which rsync -a takes {rsync:.0f} ms",
    ),
    Figure(
        "sync_one",
        "the same with one file edited",
        MILLISECONDS,
        {IDLE: Target(0.5, "rsync -a")},
        sync_one,
        "{files:,.0f} files, for which rsync -a takes {rsync:.0f} ms",
    ),
    Figure(
        "stream_items",
        "for x in remote_generator(n), small ints",
        ITEMS,
        {IDLE: Target(2, "R", at_least=True), ONE_CORE: Target(None, "R")},
        stream_items,
        RATE_NOTE,
    ),
    Figure(
        "map_cpu",
        "a map that computes, over 2 workers",
        ITEMS,
        {IDLE: Target(0.95, "E", at_least=True)},
        map_cpu,
        "processes {pid_1:.0f} and {pid_2:.0f} were at it at once for {at_once:.0f} % of the time; "
        "CPU: client {client:.0f}, daemon {daemon:.0f}, workers {worker:,.0f} µs, and {cpu_raw:,.0f} µs for E",
    ),
]

# Taken on a cluster of their own while no other of the run's is up: pages shared with it would count for half.
EMPTY, MANY, QUIET = "empty", "1,000 connections", "nothing calls"
IDLE_FIGURES = [
    Figure(
        "daemon_idle",
        "memory of daemon and keeper",
        MEGABYTES,
        {EMPTY: Target(10)},
        idle_memory,
        "daemon {daemon:.1f}, keeper {keeper:.1f} MB",
    ),
    Figure(
        "daemon_idle",
        "the same with 1,000 idle connections",
        MEGABYTES,
        {MANY: Target(40)},
        idle_connections,
        "daemon {daemon:.1f}, keeper {keeper:.1f} MB",
    ),
    Figure(
        "daemon_idle",
        "their processor time when nothing calls",
        PERCENT,
        {QUIET: Target(0.05)},  # what prints as 0.0 %
        idle_cpu,
        "{ticks:.0f} ticks; the idle worker and client together {ends:.2f} %",
    ),
]

__all__ = ["FIGURES", "IDLE_FIGURES", "Bench", "Figure", "Sample", "Target", "Trouble"]
