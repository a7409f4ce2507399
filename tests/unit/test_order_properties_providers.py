"""What holds for an order whatever its providers say: facts of the real normalizers, in any arrival.

A telling is what one callback or one poll says. Orders walk through any statuses; polls and
callbacks tell of it, of one provider or of several, in any order, some of them twice.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gateway.events import order_schema
from gateway.models import Fact, Millis, Reading, Reply, Watched
from gateway.orders.render import summary
from gateway.orders.tables import RANKS
from gateway.poller.observation import observe
from gateway.providers.base import Polled
from gateway.providers.marketiger import STATUSES as CODES
from gateway.providers.marketiger import Marketiger, MarketigerOptions
from gateway.providers.printeers import Printeers, PrinteersOptions
from gateway.providers.printstudio import ORDER_EVENTS, STATUSES, PrintStudio, PrintStudioOptions
from gateway.providers.threeyourmind import ROWS, ThreeYourMind, ThreeYourMindOptions
from gateway.stores.base import Watch
from tests.providers.callbacks import (
    as_bytes,
    callback,
    charge,
    dispute,
    envelope,
    intent,
    read_stripe,
    refund,
    session,
    stripe_event,
)
from tests.unit.order_shop import NOTHING, ORDER, Shop, data

pytestmark = pytest.mark.slow

EXAMPLES = settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
FEW = settings(EXAMPLES, max_examples=40)
VALIDATOR = Draft202012Validator(order_schema())
START = 1_750_000_000  # seconds
GUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
REFERENCE = "Order_5jcavdegg8n9pvgxq887jq0zbc"
SHIPMENT = "Shipment_00000000000000000000000001"


class Telling(msgspec.Struct, frozen=True):
    """What one callback or poll says; `baseline` when it is of the first listing."""

    source: str
    facts: Sequence[Fact]
    baseline: bool = False


def iso(second: int) -> str:
    return datetime.fromtimestamp(START + second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# Polls: what a provider's API answers, one reply after the other.


class Answer(msgspec.Struct, frozen=True):
    """The bodies of one asking: the order, and what belongs to it."""

    second: int
    bodies: Sequence[dict[str, Any]]


def polled(
    provider: Polled, number: str, answers: Sequence[Answer], *, listed: bool
) -> list[Telling]:
    """What the poller hands on; the first is silent when the order was `listed` before all."""
    source = provider.name
    watch = Watch(
        source=source, number=number, order=ORDER, changed_at=Millis(0), next_at=Millis(0)
    )
    found: list[Telling] = []
    for place, answer in enumerate(answers):
        asked = Millis((START + answer.second) * 1000 + 1 + place)
        replies = [
            Reply(status=200, headers={}, body=as_bytes(body), at=asked) for body in answer.bodies
        ]
        reading: Reading = provider.read(Watched(number=number, order=ORDER), replies)
        observation = observe(reading, replies, watch)
        watch = msgspec.structs.replace(watch, seen=observation.seen, said_at=reading.at)
        found.append(Telling(source, observation.facts, baseline=listed and not place))
    return found


def seconds(draw: st.DrawFn, count: int) -> list[int]:
    """Times in order, some of them alike."""
    return sorted(draw(st.lists(st.integers(0, 40), min_size=count, max_size=count)))


def walks(draw: st.DrawFn, words: Sequence[Any]) -> list[tuple[int, Any]]:
    """Statuses at their times; any may follow any."""
    walk = draw(st.lists(st.sampled_from(words), min_size=1, max_size=8))
    return list(zip(seconds(draw, len(walk)), walk, strict=True))


def tiger(draw: st.DrawFn) -> list[Telling]:
    options = MarketigerOptions(
        shipped_when=draw(st.sampled_from(["status", "tracking"])),
        line_status=draw(st.sampled_from([{}, {"20": "printing", "30": "ready"}])),
    )
    answers: list[Answer] = []
    for second, code in walks(draw, [*CODES, 7, 99]):
        number = draw(st.sampled_from([None, "JJD1", "JJD2"]))
        order = {
            "id": GUID,
            "status": code,
            "createdDate": iso(0),
            "updated": draw(st.sampled_from([iso(second), iso(0), None])),
            "trackAndTrace": {"trackingNumber": number},
            "orderModels": [{"poId": 1, "status": draw(st.sampled_from([0, 20, 30]))}],
        }
        answers.append(Answer(second, [{"success": True, "data": {"order": order}}]))
    return polled(Marketiger(options), GUID, answers, listed=False)  # it has no list


def mind(draw: st.DrawFn) -> list[Telling]:
    full = {f"is {word}": word for word in ROWS}
    options = ThreeYourMindOptions(status_map=draw(st.sampled_from([full, full, {}])))
    answers = [
        Answer(
            second,
            [
                {
                    "id": 501,
                    "status": status,
                    "additionalInformation": {"reference": ORDER},
                    "totalPrice": {"inclusiveTax": "49.26", "currency": "EUR"},
                    "dateCreated": iso(0),
                    "lastModified": iso(second),
                }
            ],
        )
        for second, status in walks(draw, [*full, "customs"])
    ]
    return polled(ThreeYourMind(options), "501", answers, listed=draw(st.booleans()))


def press(draw: st.DrawFn) -> list[Telling]:
    """Of two lines, ever more is shipped and cancelled."""
    words = ["created", "paid", "printing", "ready", "shipped", "cancelled", "on_hold"]
    options = PrinteersOptions(status_map={word: word for word in words})
    lines = [
        {"index": index, "quantity": 3, "shippedQuantity": 0, "canceledQuantity": 0}
        for index in range(2)
    ]
    answers: list[Answer] = []
    for second, status in walks(draw, [None, None, *words, "odd"]):
        index, way = draw(st.integers(0, 1)), draw(st.sampled_from(["shipped", "canceled"]))
        done = lines[index]["shippedQuantity"] + lines[index]["canceledQuantity"]
        lines[index] |= {
            f"{way}Quantity": lines[index][f"{way}Quantity"] + draw(st.integers(0, 3 - done))
        }
        order = {
            "reference": REFERENCE,
            "customIdentifier": ORDER,
            "status": status,
            "orderlines": [dict(line) for line in lines],
        }
        parcel = {"shipment": {"trackingCode": draw(st.sampled_from(["GLS1", "GLS2"]))}}
        shipped = any(line["shippedQuantity"] for line in lines)
        answers.append(Answer(second, [{"order": order}, *([parcel] if shipped else [])]))
    return polled(Printeers(options), REFERENCE, answers, listed=draw(st.booleans()))


STUDIO = PrintStudio(PrintStudioOptions(currency="EUR"))


def studio_answer(second: int, status: str, tracking: str | None = None) -> Answer:
    order = {"id": ORDER, "status": status, "total": 49.26, "createdAt": iso(0)}
    return Answer(second, [order | ({"trackingNumber": tracking} if tracking else {})])


def studio_call(second: int, event: str, tracking: str | None = None) -> Telling:
    content = {"orderId": ORDER, "trackingNumber": tracking}
    reading = STUDIO.normalize(callback(as_bytes(envelope(event, content, timestamp=iso(second)))))
    return Telling("printstudio", reading.facts)


def studio(draw: st.DrawFn) -> list[Telling]:
    """Polls, and any callbacks at any time."""
    trackings = st.sampled_from([None, "1Z1", "1Z2"])
    answers = [
        studio_answer(second, status, draw(trackings))
        for second, status in walks(draw, [*STATUSES, "in_customs"])
    ]
    calls = [
        studio_call(second, event, draw(trackings))
        for second, event in walks(draw, list(ORDER_EVENTS))
    ]
    ways = draw(st.sampled_from(["both", "polls", "calls"]))
    found = calls if ways != "polls" else []
    if ways != "calls":
        found += polled(STUDIO, ORDER, answers, listed=draw(st.booleans()))
    return found


NAMED = {"metadata": {"order_id": ORDER}}
STRIPES: Sequence[tuple[str, dict[str, Any]]] = (
    ("checkout.session.async_payment_succeeded", session(**NAMED)),
    ("checkout.session.async_payment_failed", session(**NAMED)),
    ("checkout.session.expired", session(**NAMED)),
    ("payment_intent.succeeded", intent()),
    ("payment_intent.succeeded", intent(id="pi_2", latest_charge="ch_2", **NAMED)),
    ("payment_intent.payment_failed", intent()),
    ("payment_intent.canceled", intent()),
    *(
        ("refund.updated", refund(id=name, amount=amount, status=status))
        for name, amount in (("re_1", 1000), ("re_2", 3926))
        for status in ("pending", "succeeded", "failed")
    ),
    ("charge.refunded", charge(amount_refunded=1000)),
    ("charge.refunded", charge(amount_refunded=4926)),
    ("charge.dispute.created", dispute()),
    ("charge.dispute.closed", dispute(status="won")),
)
EXPIRIES = ("checkout.session.expired", "payment_intent.canceled")


def stripe(draw: st.DrawFn) -> list[Telling]:
    """Any of Stripe's events, and the session that links them to the order."""
    status = draw(st.sampled_from(["paid", "unpaid"]))
    completed = ("checkout.session.completed", session(payment_status=status, **NAMED))
    some = draw(st.lists(st.sampled_from(STRIPES), max_size=10))
    return by_stripe(draw, [completed, *some])


def by_stripe(draw: st.DrawFn, events: Sequence[tuple[str, dict[str, Any]]]) -> list[Telling]:
    """What events of Stripe say, one after the other."""
    tellings: list[Telling] = []
    for second, (kind, thing) in zip(seconds(draw, len(events)), events, strict=True):
        event = stripe_event(kind, thing, created=START + second)
        tellings.append(Telling("stripe", read_stripe(event, cancel_from=EXPIRIES).facts))
    return tellings


WALKS: Sequence[Callable[[st.DrawFn], list[Telling]]] = (tiger, mind, press, studio, stripe)


@st.composite
def histories(draw: st.DrawFn) -> list[Telling]:
    """Everything that is told of one order by one provider, or by up to four."""
    some = draw(st.lists(st.sampled_from(WALKS), min_size=1, max_size=4, unique=True))
    return [telling for walk in some for telling in walk(draw)]


@st.composite
def arrivals(draw: st.DrawFn) -> list[Telling]:
    """A history in any order, with repeats."""
    history = draw(histories())
    again = draw(st.lists(st.sampled_from(history), max_size=4))
    return draw(st.permutations([*history, *again]))


def told(arrival: Sequence[Telling]) -> Shop:
    shop = Shop()
    for telling in arrival:
        more = {"source": telling.source, "provider": telling.source}
        shop.tell(*telling.facts, **more, baseline=telling.baseline)
    return shop


# What holds.


@EXAMPLES
@given(arrivals())
def test_an_order_begins_once_and_counts_without_gaps(arrival: list[Telling]) -> None:
    shop = told(arrival)
    assert shop.waiting == {}
    assert list(shop.states) == [ORDER]
    kinds, changes = shop.types(), [data(event)["change"] for event in shop.events]
    assert [event.seq for event in shop.events] == list(range(1, len(kinds) + 1))
    assert shop.seqs == {ORDER: len(kinds)}
    baseline = shop.state().baseline
    assert [place for place, kind in enumerate(kinds) if kind == "created"] == [0] * (not baseline)
    marked = [place for place, change in enumerate(changes) if change["baseline"]]
    assert marked == [0] * (baseline and bool(kinds))
    if kinds and not baseline:
        assert data(shop.events[0])["previous"] == NOTHING
    if baseline:
        assert any(telling.baseline for telling in arrival)


def occurrences(shop: Shop) -> Iterator[tuple[Any, ...]]:
    """What each event says has happened, read off the event; a cancel after `reopened` is another."""
    reopened = 0
    for kind, event in zip(shop.types(), shop.events, strict=True):
        change, state = data(event)["change"], data(event)["state"]
        reopened += change["what"] == "reopened"
        if kind == "updated":
            yield kind, change["what"], change["id"], change["value"], event.time
        elif kind == "on_hold":
            yield kind, state["hold"], event.time
        elif kind == "refunded":
            yield kind, change["id"] or str(change["amount"])
        else:
            yield kind, change["id"], change["quantity"], reopened * (kind == "cancelled")


@EXAMPLES
@given(arrivals())
def test_nothing_is_told_twice(arrival: list[Telling]) -> None:
    shop = told(arrival)
    assert len({event.id for event in shop.events}) == len(shop.events)
    said = list(occurrences(shop))
    assert len(said) == len(set(said))
    once = told(list({id(telling): telling for telling in arrival}.values()))
    assert [event.id for event in once.events] == [event.id for event in shop.events]


@EXAMPLES
@given(arrivals())
def test_a_payment_is_implied_once_and_only_while_none_is_known(arrival: list[Telling]) -> None:
    shop = told(arrival)
    paid = [data(event)["change"] for event in shop.events if event.type == "order.paid"]
    assert [place for place, change in enumerate(paid) if change["implied"]] in ([], [0])
    assert [place for place, change in enumerate(paid) if change["id"] is None] in ([], [0])
    assert all(change["additional"] for change in paid[1:])
    # The first payment of a baseline may have been recorded silently.
    assert shop.state().baseline or not any(change["additional"] for change in paid[:1])


@st.composite
def refunds(draw: st.DrawFn) -> list[Telling]:
    """A shop whose order is refunded at its end, and Stripe's refunds, failed ones too."""
    answers = [studio_answer(10, "paid"), studio_answer(30, "refunded")]
    shop = polled(STUDIO, ORDER, answers, listed=draw(st.booleans()))
    kinds = [entry for entry in STRIPES if "refund" in entry[0]]
    some = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=5))
    completed = ("checkout.session.completed", session(**NAMED))
    return draw(st.permutations([*shop, *by_stripe(draw, [completed, *some])]))


@EXAMPLES
@given(refunds())
def test_a_refund_without_name_and_amount_is_told_only_while_none_stands(
    arrival: list[Telling],
) -> None:
    """It may be any of those that have a name; one that failed stands no more."""
    for event in told(arrival).events:
        change = data(event)["change"]
        if event.type == "order.refunded" and change["id"] is None and change["amount"] is None:
            assert data(event)["previous"]["refund"] is None


@EXAMPLES
@given(arrivals())
def test_fulfilment_of_a_provider_order_only_rises(arrival: list[Telling]) -> None:
    highest: dict[str | None, int] = {}
    for event in told(arrival).events:
        change = data(event)["change"]
        state = change["value"] if change["what"] == "fulfilment" else event.type[6:]
        if change["partial"] or state not in RANKS or state == "created":
            continue
        assert RANKS[state] > highest.get(change["id"], -1)
        highest[change["id"]] = RANKS[state]


@EXAMPLES
@given(histories().flatmap(lambda history: st.tuples(st.just(history), st.permutations(history))))
def test_any_order_of_arrival_ends_in_the_same_state(
    orders: tuple[list[Telling], list[Telling]],
) -> None:
    first, second = (told(order).state() for order in orders)
    assert summary(first) == summary(second)
    assert tracks(first) == tracks(second)


def tracks(state: Any) -> Any:
    """All that is known, without what was told of it, and in which order."""
    found = msgspec.to_builtins(state)
    for name in ("seq", "told", "aliases", "baseline", "lines", "lines_at"):
        del found[name]
    return found


@FEW
@given(arrivals())
def test_events_fit_their_schema(arrival: list[Telling]) -> None:
    for event in told(arrival).events:
        VALIDATOR.validate(data(event))


# Callbacks beside polls.


LIFE: Sequence[tuple[str, str]] = (
    ("pending_payment", "order.created"),
    ("paid", "order.paid"),
    ("processing", ""),
    ("printing", "order.printing"),
    ("post_processing", ""),
    ("ready", "order.ready"),
    ("shipped", "order.shipped"),
    ("refunded", ""),
)


@st.composite
def both_ways(draw: st.DrawFn) -> tuple[list[Telling], list[Telling]]:
    """Polls that see some of an order's life; and with them its callbacks, ahead, late or twice."""
    seen = draw(st.lists(st.sampled_from(LIFE), min_size=1, unique=True).map(sorted_life))
    answers = [studio_answer(10 * LIFE.index(step), step[0]) for step in seen]
    polls = polled(STUDIO, ORDER, answers, listed=False)
    slots: list[list[Telling]] = [[] for _ in range(len(polls) + 1)]
    for place, (_, event) in enumerate(seen):
        late = draw(st.lists(st.integers(place, len(polls)), max_size=2))
        for slot in late if event else []:
            slots[slot].append(studio_call(10 * place - 5 if place else 0, event))
    mixed = [
        telling
        for slot, calls in enumerate(slots)
        for telling in (*draw(st.permutations(calls)), *polls[slot : slot + 1])
    ]
    return polls, mixed


def sorted_life(steps: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted(steps, key=LIFE.index)


@EXAMPLES
@given(both_ways())
def test_callbacks_beside_polls_add_nothing_and_change_no_id(
    ways: tuple[list[Telling], list[Telling]],
) -> None:
    alone, both = (told(way) for way in ways)
    assert {event.id for event in both.events} == {event.id for event in alone.events}
    assert len(both.events) == len(alone.events)
