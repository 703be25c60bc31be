"""The code of a run in its store: its snapshot, as one file."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tarfile import TarFile, TarInfo
    from typing import Any


def packed(folder: str) -> memoryview:
    """A tar file of what is in that folder, but not what Python made of it since."""
    import mmap
    import tarfile
    import tempfile

    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1) as tar:
            for entry in sorted(os.listdir(folder)):
                tar.add(os.path.join(folder, entry), entry, filter=_nobodys)
        file.flush()
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def unpacked(snapshot: str, content: Any) -> str:
    """The folder that has it, on this machine, until somebody clears the cache."""
    import io
    import tarfile
    import tempfile

    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.path.join(cache, "roundhouse", "stored-code", os.path.basename(snapshot))
    if os.path.isdir(folder):
        return folder
    os.makedirs(os.path.dirname(folder), 0o700, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(folder)) as draft:
        whole = os.path.join(draft, "code")
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
            _extract(tar, whole)
        try:
            os.rename(whole, folder)
        except OSError:
            # Somebody else was quicker.
            if not os.path.isdir(folder):
                raise
    return folder


def _nobodys(entry: TarInfo) -> TarInfo | None:
    if os.path.basename(entry.name) == "__pycache__":
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _extract(tar: TarFile, folder: str) -> None:
    """Nothing of it lands outside, whatever a store has to say."""
    if not hasattr(sys.modules["tarfile"], "data_filter"):
        from roundhouse.exceptions import Unsupported

        raise Unsupported("this Python cannot unpack a stored snapshot safely. Try: its newest patch release")
    tar.extractall(folder, filter="data")
