"""The calls about the gateway itself and about who asks: what n8n and Zapier try a key with."""

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway import __version__
from gateway.catalogue import MEANINGS, schema_of
from gateway.errors import NotFound
from gateway.keys import Role
from gateway.web.api.operation import EVERYONE, Call, Nothing, Operation


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: the key's id, None for the owner of the control socket, and its role."""

    key: str | None
    role: Role
    name: str
    version: str


class EventType(msgspec.Struct, frozen=True, kw_only=True):
    """An event type that the gateway makes."""

    type: str
    description: str


class EventTypeDetail(EventType, frozen=True, kw_only=True):
    """The same, with the JSON Schema of its `data`."""

    schema: dict[str, Any]


async def me(call: Call[Nothing, None]) -> Me:
    """Whose key this is: for trying whether it works."""
    who = call.principal
    name = f"{who.role} {who.key}" if who.key is not None else "the owner"
    return Me(key=who.key, role=who.role, name=name, version=__version__)


async def list_types(_: Call[Nothing, None]) -> list[EventType]:
    """The event types that there are, for a list to choose from."""
    return [EventType(type=name, description=text) for name, text in MEANINGS.items()]


async def get_type(call: Call[Nothing, None]) -> EventTypeDetail:
    """An event type with the JSON Schema of its data."""
    name = call.path["type"]
    if name not in MEANINGS:
        raise NotFound(f"there is no event type {name}")
    return EventTypeDetail(type=name, description=MEANINGS[name], schema=schema_of(name))


def _open(path: str, name: str, act: Any, answer: Any) -> Operation:
    return Operation(
        method="GET",
        path=path,
        name=name,
        roles=EVERYONE,
        act=act,
        answer=answer,
        codes=("not_found",) if "{" in path else (),
    )


ABOUT: Sequence[Operation] = (
    _open("/v1/me", "me", me, Me),
    _open("/v1/event-types", "listEventTypes", list_types, list[EventType]),
    _open("/v1/event-types/{type}", "getEventType", get_type, EventTypeDetail),
)
