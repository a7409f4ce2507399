"""Verify, normalize, accept: what a source's callback goes through before it is answered."""

import asyncio
import hashlib
import logging
import random
import re
from collections.abc import Callable, Mapping, Sequence

import msgspec

from gateway.errors import Conflict, GatewayError, Malformed, NotFound, Rejected, Unavailable
from gateway.events import LATEST
from gateway.lookout import Lookout
from gateway.models import Callback, Duration, Entry, Millis, Origin, Reading, Receipt, Verdict
from gateway.orders.decide import Orders
from gateway.originals import original_of
from gateway.providers.base import Calling
from gateway.stores.base import Intake, Outbox, Rehearsal, Watch

logger = logging.getLogger("gateway.receiver")

PAUSED = 60  # seconds after which the sender of a paused source is to try again
POLLED = "poll:"  # how the event ids of what the poller asked for begin
TRACEPARENT = re.compile(rb"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")  # W3C Trace Context 3.2


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One configured account of a provider; of one that is `paused`, nothing is taken."""

    name: str
    provider: Calling
    secrets: Sequence[bytes]
    shop: str
    tolerance: Duration
    include: tuple[str, ...]
    rejection_status: int = 401
    interval: Millis | None = None  # the poller asks for its orders too, so often
    paused: bool = False


def _random_bytes(count: int) -> bytes:
    """For trace ids, which need to be distinct, not secret: ten times cheaper than `os.urandom`."""
    return random.randbytes(count)  # noqa: S311


def unknown_source(name: str) -> str:
    """What a sender is told of a source that does not exist."""
    return f"there is no source {name!r}"


class Receiver:
    """Receives callbacks of the sources that `update` names; `random` gives random bytes for trace ids."""

    def __init__(
        self,
        outbox: Outbox,
        orders: Orders,
        lookout: Lookout,
        *,
        clock: Callable[[], Millis],
        random: Callable[[int], bytes] = _random_bytes,
    ) -> None:
        self._sources: Mapping[str, Source] = {}
        self._outbox, self._orders, self._lookout = outbox, orders, lookout
        self._clock, self._random = clock, random

    def update(self, sources: Mapping[str, Source]) -> None:
        """Receive for these from now on."""
        self._sources = sources

    def source(self, name: str) -> Source:
        """The source of this name; `NotFound` also for one that is disabled."""
        source = self._sources.get(name)
        if source is None:
            raise NotFound(unknown_source(name))
        return source

    async def receive(self, callback: Callback) -> Receipt:
        """Verify and store one callback; the receipt is durable.

        Raises `NotFound`, `Rejected` and `Unavailable`. What is authentic but cannot be read gets
        the verdict `quarantined`.
        """
        source = self.source(callback.source)
        try:
            intake = self._verified(source, callback)
        except Rejected as error:
            self._lookout.refused(source.name, str(error))
            raise
        try:
            return await self._outbox.accept(intake, self._orders.decide)
        except GatewayError:
            raise
        except Exception as error:
            # Never lost, not even where what was decided cannot be written.
            logger.exception("a bug kept callback %r from being written", intake.event_id)
            bug = f"a bug of the gateway: {error!r}"
            intake = msgspec.structs.replace(intake, malformed=bug)
            return await self._outbox.accept(intake, self._orders.decide)

    def begin(self, callback: Callback) -> "asyncio.Future[Receipt]":
        """Begin to receive a callback; what fails is to be received once more, in full.

        So nothing is done about a failure here, and nobody is told of a rejection.
        """
        intake = self._verified(self.source(callback.source), callback)
        return self._outbox.accept(intake, self._orders.decide)

    def _verified(self, source: Source, callback: Callback) -> Intake:
        source.provider.verify(
            callback, secrets=source.secrets, tolerance=source.tolerance, now=self._clock()
        )
        self._lookout.heard(source.name)
        if source.paused:
            raise Unavailable(
                f"source {source.name} is paused: try again later", retry_after=PAUSED
            )
        return self._read(source, callback, recorded=callback.received_at)

    async def retry(self, callback: str, *, dry_run: bool) -> Rehearsal:
        """Read a quarantined callback once more, and say what follows; a dry run keeps nothing.

        It was verified when it came. Raises `NotFound`, `Conflict` and `Unavailable`.
        """
        stored = await self._outbox.stored(callback)
        name = stored.callback.source
        if stored.event_id.startswith(POLLED):
            again = f"`gateway reconcile {name} --emit` asks for its order anew"
            raise Conflict(f"callback {callback} is the reply of a poll: {again}")
        source = self._sources.get(name)
        if source is None:
            raise Conflict(f"there is no enabled source {name!r} to read it with")
        if source.provider.name != stored.provider:
            raise Conflict(
                f"callback {callback} came from a {stored.provider} source, and {name!r} is"
                f" {source.provider.name} by now"
            )
        intake = self._read(source, stored.callback, recorded=self._clock())
        if intake.malformed and dry_run and stored.verdict is Verdict.QUARANTINED:
            return Rehearsal(
                verdict=Verdict.QUARANTINED, reason=intake.malformed, notes=(), made=()
            )
        if intake.malformed:
            intake = msgspec.structs.replace(intake, event_id=stored.event_id)
        intake = msgspec.structs.replace(intake, again=callback, read_at=self._clock())
        return await self._outbox.rehearse(intake, self._orders.decide, keep=not dry_run)

    def _read(self, source: Source, callback: Callback, *, recorded: Millis) -> Intake:
        try:
            return self._intake(source, callback, _read(source, callback), recorded=recorded)
        except Malformed as error:
            return Intake(
                callback=callback,
                provider=source.provider.name,
                shop=source.shop,
                event_id=error.event_id or f"sha256:{hashlib.sha256(callback.body).hexdigest()}",
                event_type="",
                malformed=str(error),
            )

    def _intake(
        self, source: Source, callback: Callback, reading: Reading, *, recorded: Millis
    ) -> Intake:
        origin = Origin(
            source=source.name,
            provider=source.provider.name,
            shop=source.shop,
            event_id=reading.event_id,
            event_type=reading.event_type,
            recorded=recorded,
            traceparent=self._traceparent(callback),
            include=source.include,
            original=original_of(callback.body, reading.event_id)
            if "original" in source.include
            else None,
        )
        return Intake(
            callback=callback,
            provider=source.provider.name,
            shop=source.shop,
            event_id=reading.event_id,
            event_type=reading.event_type,
            entries=[Entry(fact=fact, origin=origin) for fact in reading.facts],
            ignored=reading.ignored or ("" if reading.facts else "it says nothing of an order"),
            watches=_watches(source, reading, recorded) if source.interval is not None else (),
        )

    def _traceparent(self, callback: Callback) -> str:
        """The sender's trace, else a new one; always with a span of our own."""
        span = self._random(24).hex()
        given = TRACEPARENT.fullmatch(callback.header(b"traceparent") or b"")
        trace = given[1].decode() if given and given[1] != b"0" * 32 else span[:32]
        return f"00-{trace}-{span[32:]}-01"


def _watches(source: Source, reading: Reading, now: Millis) -> list[Watch]:
    """What the source is asked for from now on: the orders that the callback tells of."""
    numbers = {
        number for fact in reading.facts for number in fact.ids.get(source.provider.name, ())
    }
    due = Millis(now + (source.interval or 0))
    return [
        Watch(source=source.name, number=number, changed_at=now, next_at=due)
        for number in sorted(numbers)
    ]


def _read(source: Source, callback: Callback) -> Reading:
    """What the provider reads; whatever else goes wrong in it is a bug, and quarantined as well."""
    try:
        reading = source.provider.normalize(callback)
    except Malformed:
        raise
    except Exception as error:
        logger.exception("provider %s met a bug", source.provider.name)
        raise Malformed(f"a bug of provider {source.provider.name}: {error!r}") from error
    if any(not 0 <= fact.at <= LATEST for fact in reading.facts):
        raise Malformed("a time outside the years 1970 to 9999", event_id=reading.event_id)
    return reading
