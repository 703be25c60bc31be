"""What notebooks show: a small card, with nothing from elsewhere and every text escaped."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FRAME = "display:inline-block;border:1px solid #8886;border-radius:6px;padding:4px 10px;font-family:monospace"
_ROWS_MAX = 12


def _escape(text: Any) -> str:
    from html import escape

    return escape(str(text))


def card(kind: str, title: str, rows: dict[str, Any]) -> str:
    shown = list(rows.items())[:_ROWS_MAX]
    lines = "".join(
        f'<tr><td style="text-align:left;opacity:.6">{_escape(name)}</td>'
        f'<td style="text-align:left">{_escape(value)}</td></tr>'
        for name, value in shown
    )
    return f'<div style="{_FRAME}"><b>{_escape(kind)}</b> {_escape(title)}<table>{lines}</table></div>'


def of_remote(kind: str, remote: Any) -> str:
    """The card of a remote function, class or instance."""
    from roundhouse import _stubs

    service = _stubs.service_of(remote)
    if service is None:
        return card(kind, getattr(remote, "__qualname__", "?"), {"cluster": "not sent"})
    rows: dict[str, Any] = {"cluster": service.cluster.name}
    if service.description.get("process"):
        rows["process"] = service.description["process"]
    if service.description.get("pid"):
        rows["pid"] = service.description["pid"]
    for name, method in service.description.get("methods", {}).items():
        rows[service.name if name == "call" else name] = method.get("signature", "(...)")
    return card(kind, service.name, rows)
