"""What happened, written down so that it outlives whoever writes it: a row is one line, appended and fsynced.

A trial's folder has three: `code`, of the called code (a row when it begins and one when it ends), `caller`, of whoever
calls it (what was asked, what was told) and `proof`, of the trial (how a fault is known to have happened).
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

Row = dict[str, Any]

CODE, CALLER, PROOF = "code", "caller", "proof"


def write(folder: str | Path, ledger: str, what: str, **facts: Any) -> None:
    """Returns once the row is on the disk. Rows of several processes do not mix: each is one write of an append."""
    # The monotonic clock is the same for all processes of a machine, and no fault turns it.
    line = json.dumps({"what": what, "at": time.monotonic(), **facts}) + "\n"
    file = os.open(os.path.join(folder, ledger), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(file, line.encode())
        os.fsync(file)
    finally:
        os.close(file)


def read(folder: str | Path, ledger: str, what: str | None = None) -> list[Row]:
    try:
        text = Path(folder, ledger).read_text()
    except FileNotFoundError:
        return []
    # The last line may be on its way.
    rows = [json.loads(line) for line in text.split("\n")[:-1]]
    return [row for row in rows if what is None or row["what"] == what]
