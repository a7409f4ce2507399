"""An event whose data are spread over keys of one level, for tools that map fields one by one.

`{"data": {"total": {"value": "1"}, "lines": [{"sku": "A"}]}}` becomes
`{"data__total__value": "1", "data__lines__0__sku": "A"}`, as Zapier names nested fields itself.
"""

import json
import re
from collections.abc import Iterator
from json.encoder import encode_basestring
from typing import Any

SEPARATOR = "__"
MOST_BYTES = 8 << 20
"""Zapier takes 10 MB, n8n 16 MiB; and deep data under long keys could become gigabytes."""

_UNCLEAR = re.compile(r"%|(?<=_)_|_(?=_)|\A_|_\Z")


class _Number(str):
    """The digits of a number as they were sent: no float stands between."""

    __slots__ = ()


def flatten(body: bytes) -> bytes:
    """A structured event with `data` flattened in its place; its attributes stay as they are.

    A list counts as an object with the keys 0, 1, 2 ...; null and what is empty become null. Within
    a key, an underscore at an end or beside another one is written `%5F`, and `%` is `%25`: so the
    separator stands for itself alone, and no two values share a key. ValueError when it gets too
    long, or nests too deep to be read.
    """
    parts: list[bytes] = []
    left = MOST_BYTES
    try:
        event = json.loads(body, parse_float=_Number, parse_int=_Number)
    except RecursionError:
        raise ValueError("with flat = true, its data nest too deep") from None
    for key, value in _leaves(event):
        parts.append(f"{encode_basestring(key)}:{_text(value)}".encode())
        left -= len(parts[-1]) + 1
        if left < 0:
            raise ValueError(f"with flat = true, it is longer than {MOST_BYTES >> 20} MiB")
    return b"{%b}" % b",".join(parts)


def _leaves(event: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """All flat keys and their values in their order, one by one: together they may be huge."""
    nested = [_members("", event)]
    while nested:
        for key, value in nested[-1]:
            if value and isinstance(value, dict | list):
                nested.append(_members(key + SEPARATOR, value))
                break
            yield key, value
        else:
            nested.pop()


def _members(prefix: str, value: dict[str, Any] | list[Any]) -> Iterator[tuple[str, Any]]:
    members = value.items() if isinstance(value, dict) else enumerate(value)
    return ((prefix + _escaped(str(key)), member) for key, member in members)


def _escaped(key: str) -> str:
    if "_" not in key and "%" not in key:
        return key
    return _UNCLEAR.sub(lambda found: f"%{ord(found[0]):02X}", key)


def _text(value: Any) -> str:
    match value:
        case _Number():
            return value
        case str():
            return encode_basestring(value)
        case bool():
            return "true" if value else "false"
        case _:
            return "null"  # which {} and [] become as well
