"""What test_schemathesis.py has schemathesis do otherwise than by itself."""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.hook  # type: ignore[untyped-decorator]
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Deadlines that a slow machine could miss become long ones: 504 is what they ask for, and no finding."""
    try:
        short = 0 < float((case.query or {}).get("timeout", 0)) < 60
    except (TypeError, ValueError):
        return
    if short:
        case.query["timeout"] = 60


@schemathesis.deserializer("application/x-npy")  # type: ignore[untyped-decorator]
@schemathesis.deserializer("application/octet-stream")  # type: ignore[untyped-decorator]
def as_bytes(context: Any, response: Any) -> Any:
    return response.content.decode("latin-1")
