"""The body of a call that came over HTTP: JSON, beside which raw parts may stand (protocol/http.md, "In the worker").

Imported by the first such call only."""

from __future__ import annotations

import base64
import binascii
import email.message
from collections.abc import Callable, Sequence
from typing import Any

from roundhouse import _serialize, _strict_json
from roundhouse._worker import convert, hints
from roundhouse._worker.answers import Refused
from roundhouse._worker.convert import Ref
from roundhouse._worker.hints import Parameters
from roundhouse._worker.to_json import NPY, PICKLE

# Finds what lives on the node by its key.
Find = Callable[[str], Any]


def arguments(
    parts: Sequence[Any], parameters: Parameters, called: str, find: Find
) -> tuple[Sequence[Any], dict[str, Any], str]:
    """Positional and named arguments as the hints ask for, and the media type that the caller accepts."""
    if not parts:
        return (), {}, ""
    try:
        # What a caller sent stands one or two levels deeper here.
        request = _strict_json.decode(parts[0], _strict_json.DEPTH_MAX + 2)
    except ValueError as error:
        raise Refused("bad_arguments", f"the arguments of {called} are not JSON: {error}") from None
    if not isinstance(request, dict):
        raise Refused("bad_arguments", 'the body of a call in JSON is {"args": [..], "kwargs": {..}}')
    accept = request.get("accept") or ""
    body = _Body(parts, request.get("texts") is True, called, find)
    if "call" in request:
        args, kwargs = body.pickled(request["call"])
        return args, kwargs, accept
    given, named = request.get("args", []), request.get("kwargs", {})
    if not isinstance(given, list) or not isinstance(named, dict):
        raise Refused("bad_arguments", 'the body of a call in JSON is {"args": [..], "kwargs": {..}}')
    hinted = parameters.positional(len(given))
    args = [body.converted(value, hint, name) for value, (hint, name) in zip(given, hinted, strict=True)]
    return args, {name: body.converted(value, parameters.named(name), name) for name, value in named.items()}, accept


def value(parts: Sequence[Any], what: str, find: Find) -> Any:
    """One value, such as an object that is to be kept."""
    if not parts:
        return None
    try:
        tree = _strict_json.decode(parts[0])
    except ValueError as error:
        raise Refused("bad_arguments", f"{what} is not JSON: {error}") from None
    return convert.bare(_Body(parts, False, what, find).resolved(tree))


class _Body:
    def __init__(self, parts: Sequence[Any], texts: bool, called: str, find: Find) -> None:
        self._parts = parts
        self._texts = texts
        self._called = called
        self._find = find
        # Most bodies have nothing but JSON, and need not be searched. (A name may be written with escapes.)
        data = bytes(parts[0])
        self._marked = b'"$' in data or b"\\u0024" in data

    def converted(self, given: Any, hint: Any, name: str | int) -> Any:
        tree = self.resolved(given) if self._marked else given
        try:
            if isinstance(tree, _Text):
                # It says itself that it is text.
                return str(tree) if hint in (hints.EMPTY, Any) else convert.from_text(str(tree), hint)
            if self._texts and isinstance(tree, (str, list)):
                held = self._held(tree) if isinstance(tree, str) and '"$' in tree and hint is not str else None
                return convert.from_texts(tree, hint) if held is None else convert.from_json(held, hint)
            return convert.from_json(tree, hint)
        except convert.Unfit as error:
            what = f"argument {name!r}" if isinstance(name, str) else f"argument {name}"
            message = f"{self._called}(): {error.text(what)}"
            raise Refused("bad_arguments", message, {"argument": str(name)}) from None

    def _held(self, text: str) -> Any:
        """A text may be the JSON of something that lives on the node, or holds such."""
        try:
            tree = _strict_json.decode_text(text)
        except ValueError:
            return None
        return self.resolved(tree) if isinstance(tree, (dict, list)) else None

    def resolved(self, tree: Any) -> Any:
        """The tree with bytes, arrays and objects in the places of what stands for them."""
        if type(tree) is list:
            return [self.resolved(item) if type(item) in (list, dict) else item for item in tree]
        if type(tree) is not dict:
            return tree
        if len(tree) == 1:
            if "$ref" in tree:
                return self._referenced(tree["$ref"])
            if "$bytes" in tree:
                return self._decoded(tree["$bytes"])
        if "$part" in tree and tree.keys() <= {"$part", "type"}:
            return self._part(tree)
        return {key: self.resolved(item) if type(item) in (list, dict) else item for key, item in tree.items()}

    def _referenced(self, key: Any) -> Ref:
        if not isinstance(key, str):
            raise Refused("bad_arguments", f'the arguments of {self._called} hold a "$ref" that is no text')
        return Ref(self._find(key))

    def _decoded(self, text: Any) -> bytes:
        try:
            if not isinstance(text, str):
                raise ValueError("it is no text")
            return base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error) as error:
            raise Refused(
                "bad_arguments", f'the arguments of {self._called} hold a "$bytes" that is not base64: {error}'
            ) from None

    def _raw(self, marker: dict[str, Any]) -> Any:
        number = marker.get("$part")
        if type(number) is not int or not 0 < number < len(self._parts):
            raise Refused(
                "bad_arguments", f'the arguments of {self._called} hold {{"$part": {number!r}}}, but no such part came'
            )
        return self._parts[number]

    def _part(self, marker: dict[str, Any]) -> Any:
        data, kind = self._raw(marker), marker.get("type") or ""
        if kind == NPY:
            return _array(data, self._called)
        if isinstance(kind, str) and kind.startswith("text/"):
            return _text(data, kind, self._called)
        # Also a pickle, which is not run: only a whole call may be one, because only that needs more than `call`.
        return bytes(data)

    def pickled(self, marker: Any) -> tuple[Sequence[Any], dict[str, Any]]:
        """A pickle of (args, kwargs). Whoever sent it has been allowed to run code here."""
        if not isinstance(marker, dict) or marker.get("type") != PICKLE:
            raise Refused("bad_arguments", 'a whole "call" is {"$part": n, "type": "application/x-pickle"}')
        try:
            return _serialize.decode_call(_serialize.PICKLE, [self._raw(marker)])
        except Refused:
            raise
        except Exception as error:
            raise Refused(
                "bad_arguments",
                f"the arguments of {self._called} could not be unpickled: {type(error).__name__}: {error}",
            ) from None


class _Text(str):
    """What came as a text of its own."""


def _text(data: Any, kind: str, called: str) -> _Text:
    header = email.message.Message()
    header["content-type"] = kind
    charset = header.get_param("charset", "utf-8")
    try:
        return _Text(str(data, str(charset)))
    except (UnicodeDecodeError, LookupError) as error:
        raise Refused("bad_arguments", f"the text for {called} is not {charset}: {error}") from None


def _array(data: Any, called: str) -> Any:
    try:
        import numpy
    except ImportError:
        raise Refused("unsupported", f"the worker of {called} has no NumPy, so it takes no {NPY}") from None
    from io import BytesIO

    file = BytesIO(data)
    try:
        version = numpy.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = numpy.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, fortran, dtype = numpy.lib.format.read_array_header_2_0(file)
        else:
            file.seek(0)
            return numpy.lib.format.read_array(file, allow_pickle=False)
        if dtype.hasobject:
            raise ValueError("it holds Python objects")
        # Over the received bytes themselves.
        count = 1
        for size in shape:
            count *= size
        flat = numpy.frombuffer(memoryview(data)[file.tell() :], dtype, count) if count else numpy.empty(0, dtype)
        return flat.reshape(shape, order="F" if fortran else "C")
    except (ValueError, EOFError, OSError) as error:
        raise Refused("bad_arguments", f"the array for {called} is no .npy file: {error}") from None
