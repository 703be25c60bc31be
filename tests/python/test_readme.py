"""The README's example runs as it stands there, and prints what its comments say; what the README links to is there."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_example(run_script: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    promised = re.findall(r"^print\(.*\) +# ([^(\n]+)", example, re.MULTILINE)
    assert len(promised) == example.count("print(") > 3
    assert run_script(example).stdout.splitlines() == [text.strip() for text in promised]


def test_its_links() -> None:
    targets = re.findall(r"\]\(([^)#\s]+)\)", README.read_text())
    assert "docs/quick-start.md" in targets
    for target in targets:
        assert "://" in target or (README.parent / target).exists(), f"the README links to {target}"
