"""Calls a C++ function that crashes, and says where it was.

python examples/cpp/crash.py build/release/examples
"""

from __future__ import annotations

import sys
from pathlib import Path

import roundhouse as rh


def main(programs: Path) -> None:
    with rh.compute("crash-cpp") as box:
        smoothed = rh.program(programs / "crash_service").function("smoothed").to(box)
        print(smoothed([1.0, 2.0, 6.0], 1))
        try:
            smoothed([1.0, 2.0, 6.0], 1 << 40)
        except rh.WorkerDied as error:
            print(f"signal {error.signal}")
            print(error.backtrace)
        print(smoothed([1.0, 2.0, 6.0], 1))  # Another worker has taken its place.


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/release/examples").resolve())
