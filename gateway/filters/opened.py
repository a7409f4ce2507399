"""An event as filters look at it: attributes as text, data by JSON pointers, numbers exactly."""

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import Raw

LONGEST_NUMBER: Final = 100  # characters of a text that counts as a number
SHOWN: Final = 60  # characters of a value that a reason repeats

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)


class Value(msgspec.Struct, frozen=True):
    """A value to compare, with the number that it is, or that its text says; None is nothing."""

    raw: Any
    number: Decimal | int | None = None


NOTHING: Final = Value(None)


def _exactly(text: str) -> Decimal | None:
    """The literal digits as a number; None for one that even `Decimal` cannot hold."""
    try:
        number = Decimal(text)
    except ArithmeticError:
        return None
    return number if number.is_finite() else None


_envelope = msgspec.json.Decoder(dict[str, Raw])
_any = msgspec.json.Decoder(float_hook=_exactly)


def _read(raw: bytes | Raw) -> object:
    """What JSON says; nothing when it is nested too deeply, or has a number too long, to be read."""
    try:
        return _any.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


class Opened:
    """An event as filters look at it: its attributes, and its data, which are read when needed."""

    def __init__(self, attributes: Mapping[str, object], data: object = None) -> None:
        self.attributes, self._data = attributes, data

    @classmethod
    def of(cls, body: bytes) -> "Opened":
        """From a structured event; what cannot be read is as if it were not there."""
        try:
            members = _envelope.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return cls({})
        data = members.pop("data", None)
        members.pop("data_base64", None)
        return cls({name: _read(raw) for name, raw in members.items()}, data)

    @property
    def data(self) -> object:
        """The data as decoded from JSON, with exact numbers; None without any."""
        if isinstance(self._data, Raw):
            self._data = _read(self._data)
        return self._data

    def attribute(self, name: str) -> str | None:
        """An attribute in its canonical text (CloudEvents 1.0.2, 3.1); None when it is absent."""
        found = self.attributes.get(name)
        if isinstance(found, bool):
            return "true" if found else "false"
        if isinstance(found, int):
            return str(found) if found.bit_length() <= 64 else None
        return found if isinstance(found, str) else None

    def at(self, steps: Sequence[str]) -> Value:
        """The value of the data that a pointer leads to; null is nothing, too."""
        found: object = self.data
        for step in steps:
            if isinstance(found, Mapping):
                found = found.get(step)
            elif isinstance(found, list) and _INDEX.fullmatch(step) and int(step) < len(found):
                found = found[int(step)]
            else:
                return NOTHING
        return value_of(found)


def value_of(raw: object) -> Value:
    """A value with its number, exactly: a float by its shortest digits, text by those it is made of."""
    if isinstance(raw, bool):
        return Value(raw)
    if isinstance(raw, int):
        return Value(raw, raw)
    if isinstance(raw, float):
        return Value(raw, _exactly(repr(raw)))
    if isinstance(raw, Decimal):
        return Value(raw, raw if raw.is_finite() else None)
    if isinstance(raw, str) and len(raw) <= LONGEST_NUMBER and _NUMBER.fullmatch(raw):
        return Value(raw, _exactly(raw))
    return Value(raw)


def same(found: Value, wanted: Value) -> bool:
    """Whether they are equal: two texts letter by letter, a number and a text as numbers."""
    if isinstance(found.raw, bool) or isinstance(wanted.raw, bool):
        return found.raw is wanted.raw
    if isinstance(found.raw, str) and isinstance(wanted.raw, str):
        return found.raw == wanted.raw
    return found.number is not None and found.number == wanted.number


def order(found: Value, wanted: Value) -> int | None:
    """-1, 0 or 1: as numbers when `wanted` is one, else as text by code points; None for neither."""
    if wanted.number is not None:
        if found.number is None:
            return None
        return (found.number > wanted.number) - (found.number < wanted.number)
    if not (isinstance(found.raw, str) and isinstance(wanted.raw, str)):
        return None
    return (found.raw > wanted.raw) - (found.raw < wanted.raw)


def show(value: object) -> str:
    """A value of an event or a filter on one line, at most so long."""
    match value:
        case None:
            return "absent"
        case str():
            return json.dumps(value if len(value) <= SHOWN else value[: SHOWN - 3] + "...")
        case bool():
            return "true" if value else "false"
        case int() if value.bit_length() > 256:  # Python refuses to write out a huge one
            return "a long number"
        case int() | float() | Decimal():
            text = str(value)
            return text if len(text) <= SHOWN else "a long number"
        case list() | tuple():
            return f"a list of {len(value)}"
        case Mapping():
            return "an object"
        case _:
            return "something else"
