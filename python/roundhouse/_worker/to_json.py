"""What a call from HTTP returned, in the form that its caller accepts (protocol/http.md).

Imported by the first such call only."""

from __future__ import annotations

import base64
import collections.abc
import dataclasses
import datetime
import decimal
import enum
import json
import math
import pathlib
import sys
import types
import uuid
from typing import Any

from roundhouse._worker import answers
from roundhouse._worker.answers import Refused

JSON = "application/json"
BYTES = "application/octet-stream"
NPY = "application/x-npy"
PICKLE = "application/x-pickle"
# Of a stream of events: everything in it is JSON.
EVENTS = ("text/event-stream", "application/x-ndjson")


class NoForm(Exception):
    """JSON has no form for a value."""

    def __init__(self, path: str, value: Any, why: str = "") -> None:
        super().__init__(path)
        self.path = path
        self.kind = type_name(value)
        self.why = why


def encode(value: Any, what: str) -> bytes:
    """The value as JSON, bytes included; `what` names it where it has no such form."""
    try:
        return _inline(value, what)
    except NoForm as error:
        raise _refused(error) from None


def parts_of(value: Any, what: str, accept: str = "") -> list[Any]:
    """The parts of a result: JSON, or what stands beside `{"$part": 1, "type": ..}`."""
    if hasattr(type(value), "__next__") or hasattr(type(value), "__anext__"):
        raise answers.not_serializable(what, value, TypeError())
    problem: NoForm | None = None
    for wanted in accepted(accept):
        try:
            parts = _as(value, wanted, what)
        except NoForm as error:
            problem = problem or error
            continue
        if parts is not None:
            return parts
    if problem is not None:
        raise _refused(problem)
    raise Refused(
        "not_serializable",
        f"{what} is {_a(type_name(value))}, which cannot be sent as {accept}. Try: Accept: application/json, "
        "or ask for a reference with remote=true",
        {"type": type_name(value), "of": "result", "started": "yes"},
    )


def accepted(header: str) -> list[str]:
    """The media types of an Accept header, the most wanted first."""
    found: list[tuple[float, str]] = []
    refused = False
    for entry in header.split(","):
        kind, *parameters = (part.strip().lower() for part in entry.split(";"))
        if not kind:
            continue
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        if quality > 0:
            found.append((quality, kind))
        else:
            refused = True
    found.sort(key=lambda each: -each[0])
    return [kind for _, kind in found] if found or refused else ["*/*"]


def _as(value: Any, wanted: str, what: str) -> list[Any] | None:
    """None where the value is nothing of that type."""
    is_bytes = isinstance(value, (bytes, bytearray, memoryview))
    if wanted in ("*/*", JSON, "application/*") or (wanted == BYTES and is_bytes):
        if is_bytes:
            return _beside(BYTES, value if isinstance(value, bytes) else bytes(value))
        return [_inline(value, what)]
    if wanted in EVENTS:
        return [_inline(value, what)]
    if wanted == NPY:
        return _npy(value, what)
    if wanted == PICKLE:
        return _beside(PICKLE, _pickled(value, what))
    if wanted in ("text/plain", "text/*") and isinstance(value, str):
        try:
            return _beside("text/plain; charset=utf-8", value.encode())
        except UnicodeEncodeError:
            raise NoForm(what, value, "holds half a character") from None
    return None


def _inline(value: Any, what: str) -> bytes:
    try:
        return _written(value).encode()
    except (TypeError, ValueError, RecursionError):
        # Slower: this converts the keys of dicts as well, and finds what is to blame.
        return _written(_plain(value, what, [])).encode()


def _beside(kind: str, data: Any) -> list[Any]:
    return [json.dumps({"$part": 1, "type": kind}).encode(), data]


def _npy(value: Any, what: str) -> list[Any] | None:
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, (numpy.ndarray, numpy.generic)):
        return None
    from io import BytesIO

    file = BytesIO()
    try:
        numpy.lib.format.write_array(file, numpy.asanyarray(value), allow_pickle=False)
    except ValueError as error:
        raise NoForm(what, value, f"cannot be a .npy file: {error}") from None
    return _beside(NPY, file.getvalue())


def _pickled(value: Any, what: str) -> bytes:
    import pickle

    try:
        data = pickle.dumps(value, 5)
        if b"__main__" not in data:
            return data
    except Exception:
        # What matters of it comes again below.
        pass
    from roundhouse import _by_value

    try:
        return _by_value.dumps(value, 5)
    except Exception as error:
        raise answers.not_serializable(what, value, error) from None


def _refused(error: NoForm) -> Refused:
    why = error.why or f"is {_a(error.kind)}, which JSON has no form for"
    return Refused(
        "not_serializable",
        f"{error.path} {why}. Try: return numbers, text, lists, dicts, arrays or dataclasses, or ask for a reference "
        "with remote=true",
        {"type": error.kind, "path": error.path, "of": "result", "started": "yes"},
    )


# JSON's own form.


def _written(value: Any) -> str:
    return _encoder.encode(value)


def _form(value: Any) -> Any:
    """One level of it in what JSON has; TypeError where that cannot be."""
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, (uuid.UUID, pathlib.PurePath, decimal.Decimal)):
        return str(value)
    if isinstance(value, (set, frozenset)):
        try:
            return sorted(value)
        except TypeError:
            return list(value)
    if isinstance(value, type):
        raise TypeError
    found = _form_of_library(value)
    if found is not None:
        return found[0]
    if isinstance(value, collections.abc.Mapping):
        return dict(value.items())
    if isinstance(value, (collections.abc.Sequence, collections.abc.Set, collections.abc.ValuesView)):
        return list(value)
    if isinstance(value, types.SimpleNamespace):
        return vars(value)
    raise TypeError


def _form_of_library(value: Any) -> tuple[Any] | None:
    """Of types that are there only once their library has been imported."""
    library = type(value).__module__.partition(".")[0]
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        if isinstance(value, numpy.generic):
            return (_numpy_scalar(value, numpy),)
        if isinstance(value, numpy.ndarray):
            if value.dtype.kind in "mM":
                return (value.astype(str).tolist(),)
            if value.dtype.names:
                return ([dict(zip(value.dtype.names, row, strict=True)) for row in value.tolist()],)
            return (value.tolist(),)
    pandas = sys.modules.get("pandas")
    if pandas is not None and library == "pandas":
        if isinstance(value, pandas.DataFrame):
            # What is missing is NaN there, and null in JSON.
            return (value.astype(object).where(value.notna(), None).to_dict("records"),)
        if isinstance(value, (pandas.Series, pandas.Index)):
            return (value.astype(object).where(value.notna(), None).tolist(),)
        if value is pandas.NaT or value is pandas.NA:
            return (None,)
    if library == "torch" and hasattr(value, "detach"):
        return (value.detach().cpu().tolist(),)
    # Its own kind of class, whatever pydantic it is from.
    if hasattr(type(value), "__pydantic_fields__") or hasattr(type(value), "__pydantic_root_model__"):
        return (value.model_dump(by_alias=True),)
    if hasattr(type(value), "__fields_set__"):
        return (value.dict(by_alias=True),)
    return None


def _numpy_scalar(value: Any, numpy: Any) -> Any:
    if isinstance(value, (numpy.datetime64, numpy.timedelta64)):
        return None if numpy.isnat(value) else str(value)
    return value.item()


_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_form)


def _plain(value: Any, path: str, above: list[int]) -> Any:
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NoForm(path, value, f"is {float(value)!r}, a number that JSON does not have")
        return value
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise NoForm(path, value, "holds half a character, which UTF-8 refuses") from None
        return value
    if id(value) in above:
        raise NoForm(path, value, "contains itself")
    if len(above) > 500:
        raise NoForm(path, value, "is nested more than 500 levels deep")
    above.append(id(value))
    try:
        if isinstance(value, dict):
            return _plain_dict(value, path, above)
        if isinstance(value, (list, tuple)):
            return [_plain(item, f"{path}[{position}]", above) for position, item in enumerate(value)]
        try:
            form = _form(value)
        except (TypeError, ValueError):
            raise NoForm(path, value) from None
        return _plain(form, path, above)
    finally:
        above.pop()


def _plain_dict(value: dict[Any, Any], path: str, above: list[int]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, item in value.items():
        text = _key(key, path)
        if text in plain:
            raise NoForm(path, value, f"has two keys that are both {text!r} in JSON")
        plain[text] = _plain(item, f"{path}[{key!r}]", above)
    return plain


def _key(key: Any, path: str) -> str:
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, str):
        return str(_plain(key, f"the key {key!r} of {path}", []))
    if key is None or isinstance(key, (bool, int, float)):
        return json.dumps(key)
    if isinstance(key, (datetime.date, datetime.time, uuid.UUID, pathlib.PurePath, decimal.Decimal)):
        return str(_form(key))
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(key, numpy.generic):
        return _key(key.item(), path)
    raise NoForm(f"the key {key!r} of {path}", key)


def type_name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _a(name: str) -> str:
    return f"an {name}" if name[:1] in "aeiouAEIOU" else f"a {name}"
