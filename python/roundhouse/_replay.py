"""What a run did, done again in this process: from its code and its arguments as its node has stored them."""

from __future__ import annotations

from roundhouse import _json, _link, _serialize
from roundhouse._screen import CallScreen
from roundhouse.exceptions import Unsupported, from_engine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from roundhouse._cluster import Cluster


def replay(cluster: Cluster, request: dict[str, Any]) -> Any:
    about, program, parts = _dispatch(cluster, request)
    target = _target(about, program)
    method = about["method"]
    function = target if method == "call" else getattr(target, method)
    if about["encoding"] == _serialize.JSON:
        from roundhouse._worker import hints, json_calls

        args, kwargs, _ = json_calls.arguments(parts, hints.of(function), about["service"], cluster.get)
    else:
        args, kwargs = _serialize.decode(about["encoding"], parts) if parts else ((), {})
    result = function(*args, **kwargs)
    if hasattr(result, "__await__"):
        import asyncio

        return asyncio.run(_awaited(result))
    return result


def _dispatch(cluster: Cluster, request: dict[str, Any]) -> tuple[dict[str, Any], list[Any], list[Any]]:
    """What it is, the parts of its program, and those of its arguments (protocol/node.md, `run_dispatch`)."""
    from roundhouse import _engine

    screen = CallScreen(silent=True)
    started = cluster._link.start("_node", "run_dispatch", _serialize.JSON, [_json.encode(request)], screen)
    try:
        started.wait(None)
        outcome = started.take()
    except _engine.EngineError as error:
        raise from_engine(error.code, error.message, error.facts) from None
    about = _link.value_of((outcome[0], outcome[1], outcome[2][:1], outcome[3]))
    rest = list(outcome[2][1:])
    return about, rest[: about["program_parts"]], rest[about["program_parts"] :]


def _target(about: dict[str, Any], program: list[Any]) -> Any:
    loaded = _serialize.decode(_serialize.JSON, program[:1])
    source = loaded.get("source") or {}
    if "file" in source:
        from roundhouse._worker import source as texts

        return texts.load(source, bytes(program[1]), loaded["kind"])[1]
    if loaded["encoding"] != _serialize.PICKLE or len(program) < 2:
        raise Unsupported(f"the code of {about['service']!r} is not Python's, which alone can be replayed here")
    return _serialize.decode(_serialize.PICKLE, program[1:])


async def _awaited(result: Any) -> Any:
    return await result
