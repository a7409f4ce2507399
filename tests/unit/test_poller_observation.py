"""What is made of a provider's replies: the facts' order and times, and what the outbox takes."""

import itertools
import json
from typing import Any

import msgspec
import pytest

from gateway.errors import Malformed
from gateway.models import Fact, Line, Millis, Money, Reading, Reply, Shipment, Track
from gateway.poller.observation import (
    Observation,
    PolledSource,
    asked_for,
    fingerprint,
    intake_of,
    observe,
)
from gateway.poller.schedule import FINAL_AFTER
from gateway.providers.marketiger import Marketiger, MarketigerOptions
from gateway.stores.base import Intake, Watch

ASKED = Millis(1_795_264_825_000)
BEFORE = Millis(ASKED - 3_600_000)
EARLIER = Millis(ASKED - 7_200_000)
AFTER = Millis(ASKED + 1)


def fact(track: Track, state: str = "", at: Millis = BEFORE, **more: Any) -> Fact:
    return Fact(track=track, at=at, state=state, **more)


CREATED = fact(Track.CREATED, "created", at=EARLIER)
PAID = fact(Track.PAYMENT, "paid", implied=True)
HELD = fact(Track.HOLD, "on_hold", reason="on_hold")
SHIPPED = fact(Track.FULFILMENT, "shipped")
CHANGED = fact(Track.CHANGE, "99", what="status")
CANCELLED = fact(Track.FULFILMENT, "cancelled")
REFUNDED = fact(Track.REFUND, "succeeded")
IN_ORDER = [CREATED, PAID, HELD, SHIPPED, CHANGED, CANCELLED, REFUNDED]


def reading(*facts: Fact, at: Millis = BEFORE) -> Reading:
    return Reading(event_id="n1", event_type="10", at=at, facts=facts)


def reply(body: bytes = b'{"id": "n1"}') -> Reply:
    return Reply(status=200, headers={}, body=body, at=ASKED)


def watch(seen: bytes | None = None, said_at: Millis | None = None) -> Watch:
    return Watch(
        source="mt", number="n1", changed_at=EARLIER, next_at=ASKED, seen=seen, said_at=said_at
    )


def seen(*facts: Fact, watched: Watch | None = None, at: Millis = BEFORE) -> Observation:
    return observe(reading(*facts, at=at), [reply()], watched or watch())


def told(observed: Observation) -> list[Fact]:
    """The facts without the one that says that the status has a type of its own."""
    return [one for one in observed.facts if one.track is not Track.CHANGE or one.state]


def test_a_status_with_a_type_of_its_own_ends_one_without() -> None:
    part = fact(Track.FULFILMENT, "shipped", key="mt:n1", order="1001", links=("mt:n1",))
    *_, known = seen(CREATED, part).facts
    ended = fact(Track.CHANGE, "", what="status", key="mt:n1", order="1001", links=("mt:n1",))
    assert known == ended
    *_, unknown = seen(CREATED, part, CHANGED).facts
    assert unknown == msgspec.structs.replace(CHANGED, key="mt:n1")
    assert list(seen(CREATED).facts) == [CREATED]


def test_facts_are_applied_in_the_order_of_the_design() -> None:
    for facts in itertools.permutations(IN_ORDER, 5):
        assert told(seen(*facts)) == [one for one in IN_ORDER if one in facts]


def test_facts_of_a_kind_stay_as_the_provider_told_them() -> None:
    first, second = fact(Track.FULFILMENT, "shipped", quantity=2), SHIPPED
    assert told(seen(first, second)) == [first, second]
    assert told(seen(second, first)) == [second, first]


def test_times_of_the_provider_are_kept() -> None:
    assert [one.at for one in told(seen(CREATED, SHIPPED))] == [EARLIER, BEFORE]


def test_no_fact_lies_in_the_future() -> None:
    ahead = [msgspec.structs.replace(one, at=AFTER) for one in (CREATED, PAID, SHIPPED)]
    assert [one.at for one in told(seen(*ahead))] == [ASKED, ASKED, ASKED]


OTHER = fingerprint([CREATED])


@pytest.mark.parametrize(
    ("before", "said_at", "at", "shipped_at"),
    [
        (None, None, BEFORE, BEFORE),  # the first reply of all
        (OTHER, EARLIER, BEFORE, BEFORE),  # its time moved on with the facts
        (OTHER, BEFORE, BEFORE, ASKED),  # it stood still while they changed
        (OTHER, AFTER, BEFORE, Millis(AFTER + 1)),  # it went back, as our own clock may
        (fingerprint([CREATED, SHIPPED]), BEFORE, BEFORE, BEFORE),  # nothing changed
        (None, BEFORE, BEFORE, BEFORE),  # read anew: nobody knows whether they changed
        (OTHER, None, BEFORE, BEFORE),
    ],
)
def test_a_time_that_stood_still_is_not_the_time_of_a_change(
    before: bytes | None, said_at: Millis | None, at: Millis, shipped_at: Millis
) -> None:
    observed = seen(CREATED, SHIPPED, watched=watch(before, said_at), at=at)
    assert [one.at for one in told(observed)] == [EARLIER, shipped_at]


@pytest.mark.parametrize(
    "change",
    [
        {"state": "cancelled"},
        {"quantity": 2},
        {"implied": True},
        {"key": "k"},
        {"order": "1002"},
        {"links": ("stripe:cs_1",)},
        {"ids": {"stripe": ("cs_1",)}},
        {"total": Money(value="1.00", currency="EUR")},
        {"lines": (Line(id="1", quantity=2),)},
        {"shipment": Shipment(tracking_number="T1")},
        {"customer": {"email": "ada@shop.example"}},
    ],
)
def test_the_fingerprint_is_another_for_another_fact(change: dict[str, Any]) -> None:
    changed = msgspec.structs.replace(SHIPPED, **change)
    assert fingerprint([CREATED, changed]) != fingerprint([CREATED, SHIPPED])


def test_the_fingerprint_ignores_times_and_the_order_of_keys() -> None:
    later = [msgspec.structs.replace(one, at=AFTER) for one in IN_ORDER]
    assert fingerprint(later) == fingerprint(IN_ORDER)
    assert seen(*later).seen == seen(*IN_ORDER).seen
    ids = ({"a": ("1",), "b": ("2",)}, {"b": ("2",), "a": ("1",)})
    first, second = (fingerprint([fact(Track.CREATED, ids=order)]) for order in ids)
    assert first == second
    assert fingerprint([]) != fingerprint([CREATED])


def test_the_body_is_the_reply_or_the_array_of_replies() -> None:
    assert seen(CREATED).body == b'{"id": "n1"}'
    both = [reply(), msgspec.structs.replace(reply(b'{"shipments": []}'), at=AFTER)]
    observed = observe(reading(CREATED), both, watch())
    assert json.loads(observed.body) == [{"id": "n1"}, {"shipments": []}]
    assert observed.at == ASKED  # of the first request


def test_final_is_what_is_shipped_or_cancelled_whole() -> None:
    assert seen(CREATED, SHIPPED).final
    assert not seen(CREATED, PAID).final


def source(*include: str) -> PolledSource:
    return PolledSource(
        name="mt",
        provider=Marketiger(MarketigerOptions()),
        shop="berlin",
        include=include,
        interval=Millis(60_000),
        requests_per_minute=60,
        fingerprint=b"f",
        account=b"a",
    )


def taken(observed: Observation, *include: str, baseline: bool = False) -> Intake:
    return intake_of(
        source(*include),
        observed,
        recorded=AFTER,
        traceparent="00-a-b-01",
        watch=watch(),
        baseline=baseline,
    )


def test_the_outbox_takes_it_like_a_callback() -> None:
    intake = taken(seen(SHIPPED, CREATED), "customer")
    assert (intake.callback.source, intake.provider, intake.shop) == ("mt", "marketiger", "berlin")
    assert (intake.callback.body, intake.callback.received_at) == (b'{"id": "n1"}', ASKED)
    assert (intake.event_id, intake.event_type) == (f"poll:n1:{ASKED}", "10")
    assert [entry.fact for entry in intake.entries][:2] == [CREATED, SHIPPED]
    assert (intake.ignored, intake.malformed, intake.watch) == ("", "", watch())
    (origin,) = {entry.origin.event_id: entry.origin for entry in intake.entries}.values()
    assert origin.event_id == intake.event_id
    assert (origin.source, origin.provider, origin.shop) == ("mt", "marketiger", "berlin")
    assert (origin.recorded, origin.traceparent) == (AFTER, "00-a-b-01")
    assert (origin.include, origin.original, origin.baseline) == (("customer",), None, False)


def test_a_baseline_is_marked_in_every_entry() -> None:
    intake = taken(seen(CREATED, SHIPPED), baseline=True)
    assert [entry.origin.baseline for entry in intake.entries] == [True, True, True]


def test_a_reply_without_facts_says_why() -> None:
    assert taken(seen()).ignored == "it says nothing of an order"
    said = msgspec.structs.replace(reading(), ignored="a draft")
    assert taken(observe(said, [reply()], watch())).ignored == "a draft"


def test_the_original_goes_along_where_it_is_asked_for() -> None:
    intake = taken(seen(CREATED), "original")
    assert bytes(intake.entries[0].origin.original or b"") == b'{"id": "n1"}'
    both = observe(reading(CREATED), [reply(), reply(b"[1]")], watch())
    assert bytes(taken(both, "original").entries[0].origin.original or b"") == b'[{"id": "n1"},[1]]'


@pytest.mark.parametrize("body", [b"[" * 80 + b"]" * 80, b'{"x": 1e400000}', b'{"x": '])
def test_an_original_that_no_consumer_could_read_is_malformed(body: bytes) -> None:
    observed = observe(reading(CREATED), [reply(body)], watch())
    taken(observed)
    with pytest.raises(Malformed, match="original"):
        taken(observed, "original")


def asked(watched: Watch, observed: Observation) -> Watch:
    return asked_for(source(), watched, observed, AFTER, lambda low, high: (low + high) / 2)


def test_a_good_answer_is_written_into_the_watch() -> None:
    troubled = Watch(
        source="mt",
        number="n1",
        order="1001",
        baseline=True,
        changed_at=EARLIER,
        next_at=ASKED,
        failures=3,
        problem="it answered 502",
    )
    observed = seen(CREATED, PAID)
    assert asked(troubled, observed) == Watch(
        source="mt",
        number="n1",
        order="1001",
        seen=observed.seen,
        said_at=BEFORE,
        changed_at=BEFORE,
        next_at=Millis(AFTER + 60_000),
    )


@pytest.mark.parametrize(
    ("before", "wanted", "changed_at"),
    [
        (None, False, BEFORE),  # what is old when it is found is asked for as seldom as it is old
        (None, True, ASKED),  # a person waits for it
        (OTHER, False, ASKED),
        (fingerprint([CREATED, PAID]), False, EARLIER),
    ],
)
def test_when_an_order_changed(before: bytes | None, wanted: bool, changed_at: Millis) -> None:
    watched = msgspec.structs.replace(watch(before, EARLIER), wanted=wanted)
    assert asked(watched, seen(CREATED, PAID)).changed_at == changed_at
    ahead = reading(CREATED, PAID, at=Millis(AFTER + 5))
    if before is None and not wanted:
        assert asked(watched, observe(ahead, [reply()], watched)).changed_at == AFTER


def test_what_is_final_for_long_is_asked_for_no_more() -> None:
    old = msgspec.structs.replace(reading(CREATED, SHIPPED), at=Millis(AFTER - FINAL_AFTER))
    assert asked(watch(), observe(old, [reply()], watch())).next_at is None
    assert asked(watch(), seen(CREATED, SHIPPED)).next_at == AFTER + 60_000
