"""The routing of events to subscriptions, as one snapshot that is replaced, never changed."""

from collections.abc import Sequence

import msgspec

from gateway.matching import Match, match, pack
from gateway.models import Event, Millis, Mode, Ordering
from gateway.stores.base import Status

CACHED = 10_000  # distinct (type, source, shop): far more than any shop has


class Addressee(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription that an event is for, and what its deliveries need to know of it.

    `batch` is how many events go together, 0 without batches, which wait for `wait`.
    """

    id: int
    ordered: bool = False
    batch: int = 0
    wait: Millis = Millis(0)
    catching_up: bool = False


class Routes:
    """Which subscriptions want an event; remembers its answers, since they hang on three words."""

    def __init__(self, revision: int, statuses: Sequence[Status]) -> None:
        self._revision = revision
        self._statuses = sorted(statuses, key=lambda status: status.subscription.id)
        self._answers: dict[tuple[str, str, str], tuple[bytes, tuple[Addressee, ...]]] = {}

    def __call__(self, event: Event) -> tuple[bytes, tuple[Addressee, ...]]:
        """The packed verdicts, and the subscriptions that matched."""
        key = (event.type, event.source, event.shop)
        answer = self._answers.get(key)
        if answer is None:
            answer = self._route(event)
            if len(self._answers) < CACHED:
                self._answers[key] = answer
        return answer

    def _route(self, event: Event) -> tuple[bytes, tuple[Addressee, ...]]:
        verdicts = [
            match(status.subscription, event, gone=status.state == "gone")
            for status in self._statuses
        ]
        matched = tuple(
            _addressee(status)
            for status, verdict in zip(self._statuses, verdicts, strict=True)
            if verdict is Match.MATCHED
        )
        return pack(self._revision, verdicts), matched


def _addressee(status: Status) -> Addressee:
    subscription = status.subscription
    batches = subscription.mode is Mode.BATCH
    return Addressee(
        id=subscription.id,
        ordered=subscription.ordering is Ordering.ORDER,
        batch=subscription.batch_size if batches else 0,
        wait=subscription.batch_wait if batches else Millis(0),
        catching_up=status.catching_up,
    )
