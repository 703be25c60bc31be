"""Work that needs more memory than it was given, and gets it.

The first service may have 256 MiB and is ended by the node when it takes more; its caller catches that like any other
exception, takes a larger one and finishes.

    python examples/bigger_box.py
"""

from __future__ import annotations

import os

import roundhouse as rh

MIB = 1 << 20


def count_words(megabytes: int) -> int:
    text = b"a word and another " * (megabytes * MIB // 19)
    return len(text.split(b" and ", 1)[0]) + text.count(b"word")


def main() -> None:
    with rh.compute(os.environ.get("BIGGER_BOX_CLUSTER", "bigger-box")) as box:
        small = rh.function(count_words).to(box, memory="256MiB", name="small")
        try:
            words = small(400)
        except rh.OutOfMemory as error:
            print(f"it may have {error.limit // MIB} MiB; try {error.suggested_memory // MIB} MiB or more")
            large = rh.function(count_words).to(box, memory=max(error.suggested_memory, 1024 * MIB), name="large")
            words = large(400)
        print("words:", words)

        # The same, where there are several sizes to go through.
        def count_in(memory: int | str) -> int:
            print("with", memory)
            return rh.function(count_words).to(box, memory=memory, name="sized")(400)

        print("again:", rh.on_larger(count_in, ["256MiB", "2GiB"]))


if __name__ == "__main__":
    main()
