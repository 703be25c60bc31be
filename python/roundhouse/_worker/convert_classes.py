"""JSON as the classes that hints name: enums, those with fields, those of the standard library, arrays and tables.

The other half of `convert`, which says what may be mixed with what."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import pathlib
import sys
import typing
import uuid
from typing import Any

from roundhouse._worker import convert, hints


def of_class(value: Any, hint: Any, kind: type) -> Any:
    if issubclass(kind, enum.Enum):
        return value if isinstance(value, kind) else of_enum(value, kind, as_text=False)
    if typing.is_typeddict(kind):
        return _typed_dict(value, kind)
    if getattr(kind, "_is_protocol", False):
        return convert.bare(value)
    if is_array(hint):
        return _array(value, hint)
    if isinstance(value, kind):
        return convert.bare(value)
    if dataclasses.is_dataclass(kind):
        return _dataclass(value, kind)
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _named_tuple(value, kind)
    if hasattr(kind, "model_validate") or hasattr(kind, "parse_obj"):
        return _pydantic(value, kind)
    made = _standard(value, kind)
    if made is not None:
        return made
    made = _of_library(value, kind)
    if made is not None:
        return made
    raise convert.Unfit(hint, value, 'JSON has no form for it. Try: keep one on the node, and pass {"$ref": its key}')


def of_enum(value: Any, kind: type[enum.Enum], as_text: bool) -> Any:
    for member in kind:
        if (type(member.value) is type(value) and member.value == value) or (as_text and str(member.value) == value):
            return member
    if isinstance(value, str) and value in kind.__members__:
        return kind[value]
    shown = ", ".join(repr(member.value) for member in list(kind)[:20])
    raise convert.Unfit(kind, value, f"one of {shown}")


def _standard(value: Any, kind: type) -> Any:
    """None where it is none of these."""
    try:
        if issubclass(kind, datetime.datetime):
            return kind.fromisoformat(_zulu(_text(value, kind)))
        if issubclass(kind, (datetime.date, datetime.time)):
            return kind.fromisoformat(_zulu(_text(value, kind)))
        if issubclass(kind, datetime.timedelta):
            return kind(seconds=convert.number(value, kind))
        if issubclass(kind, decimal.Decimal):
            if isinstance(value, bool) or not isinstance(value, (str, int, float)):
                raise convert.Unfit(kind, value)
            made = kind(str(value))
            if not made.is_finite():
                raise convert.Unfit(kind, value)
            return made
        if issubclass(kind, uuid.UUID):
            return kind(_text(value, kind))
        if issubclass(kind, pathlib.PurePath):
            return kind(_text(value, kind))
    except (ValueError, ArithmeticError) as error:
        raise convert.Unfit(kind, value, str(error) if isinstance(error, ValueError) else "") from None
    return None


def _text(value: Any, kind: type) -> str:
    if not isinstance(value, str):
        raise convert.Unfit(kind, value)
    return value


def _zulu(text: str) -> str:
    # Python 3.10 reads no Z.
    return text[:-1] + "+00:00" if text[-1:] in ("Z", "z") else text


# Classes with fields.


def _typed_dict(value: Any, kind: Any) -> Any:
    if not isinstance(value, dict):
        raise convert.Unfit(kind, value)
    fields = hints.of_fields(kind)
    missing = [name for name in sorted(kind.__required_keys__) if name not in value]
    if missing:
        raise convert.Unfit(kind, value, f"it has no {missing[0]!r}")
    return _fields(value, fields, kind)


def _fields(value: dict[str, Any], fields: dict[str, Any], kind: Any) -> dict[str, Any]:
    made = {}
    for name, each in value.items():
        if name not in fields:
            raise convert.Unfit(kind, value, f"it has no field {name!r}, but {', '.join(fields) or 'none'}")
        made[name] = convert.within(f"[{name!r}]", convert.from_json, each, fields[name])
    return made


def _constructed(kind: Any, value: Any, fields: dict[str, Any]) -> Any:
    try:
        return kind(**fields)
    except (TypeError, ValueError) as error:  # It checks its values itself.
        raise convert.Unfit(kind, value, str(error)) from None


def _dataclass(value: Any, kind: Any) -> Any:
    if not isinstance(value, dict):
        raise convert.Unfit(kind, value)
    known = hints.of_fields(kind)
    fields = [field for field in dataclasses.fields(kind) if field.init]
    made = _fields(value, {field.name: known.get(field.name, hints.EMPTY) for field in fields}, kind)
    for field in fields:
        if (
            field.name not in made
            and field.default is dataclasses.MISSING
            and field.default_factory is dataclasses.MISSING
        ):
            raise convert.Unfit(kind, value, f"it has no {field.name!r}")
    return _constructed(kind, value, made)


def _named_tuple(value: Any, kind: Any) -> Any:
    known = hints.of_fields(kind)
    if isinstance(value, (list, tuple)):
        if len(value) > len(kind._fields):
            raise convert.Unfit(kind, value, f"it takes {len(kind._fields)} items")
        value = dict(zip(kind._fields, value, strict=False))
    if not isinstance(value, dict):
        raise convert.Unfit(kind, value)
    made = _fields(value, {name: known.get(name, hints.EMPTY) for name in kind._fields}, kind)
    missing = [name for name in kind._fields if name not in made and name not in kind._field_defaults]
    if missing:
        raise convert.Unfit(kind, value, f"it has no {missing[0]!r}")
    return _constructed(kind, value, made)


def _pydantic(value: Any, kind: Any) -> Any:
    validate = getattr(kind, "model_validate", None) or kind.parse_obj
    try:
        return validate(convert.bare(value))
    except ValueError as error:  # pydantic's ValidationError is one.
        lines = [line.strip() for line in str(error).splitlines()[1:] if "errors.pydantic.dev" not in line]
        raise convert.Unfit(kind, value, "; ".join(lines) or str(error)) from None


# Arrays and tables.


def is_array(hint: Any) -> bool:
    numpy = sys.modules.get("numpy")
    kind = typing.get_origin(hint) or hint
    return numpy is not None and isinstance(kind, type) and issubclass(kind, numpy.ndarray)


def _array(value: Any, hint: Any) -> Any:
    numpy = sys.modules["numpy"]
    dtype = None
    for argument in typing.get_args(hint):
        inner = typing.get_args(argument)
        if typing.get_origin(argument) is numpy.dtype and inner and isinstance(inner[0], type):
            dtype = inner[0]
    if isinstance(value, numpy.ndarray):
        return value if dtype is None else value.astype(dtype, copy=False)
    if not isinstance(value, (list, int, float)):
        raise convert.Unfit(hint, value, "an array is nested lists in JSON")
    try:
        made = numpy.asarray(value) if dtype is None or numpy.dtype(dtype).hasobject else numpy.asarray(value, dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise convert.Unfit(hint, value, str(error)) from None
    if made.dtype.hasobject:
        raise convert.Unfit(hint, value, "its elements are no numbers")
    return made


def _of_library(value: Any, kind: type) -> Any:
    numpy = sys.modules.get("numpy")
    if numpy is not None and issubclass(kind, numpy.generic):
        try:
            return kind(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise convert.Unfit(kind, value, str(error)) from None
    pandas = sys.modules.get("pandas")
    if pandas is not None and kind is pandas.DataFrame and isinstance(value, (list, dict)):
        try:
            return pandas.DataFrame(value)
        except ValueError as error:
            raise convert.Unfit(kind, value, str(error)) from None
    return None
