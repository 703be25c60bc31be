"""`cold`: from nothing running to the first result of a local cluster, in a Python that has just started.

Prints one JSON line of nanoseconds. Importing roundhouse counts separately: most of the package loads when it is first
used, and is then part of the rest.
"""

import json
import sys
import time

start = time.perf_counter_ns()
import roundhouse as rh  # noqa: E402

imported = time.perf_counter_ns()


def add_one(x):
    return x + 1


box = rh.compute(sys.argv[1])
try:
    box.up_if_not()
    up = time.perf_counter_ns()
    remote = rh.function(add_one).to(box)
    sent = time.perf_counter_ns()
    result = remote(1)
    called = time.perf_counter_ns()
finally:
    box.teardown()
down = time.perf_counter_ns()
if result != 2:
    sys.exit(f"f(1) is {result!r}, not 2")
print(
    json.dumps(
        {
            "import_ns": imported - start,
            "up_ns": up - imported,
            "to_ns": sent - up,
            "call_ns": called - sent,
            "cold_ns": called - imported,
            "down_ns": down - called,
        }
    )
)
