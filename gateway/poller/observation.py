"""From what a provider's replies say about an order to what the outbox takes: pure."""

import hashlib
from collections.abc import Sequence

import msgspec

from gateway.models import Callback, Entry, Fact, Millis, Origin, Reading, Reply, Track
from gateway.originals import original_of
from gateway.poller.schedule import Uniform, is_final, next_ask
from gateway.providers.base import Polled
from gateway.stores.base import Intake, Watch

ORDER = {Track.CREATED: 0, Track.PAYMENT: 1, Track.HOLD: 2, Track.FULFILMENT: 3, Track.CHANGE: 4}
CANCELLED, REFUNDED = 5, 6
"""In which order the facts of one poll are applied (design 6.2); refunds follow what they give back."""

_encoder = msgspec.msgpack.Encoder(order="deterministic")


class PolledSource(msgspec.Struct, frozen=True, kw_only=True):
    """One configured account that is asked; `fingerprint` hashes all that its replies' meaning hangs on."""

    name: str
    provider: Polled
    shop: str
    include: tuple[str, ...]
    interval: Millis
    requests_per_minute: int
    fingerprint: bytes
    account: bytes  # hashes whose orders these are


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """What one asking for an order brought: its facts in the order to apply, and their fingerprint."""

    reading: Reading
    facts: Sequence[Fact]
    seen: bytes
    body: bytes
    at: Millis
    said_at: Millis
    created_at: Millis | None

    @property
    def final(self) -> bool:
        """Whether nothing more is to be expected of the order."""
        return is_final(self.facts)


def observe(reading: Reading, replies: Sequence[Reply], watch: Watch) -> Observation:
    """Sort the facts, and correct times that cannot be.

    A provider's time that stood still while the facts changed is not the time of the change: then,
    as where it tells none, a fact has the time at which its request was sent.
    """
    at = replies[0].at
    seen = fingerprint(reading.facts)
    changed = watch.seen is not None and seen != watch.seen
    stale = changed and watch.said_at is not None and reading.at <= watch.said_at
    # Later than what was said last, even when our own clock was set back meanwhile.
    moment = Millis(max(at, (watch.said_at or 0) + 1)) if stale else at
    return Observation(
        reading=reading,
        facts=sorted(
            (_dated(fact, moment, stale=stale) for fact in _with_status(reading.facts)), key=_place
        ),
        seen=seen,
        body=replies[0].body if len(replies) == 1 else _array([reply.body for reply in replies]),
        at=at,
        said_at=moment if stale else reading.at,
        created_at=_created_at(reading.facts, at),
    )


def _created_at(facts: Sequence[Fact], asked: Millis) -> Millis | None:
    """When the provider says that the order was made; None where the fact has but our own time."""
    return next(
        (fact.at for fact in facts if fact.track is Track.CREATED and fact.at != asked), None
    )


def _array(bodies: Sequence[bytes]) -> bytes:
    return b"[" + b",".join(bodies) + b"]"


def _with_status(facts: Sequence[Fact]) -> list[Fact]:
    """The facts, with one about the provider order's status: an unknown one, or that it is none.

    So a status without a type of its own is told again when it comes back after another.
    """
    part = next((fact for fact in facts if fact.track is Track.FULFILMENT), None)
    if part is None:
        return list(facts)
    if all(fact.track is not Track.CHANGE for fact in facts):
        known = Fact(
            track=Track.CHANGE,
            at=part.at,
            what="status",
            key=part.key,
            order=part.order,
            links=part.links,
            own=part.own,
        )
        return [*facts, known]
    return [
        msgspec.structs.replace(fact, key=part.key) if fact.track is Track.CHANGE else fact
        for fact in facts
    ]


def _dated(fact: Fact, at: Millis, *, stale: bool) -> Fact:
    if fact.at > at or (stale and fact.track is not Track.CREATED):
        return msgspec.structs.replace(fact, at=at)
    return fact


def _place(fact: Fact) -> int:
    if fact.track is Track.FULFILMENT and fact.state == "cancelled":
        return CANCELLED
    return ORDER.get(fact.track, REFUNDED)


def fingerprint(facts: Sequence[Fact]) -> bytes:
    """A hash of what the facts say, whenever they were said."""
    timeless = [msgspec.structs.replace(fact, at=Millis(0)) for fact in facts]
    return hashlib.blake2b(_encoder.encode(timeless), digest_size=16).digest()


def asked_for(
    source: PolledSource, watch: Watch, observation: Observation, now: Millis, uniform: Uniform
) -> Watch:
    """The order as it is watched after a good answer."""
    changed_at = watch.changed_at
    if observation.seen != watch.seen:
        first = watch.seen is None and not watch.wanted
        changed_at = min(_age_from(observation), now) if first else observation.at
    return msgspec.structs.replace(
        watch,
        baseline=False,
        failures=0,
        problem=None,
        seen=observation.seen,
        said_at=observation.said_at,
        changed_at=changed_at,
        next_at=next_ask(
            now=now,
            changed_at=changed_at,
            final=observation.final,
            interval=source.interval,
            uniform=uniform,
            listed=watch.entry is not None,
        ),
    )


def _age_from(observation: Observation) -> Millis:
    """Since when an order that is seen for the first time is as it is, as far as its provider says."""
    if observation.reading.at == observation.at and observation.created_at is not None:
        return observation.created_at
    return observation.reading.at


def intake_of(
    source: PolledSource,
    observation: Observation,
    *,
    recorded: Millis,
    traceparent: str,
    watch: Watch | None,
    baseline: bool,
) -> Intake:
    """The observation as the outbox takes it, as if the provider had called; `watch` goes with it.

    Raises `Malformed` when the source passes originals on and this one cannot be.
    """
    reading = observation.reading
    event_id = f"poll:{reading.event_id}:{observation.at}"
    origin = Origin(
        source=source.name,
        provider=source.provider.name,
        shop=source.shop,
        event_id=event_id,
        event_type=reading.event_type,
        recorded=recorded,
        traceparent=traceparent,
        include=source.include,
        original=original_of(observation.body, event_id) if "original" in source.include else None,
        baseline=baseline,
    )
    return Intake(
        callback=Callback(
            source=source.name, headers=(), body=observation.body, received_at=observation.at
        ),
        provider=source.provider.name,
        shop=source.shop,
        event_id=event_id,
        event_type=reading.event_type,
        entries=[Entry(fact=fact, origin=origin) for fact in observation.facts],
        ignored="" if observation.facts else (reading.ignored or "it says nothing of an order"),
        watch=watch,
    )
