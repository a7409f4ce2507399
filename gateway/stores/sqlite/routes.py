"""The routing of events to subscriptions, as one snapshot that is replaced, never changed."""

from collections.abc import Sequence

from gateway.matching import Match, match, pack
from gateway.models import Event
from gateway.stores.base import Status

CACHED = 10_000  # distinct (type, source, shop): far more than any shop has


class Routes:
    """Which subscriptions want an event; remembers its answers, since they hang on three words."""

    def __init__(self, revision: int, statuses: Sequence[Status]) -> None:
        self._revision = revision
        self._statuses = sorted(statuses, key=lambda status: status.subscription.id)
        self._answers: dict[tuple[str, str, str], tuple[bytes, tuple[int, ...]]] = {}

    def __call__(self, event: Event) -> tuple[bytes, tuple[int, ...]]:
        """The packed verdicts, and the ids of the subscriptions that matched."""
        key = (event.type, event.source, event.shop)
        answer = self._answers.get(key)
        if answer is None:
            answer = self._route(event)
            if len(self._answers) < CACHED:
                self._answers[key] = answer
        return answer

    def _route(self, event: Event) -> tuple[bytes, tuple[int, ...]]:
        verdicts = [
            match(status.subscription, event, gone=status.state == "gone")
            for status in self._statuses
        ]
        matched = tuple(
            status.subscription.id
            for status, verdict in zip(self._statuses, verdicts, strict=True)
            if verdict is Match.MATCHED
        )
        return pack(self._revision, verdicts), matched
