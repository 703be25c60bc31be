"""What holds for every Python test."""

from __future__ import annotations

import signal

# A shell starts background jobs with Ctrl-C ignored, which Python and every process that it starts would keep to.
signal.signal(signal.SIGINT, signal.default_int_handler)
