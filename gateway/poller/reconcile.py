"""Asks a source for everything once, and says what the gateway has not heard, or heard otherwise."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from enum import StrEnum

import msgspec

from gateway.errors import AskFailed, Malformed, Throttled, TokenRefused
from gateway.models import Millis, Verdict
from gateway.orders.tables import OrderType
from gateway.poller.inquiry import RoundEnded
from gateway.poller.source import SourcePoller
from gateway.stores.base import Made, Rehearsal, Watch

CHUNK = 200  # watched orders that are read from the store at a time


class Kind(StrEnum):
    """How the gateway stands to what a source says of an order."""

    SAME = "same"
    SILENT = "silent"  # nothing was ever told of this order
    MISSED = "missed"  # facts that make events are news to the gateway
    DIFFERS = "differs"  # the gateway knows otherwise, and goes on believing so
    UNREADABLE = "unreadable"
    OLDER = "older"  # it has not changed since the time that was asked about


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One order as its source tells it, against what the gateway knows; `done` of `total` so far.

    `total` is None while a list is still read. `events` are those that would follow, or that did
    with `emit`; `reasons` say what differs, or why the order could not be read.
    """

    number: str
    kind: Kind
    status: str = ""
    events: Sequence[Made] = ()
    reasons: Sequence[str] = ()
    done: int = 0
    total: int | None = None


class Reconciliation:
    """One run over one source; `listed` says whether its API has a list, else the known orders do."""

    def __init__(self, source: SourcePoller, *, since: Millis | None, emit: bool) -> None:
        self._source, self._since, self._emit = source, since, emit
        self._seen: set[str] = set()
        self.listed = source.source.provider.page(None) is not None

    async def run(self) -> AsyncGenerator[Compared, None]:
        """Every order once; raises `RoundEnded` when the API does not let us go on."""
        async with self._source.lock:
            with self._source.asker.patient():
                known = await self._known()
                if self.listed:
                    async for compared in self._over_the_list(known):
                        yield compared
                unlisted = sorted(known.keys() - self._seen)
                total = len(self._seen) + len(unlisted)
                for number in unlisted:
                    yield await self._compare(known[number], total=total)

    async def _over_the_list(self, known: Mapping[str, Watch]) -> AsyncIterator[Compared]:
        """Page by page, so that a long list does not lie in memory; the last page knows the total."""
        provider, cursor = self._source.source.provider, None
        while (query := provider.page(cursor)) is not None:
            page, _ = await self._source.inquiry.page(query, cursor)
            fresh = dict.fromkeys(
                entry.number for entry in page.orders if entry.number not in self._seen
            )
            # A list that repeats itself has no next page, whatever it says.
            last = page.cursor is None or page.cursor == cursor or not fresh
            total = len(self._seen | fresh.keys() | known.keys()) if last else None
            for number in fresh:
                watch = known.get(number) or self._source.inquiry.new(number)
                yield await self._compare(watch, total=total)
            if last:
                return
            cursor = page.cursor

    async def _known(self) -> dict[str, Watch]:
        known: dict[str, Watch] = {}
        after = None
        while True:
            chunk = await self._source.parts.polls.all(
                self._source.source.name, after=after, limit=CHUNK
            )
            if not chunk:
                return known
            known |= {watch.number: watch for watch in chunk}
            after = chunk[-1].number

    async def _compare(self, watch: Watch, *, total: int | None) -> Compared:
        self._seen.add(watch.number)
        compared = await self._compared(watch)
        return msgspec.structs.replace(compared, done=len(self._seen), total=total)

    async def _compared(self, watch: Watch) -> Compared:
        inquiry = self._source.inquiry
        try:
            # The order itself, whatever a list says: what is told must be all that there is.
            observation = inquiry.read(watch, await inquiry.replies(watch))
            status, at = observation.reading.event_type, observation.reading.at
            if self._since is not None and at < self._since:
                return Compared(number=watch.number, kind=Kind.OLDER, status=status)
            rehearsal = await inquiry.accept(watch, observation, baseline=False, keep=False)
            if self._emit and _kind(rehearsal) in {Kind.SILENT, Kind.MISSED}:
                await self._source.parts.polls.watch([watch])
                rehearsal = await inquiry.accept(watch, observation, baseline=False)
        except (TokenRefused, Throttled) as error:
            raise RoundEnded(error) from error
        except (AskFailed, Malformed) as error:
            return Compared(number=watch.number, kind=Kind.UNREADABLE, reasons=(str(error),))
        return Compared(
            number=watch.number,
            kind=_kind(rehearsal),
            status=status,
            events=[made for made in rehearsal.made if made.order is not None],
            reasons=[note.reason for note in rehearsal.notes if note.verdict is Verdict.SUPERSEDED],
        )


def _kind(rehearsal: Rehearsal) -> Kind:
    made = {made.type for made in rehearsal.made if made.type in set(OrderType)}
    if OrderType.CREATED in made:
        return Kind.SILENT
    if made:
        return Kind.MISSED
    if any(note.verdict is Verdict.SUPERSEDED for note in rehearsal.notes):
        return Kind.DIFFERS
    return Kind.SAME
