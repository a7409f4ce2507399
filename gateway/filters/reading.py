"""Filters of subscriptions from their plain form: what of an event must hold.

The dialects `exact`, `prefix`, `suffix`, `all`, `any` and `not` are those of the CloudEvents
Subscriptions API 0.1, 3.2.4; `data` is ours: JSON pointers (RFC 6901) with comparisons. The plain
form, which is stored and shown, is what TOML and JSON give: a list of objects, each with exactly
one dialect.
"""

import json
import re
from collections.abc import Mapping
from typing import Final

from gateway.filters.opened import show, value_of
from gateway.filters.terms import (
    A_TEXT,
    LONGEST_TEXT,
    OPERATORS,
    Comparison,
    Every,
    Filter,
    Never,
    Pair,
    Some,
)

DEEPEST: Final = 8
"""How many filters may stand within each other, the outermost counted."""
MOST_TERMS: Final = 100
"""How many single conditions all filters of a subscription may have: pairs, comparisons, items of `in`."""
LONGEST_NAME: Final = 64
LONGEST_POINTER: Final = 512

DIALECTS: Final = ("exact", "prefix", "suffix", "all", "any", "not", "data")
EXAMPLE: Final = '{ exact = { type = "order.paid" } }'
AN_ATTRIBUTE: Final = f"the name of an attribute, 1 to {LONGEST_NAME} of a-z and 0-9"
A_POINTER: Final = (
    'a JSON pointer, empty or beginning with "/", such as "/total/value", in which ~0 is ~ and ~1'
    f" is /, of at most {LONGEST_POINTER} characters"
)

_NAME = re.compile(r"[a-z0-9]+", re.ASCII)
_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_POINTER = re.compile(r"(/([^~]|~[01])*)?", re.ASCII | re.DOTALL)


class FilterError(ValueError):
    """A filter in its plain form is wrong; `path` is where, as in `filters[0].any[1].exact`."""

    def __init__(self, path: str, sentence: str) -> None:
        super().__init__(f"{path}: {sentence}")
        self.path, self.sentence = path, sentence


def read_filters(value: object) -> tuple[Filter, ...]:
    """The filters of a plain form; `FilterError` names the first thing that is wrong with it."""
    if not isinstance(value, list | tuple):
        raise FilterError("filters", f"expected a list of filters, such as [{EXAMPLE}]")
    reader = _Reader()
    return tuple(reader.filter(one, f"filters[{index}]", 1) for index, one in enumerate(value))


class _Reader:
    """Reads one plain form, and counts its terms."""

    def __init__(self) -> None:
        self._terms = 0

    def filter(self, value: object, path: str, depth: int) -> Filter:
        """One filter; `depth` counts it and those around it."""
        if depth > DEEPEST:
            raise FilterError(path, f"filters may be nested at most {DEEPEST} deep")
        if not isinstance(value, Mapping):
            raise FilterError(path, f"expected a filter, such as {EXAMPLE}, got {_kind(value)}")
        if len(value) != 1:
            raise FilterError(
                path,
                f"expected exactly one of {', '.join(DIALECTS)}, got {len(value)} keys:"
                " several filters stand in a list, or in all",
            )
        ((dialect, inner),) = value.items()
        if dialect not in DIALECTS:
            raise FilterError(path, f"expected one of {', '.join(DIALECTS)}, got {_kind(dialect)}")
        at = f"{path}.{dialect}"
        if dialect == "not":
            return Never(at, self.filter(inner, at, depth + 1))
        if dialect in {"all", "any"}:
            return (Every if dialect == "all" else Some)(at, self._list(inner, at, depth))
        if dialect == "data":
            return Every(at, self._data(inner, at))
        pairs = self._table(inner, at, 'attributes, such as { type = "order.paid" }')
        return Every(at, tuple(self._pair(dialect, *pair, at) for pair in pairs.items()))

    def _list(self, value: object, path: str, depth: int) -> tuple[Filter, ...]:
        if not isinstance(value, list | tuple) or not value:
            raise FilterError(path, f"expected a list of at least one filter, such as [{EXAMPLE}]")
        return tuple(
            self.filter(one, f"{path}[{index}]", depth + 1) for index, one in enumerate(value)
        )

    @staticmethod
    def _table(value: object, path: str, what: str) -> Mapping[object, object]:
        if not isinstance(value, Mapping) or not value:
            raise FilterError(path, f"expected at least one of {what}, got {_kind(value)}")
        return value

    def _pair(self, dialect: str, name: object, value: object, path: str) -> Pair:
        if not isinstance(name, str) or len(name) > LONGEST_NAME or not _NAME.fullmatch(name):
            raise FilterError(path, f"expected {AN_ATTRIBUTE}, got {_kind(name)}")
        at = f"{path}.{name}"
        if name == "data":
            raise FilterError(at, "data is no attribute: the dialect data looks into it")
        if not _is_text(value):
            raise FilterError(at, f"expected {A_TEXT}, got {_kind(value)}")
        self._count(at)
        return Pair(at, dialect, name, str(value))

    def _data(self, value: object, path: str) -> tuple[Filter, ...]:
        pointers = self._table(
            value, path, 'JSON pointers, such as { "/total/value" = { ge = 50 } }'
        )
        found: list[Filter] = []
        for pointer, comparisons in pointers.items():
            if (
                not isinstance(pointer, str)
                or len(pointer) > LONGEST_POINTER
                or not _POINTER.fullmatch(pointer)
            ):
                raise FilterError(path, f"expected {A_POINTER}, got {_kind(pointer)}")
            at = f"{path}.{_key(pointer)}"
            steps = tuple(
                step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]
            )
            table = self._table(comparisons, at, f"comparisons ({', '.join(OPERATORS)})")
            found.extend(self._comparison(steps, *one, at) for one in table.items())
        return tuple(found)

    def _comparison(
        self, steps: tuple[str, ...], operator: object, value: object, path: str
    ) -> Comparison:
        if not isinstance(operator, str) or operator not in OPERATORS:
            raise FilterError(
                path, f"expected one of {', '.join(OPERATORS)}, got {_kind(operator)}"
            )
        at = f"{path}.{operator}"
        if not _takes(operator, value):
            nothing = "; exists says whether there is anything" if value is None else ""
            raise FilterError(
                at, f"expected {OPERATORS[operator].takes}, got {_kind(value)}{nothing}"
            )
        items = value if isinstance(value, list | tuple) else (value,)
        for _ in items:
            self._count(at)
        return Comparison(at, steps, operator, tuple(value_of(item) for item in items))

    def _count(self, path: str) -> None:
        self._terms += 1
        if self._terms > MOST_TERMS:
            raise FilterError(path, f"the filters have more than {MOST_TERMS} terms in all")


def _takes(operator: str, value: object) -> bool:
    match operator:
        case "exists":
            return isinstance(value, bool)
        case "in":
            some = isinstance(value, list | tuple) and bool(value)
            return some and all(_is_scalar(item) for item in value)  # type: ignore[attr-defined]
        case "prefix" | "suffix":
            return _is_text(value)
        case "eq" | "ne":
            return _is_scalar(value)
        case _:
            return _is_text(value) or _is_number(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_TEXT


def _is_number(value: object) -> bool:
    """Whether it is one that the store can write down."""
    if isinstance(value, bool):
        return False
    if isinstance(value, int):
        return -(1 << 63) <= value < 1 << 63
    return isinstance(value, float) and value_of(value).number is not None


def _is_scalar(value: object) -> bool:
    return isinstance(value, bool) or value == "" or _is_text(value) or _is_number(value)


def _key(name: str) -> str:
    """A key of a table as TOML writes it."""
    return name if _BARE.fullmatch(name) else json.dumps(name)


def _kind(value: object) -> str:
    """A wrong value, shown if it is short enough to help."""
    if value is None:
        return "null"
    if isinstance(value, str | bool | int | float) and value != "":
        return show(value)
    return "nothing" if value in ("", [], {}, ()) else show(value)
