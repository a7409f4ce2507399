"""The calls about the gateway itself and about who asks: what n8n and Zapier try a key with."""

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway import __version__
from gateway.catalogue import MEANINGS, example, in_mode, schema_of
from gateway.errors import NotFound
from gateway.events import SCHEMA_VERSION
from gateway.keys import Role
from gateway.models import Event, Mode
from gateway.sender import USER_AGENT
from gateway.web.api.operation import EVERYONE, Call, Nothing, Operation

STAMP = "<Unix time of the attempt, in seconds>"
SIGNATURE = "<v1, and the base64 of the HMAC-SHA256 by the subscription's secret>"
BATCH_ID = "<the batch's own id>"


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: the key's id, None for the owner of the control socket, and its role."""

    key: str | None
    role: Role
    name: str
    version: str


class EventType(msgspec.Struct, frozen=True, kw_only=True):
    """An event type that the gateway makes.

    `schema` is where the JSON Schema of its `data` lies: a whole URL where the gateway knows its
    public one, else a path at the public listener.
    """

    type: str
    description: str
    schema: str


class ExampleDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """One request as a consumer gets it; what stands in `<>` differs from attempt to attempt.

    Headers have their names in lower case; those of the connection itself, and own ones of a
    subscription, are not among them.
    """

    headers: dict[str, str]
    body: msgspec.Raw


class Examples(msgspec.Struct, frozen=True, kw_only=True):
    """The same event in each mode; `flat` is mode `json` with `flat` set to true."""

    structured: ExampleDelivery
    binary: ExampleDelivery
    json: ExampleDelivery
    batch: ExampleDelivery
    flat: ExampleDelivery


class EventTypeDetail(msgspec.Struct, frozen=True, kw_only=True):
    """An event type with the JSON Schema of its `data`, and an example in each mode."""

    type: str
    description: str
    schema: dict[str, Any]
    examples: Examples


async def me(call: Call[Nothing, None]) -> Me:
    """Whose key this is: for trying whether it works."""
    who = call.principal
    name = f"{who.role} {who.key}" if who.key is not None else "the owner"
    return Me(key=who.key, role=who.role, name=name, version=__version__)


async def list_types(call: Call[Nothing, None]) -> list[EventType]:
    """The event types that there are, for a list to choose from."""
    folder = f"{call.gateway.settings.server.public_url}/schemas/{SCHEMA_VERSION}"
    return [
        EventType(type=name, description=text, schema=f"{folder}/{name}.json")
        for name, text in MEANINGS.items()
    ]


async def get_type(call: Call[Nothing, None]) -> EventTypeDetail:
    """An event type with the JSON Schema of its data, and an example in each mode."""
    name = call.path["type"]
    if name not in MEANINGS:
        raise NotFound(f"there is no event type {name}")
    event = example(name, public_url=call.gateway.settings.server.public_url)
    return EventTypeDetail(
        type=name,
        description=MEANINGS[name],
        schema=schema_of(name),
        examples=Examples(
            **{mode.value: _delivery(event, mode) for mode in Mode},
            flat=_delivery(event, Mode.JSON, flat=True),
        ),
    )


def _delivery(event: Event, mode: Mode, *, flat: bool = False) -> ExampleDelivery:
    headers, body = in_mode(event, mode, flat=flat)
    own = {
        "user-agent": USER_AGENT.decode(),
        "webhook-id": BATCH_ID if mode is Mode.BATCH else event.id,
        "webhook-timestamp": STAMP,
        "webhook-signature": SIGNATURE,
    }
    return ExampleDelivery(headers=headers | own, body=msgspec.Raw(body))


def _open(path: str, name: str, act: Any, answer: Any) -> Operation:
    return Operation(
        method="GET",
        path=path,
        name=name,
        roles=EVERYONE,
        act=act,
        answer=answer,
        codes=("not_found",) if "{" in path else (),
        stored=False,
    )


ABOUT: Sequence[Operation] = (
    _open("/v1/me", "me", me, Me),
    _open("/v1/event-types", "listEventTypes", list_types, list[EventType]),
    _open("/v1/event-types/{type}", "getEventType", get_type, EventTypeDetail),
)
