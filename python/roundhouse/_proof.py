"""What shows a service of the node's own that its caller may deploy: a key that the node tells nobody else."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from roundhouse._cluster import Cluster


def of(cluster: Cluster, service: str) -> str:
    """For a call of that service there. NotAllowed with a token whose scope is less than "deploy"."""
    return _made(cluster.webhook_secret(), service)


def check(proof: str, service: str) -> None:
    """On the node: NotAllowed where it is not the right one. Who may only call services could call these, too."""
    import hmac

    with open(os.path.join(os.environ["ROUNDHOUSE_NODE"], "webhook.secret"), encoding="ascii") as file:
        right = _made(file.read().strip(), service)
    if not isinstance(proof, str) or not hmac.compare_digest(proof.encode(), right.encode()):
        from roundhouse.exceptions import NotAllowed

        raise NotAllowed(
            f"{service} is the node's own, and works for those who may deploy. Try: rh.compute(...) from Python"
        )


def _made(key: str, service: str) -> str:
    import hashlib
    import hmac

    return hmac.new(key.encode(), service.encode(), hashlib.sha256).hexdigest()
