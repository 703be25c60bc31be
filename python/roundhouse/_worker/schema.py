"""JSON Schema (2020-12) of what methods take and return, from their type hints (protocol/http.md, "In the worker").

Imported by the first question for it, so that deploying never waits for it. It says what `convert` takes, and what
`to_json` makes of results."""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import datetime
import decimal
import enum
import inspect
import pathlib
import types
import typing
import uuid
from typing import Any

from roundhouse import _strict_json
from roundhouse._worker import convert, convert_classes, hints, to_json
from roundhouse._worker.services import Service
from roundhouse.exceptions import CallCancelled

_DEPTH_MAX = 40
_BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_BYTES = {
    "type": "object",
    "properties": {"$bytes": {"type": "string", "contentEncoding": "base64", "pattern": _BASE64}},
    "required": ["$bytes"],
    "additionalProperties": False,
}
_REF = {
    "type": "object",
    "description": "A value that stays on the node.",
    # Under `properties` many a reader would take it for a reference to another schema.
    "patternProperties": {"^\\$ref$": {"type": "string"}},
    "required": ["$ref"],
    "additionalProperties": False,
}
# Generators of clients want `items` of every array.
_NUMBERS_NESTED = {"type": "array", "items": {}, "description": "An array, as nested lists, rows first."}

_PLAIN: dict[Any, dict[str, Any]] = {
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    str: {"type": "string"},
    None: {"type": "null"},
    type(None): {"type": "null"},
    bytes: _BYTES,
    bytearray: _BYTES,
    memoryview: _BYTES,
    datetime.timedelta: {"type": "number", "description": "Seconds."},
    decimal.Decimal: {"anyOf": [{"type": "number"}, {"type": "string", "format": "decimal"}]},
}
_TEXTS: tuple[tuple[type, str], ...] = (
    (datetime.datetime, "date-time"),
    (datetime.date, "date"),
    (datetime.time, "time"),
    (uuid.UUID, "uuid"),
    (pathlib.PurePath, "path"),
)


def of_service(service: Service) -> dict[str, Any]:
    """Of each of its methods by name; hints that spoil everything leave theirs out."""
    found: dict[str, Any] = {}
    methods = dict(service.methods)
    if service.kind == "class":
        methods["__init__"] = "sync"
    for method, kind in methods.items():
        try:
            function = service.target if method == "__init__" else service.find(method)[0]
            if callable(function):
                found[method] = of_method(function, kind)
        except CallCancelled:
            raise
        except Exception:  # Hints may be anything that Python can evaluate.
            continue
    return found


def of_method(function: Any, kind: str) -> dict[str, Any]:
    """`parameters` is the schema of an object with the named arguments; `returns` of the value, or of a generator's
    items."""
    known = hints.of(function)
    return {"parameters": of_parameters(known), "returns": _returns(known.returns, kind)}


def of_parameters(known: hints.Parameters) -> dict[str, Any]:
    made = _Schemas(results=False)
    schema: dict[str, Any] = {"type": "object", "properties": {}}
    required: list[str] = []
    open_ended = not known.known
    for parameter in known.parameters:
        if parameter.kind is parameter.VAR_KEYWORD:
            open_ended = True
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            # By HTTP the rest of the positional arguments stands under this key.
            schema["properties"]["*"] = {"type": "array", "items": {}, "description": "Positional arguments."}
            continue
        each = made.of(parameter.annotation)
        if parameter.default is parameter.empty:
            required.append(parameter.name)
        else:
            each = {**each, **_default(parameter.default)}
        schema["properties"][parameter.name] = each
    # Named arguments that `*` may give are not required by name.
    if required and "*" not in schema["properties"]:
        schema["required"] = required
    if not open_ended:
        schema["additionalProperties"] = False
    return made.finished(schema)


def _returns(hint: Any, kind: str) -> dict[str, Any]:
    made = _Schemas(results=True)
    if kind.endswith("generator"):
        arguments = typing.get_args(hint)
        hint = arguments[0] if arguments else hints.EMPTY
    elif typing.get_origin(hint) in (collections.abc.Awaitable, collections.abc.Coroutine):
        hint = typing.get_args(hint)[-1]
    return made.finished(made.of(hint))


def _default(value: Any) -> dict[str, Any]:
    try:
        # As its caller would write it; what has no such form is not told.
        return {"default": _strict_json.decode(to_json.encode(value, "the default"))}
    except Exception:
        return {}


class _Schemas:
    """Of one method: `$defs` has the classes that it names."""

    def __init__(self, results: bool) -> None:
        # Of a result one knows exactly what it will be; an argument may be given in several forms.
        self._results = results
        self._definitions: dict[str, dict[str, Any]] = {}
        self._names: dict[Any, str] = {}
        self._depth = 0

    def finished(self, schema: dict[str, Any]) -> dict[str, Any]:
        return {**schema, "$defs": self._definitions} if self._definitions else schema

    def of(self, hint: Any) -> dict[str, Any]:
        self._depth += 1
        try:
            return self._of(hint) if self._depth <= _DEPTH_MAX else {}
        finally:
            self._depth -= 1

    def _of(self, hint: Any) -> dict[str, Any]:
        hint = convert.unwrapped(hint)
        if hint in (Any, object, hints.EMPTY) or isinstance(hint, typing.TypeVar):
            return {}
        kind, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
        plain = _PLAIN.get(kind)
        if plain is not None:
            return dict(plain) if not (kind is decimal.Decimal and self._results) else dict(plain["anyOf"][1])
        if kind is complex:
            return {} if self._results else {"anyOf": [{"type": "number"}, {"type": "string"}]}
        if kind in (typing.Union, types.UnionType):
            return self._any_of([self.of(each) for each in arguments])
        if kind is typing.Literal:
            return {"enum": [each.value if isinstance(each, enum.Enum) else each for each in arguments]}
        if kind is tuple:
            return self._tuple(arguments)
        if kind in (*convert.LISTS, *convert.SETS, frozenset, collections.deque):
            made: dict[str, Any] = {"type": "array", "items": self.of(arguments[0]) if arguments else {}}
            if self._results and (kind in convert.SETS or kind is frozenset):
                made["uniqueItems"] = True
            return made
        if kind in (*convert.DICTS, collections.OrderedDict, collections.defaultdict):
            made = {"type": "object"}
            item = self.of(arguments[1]) if len(arguments) == 2 else {}
            if item:
                made["additionalProperties"] = item
            return made
        if not isinstance(kind, type):
            return {}
        return self._of_class(kind, hint)

    def _of_class(self, kind: type, hint: Any) -> dict[str, Any]:
        if issubclass(kind, enum.Enum):
            values = [member.value for member in kind]
            if not all(isinstance(each, (str, int, float, bool, type(None))) for each in values):
                return {}
            return self._named(kind, lambda: {"enum": values, **_doc(kind)})
        for base, form in _TEXTS:
            if issubclass(kind, base):
                return {"type": "string", "format": form}
        if convert_classes.is_array(hint):
            taken = [dict(_NUMBERS_NESTED), {"type": "number"}, dict(_REF)]
            return dict(_NUMBERS_NESTED) if self._results else {"anyOf": taken}
        if typing.is_typeddict(kind):
            return self._named(kind, lambda: self._typed_dict(kind))
        if dataclasses.is_dataclass(kind):
            return self._named(kind, lambda: self._dataclass(kind))
        if issubclass(kind, tuple) and hasattr(kind, "_fields"):
            return self._named(kind, lambda: self._named_tuple(kind))
        if hasattr(kind, "model_json_schema"):
            return self._pydantic(kind)
        return self._of_library(kind)

    def _of_library(self, kind: type) -> dict[str, Any]:
        import sys

        numpy = sys.modules.get("numpy")
        if numpy is not None and issubclass(kind, numpy.generic):
            for base, name in ((numpy.bool_, "boolean"), (numpy.integer, "integer"), (numpy.floating, "number")):
                if issubclass(kind, base):
                    return {"type": name}
            return {}
        pandas = sys.modules.get("pandas")
        if pandas is not None and kind is pandas.DataFrame:
            return {"type": "array", "items": {"type": "object"}, "description": "The rows of a table."}
        # Only a reference can be one; its result is no JSON, unless it stays on the node.
        return {} if self._results else {**_REF, "description": f"A reference to a {kind.__qualname__} on the node."}

    def _any_of(self, schemas: list[dict[str, Any]]) -> dict[str, Any]:
        if any(not each for each in schemas):
            return {}
        found: list[dict[str, Any]] = []
        for each in schemas:
            if each not in found:
                found.append(each)
        return found[0] if len(found) == 1 else {"anyOf": found}

    def _tuple(self, arguments: tuple[Any, ...]) -> dict[str, Any]:
        if not arguments:
            return {"type": "array", "items": {}}
        if arguments[-1] is Ellipsis:
            return {"type": "array", "items": self.of(arguments[0])}
        if arguments == ((),):
            return {"type": "array", "maxItems": 0}
        count = len(arguments)
        prefix = [self.of(each) for each in arguments]
        return {"type": "array", "prefixItems": prefix, "minItems": count, "maxItems": count}

    # Classes with fields.

    def _named(self, kind: type, make: Any) -> dict[str, Any]:
        """One that is told once, and may contain itself."""
        name = self._names.get(kind)
        if name is None:
            name, stem = kind.__name__, kind.__name__
            while name in self._definitions:
                name = f"{stem}{len(self._definitions)}"
            self._names[kind] = name
            self._definitions[name] = {}
            self._definitions[name] = make()
        return {"$ref": f"#/$defs/{name}"}

    def _object(self, kind: type, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
        made: dict[str, Any] = {"type": "object", "title": kind.__name__, **_doc(kind), "properties": properties}
        if required:
            made["required"] = required
        made["additionalProperties"] = False
        return made

    def _typed_dict(self, kind: Any) -> dict[str, Any]:
        properties = {name: self.of(hint) for name, hint in hints.of_fields(kind).items()}
        return self._object(kind, properties, sorted(kind.__required_keys__))

    def _dataclass(self, kind: Any) -> dict[str, Any]:
        known = hints.of_fields(kind)
        properties: dict[str, Any] = {}
        required: list[str] = []
        for field in dataclasses.fields(kind):
            if not (field.init or self._results):
                continue
            each = self.of(known.get(field.name, hints.EMPTY))
            has_default = field.default is not dataclasses.MISSING
            if self._results or not (has_default or field.default_factory is not dataclasses.MISSING):
                required.append(field.name)
            elif has_default:
                each = {**each, **_default(field.default)}
            properties[field.name] = each
        return self._object(kind, properties, required)

    def _named_tuple(self, kind: Any) -> dict[str, Any]:
        known = hints.of_fields(kind)
        fields = [self.of(known.get(name, hints.EMPTY)) for name in kind._fields]
        needed = len(fields) if self._results else len(fields) - len(kind._field_defaults)
        items = {
            "type": "array",
            "title": kind.__name__,
            "prefixItems": [{"title": name, **each} for name, each in zip(kind._fields, fields, strict=True)],
            "minItems": needed,
            "maxItems": len(fields),
        }
        if self._results:
            return items
        properties = dict(zip(kind._fields, fields, strict=True))
        required = [name for name in kind._fields if name not in kind._field_defaults]
        return {"anyOf": [items, self._object(kind, properties, required)]}

    def _pydantic(self, kind: Any) -> dict[str, Any]:
        mode = "serialization" if self._results else "validation"
        try:
            schema = kind.model_json_schema(mode=mode, ref_template="#/$defs/{model}")
        except Exception:  # A field of a type that pydantic knows no schema of.
            return {"type": "object"}
        for name, each in schema.pop("$defs", {}).items():
            self._definitions.setdefault(name, each)
        if "$ref" in schema:
            return dict(schema)
        return self._named(kind, lambda: schema)


def _doc(kind: type) -> dict[str, Any]:
    text = kind.__dict__.get("__doc__")
    # What a dataclass or an Enum writes by itself says nothing.
    if not isinstance(text, str) or text.startswith(f"{kind.__name__}(") or text == "An enumeration.":
        return {}
    return {"description": inspect.cleandoc(text)}
