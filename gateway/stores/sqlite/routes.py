"""The routing of events to subscriptions, as one snapshot that is replaced, never changed."""

from collections.abc import Sequence

import msgspec

from gateway.filters.opened import Opened
from gateway.filters.reading import read_filters
from gateway.filters.terms import Filter, passes
from gateway.matching import Match, match, pack
from gateway.models import Event, Millis, Mode, Ordering
from gateway.stores.base import Status

CACHED = 10_000  # distinct (type, source, shop): far more than any shop has

Answer = tuple[bytes, "tuple[Addressee, ...]"]


class Addressee(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription that an event is for, and what its deliveries need to know of it.

    `batch` is how many events go together, 0 without batches, which wait for `wait`. `pull`: its
    consumer fetches them.
    """

    id: int
    ordered: bool = False
    batch: int = 0
    wait: Millis = Millis(0)
    catching_up: bool = False
    pull: bool = False


class Worded(msgspec.Struct, frozen=True):
    """What three words of an event say: a verdict for each subscription, those that may be for it.

    `filtered` are the filters of these, by the subscription's place in both.
    """

    verdicts: Sequence[Match]
    addressees: Sequence[Addressee | None]
    filtered: Sequence[tuple[int, Sequence[Filter]]]


class Routes:
    """Which subscriptions want an event.

    It remembers its answers, which hang on three words; but where a subscription has filters, it
    looks into each event that these words let through.
    """

    def __init__(self, revision: int, statuses: Sequence[Status]) -> None:
        self._revision = revision
        self._statuses = sorted(statuses, key=lambda status: status.subscription.id)
        self._answers: dict[tuple[str, str, str], Answer] = {}
        self._worded: dict[tuple[str, str, str], Worded] = {}
        self._filters: dict[int, Sequence[Filter]] = {}

    def __call__(self, event: Event) -> Answer:
        """The packed verdicts, and the subscriptions that matched."""
        key = (event.type, event.source, event.shop)
        answer = self._answers.get(key)
        if answer is not None:
            return answer
        worded = self._worded.get(key) or self._by_words(event)
        if worded.filtered:
            if len(self._worded) < CACHED:
                self._worded[key] = worded
            return self._judge(worded, event)
        answer = self._packed(worded.verdicts, worded.addressees)
        if len(self._answers) < CACHED:
            self._answers[key] = answer
        return answer

    def _by_words(self, event: Event) -> Worded:
        verdicts = [
            match(status.subscription, event, gone=status.state == "gone", filters=())
            for status in self._statuses
        ]
        matched = [
            (place, status)
            for place, (status, verdict) in enumerate(zip(self._statuses, verdicts, strict=True))
            if verdict is Match.MATCHED
        ]
        addressees: list[Addressee | None] = [None] * len(verdicts)
        for place, status in matched:
            addressees[place] = _addressee(status)
        filtered = [
            (place, self._filters_of(status))
            for place, status in matched
            if status.subscription.filters
        ]
        return Worded(verdicts, addressees, filtered)

    def _filters_of(self, status: Status) -> Sequence[Filter]:
        subscription = status.subscription
        if subscription.id not in self._filters:
            self._filters[subscription.id] = read_filters(subscription.filters)
        return self._filters[subscription.id]

    def _judge(self, worded: Worded, event: Event) -> Answer:
        """What is left when the filters have seen this one event."""
        opened = Opened.of(event.body)
        verdicts, addressees = list(worded.verdicts), list(worded.addressees)
        for place, filters in worded.filtered:
            if not passes(filters, opened):
                verdicts[place], addressees[place] = Match.FILTER, None
        return self._packed(verdicts, addressees)

    def _packed(self, verdicts: Sequence[Match], addressees: Sequence[Addressee | None]) -> Answer:
        return pack(self._revision, verdicts), tuple(to for to in addressees if to is not None)


def _addressee(status: Status) -> Addressee:
    subscription = status.subscription
    batches = subscription.mode is Mode.BATCH
    return Addressee(
        id=subscription.id,
        ordered=subscription.ordering is Ordering.ORDER,
        batch=subscription.batch_size if batches else 0,
        wait=subscription.batch_wait if batches else Millis(0),
        catching_up=status.catching_up,
        pull=subscription.pull,
    )
