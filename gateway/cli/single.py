"""One delivery as a person sees it: where it stands and why, each attempt, and as a curl command."""

import sys
from collections.abc import Callable, Iterator, Sequence

from msgspec.structs import replace

from gateway.cli.look import draw, read, read_here, say
from gateway.cli.options import Place
from gateway.cli.stories import after
from gateway.cli.tables import (
    BODY_HEAD,
    Column,
    View,
    clean,
    local,
    maybe,
    shortened,
    to_json,
    why,
)
from gateway.config.settings import Settings
from gateway.curl import command_of
from gateway.errors import ConfigError, Conflict
from gateway.models import Millis, Subscription
from gateway.sender import request_of
from gateway.stores.base import Consent
from gateway.stores.views import AttemptRow, DeliveryRow, DeliveryStory, Standing

CONSENT = {
    Consent.PENDING: "its endpoint has not consented yet",
    Consent.DENIED: "its endpoint does not want deliveries",
    Consent.UNSUPPORTED: "its endpoint does not know the handshake",
}


def show(place: Place, delivery: str, *, now: Millis, as_json: bool) -> None:
    """Print all that is known of a delivery; `NotFound`."""
    story = read(place, lambda records: records.delivery(delivery))
    if as_json:
        say(to_json([story]))
        return
    draw(delivery_view(story, now))
    for attempt in story.attempts:
        say("")
        draw(attempt_view(attempt))


def curl(settings: Settings, delivery: str, *, now: float, whole: Callable[[], Settings]) -> None:
    """Print the command that sends a delivery, signed `now`, in Unix time; `NotFound`, `Conflict`.

    `whole` gives the settings with the secrets of the subscriptions that they declare.
    """
    at = Millis(int(now * 1000))
    sent, subscription = read_here(settings, lambda records: records.delivery_request(delivery, at))
    if subscription.pull:
        raise Conflict(
            f"delivery {delivery} is not sent: the consumer of {subscription.name} fetches it"
        )
    subscription, unsigned = _with_secrets(subscription, whole)
    try:
        request = request_of(subscription, sent, now)
    except ValueError as error:
        raise Conflict(f"delivery {delivery} cannot be sent: {error}") from None
    own = [name for name, _ in subscription.headers]
    command = command_of(request, own=own, unsigned=clean(unsigned))
    say(command.text)
    if command.variables:
        names = ", ".join(command.variables)
        sys.stderr.write(f"# set first, from your configuration: {names}\n")


def _with_secrets(
    subscription: Subscription, whole: Callable[[], Settings]
) -> tuple[Subscription, str]:
    """The subscription with what signs its deliveries, or why there is nothing."""
    if not subscription.declared and not subscription.secrets:
        raise Conflict(
            f"it cannot be sent: subscription {subscription.name} was removed, and its URL with it"
        )
    if not subscription.declared:
        return subscription, ""
    try:
        declared = whole().subscriptions.get(subscription.name)
    except ConfigError as error:
        return subscription, str(error)
    if declared is None:
        return subscription, f"the configuration has no subscription {subscription.name}"
    return replace(subscription, secrets=tuple(declared.secrets)), ""


def delivery_view(story: DeliveryStory, now: Millis) -> View:
    """One delivery, a line a part; what is empty has no line."""
    row, event = story.delivery, story.event
    parts = (
        *(("state", row.state), ("", standing(story, now)), ("subscription", row.subscription)),
        *(("event", event.id), ("type", event.type), ("order", event.order or "")),
        *(("no.", maybe(event.seq)), ("shop", event.shop), ("source", event.source)),
        *(("happened", local(event.time)), ("recorded", local(event.recorded))),
        *(("callback", event.callback or ""), ("batch", " ".join(story.batch))),
        ("attempts", str(row.attempts)),
    )
    return View(
        columns=[Column("delivery"), Column(row.id, whole=False)],
        rows=[part for part in parts if part[1]],
    )


def attempt_view(row: AttemptRow) -> View:
    """One attempt, a line a part, as far as it came; the times are since it was started."""
    connected = "open already" if row.connected == 0 else after(row.connected)
    parts = (
        ("queued", "" if row.queued_at is None else local(row.queued_at)),
        *(("started", local(row.started_at)), ("connected", connected)),
        *(("address", row.address or ""), ("first byte", after(row.first_byte))),
        *(("done", after(row.duration)), ("answer", maybe(row.status))),
        *(("error", row.failure or ""), ("", row.detail if row.failure is not None else "")),
        ("body", shortened(row.head, BODY_HEAD)),
    )
    return View(
        columns=[Column("attempt"), Column(str(row.number), whole=False)],
        rows=[part for part in parts if part[1]],
    )


def standing(story: DeliveryStory, now: Millis) -> str:
    """Where a delivery stands, and all that keeps it from being sent `now`."""
    row = story.delivery
    told = [one for one in (why(row), *_next(row, now)) if one]
    if row.finished_at is None and row.state not in {"leased", "parked"}:
        told += _held(story.subscription, now)
    return "; ".join(told)


def _next(row: DeliveryRow, now: Millis) -> Sequence[str]:
    if row.state == "delivered":
        return [f"delivered {local(row.finished_at)}" if row.finished_at is not None else ""]
    if row.state == "dead":
        when = f"given up {local(row.finished_at)}" if row.finished_at is not None else ""
        return [when, f"`gateway replay --delivery {row.id}` sends it again"]
    if row.state == "leased":
        return ["an attempt is under way"]
    if row.state in {"parked", "behind"}:
        return []
    return [f"due {local(row.due)}" if row.due > now else f"due since {local(row.due)}"]


def _held(subscription: Standing, now: Millis) -> Iterator[str]:
    name = subscription.name
    if subscription.pull:
        yield f"the consumer of {name} fetches it"
    if subscription.state != "active":
        reason = f": {subscription.reason}" if subscription.reason else ""
        yield f"subscription {name} is {subscription.state}{reason}"
    if subscription.state in {"paused", "gone"}:
        yield f"`gateway subscriptions resume {name}` lets it go on"
    if subscription.consent in CONSENT:
        reason = f": {subscription.consent_reason}" if subscription.consent_reason else ""
        yield CONSENT[subscription.consent] + reason
    if subscription.hold_until is not None and subscription.hold_until > now:
        yield f"its endpoint asked to wait until {local(subscription.hold_until)}"
    if subscription.broken_until is not None:
        yield _broken(subscription.broken_until, now)
    if subscription.failing_since is not None:
        yield f"its endpoint fails since {local(subscription.failing_since)}"
    if subscription.catching_up:
        yield f"{name} is given past events, and new ones come after them"


def _broken(until: Millis, now: Millis) -> str:
    if until > now:
        return f"its endpoint is down: the breaker is open until {local(until)}"
    return "its endpoint is down: the breaker lets single attempts through, to probe it"
