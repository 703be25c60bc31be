"""`python -m tests.faults [N=100] [SEED=n] [LANES=3] [ONLY=fault,number,..] [KEEP=folder] [VERBOSE=1]`.

Ends with 0 when no answer was wrong and every fault fired that this machine allows.
"""

from __future__ import annotations

import secrets
import sys
import tempfile
from pathlib import Path

from . import oracle
from .catalogue import FAULTS
from .passing import Pass, Row, orders_for, remove

_KNOWN = {"N": "100", "SEED": "", "LANES": "3", "ONLY": "", "KEEP": "", "VERBOSE": ""}
_COLUMNS = ("tries", "fired", *oracle.KINDS, "broken")


def table(rows: list[Row]) -> str:
    width = max(len(row.fault) for row in rows)
    lines = [f"{'fault':{width}}" + "".join(f"{name:>11}" for name in _COLUMNS) + "  seconds  answers"]
    for row in rows:
        numbers = [row.tries, row.fired, *(len(row.wrong[kind]) for kind in (*oracle.KINDS, "broken"))]
        answers = ", ".join(f"{name} {count}" for name, count in row.answers.most_common())
        mean = row.seconds / row.tries if row.tries else 0.0
        text = answers if not row.not_possible else f"not possible here: {row.not_possible}"
        lines.append(f"{row.fault:{width}}" + "".join(f"{number:>11}" for number in numbers) + f"  {mean:7.1f}  {text}")
    sums = [sum(row.tries for row in rows), sum(row.fired for row in rows)]
    sums += [sum(len(row.wrong[kind]) for row in rows) for kind in (*oracle.KINDS, "broken")]
    return "\n".join([*lines, f"{'all':{width}}" + "".join(f"{number:>11}" for number in sums)])


def main(arguments: list[str]) -> int:
    given = dict(_KNOWN)
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name not in _KNOWN or not equals:
            print(f"{argument!r} is none of {', '.join(f'{known}=' for known in _KNOWN)}", file=sys.stderr)
            return 2
        given[name] = value
    seed = int(given["SEED"] or secrets.randbelow(1_000_000))
    only = [word for word in given["ONLY"].split(",") if word]
    orders = orders_for(int(given["N"]), seed, only)
    if not orders:
        print(f"ONLY={given['ONLY']} leaves nothing. Faults: {', '.join(FAULTS)}", file=sys.stderr)
        return 2
    folder = Path(given["KEEP"] or tempfile.mkdtemp(prefix="rh-faults-")).resolve()
    folder.mkdir(exist_ok=True)
    print(f"faults: {len(orders)} trials, SEED={seed} N={given['N']}, evidence in {folder}", flush=True)
    whole = Pass(orders, folder, int(given["LANES"]), bool(given["VERBOSE"]))
    whole.run()
    print(table([row for name in FAULTS if (row := whole.rows.get(name))]))
    for row in whole.rows.values():
        if row.fired == 0 and not row.not_possible:
            print(f"{row.fault} never fired")
    for what in whole.left:
        print(f"left behind: {what}")
    print(f"{whole.seconds:.0f} s, SEED={seed}: {'FAILED, evidence in ' + str(folder) if whole.fails else 'all well'}")
    if not whole.fails and not given["KEEP"]:
        remove(folder)
    return int(whole.fails)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
