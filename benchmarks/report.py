"""Rows out of samples, the table on the terminal, and latest.json."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
from pathlib import Path
from typing import Any

from figures import CALLS, ITEMS, MICROSECONDS, MILLISECONDS, PERCENT, Figure, Sample, Target
from places import IDLE, ONE_CORE, RATES, Baselines

# Below this, wake-ups are cheap here, and ratios taken on an idle machine say little.
DEAR_WAKE_UPS = 3.0


class Row:
    """One figure in one regime, over all rounds."""

    def __init__(self, figure: Figure, regime: str) -> None:
        self.figure = figure
        self.regime = regime
        self.samples: list[Sample] = []
        self.trouble = ""

    @property
    def target(self) -> Target:
        return self.figure.targets[self.regime]

    @property
    def measured(self) -> float | None:
        return statistics.median(each.measured for each in self.samples) if self.samples else None

    @property
    def minimum(self) -> float | None:
        return min(each.minimum for each in self.samples) if self.samples else None

    @property
    def baseline(self) -> float | None:
        return _median(each.baseline for each in self.samples)

    @property
    def ratio(self) -> float | None:
        """The median of the rounds' own ratios: what slows a whole round down slows both."""
        return _median(each.ratio for each in self.samples)

    @property
    def cpu_us(self) -> float | None:
        return _median(each.cpu_us for each in self.samples)

    @property
    def load(self) -> float | None:
        return max((each.load for each in self.samples), default=None)

    @property
    def judged(self) -> float | None:
        return self.ratio if self.target.beside else self.measured

    @property
    def met(self) -> bool | None:
        return None if self.judged is None else self.target.met_by(self.judged)

    @property
    def note(self) -> str:
        if not self.samples:
            return self.trouble
        facts = {name: statistics.median(each.facts[name] for each in self.samples) for name in self.samples[0].facts}
        note = self.figure.note.format(**facts)
        return f"{note}; not in every round: {self.trouble}" if self.trouble else note

    @property
    def target_text(self) -> str:
        if self.target.limit is None:
            return "-"
        if self.figure.unit == PERCENT:
            return "0.0 %"
        sign = "≥" if self.target.at_least else "≤"
        return f"{sign} {self.target.limit:g} {self.target.beside or self.figure.unit}"

    def as_json(self, when: str) -> dict[str, Any]:
        return {
            "key": self.figure.key,
            "regime": self.regime,
            "unit": self.figure.unit,
            "measured": _rounded(self.measured),
            "minimum": _rounded(self.minimum),
            "baseline": _rounded(self.baseline),
            "beside": self.target.beside or None,
            "ratio": _rounded(self.ratio),
            "target": self.target.limit,
            "target_is": "at least" if self.target.at_least else "at most",
            "met": self.met,
            "cpu_us": _rounded(self.cpu_us),
            "load": _rounded(self.load),
            "rounds": len(self.samples),
            "each_ratio": [_rounded(each.ratio) for each in self.samples if each.ratio is not None],
            "when": when,
            "note": self.note,
        }


def _median(values: Any) -> float | None:
    present = [value for value in values if value is not None]
    return statistics.median(present) if present else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _number(value: float | None, unit: str = "") -> str:
    if value is None:
        return "-"
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f}" + (f" {unit}" if unit else "")


def columns(lines: list[list[str]], right: set[int]) -> list[str]:
    """The lines as text, each column as wide as its widest cell."""
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    cells = [
        [
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]
    return ["  ".join(line).rstrip() for line in cells]


def main_table(rows: list[Row]) -> str:
    lines = [["key", "regime", "median", "minimum", "beside", "ratio", "target", "met", "CPU µs", "load"]]
    for row in rows:
        unit = row.figure.unit
        beside = f"{row.target.beside} {_number(row.baseline, unit)}" if row.baseline is not None else "-"
        met = {True: "yes", False: "NO", None: "-" if row.samples else "no figure"}[row.met]
        ends = [row.target_text, met, _number(row.cpu_us), _number(row.load)]
        lines.append(
            [
                row.figure.key,
                row.regime,
                _number(row.measured, unit),
                _number(row.minimum, unit),
                beside,
                _number(row.ratio),
                *ends,
            ]
        )
    shown = columns(lines, right={2, 3, 4, 5, 8, 9})
    rule = "-" * max(map(len, shown))
    return "\n".join([shown[0], rule, *shown[1:]])


def _rate_unit(name: str) -> str | None:
    """None for what is a time."""
    if name not in RATES.values():
        return None
    return CALLS if name in (RATES["inflight"], RATES["threads"]) else ITEMS


def _baseline_figures(name: str, taken: list[dict[str, float]]) -> tuple[float, float, str]:
    """Median, minimum, unit."""
    rate_unit = _rate_unit(name)
    if rate_unit:
        rates = [each["rate"] for each in taken]
        return statistics.median(rates), min(rates), rate_unit
    unit, divisor = (MILLISECONDS, 1e6) if name in ("P", "B") else (MICROSECONDS, 1e3)
    median = statistics.median(each["median_ns"] for each in taken)
    return median / divisor, min(each["minimum_ns"] for each in taken) / divisor, unit


def baseline_table(baselines: Baselines) -> str:
    said = {
        "T": "64 B ping-pong over loopback TCP, blocking, C",
        "T paced": "the same, one every 10 ms",
        "U": "the same as T over a Unix socket",
        "R": "f(1) by sockets and pickle, Python to Python",
        "P": "python -c pass",
        "B": "/bin/true",
        "R in flight": "f(1) with 1,000 in flight over TCP, one thread",
        "R threads": "f(1) by 16 threads, each with a connection of its own",
        "R items": "small ints, each sent as it is yielded",
        "E": "the computing map by ProcessPoolExecutor(2)",
    }
    lines = [["baseline", "regime", "median", "minimum", "CPU µs", "what"]]
    for (name, regime), taken in sorted(
        baselines.taken.items(), key=lambda item: (list(said).index(item[0][0]), item[0][1] != IDLE)
    ):
        median, minimum, unit = _baseline_figures(name, taken)
        cpu = _median(each.get("cpu_ns") for each in taken)
        cpu_shown = _number(None if cpu is None else cpu / 1000)
        lines.append([name, regime, _number(median, unit), _number(minimum, unit), cpu_shown, said[name]])
    return "\n".join(columns(lines, right={2, 3, 4}))


def wake_ups(baselines: Baselines) -> float | None:
    """How many times dearer T is on an idle machine than on one core."""
    idle, one = baselines.median_us("T", IDLE), baselines.median_us("T", ONE_CORE)
    return idle / one if idle and one else None


def counts(row: Row, dearness: float | None) -> bool:
    """False for an idle ratio beside T where wake-ups are cheap and the one-core ratio is there to count instead."""
    cheap = dearness is not None and dearness < DEAR_WAKE_UPS
    return not (cheap and row.regime == IDLE and row.target.beside == "T")


def shortfalls(rows: list[Row], baselines: Baselines) -> str:
    dearness = wake_ups(baselines)
    lines = []
    for row in rows:
        if not row.samples:
            lines.append(f"  {row.figure.key}, {row.regime}: no figure. {row.trouble}")
        elif row.met is False:
            beside = f" {row.target.beside}" if row.target.beside else f" {row.figure.unit}"
            short = f"  {row.figure.key}, {row.regime}: {_number(row.judged)}{beside}, target {row.target_text}"
            if not counts(row, dearness):
                short += " (does not count here, see below)"
            why = row.figure.why.get(row.regime)
            lines.append(short + (f"\n      {why}" if why else ""))
        elif row.trouble:
            lines.append(f"  {row.figure.key}, {row.regime}: not in every round: {row.trouble}")
    text = "What falls short\n" + ("\n".join(lines) if lines else "  Nothing: every target that was measured is met.")
    if dearness is not None:
        text += f"\nWake-ups: T is {dearness:.1f} times dearer on the idle machine than on one core"
        dear = dearness >= DEAR_WAKE_UPS
        text += ", so both regimes count." if dear else "; below 3, so that only the one-core ratios beside T count."
    return text


def notes(rows: list[Row]) -> str:
    """What each figure is, and under it what its samples tell besides."""
    lines, shown = ["Notes"], ""
    for row in rows:
        title = f"  {row.figure.key}: {row.figure.what}"
        if title != shown:
            lines.append(title)
            shown = title
        if row.samples:
            lines.append(f"    {row.regime:<8}  {row.note}")
    return "\n".join(lines)


def machine() -> str:
    kernel = platform.release().split("-")[0]
    return f"{os.cpu_count()} cores, Linux {kernel}, Python {platform.python_version()}"


def write(path: Path, rows: list[Row], baselines: Baselines) -> None:
    when = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    raw = [
        {
            "key": name,
            "regime": regime,
            "unit": _rate_unit(name) or MICROSECONDS,
            "measured": _rounded(
                baselines.median_rate(name, regime) if _rate_unit(name) else baselines.median_us(name, regime)
            ),
            "rounds": len(taken),
        }
        for (name, regime), taken in sorted(baselines.taken.items())
    ]
    text = json.dumps(
        {"when": when, "machine": machine(), "rows": [row.as_json(when) for row in rows], "baselines": raw},
        indent=1,
        ensure_ascii=False,
    )
    path.write_text(text + "\n", encoding="utf-8")
