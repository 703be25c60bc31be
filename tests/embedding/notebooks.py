"""A real kernel, cell by cell, as a notebook drives it."""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from jupyter_client import BlockingKernelClient, KernelManager

# As conftest.py's.
SECONDS = 20


class Notebook:
    """Cells on their way to a kernel, and what came back for each: a list of (kind, content)."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager = manager
        self.client = client
        self.shown: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)

    def start(self, cell: str) -> str:
        # What comes after a cell that failed is run all the same.
        return self.client.execute(cell, stop_on_error=False)

    def wait(self, cell: str) -> None:
        """Until that cell is over."""
        until = time.monotonic() + SECONDS
        while ("status", {"execution_state": "idle"}) not in self.shown[cell]:
            self._read(until)

    def wait_for_text(self, cell: str, text: str) -> None:
        """Until that cell shows the text, whether it is over or not."""
        until = time.monotonic() + SECONDS
        while text not in self.text(cell):
            self._read(until)

    def run(self, source: str) -> str:
        cell = self.start(source)
        self.wait(cell)
        errors = [content["traceback"] for kind, content in self.shown[cell] if kind == "error"]
        assert errors == [], "\n".join(errors[0])
        return cell

    def text(self, cell: str, stream: str = "stdout") -> str:
        return "".join(
            content["text"] for kind, content in self.shown[cell] if kind == "stream" and content["name"] == stream
        )

    def value(self, cell: str) -> dict[str, str]:
        """What stands below the cell, by MIME type."""
        (value,) = (content["data"] for kind, content in self.shown[cell] if kind == "execute_result")
        return value

    def error(self, cell: str) -> str:
        (name,) = (content["ename"] for kind, content in self.shown[cell] if kind == "error")
        return name

    def _read(self, until: float) -> None:
        left = until - time.monotonic()
        assert left > 0, self.shown
        message = self.client.get_iopub_msg(timeout=left)
        self.shown[message["parent_header"].get("msg_id", "")].append((message["msg_type"], message["content"]))


def wait_for(path: Path) -> None:
    until = time.monotonic() + SECONDS
    while not path.exists() or not (path.stat().st_size or path.name == "begun"):
        assert time.monotonic() < until, f"{path.name} did not come"
        time.sleep(0.01)
