"""What stands at a JSON pointer of an event's data, by its JSON Schema, and what a comparison finds there.

Only as far as our own schemas go: objects, lists, references, alternatives, words, patterns.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from gateway.catalogue import schema_of
from gateway.filters.opened import Value
from gateway.filters.terms import OPERATORS

Shape = Mapping[str, Any]

ANYTHING: Shape = {}
AMOUNT = "^-?[0-9]"  # how the pattern of a decimal text begins

_INDEX = re.compile("0|[1-9][0-9]*", re.ASCII)


class Missing(Exception):
    """Nothing can be there: `name` is the step that leads nowhere, `known` what it could have been."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(name)
        self.name, self.known = name, known


def shapes_at(event_types: Iterable[str], steps: Sequence[str]) -> list[Shape]:
    """What can stand there in the data of any of these types, null apart; `Missing`."""
    found: list[Shape] = []
    missing: Missing | None = None
    for event_type in event_types:
        schema = _schema(event_type)
        try:
            found += _walk(schema, schema["$defs"], steps)
        except Missing as error:
            missing = error
    if not found and missing is not None:
        raise missing
    return found


@cache
def _schema(event_type: str) -> dict[str, Any]:
    return schema_of(event_type)


def _walk(schema: Shape, defs: Shape, steps: Sequence[str]) -> list[Shape]:
    here = _alternatives(schema, defs)
    for step in steps:
        following: list[Shape] = []
        known: list[str] = []
        for one in here:
            known += one.get("properties", ())
            following += [part for part in _step(one, step) for part in _alternatives(part, defs)]
        if not following:
            raise Missing(step, known)
        here = following
    return here


def _alternatives(schema: Shape, defs: Shape) -> list[Shape]:
    if "anyOf" in schema:
        return [one for part in schema["anyOf"] for one in _alternatives(part, defs)]
    if "$ref" in schema:
        return _alternatives(defs[schema["$ref"].rpartition("/")[2]], defs)
    return [] if schema.get("type") == "null" else [schema]


def _step(schema: Shape, step: str) -> list[Shape]:
    match schema.get("type"):
        case None:
            return [ANYTHING]
        case "object":
            more = schema.get("additionalProperties", True)
            found = schema.get("properties", {}).get(step, ANYTHING if more is True else more)
            return [] if found is False else [found]
        case "array" if _INDEX.fullmatch(step):
            return [schema.get("items", ANYTHING)]
        case _:
            return []


def can_hold(shape: Shape, operator: str, wanted: Value) -> bool:
    """Whether a value of this shape may meet the comparison; True where nobody can know."""
    match shape.get("type"):
        case "string":
            return _text_can(shape, operator, wanted)
        case "integer" | "number":
            return operator in {"eq", "lt", "le", "gt", "ge"} and wanted.number is not None
        case "boolean":
            return operator == "eq" and isinstance(wanted.raw, bool)
        case "object" | "array":
            return False
        case _:
            return True


def _text_can(shape: Shape, operator: str, wanted: Value) -> bool:
    if isinstance(wanted.raw, bool):
        return False
    if "enum" in shape:
        words = (Value(word) for word in shape["enum"])
        return any(OPERATORS[operator].holds(word, (wanted,)) for word in words)
    pattern = shape.get("pattern", "")
    if operator == "eq" and pattern:
        return re.search(pattern, str(wanted.raw)) is not None
    if operator in {"lt", "le", "gt", "ge"} and pattern.startswith(AMOUNT):
        return wanted.number is not None  # others are compared letter by letter: no amount is meant
    return True


def phrase_of(shapes: Iterable[Shape]) -> str:
    """What stands there, in words."""
    return " or ".join(dict.fromkeys(map(_phrase, shapes)))


def _phrase(shape: Shape) -> str:
    if "enum" in shape:
        return f"one of {', '.join(shape['enum'])}"
    pattern = shape.get("pattern", "")
    if pattern.startswith(AMOUNT):
        return 'a decimal number such as "49.26"'
    if pattern:
        return f"text like {pattern}"
    words = {
        "string": "text",
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
        "array": "a list",
        "object": "an object",
    }
    return words.get(shape.get("type", ""), "anything")
