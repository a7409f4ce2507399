"""What becomes of Marketiger's facts: the events of an order that is asked for again and again."""

from datetime import UTC, datetime
from typing import Any

from gateway.models import Event, Verdict, Watched
from gateway.providers.marketiger import MarketigerOptions
from tests.providers.marketiger_replies import (
    CREATED,
    KEY,
    NO_PARCEL,
    NUMBER,
    STAGES,
    TRACKING,
    WATCHED,
    model,
    read,
)
from tests.unit.order_shop import Shop, created, data, linked, paid


class Asked:
    """A shop whose one Marketiger order is asked for; every reply is told a minute later."""

    def __init__(self, options: MarketigerOptions | None = None, name: str | None = None) -> None:
        self.shop = Shop()
        self.options = options
        self.watched = Watched(number=NUMBER, order=name) if name else WATCHED
        self.minute = 0

    def see(self, status: int, **fields: Any) -> list[str]:
        """The types of the events that this reply makes, without their prefix."""
        return [event.type.removeprefix("order.") for event in self.events(status, **fields)]

    def events(self, status: int, **fields: Any) -> list[Event]:
        self.minute += 1
        moment = datetime.fromtimestamp(CREATED // 1000 + self.minute * 60, UTC).isoformat()
        told = {"status": status, "updated": moment} | fields
        reading = read(options=self.options, watched=self.watched, **told)
        return self.shop.tell(*reading.facts, source="tiger", provider="marketiger")


def test_the_life_of_an_order() -> None:
    asked = Asked()
    assert asked.see(1) == ["created"]
    assert asked.see(3) == asked.see(4) == []
    assert asked.see(5) == ["paid"]
    assert asked.see(5, orderModels=[model(imageUrl="https://images.example/2")]) == []
    assert asked.see(10, trackAndTrace=TRACKING) == ["shipped"]
    assert asked.see(10, trackAndTrace=TRACKING) == []
    shipped = data(asked.shop.events[-1])
    assert (shipped["order"], shipped["ids"]) == (NUMBER, {"marketiger": [NUMBER]})
    assert shipped["shipment"]["tracking_number"] == "1Z"
    assert [part["id"] for part in shipped["parts"]] == [NUMBER]


def test_an_order_that_is_first_seen_shipped() -> None:
    asked = Asked()
    assert asked.see(10) == ["created", "paid", "shipped"]
    changes = [data(event)["change"] for event in asked.shop.events]
    assert [change["implied"] for change in changes] == [True, True, False]
    assert changes[1]["amount"] is None


def test_two_holds_are_two_events() -> None:
    asked = Asked()
    asked.see(5)
    assert asked.see(2) == ["on_hold"]
    assert asked.see(2) == []
    assert asked.see(15) == ["on_hold"]
    assert [data(event)["change"]["reason"] for event in asked.shop.events[-2:]] == [
        "on_hold",
        "production",
    ]
    assert asked.see(7) == ["updated"]
    assert asked.shop.state(NUMBER).hold == "production"
    assert asked.see(5) == ["updated"]
    assert data(asked.shop.events[-1])["change"]["what"] == "hold"
    assert data(asked.shop.events[-1])["state"]["hold"] is None


def test_a_second_hold_of_the_same_second_is_an_event_too() -> None:
    asked = Asked()
    moment = "2025-06-15T16:00:00Z"
    assert asked.see(2, updated=moment) == ["created", "on_hold"]
    assert asked.see(15, updated=moment) == ["on_hold"]


def test_tracking_without_the_code_is_an_update() -> None:
    asked = Asked()
    asked.see(5, trackAndTrace=NO_PARCEL)
    assert asked.see(5, trackAndTrace=TRACKING) == ["updated"]
    event = data(asked.shop.events[-1])
    assert (event["change"]["what"], event["change"]["value"]) == ("shipment", "1Z")
    assert event["state"]["fulfilment"] == "created"
    assert asked.see(5, trackAndTrace=TRACKING) == []
    assert asked.see(10, trackAndTrace=TRACKING) == ["shipped"]


def test_tracking_ships_where_the_source_says_so() -> None:
    asked = Asked(MarketigerOptions(shipped_when="tracking"))
    assert asked.see(4) == ["created"]
    assert asked.see(4, trackAndTrace=TRACKING) == ["paid", "shipped"]
    assert data(asked.shop.events[1])["change"]["implied"] is True
    assert asked.see(10, trackAndTrace=TRACKING) == []


def test_lines_print_and_are_ready() -> None:
    asked = Asked(MarketigerOptions(line_status=STAGES))
    assert asked.see(15, orderModels=[model(status=0)] * 2) == ["created", "on_hold"]
    lines = [model(status=20), model(status=0)]
    assert asked.see(15, orderModels=lines) == ["paid", "printing"]
    assert asked.see(5, orderModels=[model(status=30)] * 2) == ["updated", "ready"]


def test_an_unknown_code_is_told_once() -> None:
    asked = Asked()
    assert asked.see(7) == ["created", "updated"]
    assert asked.see(7) == []
    assert asked.see(8) == ["updated"]
    change = data(asked.shop.events[-1])["change"]
    assert (change["what"], change["value"]) == ("status", "8")


def test_an_expiry_is_undone_by_a_payment() -> None:
    asked = Asked()
    assert asked.see(3) == ["created"]
    assert asked.see(0) == ["cancelled"]
    assert asked.see(5) == ["updated", "paid"]
    assert data(asked.shop.events[2])["change"]["what"] == "reopened"


def test_a_cancel_of_a_paid_order_is_superseded() -> None:
    """What docs/providers/marketiger.md says about code 0 after a payment."""
    asked = Asked()
    asked.see(5)
    assert asked.see(0) == []
    assert asked.shop.notes[2][-1].verdict is Verdict.SUPERSEDED
    assert [event.type for event in asked.shop.asides] == ["gateway.fact.superseded"]


def test_a_name_that_is_learnt_later_finds_the_same_order() -> None:
    asked = Asked()
    asked.see(1)
    asked.watched = Watched(number=NUMBER, order="1001")
    assert asked.see(5) == ["updated", "paid"]
    change = data(asked.shop.events[1])["change"]
    assert (change["what"], change["value"]) == ("alias", "1001")
    assert list(asked.shop.states) == [NUMBER]


def test_the_checkout_session_of_the_same_account_finds_the_order() -> None:
    link = "https://checkout.stripe.com/pay/cs_test_1"
    asked = Asked()
    assert asked.see(3, paymentLink=link) == ["created"]
    session = linked(paid(90, key="pi_1", amount="10.50"), "stripe:pi_1", "stripe:cs_test_1")
    asked.shop.tell(session)
    assert asked.shop.links["stripe:pi_1"] == asked.shop.links[KEY] == NUMBER
    assert asked.shop.types() == ["created", "updated", "paid"]
    assert asked.see(5, paymentLink=link) == []


def test_an_order_that_stripe_told_first() -> None:
    asked = Asked()
    asked.shop.tell(linked(created(0), "stripe:cs_test_1"))
    assert asked.see(5, paymentLink="https://checkout.stripe.com/pay/cs_test_1") == [
        "updated",
        "paid",
    ]
    assert asked.shop.links[KEY] == "1001"
    event = data(asked.shop.events[-1])
    assert event["order"] == "1001"
    assert event["ids"] == {"marketiger": [NUMBER], "stripe": ["cs_test_1"]}
