"""The README's example runs as it stands there, and prints what its comments say."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_example(run_script: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    promised = re.findall(r"^print\(.*# (\d+)", example, re.MULTILINE)
    assert run_script(example).stdout.split() == promised == ["144", "15", "16"]
