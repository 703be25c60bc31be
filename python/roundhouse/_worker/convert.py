"""JSON, and text, as what a type hint asks for (protocol/http.md, "A call").

A `Ref` stands for something that is passed on as it is: an object that lives on the node. Other values that JSON does
not have (bytes, arrays) came beside the JSON, and are converted where the hint asks for something near."""

from __future__ import annotations

import collections
import collections.abc
import datetime
import decimal
import enum
import pathlib
import types
import typing
import uuid
from typing import Any

from roundhouse import _strict_json
from roundhouse._signature import hint_text
from roundhouse._worker import convert_classes, hints

LISTS = (list, collections.abc.Sequence, collections.abc.MutableSequence, collections.abc.Iterable,
          collections.abc.Collection, collections.abc.Iterator, collections.abc.Reversible)  # fmt: skip
SETS = (set, collections.abc.Set, collections.abc.MutableSet)
DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_UNIONS = (typing.Union, types.UnionType)
_ANY = (Any, object, hints.EMPTY)
_TRUE = frozenset(("true", "1", "yes", "on"))
_FALSE = frozenset(("false", "0", "no", "off"))
_WRAPPERS = tuple(
    found
    for name in ("Annotated", "Required", "NotRequired", "ReadOnly", "Final", "ClassVar")
    if (found := getattr(typing, name, None)) is not None
)


class Ref:
    """An object that lives on the node, in the place of `{"$ref": key}`."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Unfit(Exception):
    """A value is not what the hint asks for. `path` is where in the argument it stands."""

    def __init__(self, hint: Any, value: Any, why: str = "", path: str = "") -> None:
        super().__init__(why)
        self.hint = hint
        self.value = value
        self.why = why
        self.path = path

    def inside(self, step: str) -> Unfit:
        self.path = step + self.path
        return self

    def text(self, what: str) -> str:
        wanted = f"must be {hint_text(self.hint)}, not {_shown(self.value)}"
        return f"{what}{self.path} {wanted}" + (f": {self.why}" if self.why else "")


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f"the text {value[:80]!r}" + ("..." if len(value) > 80 else "")
    if isinstance(value, (dict, list)):
        kind = "object" if isinstance(value, dict) else "list"
        text = repr(value)
        return f"the {kind} {text[:80]}" + ("..." if len(text) > 80 else "")
    if value is None:
        return "null"
    if isinstance(value, (bool, int, float)):
        return str(value).lower()
    return f"a {type(value).__qualname__}"


def bare(value: Any) -> Any:
    """The value with the objects themselves in the places of their `Ref`s."""
    kind = type(value)
    if kind is Ref:
        return value.value
    if kind is dict:
        for key, item in value.items():
            if type(item) in (Ref, dict, list):
                value[key] = bare(item)
    elif kind is list:
        for position, item in enumerate(value):
            if type(item) in (Ref, dict, list):
                value[position] = bare(item)
    return value


# Text.


def from_texts(given: Any, hint: Any) -> Any:
    """What a query or a form said for one argument: one text, or several for a list."""
    if isinstance(given, str):
        return from_text(given, hint)
    if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
        return from_json(given, hint)
    if hint in _ANY:
        return [from_text(text, hint) for text in given]
    for each in _members(hint):
        plain = unwrapped(each)
        kind, arguments = typing.get_origin(plain) or plain, typing.get_args(plain)
        if kind in (*LISTS, *SETS, frozenset, collections.deque):
            item = arguments[0] if arguments else hints.EMPTY
            converted = [within(f"[{n}]", from_text, text, item) for n, text in enumerate(given)]
            return converted if kind in LISTS else (set if kind in SETS else kind)(converted)
        if kind is tuple:
            fixed = list(arguments) if arguments and arguments[-1] is not Ellipsis else None
            if fixed is not None and len(fixed) != len(given):
                raise Unfit(plain, given, f"it takes {len(fixed)} values")
            each_hint = fixed or [arguments[0] if arguments else hints.EMPTY] * len(given)
            pairs = enumerate(zip(given, each_hint, strict=True))
            return tuple(within(f"[{n}]", from_text, text, item) for n, (text, item) in pairs)
        if convert_classes.is_array(plain):
            return from_json([_literal(text) for text in given], plain)
    raise Unfit(hint, given, "it was given several times")


def from_text(text: str, hint: Any) -> Any:
    hint = unwrapped(hint)
    if hint in _ANY:
        return bare(_literal(text))
    kind = typing.get_origin(hint) or hint
    if kind in _UNIONS:
        return _union_of_text(text, hint)
    if kind is typing.Literal:
        return _literal_value(text, hint, as_text=True)
    if kind is str:
        return text
    if kind in (bytes, bytearray):
        return kind(text.encode())
    if kind is None or kind is type(None):
        if text.strip().lower() in ("", "null", "none"):
            return None
        raise Unfit(None, text)
    if kind is bool:
        word = text.strip().lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        raise Unfit(hint, text, "say true or false")
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return convert_classes.of_enum(text, kind, as_text=True)
    if isinstance(kind, type) and issubclass(kind, (datetime.date, datetime.time, uuid.UUID, pathlib.PurePath,
                                                    decimal.Decimal, complex)):  # fmt: skip
        return from_json(text, hint)
    if kind in (int, float) and "_" not in text:
        try:
            return kind(text)
        except ValueError:
            pass  # 1e3 is a whole number too.
    try:
        value = _strict_json.decode_text(text)
    except ValueError:
        if kind in (*LISTS, *SETS, frozenset, collections.deque, tuple):
            return from_texts([text], hint)
        raise Unfit(hint, text) from None
    if kind in (*LISTS, *SETS, frozenset, collections.deque, tuple) and not isinstance(value, list):
        return from_texts([text], hint)
    try:
        return from_json(value, hint)
    except Unfit as error:
        raise (error if error.path else Unfit(hint, text, error.why)) from None


def _literal(text: str) -> Any:
    """As JSON, where it is that; else as it is."""
    try:
        return _strict_json.decode_text(text)
    except ValueError:
        return text


def _union_of_text(text: str, hint: Any) -> Any:
    # Whatever fits as a text would always win, so that comes last.
    members = sorted(_members(hint), key=lambda each: unwrapped(each) in (str, bytes, *_ANY))
    for each in members:
        try:
            if unwrapped(each) in (None, type(None)) and str in members:
                continue  # It is the text "null".
            return from_text(text, each)
        except Unfit:
            continue
    raise Unfit(hint, text)


# JSON.


def from_json(value: Any, hint: Any) -> Any:
    if type(value) is Ref:
        return value.value
    hint = unwrapped(hint)
    if hint in _ANY or isinstance(hint, typing.TypeVar):
        return bare(value)
    kind = typing.get_origin(hint) or hint
    simple = _SIMPLE.get(kind)
    if simple is not None:
        return simple(value, hint)
    if kind in _UNIONS:
        return _union(value, hint)
    if kind is typing.Literal:
        return _literal_value(value, hint, as_text=False)
    if kind in LISTS:
        return _items(value, hint)
    if kind in SETS or kind in (frozenset, collections.deque):
        made = set if kind in SETS else kind
        if isinstance(value, made):
            return value
        try:
            return made(_items(value, hint))
        except TypeError as error:
            raise Unfit(hint, value, str(error)) from None
    if kind is tuple:
        return _tuple(value, hint)
    if kind in DICTS or kind in (collections.OrderedDict, collections.defaultdict):
        return _dict(value, hint, kind)
    if not isinstance(kind, type):
        return bare(value)
    return convert_classes.of_class(value, hint, kind)


def unwrapped(hint: Any) -> Any:
    """Without what says something about the hint only."""
    for _ in range(20):
        if typing.get_origin(hint) in _WRAPPERS or typing.get_origin(hint) is typing.get_origin(
            typing.Annotated[int, 0]
        ):
            hint = typing.get_args(hint)[0]
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        elif type(hint).__name__ == "TypeAliasType":
            hint = hint.__value__
        else:
            break
    if isinstance(hint, typing.TypeVar):
        return hint.__bound__ or hints.EMPTY
    return hint


def _members(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in _UNIONS else (hint,)


def within(step: str, convert: Any, *arguments: Any) -> Any:
    try:
        return convert(*arguments)
    except Unfit as error:
        raise error.inside(step) from None


def _whole(value: Any, hint: Any) -> int:
    if type(value) is int:
        return value
    # JSON has one kind of number, and some write 2 as 2.0.
    if type(value) is float and value.is_integer():
        return int(value)
    raise Unfit(hint, value)


def number(value: Any, hint: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            pass
    raise Unfit(hint, value)


def _exactly(value: Any, hint: Any) -> Any:
    if type(value) is not (typing.get_origin(hint) or hint):
        raise Unfit(hint, value)
    return value


def _string(value: Any, hint: Any) -> str:
    if isinstance(value, bytes):  # A file.
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise Unfit(hint, value, "they are not UTF-8") from None
    return str(_exactly(value, hint))


def _bytes(value: Any, hint: Any) -> Any:
    if isinstance(value, (bytes, bytearray)):
        return hint(value) if type(value) is not hint else value
    raise Unfit(hint, value, 'bytes are {"$bytes": base64} in JSON')


def _nothing(value: Any, hint: Any) -> None:
    if value is not None:
        raise Unfit(hint, value)


def _complex(value: Any, hint: Any) -> complex:
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            return complex(value)
        except ValueError:
            pass
    raise Unfit(hint, value)


_SIMPLE: dict[Any, Any] = {
    int: _whole,
    float: number,
    bool: _exactly,
    str: _string,
    bytes: _bytes,
    bytearray: _bytes,
    None: _nothing,
    type(None): _nothing,
    complex: _complex,
}
_OWN_TYPE: dict[Any, set[Any]] = {int: {int}, float: {float}, bool: {bool}, str: {str}}


def _union(value: Any, hint: Any) -> Any:
    members = _members(hint)
    made: list[Any] = []
    why: list[Unfit] = []
    for each in members:
        try:
            converted = from_json(value, each)
        except Unfit as error:
            why.append(error)
            continue
        # What takes it as it is comes before what has to change it.
        if converted is value or _unchanged(converted, value):
            return converted
        made.append(converted)
    if made:
        return made[0]
    told = [error for error in why if error.path or error.why]
    raise Unfit(hint, value, told[0].text("it") if len(told) == 1 and told[0].path else "")


def _unchanged(converted: Any, value: Any) -> bool:
    if type(converted) is not type(value):
        return False
    try:
        return bool(converted == value)
    except Exception:  # Of arrays, which compare each element.
        return False


def _literal_value(value: Any, hint: Any, as_text: bool) -> Any:
    for each in typing.get_args(hint):
        plain = each.value if isinstance(each, enum.Enum) else each
        if (type(plain) is type(value) and plain == value) or (as_text and str(plain) == value):
            return each
        if as_text and isinstance(plain, bool) and value.lower() == str(plain).lower():
            return each
    raise Unfit(hint, value)


def _items(value: Any, hint: Any) -> list[Any]:
    if type(value) is not list:
        if hasattr(value, "tolist"):  # An array that came as one.
            value = value.tolist()
        elif isinstance(value, (tuple, set, frozenset)):
            value = list(value)
    if type(value) is not list:
        raise Unfit(hint, value)
    arguments = typing.get_args(hint)
    item = unwrapped(arguments[0]) if arguments else hints.EMPTY
    if item in _ANY:
        return bare(value)  # type: ignore[no-any-return]
    own = _OWN_TYPE.get(item)
    if own is not None and set(map(type, value)) <= own:
        return value
    return [within(f"[{position}]", from_json, each, item) for position, each in enumerate(value)]


def _tuple(value: Any, hint: Any) -> Any:
    arguments = typing.get_args(hint)
    if not isinstance(value, (list, tuple)):
        raise Unfit(hint, value)
    if not arguments:
        return tuple(bare(list(value)))
    if arguments[-1] is Ellipsis:
        arguments = (arguments[0],) * len(value)
    if len(arguments) != len(value):
        raise Unfit(hint, value, f"it takes {len(arguments)} items")
    pairs = enumerate(zip(value, arguments, strict=True))
    return tuple(within(f"[{position}]", from_json, each, item) for position, (each, item) in pairs)


def _dict(value: Any, hint: Any, kind: Any) -> Any:
    if not isinstance(value, dict):
        raise Unfit(hint, value)
    arguments = typing.get_args(hint)
    if len(arguments) == 2:
        of_key, of_item = arguments
        made = {
            (key if of_key is str else within(f" key {key!r}", from_text, key, of_key)):
            within(f"[{key!r}]", from_json, item, of_item)
            for key, item in value.items()
        }  # fmt: skip
    else:
        made = bare(value)
    if kind is collections.OrderedDict:
        return collections.OrderedDict(made)
    return collections.defaultdict(None, made) if kind is collections.defaultdict else made
