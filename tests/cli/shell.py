"""A user's shell: a folder, an environment, and the program in it."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "build" / "release" / "bin" / "roundhouse"

DIGITS = """\
import os, sys, time

def train(epochs: int = 3, rate: float = 0.1) -> dict:
    for epoch in range(epochs):
        print("epoch", epoch)
    print("done", file=sys.stderr)
    return {"epochs": epochs, "rate": rate}

def show(*args, **kwargs):
    return {"args": args, "kwargs": kwargs}

def typed(flag: bool = False, layers: list[int] = (), name: str = "", learning_rate: float = 0.5):
    return [flag, list(layers), name, learning_rate]

def countdown(start: int):
    for number in range(start, 0, -1):
        yield {"left": number}

def slowly(seconds: float, mark: str = "", nap: float = 0.01):
    print("begun", flush=True)
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(nap)
    finally:
        if mark:
            open(mark, "w").write("ended")
    return "slept"

def fail(message: str = "no"):
    raise ValueError(message)

def blob(size: int) -> bytes:
    return bytes(range(256)) * (size // 256)

def text(size: int) -> str:
    return "x" * size

def nothing():
    return None

def native():
    os.write(1, b"from descriptor one\\n")
    os.write(2, b"from descriptor two\\n")
    return os.getpid()

def inside():
    import json, subprocess
    told = subprocess.run(["roundhouse", "status", "--json"], stdout=subprocess.PIPE, check=True)
    return [status["name"] for status in json.loads(told.stdout)]

class Counter:
    def __init__(self, start: int = 0):
        self.value = start

    def add(self, n: int = 1) -> int:
        self.value += n
        return self.value
"""


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        return json.loads(self.out)


@dataclass
class Shell:
    """What a user has: a folder, an environment, and the program in it."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def __call__(self, *words: object, code: int | None = 0, stdin: str = "", timeout: float = 60, **env: str) -> Done:
        done = subprocess.run(
            [str(PROGRAM), *map(str, words)], cwd=self.folder, env={**self.env, **env}, input=stdin.encode(),
            capture_output=True, timeout=timeout, check=False,
        )  # fmt: skip
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        assert code is None or done.returncode == code, f"{words} ended with {done.returncode}\n{out}\n{err}"
        return Done(done.returncode, out, err)

    def bash(self, script: str, timeout: float = 60) -> Done:
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self.env, capture_output=True, timeout=timeout, text=True,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *words: object, **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(PROGRAM), *map(str, words)], cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
        )  # fmt: skip

    def terminal(
        self, *words: object, answer: str = "", answers: Sequence[tuple[str, str]] = (), interrupt_at: str = "",
        **env: str,
    ) -> Done:  # fmt: skip
        """The same on a terminal; `err` is empty, because a terminal has one screen. Each of `answers` is what is
        waited for, behind what was answered before, and what is typed then."""
        left = [*([("[y/N]", answer)] if answer else []), *answers]
        answered = 0
        pid, screen = pty.fork()
        if pid == 0:
            os.chdir(self.folder)
            os.execve(PROGRAM, [str(PROGRAM), *map(str, words)], {**self.env, "TERM": "xterm", **env})
        shown = b""
        deadline = time.monotonic() + 60
        while True:
            assert time.monotonic() < deadline, shown
            if not select.select([screen], [], [], 0.1)[0]:
                continue
            try:
                chunk = os.read(screen, 65536)
            except OSError:  # Linux says so when the other side is closed.
                break
            if not chunk:
                break
            shown += chunk
            if left and left[0][0].encode() in shown[answered:]:
                answered = shown.index(left[0][0].encode(), answered) + len(left[0][0].encode())
                os.write(screen, left.pop(0)[1].encode() + b"\n")
            if interrupt_at and interrupt_at.encode() in shown:
                os.write(screen, b"\x03")
                interrupt_at = ""
        _, status = os.waitpid(pid, 0)
        os.close(screen)
        return Done(os.waitstatus_to_exitcode(status), shown.decode(errors="replace").replace("\r\n", "\n"), "")
