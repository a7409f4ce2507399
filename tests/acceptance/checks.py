"""What must hold after a run with crashes: the records of both ends in, problems in words out.

The invariants: I1 nothing that was answered is missing, I2 nothing arrives that was not sent,
signed and with the same bytes each time, I3 nothing arrives twice without a reason, I4 every
delivery ends, I7 an order's events are numbered without a gap, and where a subscription asked for
order each comes only after the success of the one before, I9 the file is whole and the gateway
ready soon.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import pairwise

import msgspec

from tests.acceptance.load import Acked, Sent
from tests.acceptance.peers import Arrival

READY_LIMIT = 5.0  # seconds from a restart to /readyz
SETTLE_LIMIT = 2.0  # seconds from an answer to its durable settlement, at most


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What one receiver got, the patterns of the types it wants, and the timeout of an attempt.

    `ordered` says that it asked for the events of an order one after the other.
    """

    name: str
    types: tuple[str, ...]
    timeout: float  # seconds
    arrivals: Sequence[Arrival]
    ordered: bool = False

    def wants(self, event_type: str) -> bool:
        """Whether the subscription's types match."""
        return any(fnmatchcase(event_type, pattern) for pattern in self.types)


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All that a run left; `kills` and `starts` in seconds, the first of `time.monotonic`."""

    sent: Mapping[str, Sent]
    acked: Mapping[str, Acked]
    heard: Sequence[Heard]
    kills: Sequence[float]
    starts: Sequence[float]  # how long each start took until it was ready


class Cause(msgspec.Struct, frozen=True):
    """Which callback made an event."""

    event_id: str


class Data(msgspec.Struct, frozen=True):
    """The part of an order event's data that leads back to its callback."""

    cause: Cause


class Envelope(msgspec.Struct, frozen=True):
    """The attributes of a structured CloudEvent that the checks read."""

    id: str
    type: str
    subject: str
    orderseq: int
    data: Data


def problems(evidence: Evidence) -> list[str]:
    """All that is wrong, a sentence each; empty when the run is good."""
    envelopes, faults = _read(evidence.heard)
    found = [*_missing(evidence, envelopes), *faults]
    found += _strangers(evidence, envelopes)
    for heard in evidence.heard:
        found += _unwanted(heard, envelopes)
        found += [f"I3: {text}" for text in extras(heard, evidence.kills)[1]]
        found += _overtaking(heard, envelopes) if heard.ordered else []
    found += _sequences(envelopes)
    found += [
        f"I9: ready only after {taken:.1f} s" for taken in evidence.starts if taken > READY_LIMIT
    ]
    return found


def _missing(evidence: Evidence, envelopes: Mapping[str, Envelope]) -> Iterator[str]:
    """I1: each event of a receipt that did not arrive where it matches.

    An event that arrived nowhere has no known type: it is missing at whoever wants all orders.
    """
    types = {event_id: envelope.type for event_id, envelope in envelopes.items()}
    promised = {event for acked in evidence.acked.values() for event in acked.receipt.events}
    for heard in evidence.heard:
        delivered = {arrival.event_id for arrival in heard.arrivals if arrival.delivered}
        for event in sorted(promised - delivered):
            if heard.wants(types.get(event, "order.")):
                yield f"I1: event {event} is missing at {heard.name}"


def missing(evidence: Evidence) -> list[str]:
    """What I1 still lacks, while a run drains."""
    envelopes, _ = _read(evidence.heard)
    return list(_missing(evidence, envelopes))


def extras(heard: Heard, kills: Sequence[float]) -> tuple[int, list[str]]:
    """I3: how many arrivals followed a 2xx of the same event, and those that nothing explains.

    An explanation is a kill between the answer and its settlement, or an answer so late
    that the gateway may have given up on it.
    """
    count = 0
    unexplained = []
    for event, arrivals in _by_event(heard.arrivals).items():
        for before, after in pairwise(arrivals):
            if not before.delivered:
                continue
            count += 1
            if not _explained(before, after, kills=kills, timeout=heard.timeout):
                unexplained.append(f"event {event} came again to {heard.name} after its 2xx")
    return count, unexplained


def _explained(before: Arrival, after: Arrival, *, kills: Sequence[float], timeout: float) -> bool:
    assert before.answered is not None
    if before.answered - before.arrived > timeout / 2:
        return True
    return any(
        before.arrived <= kill <= after.arrived and kill - before.answered <= SETTLE_LIMIT
        for kill in kills
    )


def _by_event(arrivals: Sequence[Arrival]) -> dict[str, list[Arrival]]:
    """The arrivals of each event in the order in which they came."""
    grouped: dict[str, list[Arrival]] = defaultdict(list)
    for arrival in sorted(arrivals, key=lambda one: one.arrived):
        grouped[arrival.event_id].append(arrival)
    return grouped


def _read(heard: Sequence[Heard]) -> tuple[dict[str, Envelope], list[str]]:
    """The events by id, and I2's faults of the wire: signatures, bytes, ids."""
    bodies: dict[str, bytes] = {}
    envelopes: dict[str, Envelope] = {}
    found = []
    for arrival in (arrival for one in heard for arrival in one.arrivals):
        event_id = arrival.event_id
        if arrival.fault is not None:
            found.append(f"I2: {event_id} is not signed: {arrival.fault}")
        if event_id not in bodies:
            bodies[event_id] = arrival.body
            try:
                envelopes[event_id] = msgspec.json.decode(arrival.body, type=Envelope)
            except msgspec.MsgspecError as error:
                found.append(f"I2: {event_id} is not an order's CloudEvent: {error}")
        elif bodies[event_id] != arrival.body:
            found.append(f"I2: the bytes of {event_id} changed between two arrivals")
    found += [
        f"I2: webhook-id {event_id} carries the event {envelope.id}"
        for event_id, envelope in envelopes.items()
        if envelope.id != event_id
    ]
    return envelopes, found


def _strangers(evidence: Evidence, envelopes: Mapping[str, Envelope]) -> Iterator[str]:
    """I2: events that no callback made, or that its receipt does not tell."""
    promised: dict[str, set[str]] = defaultdict(set)
    open_orders = {sent.order for sent in evidence.sent.values() if sent.id not in evidence.acked}
    for acked in evidence.acked.values():
        promised[acked.sent.order].update(acked.receipt.events)
    for event_id, envelope in envelopes.items():
        cause = evidence.sent.get(envelope.data.cause.event_id)
        if cause is None:
            yield f"I2: {event_id} was made by no callback that was sent"
        elif cause.order != envelope.subject:
            yield f"I2: {event_id} is of {envelope.subject}, its callback of {cause.order}"
        elif envelope.subject not in open_orders and event_id not in promised[envelope.subject]:
            yield f"I2: {event_id} arrived but stands in no receipt"


def _unwanted(heard: Heard, envelopes: Mapping[str, Envelope]) -> Iterator[str]:
    for event_id in {arrival.event_id for arrival in heard.arrivals}:
        envelope = envelopes.get(event_id)
        if envelope is not None and not heard.wants(envelope.type):
            yield f"I2: {event_id} of type {envelope.type} came to {heard.name}"


def _sequences(envelopes: Mapping[str, Envelope]) -> Iterator[str]:
    """`orderseq` is 1, 2, 3 ... over an order's events, and the first is its creation."""
    orders: dict[str, list[Envelope]] = defaultdict(list)
    for envelope in envelopes.values():
        orders[envelope.subject].append(envelope)
    for order, events in orders.items():
        events.sort(key=lambda event: event.orderseq)
        numbers = [event.orderseq for event in events]
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"I7: orderseq of {order} is {numbers}"
        if events[0].type != "order.created":
            yield f"I7: {order} begins with {events[0].type}"


def _overtaking(heard: Heard, envelopes: Mapping[str, Envelope]) -> Iterator[str]:
    """I7: each event of an order that came before the one before it had been answered with a 2xx.

    An answer that nobody was there to read is none: the gateway cannot know of it.
    """
    lanes: dict[str, list[tuple[int, str]]] = defaultdict(list)
    arrivals = _by_event(heard.arrivals)
    for event_id in arrivals.keys() & envelopes.keys():
        envelope = envelopes[event_id]
        lanes[envelope.subject].append((envelope.orderseq, event_id))
    for order, lane in lanes.items():
        for (number, before), (_, after) in pairwise(sorted(lane)):
            if not _succeeded_before(arrivals[before], arrivals[after][0].arrived):
                yield f"I7: {order} came to {heard.name} without the success of its {number} first"


def _succeeded_before(arrivals: Sequence[Arrival], moment: float) -> bool:
    return any(
        one.answered is not None and one.delivered and one.answered <= moment for one in arrivals
    )
