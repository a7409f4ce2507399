"""The call that publishes: CloudEvents of internal services, in all three content modes."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from gateway.config.values import SHOP
from gateway.errors import BadRequest, NotFound, UnsupportedMedia
from gateway.published import BATCHED, STRUCTURED, Published, read
from gateway.publisher import PublishState
from gateway.runtime import Gateway
from gateway.stores.views import Records
from gateway.web.api.doors import read_body
from gateway.web.api.operation import PUBLISHERS, Call, Operation


class PublishQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which shop the events are of; an order event says that itself, and has to agree."""

    shop: Annotated[str, Meta(min_length=1, max_length=100)] | None = None


class PublishedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an event: our id for it, and the names of the subscriptions that it is for.

    A `duplicate` has the `source` and `id` of an earlier one: that one counts. An order event may
    say what was known (`merged`), or what later facts had overtaken (`superseded`): then it made
    no event, and `id` is null.
    """

    id: str | None
    duplicate: bool
    state: PublishState
    subscriptions: list[str]


async def publish(call: Call[PublishQuery, None]) -> PublishedEvent | list[PublishedEvent]:
    """Publish a CloudEvent, or a batch; it is stored durably, and delivered like all others."""
    headers = call.request.headers
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMedia("send the body as it is, without a content encoding")
    if call.query.shop is not None and SHOP.fullmatch(call.query.shop) is None:
        raise BadRequest("shop: not a name of a shop")
    limit = call.gateway.settings.server.body_limit
    body = await read_body(call.request, limit)
    kind = headers.get("content-type", "")
    events = read(kind, headers.items(), body)
    answers = await published(call.gateway, events, call.query.shop)
    return answers if kind.lower().startswith(BATCHED) else answers[0]


async def published(
    gateway: Gateway, events: Sequence[Published], shop: str | None
) -> list[PublishedEvent]:
    """Publish them, and say what became of each; the errors are those of `Publisher.publish`."""
    accepted = await gateway.publisher.publish(events, shop=shop)
    async with gateway.store.records() as records:
        return [
            PublishedEvent(
                id=one.id,
                duplicate=one.duplicate,
                state=one.state,
                subscriptions=await _names(records, one.id) if one.id is not None else [],
            )
            for one in accepted
        ]


async def _names(records: Records, event: str) -> list[str]:
    """Whom an event is for; nobody where it is a repeat of one that retention has taken by now."""
    try:
        row, _ = await records.event_body(event)
    except NotFound:
        return []
    return [routing.subscription for routing in row.routing if routing.matched]


PUBLISHING: Sequence[Operation] = (
    Operation(
        method="POST",
        path="/v1/events",
        name="publishEvents",
        roles=PUBLISHERS,
        act=publish,
        query=PublishQuery,
        answer=PublishedEvent | list[PublishedEvent],
        status=202,
        codes=("too_large", "unsupported_media_type", "unprocessable"),
        takes=(STRUCTURED, BATCHED, "application/json"),
    ),
)
