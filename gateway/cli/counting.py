"""`gateway subscriptions stats`: what waits for one, and how its attempts went, as the API sums it up."""

from collections.abc import Iterator, Mapping
from urllib.parse import urlencode

from gateway.cli.answers import understood
from gateway.cli.control import act_on, subscription_path
from gateway.cli.look import draw, say
from gateway.cli.options import Place
from gateway.cli.stories import after
from gateway.cli.tables import Column, View, local, to_json
from gateway.config.values import A_DURATION, parse_duration
from gateway.errors import NotFound, StartupError
from gateway.models import Millis
from gateway.runtime import Gateway
from gateway.shown import shown
from gateway.web.api.stats import SubscriptionStats, summed


def stats(place: Place, name: str, since: str, *, as_json: bool) -> None:
    """Print how a subscription does; `NotFound`, `StartupError` when `since` is no duration."""
    try:
        length = parse_duration(since)
    except ValueError:
        raise StartupError(f"--since: expected {A_DURATION}, got {since!r}") from None

    async def directly(gateway: Gateway) -> dict[str, object]:
        for status in await gateway.store.catalog.refresh():
            if status.subscription.name == name:
                start = Millis(max(gateway.clock() - length, 0))
                return dict(shown(await summed(gateway, status.subscription, start)))
        raise NotFound(f"there is no subscription {name}")

    path = f"{subscription_path(name)}/stats?{urlencode({'since': since})}"
    done = act_on(place, path, directly, method="GET")
    found = understood(place, done.answer, SubscriptionStats)
    if as_json:
        say(to_json(found))
        return
    lines = [line for line in _lines(found) if line[1]]
    draw(View(columns=[Column("subscription"), Column(found.name, whole=False)], rows=lines))


def _lines(found: SubscriptionStats) -> Iterator[tuple[str, str]]:
    more = " (100,000 stand for as many or more)" if found.capped else ""
    yield "waiting", _counts(found.waiting) + more if any(found.waiting.values()) else "nothing"
    if found.in_flight or found.in_line:
        yield "of these", f"{found.in_flight} are being sent, {found.in_line} wait for a slot"
    yield "oldest due", "" if found.oldest_due is None else local(found.oldest_due)
    yield "counted since", _since(found)
    yield "delivered", str(found.delivered)
    yield "dead", str(found.dead)
    yield "attempts", str(found.attempts)
    yield "failed", str(found.failed) + (f": {_counts(found.failures)}" if found.failed else "")
    if found.p50_ms is not None and found.p95_ms is not None:
        yield "took at most", f"{after(found.p50_ms)} half, {after(found.p95_ms)} 95 in 100"


def _since(found: SubscriptionStats) -> str:
    if not found.truncated or found.looked_back_to is None:
        return local(found.since)
    return (
        f"{local(found.looked_back_to)}, as far back as the newest 20,000 deliveries of all reach"
    )


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)
