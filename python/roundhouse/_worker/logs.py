"""The worker's root logger, as the deployer's: its level, and records on stderr where the deployer had asked for them.

Code that configures logging itself has its way: nothing is set up that `logging.basicConfig` would find in place."""

from __future__ import annotations

from roundhouse._worker import hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def configure(level: int) -> None:
    """At once, or when `logging` is imported."""

    def apply(logging: Any) -> None:
        if not hasattr(logging, "lastResort"):
            return  # Half imported, on another thread.
        logging.getLogger().setLevel(level)
        # The handler for records that find no other. It writes to whatever sys.stderr is at the time.
        handler = type(logging.lastResort)(logging.NOTSET)
        handler.setFormatter(logging.Formatter(logging.BASIC_FORMAT))
        logging.lastResort = handler

    hooks.when_imported("logging", apply)
