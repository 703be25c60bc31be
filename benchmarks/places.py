"""Where figures are taken: a cluster of its own, with its Python and C++ callers, on all cores or bound to one."""

from __future__ import annotations

import json
import os
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from processes import Program, Trouble, cpu_ns, end_by_pid, run_program

HERE = Path(__file__).resolve().parent
BUILT = HERE.parent / "build" / "release" / "benchmarks"
IDLE = "idle"
ONE_CORE = "one core"
WARM_UP = 300
# What has a baseline in a second rather than in time for one.
RATES = {"inflight": "R in flight", "threads": "R threads", "items": "R items", "pool": "E"}


def starts(argv: list[str], core: int | None, count: int, env: dict[str, str] | None = None) -> dict[str, float]:
    """How long a program takes from its start to its end, one after the other."""
    took, cores = [], os.sched_getaffinity(0)
    try:
        if core is not None:
            os.sched_setaffinity(0, {core})
        for _ in range(count):
            before = time.perf_counter_ns()
            process = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL)
            # Told by the kernel: Popen.wait(timeout) looks now and then, and /bin/true is over before the first look.
            ended = os.pidfd_open(process.pid)
            in_time = select.select([ended], [], [], 60)[0]
            took.append(time.perf_counter_ns() - before)
            os.close(ended)
            if not in_time:
                process.kill()
            if process.wait() != 0:
                raise Trouble(f"{' '.join(argv)} ended with {process.returncode}")
    finally:
        os.sched_setaffinity(0, cores)
    return {"minimum_ns": min(took), "median_ns": statistics.median(took)}


class Ground:
    """A temporary folder that everything of a run lives in, state folders and sockets included."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="rh-bench-")
        runtime = os.path.join(self.folder, "run")
        os.mkdir(runtime, 0o700)
        self.env = dict(os.environ, ROUNDHOUSE_STATE=os.path.join(self.folder, "state"), XDG_RUNTIME_DIR=runtime)

    def clear(self) -> list[str]:
        """Ends what is still there and removes the folder. Returns what ought not to have been there."""
        marker = b"ROUNDHOUSE_STATE=" + self.env["ROUNDHOUSE_STATE"].encode() + b"\0"
        mine = []
        for entry in os.listdir("/proc"):
            if entry.isdigit() and int(entry) != os.getpid():
                try:
                    with open(f"/proc/{entry}/environ", "rb") as file:
                        if marker in file.read() + b"\0":
                            mine.append(int(entry))
                except OSError:
                    continue
        left = [f"process {pid} was left behind, and ended" for pid in end_by_pid(mine)]
        runtime = self.env["XDG_RUNTIME_DIR"]
        left += [
            f"socket {os.path.relpath(os.path.join(folder, name), self.folder)} was left behind"
            for folder, _, names in os.walk(runtime)
            for name in names
        ]
        shutil.rmtree(self.folder, ignore_errors=True)
        return left


class Baselines:
    """The raw figures, measured anew each time they are asked for, and all remembered."""

    def __init__(self, core: int, quick: bool) -> None:
        self._core = core
        self._quick = quick
        self.taken: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)

    def core_of(self, regime: str) -> int | None:
        return self._core if regime == ONE_CORE else None

    def ping_pong(self, regime: str, name: str, pause_us: int = 0) -> dict[str, float]:
        """T or U, or with a pause the same at the pace of calls that are far apart."""
        count = (50 if self._quick else 150) if pause_us else (1000 if self._quick else 5000)
        argv = [str(BUILT / "ping_pong"), "tcp" if name == "T" else "unix", str(count), str(pause_us)]
        taken = json.loads(run_program(argv, self.core_of(regime)))
        return self._keep(f"{name} paced" if pause_us else name, regime, taken)

    def python_calls(self, regime: str) -> dict[str, float]:
        count = 1000 if self._quick else 5000
        argv = [sys.executable, str(HERE / "raw_python.py"), "calls", str(count)]
        return self._keep("R", regime, json.loads(run_program(argv, self.core_of(regime))))

    def python_rate(self, regime: str, job: str, *counts: int) -> dict[str, float]:
        """R, or E for `pool`, for what is counted in a second; `job` as in raw_python.py."""
        argv = [sys.executable, str(HERE / "raw_python.py"), job, *map(str, counts)]
        return self._keep(RATES[job], regime, json.loads(run_program(argv, self.core_of(regime))))

    def python_start(self, regime: str) -> dict[str, float]:
        """P. Only its wall time; the interpreter is the one that runs this, whatever wrapper started it.

        The core is inherited, because a `preexec_fn` would make the start itself dearer.
        """
        took, cores, core = [], os.sched_getaffinity(0), self.core_of(regime)
        try:
            if core is not None:
                os.sched_setaffinity(0, {core})
            for _ in range(3 if self._quick else 7):
                before = time.perf_counter_ns()
                subprocess.run([sys.executable, "-c", "pass"], check=True, timeout=60)
                took.append(time.perf_counter_ns() - before)
        except subprocess.SubprocessError as error:
            raise Trouble(str(error)) from None
        finally:
            os.sched_setaffinity(0, cores)
        return self._keep("P", regime, {"minimum_ns": min(took), "median_ns": statistics.median(took)})

    def true_start(self, regime: str) -> dict[str, float]:
        """B."""
        return self._keep("B", regime, starts(["/bin/true"], self.core_of(regime), 20 if self._quick else 200))

    def median_us(self, name: str, regime: str) -> float | None:
        taken = self.taken.get((name, regime))
        return statistics.median(each["median_ns"] for each in taken) / 1000 if taken else None

    def median_rate(self, name: str, regime: str) -> float | None:
        taken = self.taken.get((name, regime))
        return statistics.median(each["rate"] for each in taken) if taken else None

    def _keep(self, name: str, regime: str, taken: dict[str, float]) -> dict[str, float]:
        self.taken[name, regime].append(taken)
        return taken


class Place:
    """One cluster that is up, with a Python caller, and a C++ caller once one is asked for.

    The cluster is started by its caller and inherits from it the cores that it may use.
    """

    def __init__(self, ground: Ground, regime: str, core: int | None, name: str) -> None:
        self._ground = ground
        self._core = core
        self.name = name
        self.regime = regime
        self.caller = Program([sys.executable, str(HERE / "caller.py"), name], core, ground.env)
        self._echo: Program | None = None
        self.pids: dict[str, int] = {}  # by name; where there are several of a name, a number follows
        self._warm: set[str] = set()
        try:
            up = self.ask("up")
            self.socket: str = up["socket"]
            self.pids = {"daemon": up["pid"], "keeper": up["keeper_pid"]}
        except BaseException:
            self.close()
            raise

    def ask(self, do: str, timeout: float = 60, **arguments: Any) -> dict[str, Any]:
        return self.caller.ask(json.dumps({"do": do, **arguments}), timeout)

    def send(self) -> None:
        """Puts the Python function and object of single calls there, once."""
        if "add_one" not in self.pids:
            sent = self.ask("send")
            self.pids.update(sent["pids"])
            self.switch_interval: float = sent["switch_interval"]
            self.ask("calls", count=WARM_UP)

    def python_calls(self, count: int, pause: float = 0) -> dict[str, Any]:
        """Calls of f(1), with the processor time of client, daemon and worker for each in `cpu_ns`."""
        self.send()
        self.ask("calls", count=min(WARM_UP, count), timeout=120)
        return self._with_cpu("add_one", lambda: self.ask("calls", count=count, pause=pause, timeout=120))

    def door_calls(self, do: str, count: int, **arguments: Any) -> dict[str, Any]:
        """The same by another door: `do` is "http" or "tls"."""
        self.send()
        self.ask(do, count=min(WARM_UP, count), timeout=120, **arguments)
        return self._with_cpu("add_one", lambda: self.ask(do, count=count, timeout=120, **arguments))

    def rate(self, do: str, worker: str, count: int, **arguments: int) -> dict[str, Any]:
        """How many of `do` in a second, with the processor time of each part for one, as of a call."""
        if do not in self._warm:
            if worker in ("add_one", "grinder"):
                self.send()
            else:
                sent = self.ask(f"send_{worker}")["pids"]
                self.pids.update({f"{worker} {number}": pid for number, pid in enumerate(sent)})
            self.ask(do, count=count, timeout=120, **arguments)
            self._warm.add(do)
        measured = self._with_cpu(worker, lambda: self.ask(do, count=count, timeout=120, **arguments))
        measured["rate"] = measured["count"] / measured["elapsed_ns"] * 1e9
        return measured

    def echo_calls(self, count: int) -> dict[str, Any]:
        if self._echo is None:
            programs = [str(BUILT / "echo_client"), self.name, str(BUILT / "echo_service")]
            self._echo = Program(programs, self._core, self._ground.env)
            self._echo.answer()
            self.pids["echo"] = self.ask("pid_of", name="echo")["pid"]
        echo = self._echo
        echo.ask(f"{min(WARM_UP, count)} 0")
        return self._with_cpu("echo", lambda: echo.ask(f"{count} 0", 120))

    def _with_cpu(self, worker: str, measure: Any) -> dict[str, Any]:
        workers = [pid for name, pid in self.pids.items() if name.partition(" ")[0] == worker]
        others = [[self.pids["daemon"]], workers]
        before = [cpu_ns(pids) for pids in others]
        measured: dict[str, Any] = measure()
        daemon, work = (cpu_ns(pids) - earlier for pids, earlier in zip(others, before, strict=True))
        parts = {"client": measured["own_cpu_ns"], "daemon": daemon, "worker": work}
        measured["cpu_parts_us"] = {name: part / measured["count"] / 1000 for name, part in parts.items()}
        measured["cpu_ns"] = sum(parts.values()) / measured["count"]
        return measured

    def close(self) -> None:
        """Ends the callers; the Python one tears the cluster down as it ends."""
        if self._echo is not None:
            self._echo.end()
        try:
            self.ask("down")
        except Trouble:
            pass
        self.caller.end()
        end_by_pid(self.pids.values())
