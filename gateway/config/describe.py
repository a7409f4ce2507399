"""The settings as lines for a person; secrets are masked, and so is a URL's query."""

import json
import tomllib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from gateway.config.reader import Place, unwrap
from gateway.config.settings import NO_SECTION, PollSettings, Settings, SubscriptionSettings
from gateway.config.subscription import PULLED
from gateway.config.values import (
    Rate,
    Secret,
    Start,
    show_duration,
    show_rate,
    show_size,
    show_start,
)
from gateway.models import Duration, Size

NOT_SET = "not set"


def describe(settings: Settings) -> list[tuple[str, str]]:
    """Every key's path and its value, written as in the file; a key without value is `not set`."""
    sections = (name for name in settings.__struct_fields__ if name not in NO_SECTION)
    return [
        line for name in sections for line in _lines(getattr(settings, name), Place("").key(name))
    ]


def plain(shown: str) -> object:
    """A value that `describe` shows, as JSON has it; None for `not set`."""
    if shown == NOT_SET:
        return None
    try:
        return tomllib.loads(f"value = {shown}")["value"]
    except tomllib.TOMLDecodeError:  # a text with what JSON takes as it stands and TOML does not
        return shown


def _lines(value: object, place: Place) -> Iterable[tuple[str, str]]:
    """The lines of a table; a source's options stand among its own keys."""
    if isinstance(value, Mapping):
        for name, table in value.items():
            yield from _lines(table, place.key(name))
        return
    assert isinstance(value, msgspec.Struct)
    for field in msgspec.structs.fields(value):
        inner = getattr(value, field.name)
        if isinstance(inner, msgspec.Struct):
            yield from _lines(inner, place)
        elif unwrap(field.type)[0] is PollSettings:
            continue  # not asked: none of its keys are set
        else:
            key = field.encode_name
            if isinstance(value, SubscriptionSettings) and value.pull and key not in PULLED:
                continue  # nothing is sent: it cannot have them
            yield place.key(key).path, show_value(unwrap(field.type)[0], inner, key)


def show_value(core: Any, value: object, key: str = "") -> str:
    """A value as the file would have it."""
    if core is Rate:
        return json.dumps(show_rate(value if isinstance(value, float) else None))
    if core is Start:
        return json.dumps(show_start(value if isinstance(value, int) else None))
    if value is None:
        return NOT_SET
    if isinstance(value, Mapping):
        pairs = [f"{Place('').key(key).path} = {show_value(None, v)}" for key, v in value.items()]
        return f"{{ {', '.join(pairs)} }}" if pairs else "{}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(show_value(None, item) for item in value)}]"
    return _show_scalar(value, key)


def _show_scalar(value: object, key: str) -> str:
    match value:
        case Secret():
            return '"***"'
        case Duration():
            return json.dumps(show_duration(value))
        case Size():
            return json.dumps(show_size(value))
        case StrEnum():
            return json.dumps(value.value)
        case str() if key == "url":
            return json.dumps(_without_query(value))
        case _:
            return json.dumps(value, ensure_ascii=False)


def _without_query(url: str) -> str:
    """A URL whose query, which may hold a token, is masked."""
    head, mark, _ = url.partition("?")
    return f"{head}?***" if mark else url
