"""The samples that Stripe and PrintStudio offer, against the contract; and that it sees faults."""

import json
from collections.abc import Mapping
from typing import Any, Literal

import pytest

from gateway.models import Millis
from gateway.providers.base import Occasion, can_sample
from gateway.providers.printstudio import ORDER_EVENTS, PrintStudio, PrintStudioOptions
from gateway.providers.registry import provider_class, provider_names
from gateway.providers.stripe import EVENTS, Stripe, StripeOptions
from gateway.testing.sampling import check_samples
from tests.providers.callbacks import callback

OCCASION = Occasion(order="shop/1001", tag="0a", at=Millis(1_700_000_000_123))


@pytest.mark.parametrize("name", ["stripe", "printstudio"])
def test_the_contract(name: str) -> None:
    make = provider_class(name)
    assert can_sample(make)
    check_samples(make(make.Options()))


def test_who_never_calls_has_none() -> None:
    able = {name for name in provider_names() if can_sample(provider_class(name))}
    assert able >= {"stripe", "printstudio"}
    assert not able & {"marketiger", "printeers", "threeyourmind"}


def test_each_type_that_is_read_has_one() -> None:
    assert set(Stripe(StripeOptions()).samples(OCCASION)) == set(EVENTS)
    shop = set(PrintStudio(PrintStudioOptions()).samples(OCCASION))
    others = {"job.completed", "job.failed", "inventory.low", "printer.offline"}
    assert shop == set(ORDER_EVENTS) | others


def facts(options: StripeOptions) -> Mapping[str, Any]:
    provider = Stripe(options)
    found = {}
    for name, body in provider.samples(OCCASION).items():
        assert json.loads(body)["livemode"] is False
        assert json.loads(body)["data"]["object"].get("livemode", False) is False
        reading = provider.normalize(callback(body))
        found[name] = (reading.ignored, {fact.order for fact in reading.facts})
    return found


def test_every_sample_of_stripe_names_its_order_where_the_source_looks() -> None:
    soft: tuple[Literal["checkout.session.expired", "payment_intent.canceled"], ...]
    soft = ("checkout.session.expired", "payment_intent.canceled")
    for keys in (("order_id", "orderId"), ("number",)):
        found = facts(StripeOptions(order_id=keys, cancel_from=soft))
        assert set(found) == set(EVENTS)
        assert all(one == (None, {"shop/1001"}) for one in found.values())
    found = facts(StripeOptions(order_id=()))
    assert found["checkout.session.completed"] == (None, {"shop/1001"})
    assert found["payment_intent.succeeded"] == (None, {None})


class Stale(PrintStudio):
    """Forgets the tag."""

    def samples(self, occasion: Occasion) -> Mapping[str, bytes]:
        return super().samples(Occasion(order=occasion.order, tag="x", at=occasion.at))


class Misnamed(PrintStudio):
    def samples(self, occasion: Occasion) -> Mapping[str, bytes]:
        return {"order.moved": super().samples(occasion)["order.paid"]}


class Stranger(PrintStudio):
    def samples(self, occasion: Occasion) -> Mapping[str, bytes]:
        return super().samples(Occasion(order="other", tag=occasion.tag, at=occasion.at))


class Unsigned(PrintStudio):
    def sign(self, body: bytes, *, secret: bytes, now: Millis) -> Mapping[str, str]:
        return super().sign(body, secret=b"another", now=now)


class Empty(PrintStudio):
    def samples(self, occasion: Occasion) -> Mapping[str, bytes]:
        return {}


@pytest.mark.parametrize(
    ("faulty", "sentence"),
    [
        (Stale, "has the same event id for every tag"),
        (Misnamed, "is read as order.paid"),
        (Stranger, "names the order"),
        (Unsigned, "is not taken by its own provider"),
        (Empty, "must be bodies by the names of types"),
    ],
)
def test_the_contract_sees_faults(faulty: type[PrintStudio], sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_samples(faulty(PrintStudioOptions()))
