"""What follows an attempt: the answer table of design section 7, as data and one pure function."""

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

import msgspec

from gateway.models import Delivery, Failure, Millis, Outcome, Subscription

LONGEST_WAIT = Millis(365 * 86_400_000)  # a `Retry-After` beyond it is as good as never
JITTER = 0.1  # of each delay, both ways, so that a fleet of retries does not march in step


class DeliveryState(StrEnum):
    """The states of a delivery; `TRANSITIONS` says what may follow what."""

    PENDING = "pending"
    LEASED = "leased"
    DELIVERED = "delivered"
    DEAD = "dead"


CODES = {
    DeliveryState.PENDING: 0,
    DeliveryState.LEASED: 1,
    DeliveryState.DELIVERED: 2,
    DeliveryState.DEAD: 3,
}
"""How the store writes them: everything below 2 is unfinished."""

TRANSITIONS = {
    DeliveryState.PENDING: {DeliveryState.LEASED, DeliveryState.DEAD},
    DeliveryState.LEASED: {DeliveryState.PENDING, DeliveryState.DELIVERED, DeliveryState.DEAD},
    DeliveryState.DELIVERED: set[DeliveryState](),
    DeliveryState.DEAD: set[DeliveryState](),
}


class Step(StrEnum):
    """What one attempt leads to."""

    DELIVERED = "delivered"
    RETRY = "retry"
    DEAD = "dead"
    GONE = "gone"
    PAUSE = "pause"


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """`due` of the next attempt, `hold` for the whole subscription, and the reason, in words.

    `counted` is false when the attempt does not use up a place in the schedule.
    """

    step: Step
    due: Millis | None = None
    hold: Millis | None = None
    reason: str = ""
    counted: bool = True


def decide(
    subscription: Subscription,
    delivery: Delivery,
    outcome: Outcome,
    *,
    now: Millis,
    last_success: Millis | None,
    random: Callable[[], float],
) -> Decision:
    """Judge one attempt. `last_success` is the subscription's; `random()` lies in 0..1."""
    status = outcome.status
    if outcome.failure is None and status is not None and 200 <= status < 300:
        return Decision(step=Step.DELIVERED)
    if outcome.failure is Failure.INTERRUPTED:
        return Decision(step=Step.RETRY, due=now, reason="interrupted by a stop", counted=False)
    if status == 410:
        return Decision(step=Step.GONE, reason="the endpoint answered 410 Gone")
    if status == 415:
        reason = f"the endpoint does not understand mode {subscription.mode} (415)"
        return Decision(step=Step.PAUSE, due=now, reason=reason, counted=False)
    hold = _hold(status, outcome, now)
    if hold is not None and hold - now > sum(subscription.schedule):
        reason = "the endpoint asked to wait for longer than the whole schedule lasts"
        return Decision(step=Step.PAUSE, due=hold, hold=hold, reason=reason)
    if delivery.attempts >= len(subscription.schedule):
        return _exhausted(
            delivery.first_at or outcome.started_at, now=now, last_success=last_success
        )
    delay = subscription.schedule[delivery.attempts] * (1 + JITTER * (2 * random() - 1))
    due = Millis(now + int(delay))
    return Decision(step=Step.RETRY, due=max(due, hold) if hold is not None else due, hold=hold)


def _hold(status: int | None, outcome: Outcome, now: Millis) -> Millis | None:
    """Until when the whole subscription waits: `Retry-After` of 429 and 503 (CloudEvents WH-5)."""
    if status in (429, 503) and outcome.retry_after is not None:
        return Millis(now + outcome.retry_after)
    return None


def _exhausted(first: Millis, *, now: Millis, last_success: Millis | None) -> Decision:
    """Dead, unless nothing of this subscription got through since: then it is the endpoint that is down."""
    if last_success is None or last_success < first:
        reason = "the schedule is used up and nothing was delivered since the first attempt"
        return Decision(step=Step.PAUSE, due=now, reason=reason, counted=False)
    return Decision(step=Step.DEAD, reason="the schedule is used up")


def retry_after(value: bytes | None, now: float) -> Millis | None:
    """`Retry-After` (RFC 9110 10.2.3), seconds or a date, as milliseconds from `now`."""
    if value is None:
        return None
    text = value.decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        return Millis(min(int(text[:12]) * 1000, LONGEST_WAIT))
    try:
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        ahead = (date - datetime.fromtimestamp(now, UTC)).total_seconds()
    except (ValueError, OverflowError):
        return None
    return Millis(min(max(int(ahead * 1000), 0), LONGEST_WAIT))
