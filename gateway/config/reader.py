"""Typed reading: a raw value of the file or the environment becomes what an annotation asks for.

Every refusal is a `ConfigError` whose one sentence begins with the key's path. What stands under
a key that holds secrets is never shown.
"""

import difflib
import json
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from gateway.config.values import (
    A_DURATION,
    A_RATE,
    A_SIZE,
    A_START,
    NAME,
    NAME_RULE,
    Allowed,
    Filters,
    Rate,
    Secret,
    Start,
    parse_duration,
    parse_rate,
    parse_size,
    parse_start,
    start_of,
)
from gateway.errors import ConfigError
from gateway.filters.reading import FilterError, read_filters
from gateway.models import Duration, Size

PARSERS: Mapping[object, Callable[[str], object]] = {
    Duration: parse_duration,
    Size: parse_size,
    Rate: parse_rate,
    Start: parse_start,
    Secret: lambda text: Secret(text.encode("utf-8", "surrogateescape")),
}
PHRASES: Mapping[object, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Duration: A_DURATION,
    Size: A_SIZE,
    Rate: A_RATE,
    Start: A_START,
    Secret: "text",
}
KINDS = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    dict: "a table",
    NoneType: "nothing",
}
SHOWN = 60  # characters of a wrong value that an error repeats


class Place(msgspec.Struct, frozen=True):
    """Where a value stands: the key's path, and the variable when the environment gave it."""

    path: str
    variable: str | None = None

    def key(self, name: str) -> "Place":
        """The place of a key in the table that stands here."""
        shown = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)
        return Place(f"{self.path}.{shown}" if self.path else shown, self.variable)

    def item(self, index: int) -> "Place":
        """The place of an item of the list that stands here."""
        return Place(f"{self.path}[{index}]", self.variable)

    def error(self, message: str) -> ConfigError:
        """The error that says `message` about this place."""
        origin = f" (from {self.variable})" if self.variable else ""
        return ConfigError(self.path, message + origin)


class Given(msgspec.Struct, frozen=True):
    """A value that was given as text, whatever the key wants; `variable` of the environment gave it."""

    text: str
    variable: str | None = None


def kinds_of(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """The keys of a table and their types."""
    return {field.encode_name: field.type for field in msgspec.structs.fields(struct)}


def place_of(key: str, table: Mapping[str, object], place: Place) -> Place:
    """The place of a key, with the variable that set it."""
    raw = table.get(key)
    return Place(place.key(key).path, raw.variable if isinstance(raw, Given) else None)


def sentence_of(error: Exception) -> str:
    """The text of an error so that it can follow a key's path."""
    return str(error).removesuffix(".")


def check_name(name: str, place: Place) -> None:
    """Refuse what is no name of a source or subscription."""
    if NAME.fullmatch(name) is None:
        raise place.error(f"not a name, which is {NAME_RULE}")


def read_keys(
    kinds: Mapping[str, Any], table: Mapping[str, object], place: Place
) -> dict[str, Any]:
    """The typed values of the keys that `table` has; a key that `kinds` lacks is refused."""
    refuse_unknown(kinds, table, place)
    return {key: read(kinds[key], raw, place.key(key)) for key, raw in table.items()}


def refuse_unknown(allowed: Iterable[str], table: Iterable[str], place: Place) -> None:
    """Raise for the first key that is not allowed; the nearest one is suggested."""
    names = list(allowed)
    for key in table:
        if key not in names:
            near = suggestion(key, names)
            raise place.key(key).error(f"unknown key{near}, allowed are {', '.join(names)}")


def suggestion(word: str, names: Iterable[str]) -> str:
    """` (did you mean "port"?)`, or nothing when no name is near."""
    near = difflib.get_close_matches(word, list(names), n=1)
    return f' (did you mean "{near[0]}"?)' if near else ""


def read_table(raw: object, place: Place) -> dict[str, object]:
    """A table of the file; anything else is refused without showing it."""
    if not isinstance(raw, dict):
        raise place.error(f"expected a table, [{place.path}], got {kind_of(raw)}")
    return dict(raw)


def read(kind: Any, raw: object, place: Place) -> Any:
    """`raw` as the type `kind` (those that `providers.base.Options` lists); `ConfigError` otherwise."""
    core, allowed = unwrap(kind)
    if isinstance(raw, Given):
        place = Place(place.path, raw.variable)
        raw = from_text(core, raw)
    if core is Filters:
        return read_plain_filters(raw, place)
    expected = allowed.expected if allowed else phrase(core)
    try:
        value = _read_core(core, raw, place)
        return allowed.check(value) if allowed else value
    except ValueError:
        got = kind_of(raw) if holds_secrets(core) else show(raw)
    raise place.error(f"expected {expected}, got {got}")


def read_plain_filters(raw: object, place: Place) -> Filters:
    """Filters in their plain form, which were read to see that they can be; `ConfigError`."""
    try:
        read_filters(raw)
    except FilterError as error:
        path = place.path + error.path.removeprefix("filters")
        sentence = error.sentence
    else:
        assert isinstance(raw, list)
        return Filters(tuple(raw))
    raise Place(path, place.variable).error(sentence)


def _read_core(core: Any, raw: object, place: Place) -> object:
    origin = get_origin(core)
    if origin is tuple and isinstance(raw, list):
        item = get_args(core)[0]
        return tuple(read(item, value, place.item(index)) for index, value in enumerate(raw))
    if origin is dict and isinstance(raw, dict):
        item = get_args(core)[1]
        return {key: read(item, value, place.key(key)) for key, value in raw.items()}
    if origin is Literal and raw in get_args(core):
        return raw
    return _read_scalar(core, raw)


def _read_scalar(core: Any, raw: object) -> object:
    if isinstance(raw, str) and core in PARSERS:
        return PARSERS[core](raw)
    if isinstance(raw, str) and isinstance(core, type) and issubclass(core, StrEnum):
        return core(raw)
    if isinstance(raw, datetime) and core is Start:
        return start_of(raw)
    if core is float and type(raw) in {int, float}:
        return _finite(raw)
    if core in {bool, int, str} and type(raw) is core:
        return raw
    raise ValueError


def _finite(raw: Any) -> float:
    try:
        value = float(raw)
    except OverflowError:
        raise ValueError from None
    if not math.isfinite(value):
        raise ValueError
    return value


def from_text(core: Any, given: Given) -> object:
    """What a variable's text stands for: true/false, a number, a list `a,b` or a TOML value.

    Text that stands for none of these is returned as it is, for the reader to refuse.
    """
    text, origin = given.text, get_origin(core)
    if core is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    if core is int and re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        return int(text)
    if core is float and re.fullmatch(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?", text):
        return float(text)
    if core is Filters and not text.strip():
        return []
    if (origin in {tuple, dict} or core is Filters) and text.startswith(("[", "{")):
        return _toml_value(text)
    if origin is tuple:
        return [Given(part.strip(), given.variable) for part in text.split(",") if text.strip()]
    return text


def _toml_value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def unwrap(kind: Any) -> tuple[Any, Allowed | None]:
    """The type without `Annotated` and `| None`, and what is allowed of it."""
    allowed: Allowed | None = None
    while True:
        origin = get_origin(kind)
        if origin is Annotated:
            kind, *notes = get_args(kind)
            allowed = next((note for note in notes if isinstance(note, Allowed)), allowed)
        elif origin in {Union, UnionType}:
            kind = next(part for part in get_args(kind) if part is not NoneType)
        else:
            return kind, allowed


def phrase(core: Any) -> str:
    """What a type allows, in words."""
    origin = get_origin(core)
    if origin is Literal:
        return " or ".join(json.dumps(choice) for choice in get_args(core))
    if isinstance(core, type) and issubclass(core, StrEnum):
        return " or ".join(json.dumps(member.value) for member in core)
    if origin is tuple:
        item, allowed = unwrap(get_args(core)[0])
        return f"a list in [ ], each item {allowed.expected if allowed else phrase(item)}"
    if origin is dict:
        return f"a table, each value {phrase(get_args(core)[1])}"
    return PHRASES[core]


def holds_secrets(core: Any) -> bool:
    """Whether a value of this type must not be shown."""
    return core is Secret or Secret in get_args(core)


def kind_of(raw: object) -> str:
    """What kind of value this is, without its content."""
    if isinstance(raw, list):
        return f"a list of {len(raw)}"
    return KINDS.get(type(raw), "a date or time")


def show(raw: object) -> str:
    """A short form of a wrong value, on one line; user and password of a URL are masked."""
    # Python refuses to write out the digits of a huge number.
    if isinstance(raw, str | float) or (isinstance(raw, int) and raw.bit_length() < 256):
        text = json.dumps(re.sub("//.*@", "//***@", raw) if isinstance(raw, str) else raw)
        return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
    return kind_of(raw)
