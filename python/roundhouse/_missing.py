"""What is said of names that the package does not have: Runhouse's, and those that are nearly one of ours."""

from __future__ import annotations

_LATER = "It is not in this version yet. "
# Runhouse's names that mean something that is not here, and what to do.
_RUNHOUSE = {
    "Folder": _LATER + "Until then use paths: a local cluster sees the same files",
    "folder": _LATER + "Until then use paths: a local cluster sees the same files",
    "Asgi": _LATER + "Until then call the service from your own web application",
    "asgi": _LATER + "Until then call the service from your own web application",
    "DockerCluster": _LATER + "Until then rh.compute('NAME') is a cluster on this machine",
    "login": "It belonged to Runhouse's hosted service, which is gone: nothing takes its place, and nothing needs it",
    "logout": "It belonged to Runhouse's hosted service, which is gone: nothing takes its place, and nothing needs it",
    "as_caller": "It belonged to Runhouse's hosted service, which is gone: leave it out",
    "obj_store": "Try: rh.here.get(key) and rh.here.put(key, value) inside a service",
    "locate": "Try: rh.exists(name), or rh.load(name)",
    "S3Folder": "Try: a library for that storage, such as fsspec",
    "GCSFolder": "Try: a library for that storage, such as fsspec",
}


def text(name: str) -> str:
    """The message of the AttributeError for that name."""
    said = f"module 'roundhouse' has no attribute {name!r}"
    if name in _RUNHOUSE:
        return f"{said}. {_RUNHOUSE[name]}"
    from difflib import get_close_matches

    import roundhouse

    close = get_close_matches(name, roundhouse.__all__, 1)
    return f"{said}. Did you mean {close[0]!r}?" if close else said
