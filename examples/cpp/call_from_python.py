"""Calls the C++ services of dot_service.cpp, with NumPy arrays. They were started by `dot_client --keep`.

    python examples/cpp/call_from_python.py

The index of nearest neighbours reads the handwritten digits that scikit-learn ships.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import roundhouse as rh
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def main() -> None:
    box = rh.compute("cpp")
    if not box.is_up():
        sys.exit("cluster 'cpp' is not up: start it with `dot_client --keep`")
    try:
        call_function(box)
        call_object(box)
    finally:
        box.teardown()


def call_function(box: rh.Cluster) -> None:
    dot = box.get("dot")
    a, b = np.arange(1e6), np.full(1_000_000, 0.5)
    print(f"dot = {dot(a, b):.6g}, in NumPy {a @ b:.6g}")
    try:
        dot(a, b[:-1])
    except rh.RemoteError as error:  # A C++ exception, which Python cannot rebuild.
        print(error)


def call_object(box: rh.Cluster) -> None:
    split = train_test_split(*load_digits(return_X_y=True), test_size=360, random_state=0)
    train_scans, test_scans, train_labels, test_labels = split

    Neighbours = box.get("Neighbours")
    index = Neighbours(64, name="digits")
    index.add(train_scans, train_labels)  # What it prints there appears here.
    began = time.perf_counter()
    answers = index.classify(test_scans, 3)
    seconds = time.perf_counter() - began
    right = int((answers == test_labels).sum())
    print(f"{right} of {len(answers)} scans read right by their neighbours among {index.size()}, in {seconds:.3f} s")


main()
