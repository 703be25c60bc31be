"""The trials run in processes of their own, with state folders of their own; here only the root is made importable."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
