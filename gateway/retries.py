"""What follows an attempt: the answer table of design section 7, as data and one pure function."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

import msgspec

from gateway.models import Delivery, Failure, Millis, OnExhausted, Outcome, Subscription

LONGEST_WAIT = Millis(365 * 86_400_000)  # a `Retry-After` beyond it is as good as never
MOST_BUGS = 3  # of one delivery, after which a bug of ours is no accident any more
DAY = Millis(86_400_000)  # the longest wait that is granted where the schedule has no length
LONGEST_TEXT = 500  # characters of a `Retry-After` that are read
ITS_LANE = "; its lane is parked"  # what the reason of a parked delivery ends with
JITTER = 0.1  # of each delay, both ways, so that a fleet of retries does not march in step

_ONE = re.compile(r"[A-Za-z]+,[^,]*|[^,]+")  # a date has a comma behind its weekday


class DeliveryState(StrEnum):
    """The states of a delivery; `TRANSITIONS` says what may follow what.

    `batched` shares the attempts of the batch that it is in; `parked` ended without success at the
    head of its lane, and `behind` waits for those before it there.
    """

    BATCHED = "batched"
    PARKED = "parked"
    BEHIND = "behind"
    PENDING = "pending"
    LEASED = "leased"
    DELIVERED = "delivered"
    DEAD = "dead"


CODES = {
    DeliveryState.BATCHED: -3,
    DeliveryState.PARKED: -2,
    DeliveryState.BEHIND: -1,
    DeliveryState.PENDING: 0,
    DeliveryState.LEASED: 1,
    DeliveryState.DELIVERED: 2,
    DeliveryState.DEAD: 3,
}
"""How the store writes them: everything below 2 is unfinished."""

TRANSITIONS = {
    DeliveryState.BATCHED: {DeliveryState.PENDING, DeliveryState.DELIVERED, DeliveryState.DEAD},
    DeliveryState.PARKED: {DeliveryState.PENDING, DeliveryState.DEAD},
    DeliveryState.BEHIND: {DeliveryState.PENDING, DeliveryState.LEASED, DeliveryState.DEAD},
    DeliveryState.PENDING: {
        DeliveryState.LEASED,
        DeliveryState.BEHIND,
        DeliveryState.BATCHED,
        DeliveryState.DELIVERED,  # fetched and acknowledged, or a late success
        DeliveryState.DEAD,
    },
    DeliveryState.LEASED: {
        DeliveryState.PENDING,
        DeliveryState.PARKED,
        DeliveryState.DELIVERED,
        DeliveryState.DEAD,
    },
    DeliveryState.DELIVERED: set[DeliveryState](),
    DeliveryState.DEAD: set[DeliveryState](),
}


class Step(StrEnum):
    """What one attempt leads to."""

    DELIVERED = "delivered"
    RETRY = "retry"
    DEAD = "dead"
    PARK = "park"
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
    return _special(subscription, delivery, outcome, now) or _scheduled(
        subscription, delivery, outcome, now=now, last_success=last_success, random=random
    )


def _special(
    subscription: Subscription, delivery: Delivery, outcome: Outcome, now: Millis
) -> Decision | None:
    """What does not hang on the schedule; None for all the rest."""
    status = outcome.status
    if outcome.failure is Failure.INTERRUPTED:
        return Decision(step=Step.RETRY, due=now, reason="interrupted by a stop", counted=False)
    if status == 410:
        return Decision(step=Step.GONE, reason="the endpoint answered 410 Gone")
    if status == 415:
        reason = f"the endpoint does not understand mode {subscription.mode} (415)"
        return Decision(step=Step.PAUSE, due=now, reason=reason, counted=False)
    if status in subscription.final_status:
        return _ended(
            subscription, delivery, f"the endpoint answered {status}, which is final here"
        )
    if outcome.failure is Failure.INTERNAL and delivery.bugs + 1 >= MOST_BUGS:
        # Sooner than the schedule says: what breaks us must not come back for days.
        return _ended(subscription, delivery, f"it met a bug of the gateway {MOST_BUGS} times")
    return None


def _scheduled(
    subscription: Subscription,
    delivery: Delivery,
    outcome: Outcome,
    *,
    now: Millis,
    last_success: Millis | None,
    random: Callable[[], float],
) -> Decision:
    """Tried again, unless the schedule is used up."""
    hold, manual = _hold(outcome, now), delivery.manual
    if hold is not None and hold - now > _patience(subscription):
        lasts = "the whole schedule lasts" if sum(subscription.schedule) else "a day"
        reason = f"the endpoint asked to wait for longer than {lasts}"
        return Decision(step=Step.PAUSE, due=now, hold=hold, reason=reason, counted=manual is None)
    if manual is not None:
        due = max(manual, _asked_for(subscription, outcome, now))
        reason = f"manual attempt {delivery.number + 1} failed: {outcome.detail}"
        return Decision(step=Step.RETRY, due=due, hold=hold, reason=reason, counted=False)
    if delivery.attempts >= len(subscription.schedule):
        ended = _exhausted(subscription, delivery, outcome, now, last_success)
        return msgspec.structs.replace(ended, hold=hold)
    delay = subscription.schedule[delivery.attempts] * (1 + JITTER * (2 * random() - 1))
    due = max(Millis(now + int(delay)), _asked_for(subscription, outcome, now))
    return Decision(step=Step.RETRY, due=due, hold=hold)


def _exhausted(
    subscription: Subscription,
    delivery: Delivery,
    outcome: Outcome,
    now: Millis,
    last_success: Millis | None,
) -> Decision:
    """The last attempt of the schedule failed."""
    if not subscription.schedule:
        # One attempt cannot tell an endpoint that is down from a delivery that is at fault.
        return _ended(subscription, delivery, "the schedule has no second attempt")
    first = delivery.first_at or outcome.started_at
    if last_success is None or last_success < first:
        # Then it is the endpoint that is down, not this delivery that is at fault.
        reason = "the schedule is used up and nothing was delivered since the first attempt"
        return Decision(step=Step.PAUSE, due=now, reason=reason, counted=False)
    return _ended(subscription, delivery, "the schedule is used up")


def _ended(subscription: Subscription, delivery: Delivery, reason: str) -> Decision:
    """Without success, for good; at the head of a lane that parks, what is behind it waits."""
    if delivery.lane is not None and subscription.on_exhausted is OnExhausted.PARK:
        return Decision(step=Step.PARK, reason=reason + ITS_LANE)
    return Decision(step=Step.DEAD, reason=reason)


def _asked_for(subscription: Subscription, outcome: Outcome, now: Millis) -> Millis:
    """When the endpoint wants this delivery again, whatever its status (Standard Webhooks).

    No later than `_patience`: where a longer wait is binding, the subscription was paused.
    """
    return Millis(now + min(outcome.retry_after or 0, _patience(subscription)))


def _patience(subscription: Subscription) -> Millis:
    """How long an endpoint may ask to wait before a person has to look."""
    return Millis(sum(subscription.schedule)) or DAY


def _hold(outcome: Outcome, now: Millis) -> Millis | None:
    """Until when the whole subscription waits: `Retry-After` of 429 and 503 (CloudEvents WH-5)."""
    if outcome.status in (429, 503) and outcome.retry_after is not None:
        return Millis(now + outcome.retry_after)
    return None


def retry_after(value: bytes | None, now: float) -> Millis | None:
    """`Retry-After` (RFC 9110 10.2.3), seconds or a date, as milliseconds from `now`.

    It should stand there once. Where a proxy has added its own, the longest wait is kept to.
    """
    if value is None:
        return None
    text = value.decode("latin-1")[:LONGEST_TEXT]
    waits = [_wait(part.strip(), now) for part in _ONE.findall(text)]
    return max((wait for wait in waits if wait is not None), default=None)


def _wait(text: str, now: float) -> Millis | None:
    if text.isascii() and text.isdigit():
        return Millis(min(int(text.lstrip("0")[:12] or 0) * 1000, LONGEST_WAIT))
    try:
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        ahead = (date - datetime.fromtimestamp(now, UTC)).total_seconds()
    except (ValueError, OverflowError):
        return None
    return Millis(min(max(int(ahead * 1000), 0), LONGEST_WAIT))
