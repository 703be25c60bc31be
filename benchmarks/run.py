#!/usr/bin/env python3
"""Measures what Roundhouse promises, each figure beside a raw baseline of the same run. `make bench` calls it.

benchmarks/README.md says what the keys mean and how to read the table. Nothing here fails a build: it prints.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

import report
from figures import FIGURES, IDLE_FIGURES, Bench, Figure
from places import BUILT, HERE, IDLE, ONE_CORE, Baselines, Ground, Place
from processes import Trouble, load_average

TABLE = HERE / "latest.json"


def arguments() -> argparse.Namespace:
    keys = sorted({figure.key for figure in FIGURES + IDLE_FIGURES})
    parser = argparse.ArgumentParser(description="Measures Roundhouse beside raw baselines of the same run.")
    parser.add_argument("--only", nargs="+", metavar="KEY", choices=keys, help=f"only these: {', '.join(keys)}")
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured (3)")
    parser.add_argument("--quick", action="store_true", help="few calls and one round: shows that it works, no more")
    parser.add_argument("--write", action="store_true", help="keep the figures of this full run in latest.json")
    chosen = parser.parse_args()
    if chosen.write and (chosen.only or chosen.quick or chosen.rounds < 3):
        parser.error("--write keeps full runs only: leave out --only and --quick, and take 3 rounds or more")
    if chosen.rounds < 1:
        parser.error("--rounds takes at least 1")
    if chosen.quick:
        chosen.rounds = 1
    return chosen


def check_built() -> None:
    missing = [name for name in ("ping_pong", "echo_service", "echo_client") if not (BUILT / name).exists()]
    if missing:
        sys.exit(f"benchmarks/run.py: {', '.join(missing)} not built yet. Try: make bench")


def measure(row: report.Row, bench: Bench) -> None:
    try:
        row.samples.append(row.figure.measure(bench))
    except Trouble as trouble:
        row.trouble = str(trouble)
    except OSError as error:
        row.trouble = f"{type(error).__name__}: {error}"


def rows_of(figures: list[Figure], only: list[str] | None) -> list[report.Row]:
    # Sorted by figure, then regime, as the table shows them.
    chosen = [figure for figure in figures if not only or figure.key in only]
    return [report.Row(figure, regime) for figure in chosen for regime in figure.targets]


def idle_rounds(rows: list[report.Row], ground: Ground, baselines: Baselines, chosen: argparse.Namespace) -> None:
    """Memory and processor time of a daemon that has nothing to do, on a fresh cluster each round."""
    for number in range(chosen.rounds if rows else 0):
        progress(f"round {number + 1} of {chosen.rounds}: an idle daemon")
        try:
            place = Place(ground, IDLE, None, f"unused-{number}")
        except Trouble as trouble:
            for row in rows:
                row.trouble = str(trouble)
            continue
        try:
            for row in rows:
                measure(row, Bench(place, baselines, ground, chosen.quick))
        finally:
            place.close()


def rounds(rows: list[report.Row], ground: Ground, baselines: Baselines, chosen: argparse.Namespace) -> None:
    """All figures in both regimes, then all again: drift of the machine reaches each of them alike."""
    with ExitStack() as stack:
        places: dict[str, Place] = {}
        for regime in dict.fromkeys(row.regime for row in rows):
            try:
                place = Place(ground, regime, baselines.core_of(regime), regime.replace(" ", "-"))
            except Trouble as trouble:
                for row in rows:
                    if row.regime == regime:
                        row.trouble = str(trouble)
                continue
            stack.callback(place.close)
            places[regime] = place
        for number in range(chosen.rounds):
            for row in rows:
                if row.regime in places:
                    progress(f"round {number + 1} of {chosen.rounds}: {row.figure.key}, {row.regime}")
                    measure(row, Bench(places[row.regime], baselines, ground, chosen.quick))


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def terminated(_signal: int, _frame: FrameType | None) -> None:
    # So that everything that was started is ended on the way out.
    raise SystemExit(143)


def main() -> int:
    chosen = arguments()
    check_built()
    signal.signal(signal.SIGTERM, terminated)
    cores = os.sched_getaffinity(0)
    baselines = Baselines(min(cores), chosen.quick)
    ground = Ground()
    print(f"Roundhouse beside raw baselines: {report.machine()}, load {load_average():.2f} at the start")
    if len(cores) < 2:
        print(f"This process may use one core only, so {IDLE} and {ONE_CORE} are the same here.")
    idle_rows, rows = rows_of(IDLE_FIGURES, chosen.only), rows_of(FIGURES, chosen.only)
    try:
        idle_rounds(idle_rows, ground, baselines, chosen)
        if rows:
            rounds(rows, ground, baselines, chosen)
    finally:
        left = ground.clear()
        progress("")
    rows += idle_rows
    for part in (
        report.main_table(rows),
        report.baseline_table(baselines) if baselines.taken else "",
        report.notes(rows),
        report.shortfalls(rows, baselines),
    ):
        if part:
            print(f"\n{part}")
    for line in left:
        print(f"  {line}")
    if chosen.write:
        report.write(TABLE, rows, baselines)
        print(f"\nWritten to {TABLE.relative_to(Path(HERE).parent)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
