"""How tests call a bare worker as the HTTP door does."""

from __future__ import annotations

import json
from typing import Any

from bare_worker import FAILED, RETURNED, Worker
from roundhouse import _engine, _serialize

CODES = {number: name for name, number in _engine.codes.items()}


def body(args: Any = (), kwargs: Any = None, raw: Any = (), **more: Any) -> list[Any]:
    request = {"args": list(args), "kwargs": kwargs or {}, **more}
    return [json.dumps(request).encode(), *raw]


def ask(worker: Worker, service: str, method: str = "call", *args: Any, **more: Any) -> Any:
    """The answer of a call whose arguments are JSON."""
    return worker.run(service, method, _serialize.JSON, body(args, **more))


def said(answer: Any) -> Any:
    """The value of an answer in JSON."""
    kind, encoding, parts, raised, error = answer
    assert (kind, raised, error) == (RETURNED, None, None), (raised, error)
    if encoding == _serialize.EMPTY:
        return None
    assert encoding == _serialize.JSON
    assert len(parts) == 1
    return json.loads(parts[0], parse_constant=lambda name: AssertionError(name))


def raw(answer: Any) -> tuple[str, bytes]:
    """The media type and the bytes of an answer that is no JSON."""
    kind, _, parts, raised, error = answer
    assert (kind, raised, error) == (RETURNED, None, None), (raised, error)
    marker = json.loads(parts[0])
    assert marker == {"$part": 1, "type": marker["type"]}
    return marker["type"], bytes(parts[1])


def refused(answer: Any) -> tuple[str, str, dict[str, str]]:
    kind, _, _, raised, error = answer
    assert kind == FAILED, (answer, raised)
    return CODES[error[0]], error[1], error[2]
