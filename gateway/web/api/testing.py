"""The calls that try things: a test event at a subscription's endpoint, filters on an event."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from gateway.catalogue import MEANINGS, PUBLIC_URL, example
from gateway.config.reader import Given, Place, kinds_of, read_keys, suggestion
from gateway.config.settings import SubscriptionSettings
from gateway.errors import BadRequest, Forbidden
from gateway.filters.opened import Opened
from gateway.filters.reading import read_filters
from gateway.keys import Role
from gateway.models import Event, Subscription
from gateway.tester import EndpointAnswer, answer_of
from gateway.trial import Trial, event_of, tried
from gateway.web.api.operation import READERS, SUBSCRIBERS, Call, Nothing, Operation
from gateway.web.api.subscribing import find
from gateway.web.api.subscriptions import Texts

KEYS = ("filters", "types", "sources", "shops")
KINDS = {key: kind for key, kind in kinds_of(SubscriptionSettings).items() if key in KEYS}
EVENTS = ("event", "event_id", "type")
SOURCES = "/sources/"  # in the CloudEvents `source` of ours, before the source's name
ELSEWHERE = "published"  # the source of events that are not of ours
SHOP = "default"

_object = msgspec.json.Decoder(dict[str, Raw])

Kind = Annotated[str, Meta(max_length=200)]


class TestRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which test event is sent: without `type`, the first of the catalogue that is wanted."""

    type: Kind | None = None


class FilterRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is tried, as a subscription has it, and on which event: exactly one of the last three.

    What is left out lets everything through. `event` is a CloudEvent, `event_id` one that is kept,
    and `type` stands for the catalogue's example.
    """

    filters: list[Any] | str | UnsetType = UNSET
    types: Texts | UnsetType = UNSET
    sources: Texts | UnsetType = UNSET
    shops: Texts | UnsetType = UNSET
    event: Raw | UnsetType = UNSET
    event_id: Kind | UnsetType = UNSET
    type: Kind | UnsetType = UNSET


async def test_subscription(call: Call[Nothing, TestRequest]) -> EndpointAnswer:
    """Send a test event, signed as a real one, and say how the endpoint took it."""
    status, principal = find(call), call.principal
    tested = await call.gateway.tester.test(status, call.body.type)
    own = principal.key is None or principal.key == status.subscription.owner
    return answer_of(tested, consumer=principal.role is Role.SUBSCRIBER, whole=own)


async def test_filter(call: Call[Nothing, FilterRequest]) -> Trial:
    """Try filters on an event, and say which term holds and which does not."""
    wanted = call.body
    keys = {key: value for key in KEYS if (value := getattr(wanted, key)) is not UNSET}
    given = {key: Given(value) if isinstance(value, str) else value for key, value in keys.items()}
    found = read_keys(KINDS, given, Place(""))
    event = await _event(call)
    # Without types any type will do, also those that "*" leaves out.
    subscription = Subscription(id=0, name="", url="", **{"types": (event.type,), **found})
    return tried(subscription, event, read_filters(subscription.filters))


async def _event(call: Call[Any, FilterRequest]) -> Event:
    wanted = call.body
    if sum(getattr(wanted, key) is not UNSET for key in EVENTS) != 1:
        raise BadRequest("say which event it is tried on: give one of event, event_id and type")
    if isinstance(wanted.event, Raw):
        return _given(bytes(wanted.event))
    if isinstance(wanted.event_id, str):
        return await _kept(call, wanted.event_id)
    assert isinstance(wanted.type, str)
    if wanted.type not in MEANINGS:
        near = suggestion(wanted.type, MEANINGS)
        raise BadRequest(f"type: there is no example of {wanted.type}{near}")
    public_url = call.gateway.settings.server.public_url or PUBLIC_URL
    return example(wanted.type, public_url=public_url)


async def _kept(call: Call[Any, Any], event_id: str) -> Event:
    if call.principal.role is Role.SUBSCRIBER:
        raise Forbidden(
            "event_id: a key of the role subscriber may not read events: give the event itself"
        )
    async with call.gateway.store.records() as records:
        row, body = await records.event_body(event_id)
    return event_of(row.type, row.source, row.shop, body)


def _given(body: bytes) -> Event:
    """A CloudEvent as somebody has it, or as much of one as filters look at; `BadRequest`.

    The source and the shop that it counts as are those that the gateway has put into it.
    """
    try:
        _object.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise BadRequest("event: expected a CloudEvent, a JSON object") from None
    opened = Opened.of(body)
    kind = opened.attribute("type")
    if not kind:
        raise BadRequest("event.type: is required, such as order.paid")
    shop = opened.at(("shop",)).raw
    return event_of(
        kind,
        _source_of(kind, opened.attribute("source") or ""),
        shop if isinstance(shop, str) and kind.startswith("order.") else SHOP,
        body,
    )


def _source_of(kind: str, attribute: str) -> str:
    """The source's name, from the CloudEvents `source`."""
    if kind.startswith("gateway."):
        return "gateway"
    _, mark, name = attribute.rpartition(SOURCES)
    return name if mark else ELSEWHERE


TESTING: Sequence[Operation] = (
    Operation(
        method="POST",
        path="/v1/subscriptions/test-filter",
        name="testFilter",
        roles=SUBSCRIBERS | READERS,
        act=test_filter,
        body=FilterRequest,
        answer=Trial,
        codes=("not_found", "too_large", "unsupported_media_type"),
        safe=True,
    ),
    Operation(
        method="POST",
        path="/v1/subscriptions/{id}/test",
        name="testSubscription",
        roles=SUBSCRIBERS,
        act=test_subscription,
        body=TestRequest,
        answer=EndpointAnswer,
        codes=("not_found", "conflict", "too_large", "unsupported_media_type"),
    ),
)
