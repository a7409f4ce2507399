"""Rows as JSON shows them, to a program at the API and to `--json`: times are RFC 3339 in UTC.

What is annotated as `Millis` in a row is a time; all other values are as they are.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from gateway.models import Millis

R = TypeVar("R", bound=msgspec.Struct)

DATE_TIME = {"type": "string", "format": "date-time"}


def time_text(at: Millis) -> str:
    """`2026-01-15T14:30:00.250Z`."""
    text = datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def shown(value: Any) -> Any:
    """A row, or whatever holds rows, as values that JSON knows."""
    if isinstance(value, msgspec.Struct):
        times = _times(type(value))
        return {
            name: time_text(part) if name in times and part is not None else shown(part)
            for name, part in _fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): shown(part) for key, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [shown(part) for part in value]
    return value


def taken(value: Mapping[str, Any], row: type[R]) -> R:
    """The row that was shown so; rows within it, too. Raises `msgspec.ValidationError`."""
    return msgspec.convert(_untimed(value, row), row)


def _untimed(value: Any, hint: Any) -> Any:
    """The value with its times as milliseconds, as `hint`, the type that it is to have, tells them."""
    for part in _parts(hint):
        origin, inner = get_origin(part), get_args(part)
        if (
            isinstance(value, Mapping)
            and isinstance(part, type)
            and issubclass(part, msgspec.Struct)
        ):
            return _untimed_row(value, part)
        if isinstance(value, Mapping) and isinstance(origin, type) and issubclass(origin, Mapping):
            return {name: _untimed(one, inner[1]) for name, one in value.items()}
        if isinstance(value, list) and isinstance(origin, type) and issubclass(origin, Sequence):
            return [_untimed(one, inner[0]) for one in value]
    return value


def _untimed_row(value: Mapping[str, Any], row: type[msgspec.Struct]) -> Mapping[str, Any]:
    hints, times = get_type_hints(row), _times(row)
    return {
        name: _millis(part)
        if name in times and part is not None
        else _untimed(part, hints.get(name))
        for name, part in value.items()
    }


def _millis(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def schemas_of(types: Iterable[type]) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """The JSON Schemas of these types as `shown` writes them: references, and components by name."""
    types = list(types)
    references, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    for struct in _structs(types):
        properties = components[struct.__name__].get("properties", {})
        for name, optional in _times(struct).items():
            properties[name] = {
                **(
                    {"description": properties[name]["description"]}
                    if "description" in properties[name]
                    else {}
                ),
                **({"anyOf": [DATE_TIME, {"type": "null"}]} if optional else DATE_TIME),
            }
    return list(references), components


def _fields(value: msgspec.Struct) -> Iterable[tuple[str, Any]]:
    names = zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True)
    return ((encoded, getattr(value, name)) for name, encoded in names)


@cache
def _times(struct: type[msgspec.Struct]) -> Mapping[str, bool]:
    """The fields of a row that are times, as they are called in JSON, and whether one may be missing."""
    hints = get_type_hints(struct)
    names = zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True)
    parts = {encoded: _parts(hints[name]) for name, encoded in names}
    return {name: NoneType in part for name, part in parts.items() if Millis in part}


def _parts(hint: Any) -> Sequence[Any]:
    return get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)


def _structs(types: Iterable[Any]) -> set[type[msgspec.Struct]]:
    """All rows within these types."""
    found: set[type[msgspec.Struct]] = set()
    todo = list(types)
    while todo:
        one = todo.pop()
        if isinstance(one, type) and issubclass(one, msgspec.Struct):
            if one not in found:
                found.add(one)
                todo.extend(field.type for field in msgspec.structs.fields(one))
        else:
            todo.extend(get_args(one))
    return found
