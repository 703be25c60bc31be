"""Tells an address how a run has ended. The node makes a run of its own of each such message, of the service here."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from roundhouse._cluster import Cluster

SERVICE = "roundhouse-webhooks"
# Between two tries, in seconds; it is given up after the last, some two hours later.
_PAUSES = (1, 5, 30, 120, 600, 1800, 3600)
_ANSWER_SECONDS = 10.0
# What says "not now" rather than "never".
_LATER = (408, 425, 429)


def ensure(cluster: Cluster) -> None:
    """The service is on that cluster: a Python worker of the node's own, whoever asks first."""
    from roundhouse import function

    cluster.webhook_secret()
    function(deliver).get_or_to(cluster, name=SERVICE)


def signature(secret: str, seconds: int, body: bytes) -> str:
    """The header `Roundhouse-Signature`: when it was signed, and HMAC-SHA256 of that, a dot and the body."""
    import hashlib
    import hmac

    signed = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={seconds},v1={signed}"


def deliver(url: str, payload: dict[str, Any]) -> dict[str, Any]:
    """POSTs it until somebody takes it (2xx), or says that they never will: the status, and after how many tries."""
    import json

    body = json.dumps({**payload, "cluster": os.environ.get("ROUNDHOUSE_CLUSTER", "")}).encode()
    for tries, pause in enumerate((*_PAUSES, None), 1):
        status, why = _post(url, body)
        if 200 <= status < 300:
            return {"status": status, "tries": tries}
        if pause is None or (400 <= status < 500 and status not in _LATER):
            raise ConnectionError(f"{url} did not take it: {why} (the last of {tries} tries)")
        print(f"{url}: {why}; again in {pause} s")
        time.sleep(pause)
    raise AssertionError  # Its last round returns or raises.


def _post(url: str, body: bytes) -> tuple[int, str]:
    """The status (0: there was no answer) and what it means."""
    import urllib.error
    import urllib.request

    class Refuse(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            """Whoever is to be told is whom the user has named."""

    headers = {
        "Content-Type": "application/json",
        "User-Agent": "roundhouse",
        "Roundhouse-Signature": signature(_secret(), int(time.time()), body),
    }
    request = urllib.request.Request(url, body, headers, method="POST")
    try:
        with urllib.request.build_opener(Refuse).open(request, timeout=_ANSWER_SECONDS) as answer:
            return answer.status, answer.reason
    except urllib.error.HTTPError as error:
        return error.code, f"{error.code} {error.reason}"
    except (OSError, ValueError) as error:
        return 0, str(error)


def _secret() -> str:
    with open(os.path.join(os.environ["ROUNDHOUSE_NODE"], "webhook.secret"), encoding="ascii") as file:
        return file.read().strip()
