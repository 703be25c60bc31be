#!/usr/bin/env python3
"""Fails unless a shared object exports exactly the dynamic symbols named on the command line, and lacks no C++ symbol.

Any other symbol could meet its namesake in another library of the user's process: a second protobuf, OpenSSL or Boost.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path


def dynamic_symbols(library: Path, nm: str, which: str) -> set[str]:
    command = [nm, "--dynamic", which, "--format=posix", str(library)]
    listing = subprocess.run(command, capture_output=True, text=True, check=True)
    return {line.split()[0] for line in listing.stdout.splitlines() if line}


def main() -> int:
    parser = argparse.ArgumentParser(description="Fails unless a shared object exports exactly these symbols.")
    parser.add_argument("library", type=Path)
    parser.add_argument("symbols", nargs="+")
    parser.add_argument("--nm", default="nm")
    arguments = parser.parse_args()
    found, wanted = dynamic_symbols(arguments.library, arguments.nm, "--defined-only"), set(arguments.symbols)
    # C and Python come from the process; C++ that is still undefined is code of ours that was not linked.
    undefined = {
        name for name in dynamic_symbols(arguments.library, arguments.nm, "--undefined-only") if name[:2] == "_Z"
    }
    for name in sorted(found - wanted):
        print(f"{arguments.library.name}: exports {name}: hide it (cmake/engine.map lists what may be seen)")
    for name in sorted(wanted - found):
        print(f"{arguments.library.name}: does not export {name}: mark it visible and list it in cmake/engine.map")
    for name in sorted(undefined):
        print(f"{arguments.library.name}: {name} is undefined: define it, or link the library that does")
    if found == wanted and not undefined:
        print(f"{arguments.library.name}: exports {', '.join(sorted(wanted))} and nothing else")
    return 0 if found == wanted and not undefined else 1


if __name__ == "__main__":
    sys.exit(main())
