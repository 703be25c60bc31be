"""Provoked faults: what dies, breaks or runs out around real calls on real nodes, and what their callers were told.

`python -m tests.faults N=100` (`make faults N=100`) provokes them in random order from a printed seed and ends with a
table. Two ledgers are the oracle (ledger.py, oracle.py): what the called code wrote down about itself, and what its
callers wrote down about what they were told.
"""
