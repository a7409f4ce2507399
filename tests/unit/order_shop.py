"""Facts in few words, and a shop that keeps what a store keeps round `Orders`."""

import itertools
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.events import Writer, event_id
from gateway.models import (
    Decision,
    Entry,
    Event,
    Fact,
    Known,
    Millis,
    Money,
    Note,
    Origin,
    Shipment,
    Track,
    Unknown,
    Verdict,
    Waiting,
)
from gateway.orders.decide import Orders
from gateway.orders.state import OrderState, load

ORDER = "1001"
PART = "printstudio:7"
START = 1_750_000_000_000
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOTHING = {"fulfilment": None, "payment": None, "refund": None, "dispute": None, "hold": None}


def at(second: int) -> Millis:
    """A time, in seconds after the order began."""
    return Millis(START + second * 1000)


def eur(value: str) -> Money:
    """An amount whose unit and currency are known."""
    return Money(value=value, minor=int(value.replace(".", "")), currency="EUR")


def created(second: int, **more: Any) -> Fact:
    return _fact(Track.CREATED, second, state="created", **more)


def paid(second: int, key: str | None = None, amount: str | None = None, **more: Any) -> Fact:
    return _fact(Track.PAYMENT, second, state="paid", key=key, amount=_eur(amount), **more)


def failed(second: int, key: str | None = None, **more: Any) -> Fact:
    return _fact(Track.PAYMENT, second, state="failed", key=key, **more)


def refund(
    second: int, key: str | None, amount: str | None = None, state: str = "succeeded", **more: Any
) -> Fact:
    return _fact(
        Track.REFUND,
        second,
        **{"state": state, "key": key, "amount": _eur(amount), "group": "ch_1"} | more,
    )


def charge(second: int, total: str, group: str = "ch_1", **more: Any) -> Fact:
    """What `charge.refunded` says: the growing sum."""
    return _fact(
        Track.REFUND, second, state="succeeded", cumulative=eur(total), group=group, **more
    )


def dispute(second: int, state: str, key: str = "dp_1", **more: Any) -> Fact:
    return _fact(Track.DISPUTE, second, state=state, key=key, **more)


def hold(second: int, reason: str = "") -> Fact:
    return _fact(Track.HOLD, second, state=reason)


def part(second: int, state: str, key: str | None = PART, **more: Any) -> Fact:
    return _fact(Track.FULFILMENT, second, state=state, key=key, **more)


def tracked(second: int, state: str, number: str, **more: Any) -> Fact:
    return part(second, state, shipment=Shipment(tracking_number=number), **more)


def change(second: int, what: str, state: str) -> Fact:
    return _fact(Track.CHANGE, second, what=what, state=state)


def stranger(fact: Fact, *links: str, own: str | None = None, **more: Any) -> Fact:
    """The same fact without an order's name, with links; it waits unless `unknown` says more."""
    return msgspec.structs.replace(
        fact, **{"order": None, "links": links, "own": own, "unknown": Unknown.WAIT} | more
    )


def linked(fact: Fact, *links: str, order: str | None = ORDER) -> Fact:
    """The same fact with links beside the order's name."""
    return msgspec.structs.replace(fact, links=links, order=order)


def _eur(amount: str | None) -> Money | None:
    return eur(amount) if amount is not None else None


def _fact(track: Track, second: int, **more: Any) -> Fact:
    return Fact(track=track, at=at(second), **{"order": ORDER} | more)


class Shop:
    """One shop's links, orders and waiting facts, kept in dictionaries."""

    def __init__(self, public_url: str = "https://hooks.example.com") -> None:
        self.orders = Orders(Writer(public_url))
        self.links: dict[str, str] = {}
        self.states: dict[str, bytes] = {}
        self.seqs: dict[str, int] = {}
        self.waiting: dict[int, Waiting] = {}
        self.events: list[Event] = []
        self.asides: list[Event] = []  # operational events, which are no order's
        self.notes: dict[int, Sequence[Note]] = {}
        self.verdicts: dict[int, Verdict] = {}
        self.callbacks = 0
        self._numbers = itertools.count(1)

    def tell(self, *facts: Fact, **origin: Any) -> list[Event]:
        """Decide upon one callback; the events that follow from it."""
        self.callbacks += 1
        entries = [Entry(fact=fact, origin=self._origin(origin)) for fact in facts]
        return self._write(self.orders.decide(entries, self.known(entries)))

    def wait_over(self) -> list[Event]:
        """The patience of the fact that waits longest is over; with it goes all that it knows."""
        first = next(iter(self.waiting.values()))
        known = self.known([first.entry])
        decision = self.orders.wait_over(
            known.waiting, Known(links=known.links, orders=known.orders)
        )
        return self._write(decision)

    def known(self, entries: Sequence[Entry]) -> Known:
        """Everything that the entries may touch, as a store reads it."""
        links: dict[str, str] = {}
        found: dict[int, Waiting] = {}
        seen: set[str] = set()
        todo = {name for entry in entries for name in entry.fact.keys()}  # noqa: SIM118
        while todo:
            seen |= todo
            links |= {name: self.links[name] for name in todo if name in self.links}
            new = [w for w in self.waiting.values() if todo & set(w.entry.fact.links)]
            found |= {w.id: w for w in new}
            todo = {name for w in new for name in w.entry.fact.keys()} - seen  # noqa: SIM118
        names = set(links.values())
        for entry in (*entries, *(w.entry for w in found.values())):
            names |= {name for name in (entry.fact.order, entry.fact.own) if name}
        orders = {name: self.states[name] for name in names if name in self.states}
        return Known(links=links, orders=orders, waiting=list(found.values()))

    def state(self, order: str = ORDER) -> OrderState:
        """What is saved of an order."""
        return load(self.states[order])

    def types(self) -> list[str]:
        """The types of all events so far, without their prefix."""
        return [event.type.removeprefix("order.") for event in self.events]

    def verdict(self) -> Verdict:
        """That of the last callback."""
        return self.verdicts[self.callbacks]

    def _origin(self, more: dict[str, Any]) -> Origin:
        usual: dict[str, Any] = {
            "source": "stripe-live",
            "provider": "stripe",
            "shop": "default",
            "event_id": f"e_{self.callbacks}",
            "event_type": "some.type",
            "recorded": at(10_000 + self.callbacks),
            "traceparent": TRACE,
        }
        return Origin(**usual | more)

    def _write(self, decision: Decision) -> list[Event]:
        for order, (seq, state) in decision.orders.items():
            self.states[order], self.seqs[order] = state, seq
        self.links |= decision.links
        for number in decision.linked:
            del self.waiting[number]
        for entry in decision.wait:
            origin = msgspec.structs.replace(entry.origin, callback=self.callbacks)
            number = next(self._numbers)
            self.waiting[number] = Waiting(id=number, entry=Entry(fact=entry.fact, origin=origin))
        for callback, notes in decision.notes.items():
            self.notes[callback or self.callbacks] = notes
            self.verdicts[callback or self.callbacks] = decision.verdicts[callback]
        events = [event for _, event in decision.events]
        self.asides += [event for event in events if event.type.startswith("gateway.")]
        events = [event for event in events if not event.type.startswith("gateway.")]
        self.events += events
        return events


def body(event: Event) -> dict[str, Any]:
    """The CloudEvent as JSON."""
    found = msgspec.json.decode(event.body)
    assert isinstance(found, dict)
    return found


def data(event: Event) -> dict[str, Any]:
    """The canonical order of an event."""
    found = body(event)["data"]
    assert isinstance(found, dict)
    return found


def identity(kind: str, *occurrence: str, order: str = ORDER) -> str:
    """The id that design 6.4 gives to this occurrence."""
    return event_id("default", order, f"order.{kind}", occurrence)
