"""What was sent and what arrived, and what of it is missing or wrong."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from gateway.demo.cast import Order, Step, Way
from gateway.demo.marketiger import Asked
from gateway.demo.receivers import Arrival, Part
from gateway.matching import wants_type
from gateway.models import Receipt

DISPLAY = {"stripe": "Stripe", "printstudio": "PrintStudio", "marketiger": "Marketiger"}


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """One step that was played; `detail` says more.

    `status` is None when nobody answered, or asked. A poll has the receipt that a callback would
    have got, and none when its answer was not taken in as it should be.
    """

    order: str
    step: Step
    at: float  # seconds of the demo's clock
    took: float = 0.0  # seconds until the answer
    status: int | None = None
    receipt: Receipt | None = None
    title: str = ""  # of a refusal, as its problem details say (RFC 9457)
    detail: str = ""

    @property
    def name(self) -> str:
        """What to call it in a sentence."""
        return f"{DISPLAY[self.step.source]}'s {self.step.kind} of order {self.order}"


class Ledger:
    """Everything that happened so far, in the order in which it happened."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        self.sent: list[Sent] = []
        self.arrivals: list[Arrival] = []
        self.asked: list[Asked] = []

    def arrived(self, arrival: Arrival) -> None:
        """Write down a delivery."""
        self.arrivals.append(arrival)

    def question(self, answer: bytes) -> Asked | None:
        """The first question that had this answer."""
        return next((asked for asked in self.asked if asked.answer == answer), None)

    def maker(self, event_id: str) -> Sent | None:
        """What made an event; repeats of a callback name its events too, later."""
        made = (sent for sent in self.sent if sent.receipt and event_id in sent.receipt.events)
        return next(made, None)

    def event(self, event_id: str) -> Arrival | None:
        """An event as some receiver read it first; None before that."""
        found = (a for a in self.arrivals if a.event_id == event_id and not a.fault)
        return next(found, None)

    def knows(self, event_ids: Iterable[str]) -> bool:
        """Whether all these events have arrived somewhere."""
        return all(self.event(event_id) is not None for event_id in event_ids)

    def latest(self, order: str, event_type: str = "") -> Arrival | None:
        """The event of an order (of this type) with the highest number that has arrived."""
        found = [
            a
            for a in self.arrivals
            if a.order == order and (not event_type or a.type == event_type)
        ]
        return max(found, key=lambda arrival: arrival.seq, default=None)

    def delivered(self) -> list[Arrival]:
        """The deliveries that their receivers took."""
        return [arrival for arrival in self.arrivals if 200 <= arrival.status < 300]

    def times(self) -> list[float]:
        """Milliseconds from a callback or an answer to each delivery that needed no retry."""
        found = ((a, self.maker(a.event_id)) for a in self.delivered() if a.attempt == 1)
        return [(arrival.at - sent.at) * 1000 for arrival, sent in found if sent]

    def made(self) -> Iterator[tuple[Sent, str, str]]:
        """Every event that there must be, in order: what made it, its id and type."""
        for sent in self.sent:
            if sent.receipt is None or sent.receipt.duplicate:
                continue
            for event_id, kind in zip(sent.receipt.events, sent.step.makes, strict=False):
                yield sent, event_id, kind

    def due(self) -> Iterator[tuple[Sent, str, str, Part]]:
        """Every delivery that there must be: what made the event, its id and type, to whom."""
        for sent, event_id, kind in self.made():
            for part in self.parts:
                if wants_type(part.types, kind):
                    yield sent, event_id, kind, part

    def complete(self) -> bool:
        """Whether all deliveries that are due were taken."""
        taken = {(arrival.event_id, arrival.receiver) for arrival in self.delivered()}
        return all((event_id, part.name) in taken for _, event_id, _, part in self.due())


def missing(ledger: Ledger, cast: Iterable[Order]) -> Iterator[str]:
    """A sentence for everything that is not exactly as the cast says."""
    for sent in ledger.sent:
        yield from wrong_answer(sent, ledger)
    yield from _wrong_deliveries(ledger)
    yield from _wrong_refusals(ledger)
    for asked in ledger.asked:
        if asked.fault:
            yield f"Marketiger refused a question: {asked.fault}"
    for order in cast:
        if [s.step for s in ledger.sent if s.order == order.id] != list(order.steps):
            yield f"order {order.id} was not played to its end"
        seqs = {arrival.event_id: arrival.seq for arrival in ledger.arrivals if arrival.seq}
        made = [event_id for sent, event_id, _ in ledger.made() if sent.order == order.id]
        numbers = [seqs[event_id] for event_id in made if event_id in seqs]
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"the events of order {order.id} are numbered {numbers}"


def wrong_answer(sent: Sent, ledger: Ledger) -> Iterator[str]:
    """A sentence for everything in the answer to one step that is not as the cast says."""
    step, receipt = sent.step, sent.receipt
    if step.way is Way.POLL and receipt is None:
        what = "never asked for" if sent.status is None else "asked for, but not taken in"
        yield f"{sent.name} was {what}: {sent.detail}"
        return
    if sent.status != (401 if step.verdict is None else 200):
        why = f": {sent.detail}" if sent.detail else ""
        yield f"{sent.name} was answered {sent.status or 'by nobody'}{why}"
    if receipt is None or step.verdict is None:
        return
    if (receipt.verdict, receipt.duplicate) != (step.verdict, step.duplicate):
        seen = "a duplicate" if receipt.duplicate else receipt.verdict
        yield f"{sent.name} came out as {seen}"
    first = next(one for one in ledger.sent if one.step.body == step.body)
    if first.receipt is not None and receipt.id != first.receipt.id:
        yield f"{sent.name} was stored a second time as {receipt.id}"
    if len(receipt.events) != len(step.makes):
        yield f"{sent.name} made {len(receipt.events)} events instead of {len(step.makes)}"


def _wrong_deliveries(ledger: Ledger) -> Iterator[str]:
    due = {(event_id, part.name): (sent, kind) for sent, event_id, kind, part in ledger.due()}
    taken = [(arrival.event_id, arrival.receiver) for arrival in ledger.delivered()]
    for arrival in ledger.arrivals:
        if arrival.fault:
            yield f"{arrival.receiver} refused a delivery: {arrival.fault}"
    for (event_id, receiver), (sent, kind) in due.items():
        count = taken.count((event_id, receiver))
        if count != 1:
            yield f"{receiver} got {kind} of order {sent.order} {count} times instead of once"
    for arrival in ledger.arrivals:
        expected = due.get((arrival.event_id, arrival.receiver))
        if arrival.fault:
            continue
        if expected is None:
            yield f"{arrival.receiver} got {arrival.type} of order {arrival.order} unasked"
        elif (expected[0].order, expected[1]) != (arrival.order, arrival.type):
            yield f"{arrival.receiver} got {arrival.type} of order {arrival.order} for {expected[1]}"
        elif expected[0].step.news not in {"", arrival.news}:
            what = f"{arrival.type} of order {arrival.order}"
            yield f"{arrival.receiver} got {what} with {arrival.news}, not {expected[0].step.news}"


def _wrong_refusals(ledger: Ledger) -> Iterator[str]:
    for part in ledger.parts:
        refused = [a for a in ledger.arrivals if a.receiver == part.name and a.status == 503]
        if len(refused) != part.refuses:
            yield f"{part.name} refused {len(refused)} deliveries instead of {part.refuses}"


async def until(done: Callable[[], bool], *, patience: float) -> bool:
    """Wait until `done`, at most `patience` seconds; whether it came to that."""
    try:
        async with asyncio.timeout(patience):
            while not done():  # noqa: ASYNC110 - a look every few milliseconds is plenty here
                await asyncio.sleep(0.002)
    except TimeoutError:
        return False
    return True
