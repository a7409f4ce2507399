"""Every provider of ours keeps the contract that plugins are held against."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pytest

from gateway.models import Callback, Millis, Reply
from gateway.providers.base import Options, calls, is_polled
from gateway.providers.marketiger import MarketigerOptions
from gateway.providers.printeers import PrinteersOptions
from gateway.providers.printstudio import ORDER_EVENTS, PrintStudioOptions
from gateway.providers.registry import provider_class, provider_names
from gateway.providers.stripe import EVENTS, Kind, StripeOptions
from gateway.providers.threeyourmind import ThreeYourMindOptions
from gateway.testing.calling import check_calling
from gateway.testing.polled import OrderSample, PageSample, check_polled
from tests.providers import marketiger_replies, printeers_replies, printstudio_replies
from tests.providers.callbacks import (
    CREATED,
    SECRET,
    as_bytes,
    callback,
    charge,
    digest,
    dispute,
    envelope,
    intent,
    refund,
    session,
    stripe_event,
)

OURS = [name for name in provider_names() if provider_class(name).__module__.startswith("gateway.")]


class CallingCase(NamedTuple):
    samples: Sequence[Callback]
    options: Sequence[Options]


class PolledCase(NamedTuple):
    replies: Sequence[OrderSample]
    pages: Sequence[PageSample]
    options: Sequence[Options]


# Callbacks.


def stripe_sample(event: Mapping[str, Any]) -> Callback:
    body = as_bytes(event)
    signed = digest(f"{CREATED}.".encode() + body)
    return callback(body, [(b"stripe-signature", f"t={CREATED},v1={signed}".encode())])


def printstudio_sample(event: Mapping[str, Any]) -> Callback:
    body = as_bytes(event)
    return callback(body, [(b"x-printstudio-signature", f"sha256={digest(body)}".encode())])


THINGS = {
    Kind.SESSION: session(customer_details={"email": "a@b.example", "address": {"city": "Bonn"}}),
    Kind.INTENT: intent(charges={"data": [{"id": "ch_0"}]}, last_payment_error={"code": "x"}),
    Kind.CHARGE: charge(),
    Kind.REFUND: refund(),
    Kind.DISPUTE: dispute(),
}
DATA = {
    "orderId": "ord-1",
    "jobId": "job-1",
    "trackingNumber": "1Z",
    "total": 49.26,
    "currency": "EUR",
    "customer": {"name": "Ada"},
    "lineItems": [{"id": "li-1", "quantity": 1, "unitPrice": 49.26, "total": 49.26}],
}
CALLING: Mapping[str, CallingCase] = {
    "stripe": CallingCase(
        samples=[
            stripe_sample(stripe_event(kind, THINGS[row.kind])) for kind, row in EVENTS.items()
        ],
        options=[
            StripeOptions(),
            StripeOptions(cancel_from=("checkout.session.expired",), unnamed_session="wait"),
        ],
    ),
    "printstudio": CallingCase(
        samples=[
            printstudio_sample(envelope(event, DATA))
            for event in (*ORDER_EVENTS, "job.failed", "inventory.low", "new.event")
        ],
        options=[PrintStudioOptions(), PrintStudioOptions(currency="EUR")],
    ),
}


# Replies.


def marketiger_sample(**fields: Any) -> OrderSample:
    order = marketiger_replies.found(trackAndTrace=marketiger_replies.TRACKING, **fields)
    reply = marketiger_replies.reply(order)
    return OrderSample(number=marketiger_replies.NUMBER, replies=[reply])


def printeers_sample(*lines: tuple[object, object, object], **more: Any) -> OrderSample:
    first = printeers_replies.order(*lines, **more)
    found = [printeers_replies.parcel("1Z") for _ in more.get("shipments", ())]
    replies = [printeers_replies.reply(first), *found]
    return OrderSample(number=printeers_replies.REF, replies=replies)


THREEYOURMIND_AT = Millis(1_760_000_600_000)
THREEYOURMIND: Mapping[str, Any] = {
    "id": 501,
    "fullNumber": "100001-3D-Project-O2",
    "status": "x",
    "dateCreated": "2025-10-09T08:53:20Z",
    "lastModified": "2025-10-09T08:58:20Z",
    "currency": "EUR",
    "totalPrice": {"inclusiveTax": "49.20", "currency": "EUR"},
    "additionalInformation": {"reference": "1001"},
    "lines": [{"id": 7, "name": "a", "quantity": 1, "totalPrice": "1.0"}],
    "customer": {"name": "Ada", "email": "a@b.example", "phone": "1"},
    "shippingAddress": {"city": "Bonn"},
}


def threeyourmind_reply(value: Any) -> Reply:
    return Reply(status=200, headers={}, body=as_bytes(value), at=THREEYOURMIND_AT)


def threeyourmind_sample(**fields: Any) -> OrderSample:
    return OrderSample(number="501", replies=[threeyourmind_reply({**THREEYOURMIND, **fields})])


def printstudio_order(**fields: Any) -> OrderSample:
    value = printstudio_replies.ORDER | fields
    number = printstudio_replies.NUMBER
    return OrderSample(number=number, replies=[printstudio_replies.answered(value)])


WORDS = ("paid", "printing", "shipped", "on_hold", "cancelled", "refunded")
POLLED: Mapping[str, PolledCase] = {
    "marketiger": PolledCase(
        replies=[marketiger_sample(status=status) for status in (0, 2, 5, 10, 77)],
        pages=[],
        options=[
            MarketigerOptions(),
            MarketigerOptions(
                currency="EUR",
                price_unit="minor",
                shipped_when="tracking",
                line_status={"0": "ready"},
            ),
        ],
    ),
    "printeers": PolledCase(
        replies=[
            printeers_sample((2, 0, 0), status="waiting", customIdentifier="1001"),
            printeers_sample((3, 1, 1), shipments=[printeers_replies.shipment(1)]),
            printeers_sample(
                (1, 1, 0), (1, 0, 1), status="nobody knows", createdAt="2025-06-15T15:00:00Z"
            ),
        ],
        pages=[
            PageSample(
                reply=printeers_replies.reply(
                    {"orders": [printeers_replies.order((1, 0, 0))["order"]], "nextCursor": "n/2"}
                )
            )
        ],
        options=[PrinteersOptions(), PrinteersOptions(status_map=printeers_replies.MAP)],
    ),
    "printstudio": PolledCase(
        replies=[
            printstudio_order(status=status) for status in ("pending_payment", "refunded", "x")
        ],
        pages=[
            PageSample(
                reply=printstudio_replies.answered(
                    {"orders": [printstudio_replies.ORDER], "limit": 1}
                ),
                cursor=cursor,
            )
            for cursor in (None, "2")
        ],
        options=[PrintStudioOptions(), PrintStudioOptions(currency="EUR")],
    ),
    "threeyourmind": PolledCase(
        replies=[threeyourmind_sample(status=word) for word in ("shipped", "on_hold", "x")],
        pages=[
            PageSample(
                reply=threeyourmind_reply(
                    {"currentPage": 1, "totalPages": 2, "results": [THREEYOURMIND]}
                )
            )
        ],
        options=[
            ThreeYourMindOptions(),
            ThreeYourMindOptions(status_map={word: word for word in WORDS}),
        ],
    ),
}


@pytest.mark.parametrize("name", OURS)
def test_every_provider_has_samples(name: str) -> None:
    provider = provider_class(name)
    assert calls(provider) is (name in CALLING), f"add samples of {name} to CALLING"
    assert is_polled(provider) is (name in POLLED), f"add samples of {name} to POLLED"


@pytest.mark.slow
@pytest.mark.parametrize("name", CALLING)
def test_what_calls_keeps_the_contract(name: str) -> None:
    provider, case = provider_class(name), CALLING[name]
    assert calls(provider)
    for options in case.options:
        check_calling(provider, samples=case.samples, secrets=[SECRET], options=options)


@pytest.mark.slow
@pytest.mark.parametrize("name", POLLED)
def test_what_is_asked_keeps_the_contract(name: str) -> None:
    provider, case = provider_class(name), POLLED[name]
    assert is_polled(provider)
    for options in case.options:
        check_polled(provider, replies=case.replies, pages=case.pages, options=options)
