"""What a run did, done again in this process: from its code and its arguments as its node, or a store, has them.

As a program (`python -m roundhouse._replay CLUSTER RUN [ATTEMPT] [--pdb]`) it is what `roundhouse replay` runs."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager

from roundhouse import _serialize
from roundhouse._code_digest import file_of, is_in, is_own
from roundhouse.exceptions import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeAlias

    from roundhouse._run_store import Store

    # What a run was, the parts of its program, and those of its arguments (protocol/node.md, `run_dispatch`).
    Dispatch: TypeAlias = tuple[dict[str, Any], list[Any], list[Any]]


# How `roundhouse replay` ends, as other commands of its do (docs/cli.md).
_FAILED, _RAISED, _INTERRUPTED = 1, 4, 130


def replay(runs: Store, name: str, number: int, get: Callable[..., Any], pdb: bool = False) -> Any:
    """`runs` has it; `get` finds what JSON arguments name: the objects of the cluster that ran it."""
    with _code_of(runs, name, number) as dispatch:
        called = _stored(dispatch, get)
        if not pdb:
            return _called(*called)
        try:
            return _called(*called)
        except Exception as error:
            from roundhouse import _debug

            _debug.post_mortem(error)
            raise


def source_of(dispatch: Dispatch) -> dict[str, Any]:
    """How its worker was told to find the code (protocol/node.md, `deploy`)."""
    program = dispatch[1]
    return (_serialize.decode(_serialize.JSON, program[:1]).get("source") if program else None) or {}


def _stored(dispatch: Dispatch, get: Callable[..., Any], path: bool = False) -> tuple[Any, Any, Any]:
    """The function as it was, and its arguments. With `path` what its worker could import can be imported here as well,
    where that was this machine's; what this Python has comes first."""
    from roundhouse import _by_value

    about, program, parts = dispatch
    if path:
        sys.path.extend(entry for entry in source_of(dispatch).get("sys_path", ()) if entry not in sys.path)
    with _by_value.copying():
        return _read(about, program, parts, get)


def _read(about: dict[str, Any], program: list[Any], parts: list[Any], get: Callable[..., Any]) -> tuple[Any, Any, Any]:
    target = _target(about, program)
    method = about["method"]
    function = target if method == "call" else getattr(target, method)
    if about["encoding"] == _serialize.JSON:
        from roundhouse._worker import hints, json_calls

        args, kwargs, _ = json_calls.arguments(parts, hints.of(function), about["service"], get)
    else:
        args, kwargs = _serialize.decode(about["encoding"], parts) if parts else ((), {})
    return function, args, kwargs


def _called(function: Any, args: Any, kwargs: Any) -> Any:
    result = function(*args, **kwargs)
    if hasattr(result, "__await__"):
        import asyncio

        return asyncio.run(_awaited(result))
    return result


@contextmanager
def _code_of(runs: Store, name: str, number: int) -> Iterator[Dispatch]:
    """How that attempt was made; what is imported within is what it imported: of its snapshot.

    Modules that are here already are used where they are the same; where one is not, all of that project are set aside
    meanwhile."""
    dispatch = runs.dispatch(name, number)
    source = source_of(dispatch)
    snapshot = source.get("snapshot")
    if snapshot is None:
        yield dispatch
        return
    path, root = runs.code(name, number, snapshot["id"]), snapshot["root"]
    there = [path + entry[len(root) :] for entry in source.get("sys_path") or [root] if is_in(entry, root)]
    set_aside = {
        own: module for own, module in list(sys.modules.items()) if is_in(file_of(module), root) and is_own(own)
    }
    if all(_is_same(file_of(module), path + file_of(module)[len(root) :]) for module in set_aside.values()):
        set_aside = {}
    before = sys.path[:]
    for own in set_aside:
        del sys.modules[own]
    sys.path[:0] = [entry for entry in there if os.path.isdir(entry)]
    try:
        yield dispatch
    finally:
        sys.path[:] = before
        if set_aside:
            for fetched, module in list(sys.modules.items()):
                if is_in(file_of(module), path):
                    del sys.modules[fetched]
            sys.modules.update(set_aside)


def _is_same(file: str, other: str) -> bool:
    from filecmp import cmp

    try:
        return cmp(file, other, shallow=False)
    except OSError:
        return False


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


def main(words: list[str]) -> int:
    """Replays that run, and prints what comes of it: the value last, as JSON where it has such a form."""
    import roundhouse
    from roundhouse import _run_nodes

    pdb = "--pdb" in words
    cluster, run, attempt = [word for word in words if word != "--pdb"]
    try:
        box = roundhouse.compute(cluster)
        with _code_of(_run_nodes.NodeRuns(box), run, int(attempt)) as dispatch:
            return _shown_call(_stored(dispatch, box.get, path=True), pdb)
    except roundhouse.RoundhouseError as error:
        print(f"roundhouse: {type(error).__name__}: {error}", file=sys.stderr)
        return _FAILED


def _shown_call(called: tuple[Any, Any, Any], pdb: bool) -> int:
    try:
        value = _called(*called)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BaseException as error:
        from roundhouse import _debug
        from roundhouse._worker import traces

        sys.stdout.flush()
        sys.stderr.write(traces.text_of(error))
        if pdb:
            _debug.post_mortem(error)
        return _RAISED
    sys.stdout.flush()
    if value is not None:
        print(_shown(value))
    return 0


def _shown(value: Any) -> str:
    from roundhouse._worker import to_json
    from roundhouse._worker.answers import Refused

    try:
        return to_json.encode(value, "the value").decode()
    except Refused:
        return repr(value)


if __name__ == "__main__":
    # Not as `__main__`, which the stored code has its own idea of.
    from roundhouse import _replay

    sys.exit(_replay.main(sys.argv[1:]))
