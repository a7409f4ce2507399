"""The page `docs/events.md`: every type, field and example, from what makes and checks the events."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from gateway.catalogue import MEANINGS, TEST, WHEN, example, schema_of
from gateway.events import SCHEMA_VERSION
from gateway.operations import TYPES
from gateway.orders.tables import (
    FULFILMENT_TYPES,
    PAYMENT_RANKS,
    RANKS,
    REFUND_RANKS,
    OrderType,
)

WIDTH = 100  # columns of an example
ATTRIBUTES: dict[str, str] = {
    "specversion": "`1.0`, of CloudEvents.",
    "id": "`evt_` and 40 hex digits: the same for each delivery, whoever told it.",
    "source": "Which source told it first: an address below `server.public_url`.",
    "type": "One of the types of this page, or one that a provider's event has.",
    "subject": "The order; of `gateway.*` the subscription, delivery or source. What is not ASCII is"
    " percent-encoded.",
    "time": "When it happened, as the provider says.",
    "datacontenttype": "`application/json`.",
    "dataschema": "Where the JSON Schema of `data` lies. Order events, where there is a public URL.",
    "partitionkey": "Shop and order. Order events only.",
    "orderseq": "1, 2, 3 ... for each order, without gaps. Order events only.",
    "recordedtime": "When the gateway wrote it down.",
    "traceparent": "The trace that it belongs to, as W3C has it; not of what the gateway says of"
    " itself.",
    TEST: "`true` for a test event, which never happened; else not there.",
    "data": "What happened, as the rest of this page says.",
}
"""The attributes of an event, in the order in which they are written."""

HEAD = f"""# Events

Every event type, every field, and an example of each. This page is written by `.ci/schemas` from the code that makes the events and from the schemas that check them; change it there.

An event is a [CloudEvent](https://github.com/cloudevents/spec/blob/main/cloudevents/spec.md). How it is delivered, and in which content modes, is in [delivery.md](delivery.md); what becomes of several sources that tell of one order is in [orders.md](orders.md). The schemas are in [`schemas/{SCHEMA_VERSION}/`](../schemas/{SCHEMA_VERSION}/), and every gateway serves them at `/schemas/{SCHEMA_VERSION}/TYPE.json`.
"""


def page() -> str:
    """The whole page, as Markdown."""
    parts = [HEAD, "## Types\n", _types(), "## The envelope\n", _envelope()]
    parts += ["## An order in short\n", _tracks()]
    parts += ["## Fields of an order event\n", _order_fields()]
    parts += ["## `order.*`\n", *(_type(kind) for kind in MEANINGS if kind not in TYPES)]
    parts += ["## `gateway.*`\n", OPERATIONAL, *(_type(kind) for kind in MEANINGS if kind in TYPES)]
    return "\n".join(parts)


def _types() -> str:
    rows = [f"| [`{kind}`](#{_anchor(kind)}) | {means} |" for kind, means in MEANINGS.items()]
    return _table("type", "means", rows=rows)


def _envelope() -> str:
    return _table(
        "attribute", "says", rows=[f"| `{name}` | {says} |" for name, says in ATTRIBUTES.items()]
    )


TRACKS = f"""An order has tracks that are independent of each other, and `data.state` has a word for each of them:

- **payment**: {" or ".join(f"`{state}`" for state in PAYMENT_RANKS)}. One that succeeds makes `order.paid`, one that fails `order.payment_failed`, unless one has succeeded.
- **refund**: {", ".join(f"`{state}`" for state in REFUND_RANKS)}. One that succeeds makes `order.refunded`; `data.state.refund` says whether that is all of it.
- **dispute**: `open` or `closed`. The first opening makes `order.disputed`, all else `order.updated`.
- **hold**: a reason or none. Each new reason makes `order.on_hold`, the release `order.updated`.
- **fulfilment**: of each provider order. It only rises, and being cancelled ends it:
"""
OPERATIONAL = """What the gateway says about itself. These come only to subscriptions that name them, by `gateway.*` or the type itself.
"""


def _tracks() -> str:
    rows = []
    for state, kind in FULFILMENT_TYPES.items():
        rank = str(RANKS[state]) if state in RANKS else "–"
        rows.append(f"| `{state}` | {rank} | " + (f"`{kind}` |" if kind else "`order.created` |"))
    return TRACKS + "\n" + _table("state", "rank", "makes", rows=rows)


def _order_fields() -> str:
    schema = schema_of(OrderType.CREATED)
    kinds = schema["$defs"]
    first = schema["$ref"].rpartition("/")[2]
    rest = [name for name in kinds if name != first]
    told = [f"`data` of every `order.*` event:\n\n{_fields(kinds[first])}"]
    told += [f"### {name}\n\n{_briefly(kinds[name])}\n\n{_fields(kinds[name])}" for name in rest]
    return "\n".join(told)


def _briefly(kind: Mapping[str, Any]) -> str:
    """The first sentence: what fields mean is said in their table."""
    return str(kind["description"]).partition("\n")[0]


def _type(kind: str) -> str:
    lines = [f"### {kind}\n", f"{MEANINGS[kind]} {WHEN[kind]}", ""]
    if kind in TYPES:
        schema = schema_of(kind)
        lines += [_fields(schema["$defs"][schema["$ref"].rpartition("/")[2]])]
    event = json.loads(example(kind).body)
    lines += ["```json", pretty(event), "```", ""]
    return "\n".join(lines)


def _fields(kind: Mapping[str, Any]) -> str:
    required = set(kind.get("required", ()))
    rows = []
    for name, schema in kind["properties"].items():
        missing = "" if name in required or "default" in schema else ", or not there"
        rows.append(f"| `{name}` | {_kind_of(schema)}{missing} | {schema['description']} |")
    return _table("field", "is", "means", rows=rows)


def _kind_of(schema: Mapping[str, Any]) -> str:
    """A field's type in a few words."""
    match schema:
        case {"anyOf": choices}:
            return " or ".join(map(_kind_of, sorted(choices, key=_is_null)))
        case {"$ref": target}:
            name = target.rpartition("/")[2]
            return f"[{name}](#{_anchor(name)})"
        case {"enum": words}:
            return ", ".join(f"`{word}`" for word in words)
        case {"type": "array", "items": items}:
            return f"list of {_kind_of(items)}"
        case {"type": "object", "additionalProperties": Mapping() as items} if items:
            return f"object, each value a {_kind_of(items)}"
        case {"type": kind}:
            return WORDS[kind]
        case _:
            return "anything"


WORDS = {
    "string": "text",
    "integer": "integer",
    "boolean": "true or false",
    "object": "object",
    "null": "null",
}


def _is_null(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "null"


def _anchor(title: str) -> str:
    """Where a heading is, as GitHub names it."""
    return title.lower().replace(".", "").replace("`", "").replace("*", "")


def _table(*head: str, rows: list[str]) -> str:
    rule = "|" + "---|" * len(head)
    return "\n".join([f"| {' | '.join(head)} |", rule, *rows, ""])


def pretty(value: Any, column: int = 0, taken: int = 0) -> str:
    """JSON in lines of `WIDTH` columns: what fits into one line has one.

    `column` is the indentation, `taken` what stands before and behind it on its line.
    """
    short = json.dumps(value, ensure_ascii=False)
    if column + taken + len(short) <= WIDTH or not value or not isinstance(value, dict | list):
        return short
    return "\n".join(_long(value, column))


def _long(value: dict[str, Any] | list[Any], column: int) -> Iterator[str]:
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    named = value.items() if isinstance(value, dict) else ((None, one) for one in value)
    members = []
    for name, member in named:
        key = "" if name is None else f"{json.dumps(name)}: "
        members.append(" " * (column + 2) + key + pretty(member, column + 2, len(key) + 1))
    yield opening
    yield ",\n".join(members)
    yield " " * column + closing
