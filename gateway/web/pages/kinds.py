"""JSON Schemas in a few words of HTML, with links to the types that they name."""

import re
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

WORDS = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "true or false",
    "object": "object",
    "null": "null",
    "array": "list",
}
FORMATS = {"date-time": "time"}

Schema = Mapping[str, Any]


def prose(text: str) -> Markup:
    """A text whose words between backticks are code; all else is escaped."""
    parts = re.split("`([^`]+)`", text)
    code = Markup("<code>{}</code>")
    shown = [code.format(part) if at % 2 else Markup.escape(part) for at, part in enumerate(parts)]
    return Markup("").join(shown)


def name_of(reference: str) -> str:
    """The last part of `#/components/schemas/EventRow`."""
    return reference.rpartition("/")[2]


class Kinds:
    """Says what a value is; knows the document's types by their names."""

    def __init__(self, types: Mapping[str, Schema]) -> None:
        self._types = types

    def __call__(self, schema: Schema) -> Markup:
        """`integer, 1 to 200`, `list of EventRow`, `text or null`, the words of an enumeration."""
        match schema:
            case {"$ref": reference}:
                return self._named(name_of(reference))
            case {"anyOf": choices} | {"oneOf": choices}:
                choices = sorted(choices, key=lambda one: one.get("type") == "null")
                listed = any(one.get("type") == "array" for one in choices)
                return Markup.escape(", or " if listed else " or ").join(map(self, choices))
            case {"const": value}:
                return prose(f"`{value}`")
            case {"enum": words}:
                return prose(" | ".join(f"`{word}`" for word in words))
            case {"type": "array", "items": Mapping() as items} if items:
                return Markup("list of {}").format(self(items))
            case {"type": "object", "additionalProperties": Mapping() as items} if items:
                return Markup("object, each value {}").format(self(items))
            case {"type": str(word)}:
                return Markup.escape(self._plain(word, schema))
            case _:
                return Markup("anything")

    def is_listed(self, name: str) -> bool:
        """Whether a type has fields of its own: an enumeration's words stand where it is used."""
        return "properties" in self._types[name]

    def _named(self, name: str) -> Markup:
        if self.is_listed(name):
            return Markup('<a href="#type-{0}">{0}</a>').format(name)
        return self(self._types[name])

    def _plain(self, word: str, schema: Schema) -> str:
        kind = FORMATS.get(schema.get("format", ""), WORDS.get(word, word))
        low, high = schema.get("minimum"), schema.get("maximum")
        if low is not None and high is not None:
            return f"{kind}, {low} to {high}"
        if low is not None:
            return f"{kind}, at least {low}"
        if high is not None:
            return f"{kind}, at most {high}"
        longest = schema.get("maxLength")
        return kind if longest is None else f"{kind}, at most {longest} characters"
