"""The answer table as a table."""

from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.models import Delivery, Failure, Millis, Outcome, Subscription
from gateway.retries import (
    CODES,
    DAY,
    LONGEST_WAIT,
    TRANSITIONS,
    DeliveryState,
    Step,
    decide,
    retry_after,
)

NOW = Millis(1_768_487_400_000)
SCHEDULE = (Millis(5_000), Millis(300_000), Millis(1_800_000))
SUBSCRIPTION = Subscription(id=1, name="a", url="", schedule=SCHEDULE)


def judged(
    *,
    attempts: int = 0,
    last_success: int | None = None,
    random: float = 0.5,
    schedule: tuple[Millis, ...] = SCHEDULE,
    manual: int | None = None,
    bugs: int = 0,
    **outcome: Any,
) -> Any:
    delivery = Delivery(
        id=1,
        subscription=1,
        event_id="evt_1",
        event_type="order.paid",
        body=b"",
        attempts=attempts,
        number=attempts,
        first_at=Millis(NOW - 1000) if attempts else None,
        claim=1,
        manual=None if manual is None else Millis(manual),
        bugs=bugs,
    )
    return decide(
        replace(SUBSCRIPTION, schedule=schedule),
        delivery,
        Outcome(started_at=NOW, duration=1.0, **outcome),
        now=NOW,
        last_success=Millis(last_success) if last_success is not None else None,
        random=lambda: random,
    )


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_is_delivered(status: int) -> None:
    assert judged(status=status).step is Step.DELIVERED


@pytest.mark.parametrize("failure", sorted(set(Failure) - {Failure.INTERRUPTED, Failure.INTERNAL}))
def test_failures_are_retried_on_schedule(failure: Failure) -> None:
    for attempts, delay in enumerate(SCHEDULE):
        decision = judged(attempts=attempts, failure=failure)
        assert (decision.step, decision.due) == (Step.RETRY, NOW + delay)
        assert decision.counted


def test_delays_have_jitter_both_ways() -> None:
    assert judged(status=500, failure=Failure.STATUS, random=0.0).due == NOW + 4_500
    assert judged(status=500, failure=Failure.STATUS, random=1.0).due == NOW + 5_500


def test_an_interrupted_attempt_is_due_at_once_and_not_counted() -> None:
    decision = judged(attempts=2, failure=Failure.INTERRUPTED)
    assert (decision.step, decision.due, decision.counted) == (Step.RETRY, NOW, False)


@pytest.mark.parametrize(
    ("last_success", "step"),
    [(None, Step.PAUSE), (NOW - 1001, Step.PAUSE), (NOW - 1000, Step.DEAD), (NOW, Step.DEAD)],
)
def test_exhausted(last_success: int | None, step: Step) -> None:
    decision = judged(
        attempts=len(SCHEDULE), last_success=last_success, status=500, failure=Failure.STATUS
    )
    assert decision.step is step
    assert decision.counted is (step is Step.DEAD)


def test_final_answers() -> None:
    assert judged(status=410, failure=Failure.STATUS).step is Step.GONE
    paused = judged(status=415, failure=Failure.STATUS)
    assert (paused.step, paused.counted, paused.due) == (Step.PAUSE, False, NOW)


@pytest.mark.parametrize(
    ("status", "wait", "step", "due", "hold"),
    [
        (429, 60_000, Step.RETRY, NOW + 60_000, NOW + 60_000),
        (503, 60_000, Step.RETRY, NOW + 60_000, NOW + 60_000),
        (429, 1_000, Step.RETRY, NOW + 5_000, NOW + 1_000),  # never earlier than the schedule
        (429, None, Step.RETRY, NOW + 5_000, None),
        (429, sum(SCHEDULE), Step.RETRY, NOW + sum(SCHEDULE), NOW + sum(SCHEDULE)),
        (429, sum(SCHEDULE) + 1, Step.PAUSE, NOW, NOW + sum(SCHEDULE) + 1),  # until it is resumed
    ],
)
def test_retry_after(status: int, wait: int | None, step: Step, due: int, hold: int | None) -> None:
    decision = judged(status=status, failure=Failure.STATUS, retry_after=wait)
    assert (decision.step, decision.due, decision.hold) == (step, due, hold)


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [
        (None, None),
        (b"30", 30_000),
        (b" 30 ", 30_000),
        (b"0", 0),
        (b"0000000000010", 10_000),
        (b"999999999999999999999", LONGEST_WAIT),
        (b"Thu, 15 Jan 2026 14:30:10 GMT", 10_000),
        (b"Thu, 15 Jan 2026 14:29:00 GMT", 0),
        (b"Thu, 15 Jan 9999 14:29:00 GMT", LONGEST_WAIT),
        (b"-1", None),
        (b"1.5", None),
        (b"soon", None),
        (b"", None),
        (b"\xb2", None),
        (b"Thu, 99 Jan 2026 14:30:10 GMT", None),
        (b"Thu, 01 Jan 1970 00:00:00 +99999999999999999999", None),
        (b"Fri, 31 Dec 9999 23:59:59 -2359", LONGEST_WAIT),
        (b"5, 30", 30_000),
        (b"30,30", 30_000),
        (b"30, soon", 30_000),
        (b"Thu, 15 Jan 2026 14:30:10 GMT, Thu, 15 Jan 2026 14:30:20 GMT", 20_000),
        (b"5, Thu, 15 Jan 2026 14:30:10 GMT", 10_000),
        (b"Thu, 15 Jan 2026 14:30:10 GMT, 60", 60_000),
        (b"Thursday, 15-Jan-26 14:30:10 GMT, 1", 10_000),
        (b"Thu Jan 15 14:30:10 2026", 10_000),
        (b",", None),
    ],
)
def test_the_header_in_seconds_and_as_a_date(value: bytes | None, milliseconds: int | None) -> None:
    assert retry_after(value, NOW / 1000) == milliseconds


def test_ends_are_final() -> None:
    assert set(TRANSITIONS) == set(CODES) == set(DeliveryState)
    ends = [state for state in DeliveryState if not TRANSITIONS[state]]
    assert ends == [DeliveryState.DELIVERED, DeliveryState.DEAD]
    assert all(CODES[state] >= 2 for state in ends)
    assert all(a < b for a, b in pairwise(CODES.values()))


@pytest.mark.parametrize("status", [500, 502, 504, 404, 302])
@pytest.mark.parametrize(
    ("wait", "due"), [(1_000, 5_000), (60_000, 60_000), (10**12, sum(SCHEDULE))]
)
def test_retry_after_of_other_answers_holds_this_delivery_alone(
    status: int, wait: int, due: int
) -> None:
    """Standard Webhooks: taken into account when scheduling, whatever the status (SW-15)."""
    decision = judged(status=status, failure=Failure.STATUS, retry_after=wait)
    assert (decision.step, decision.due, decision.hold) == (Step.RETRY, NOW + due, None)


@pytest.mark.parametrize("attempts", [0, 1, 2])
@pytest.mark.parametrize("bugs", [0, 1, 2, 3])
def test_the_third_bug_of_ours_ends_a_delivery_whatever_else_failed(
    attempts: int, bugs: int
) -> None:
    decision = judged(attempts=attempts, bugs=bugs, failure=Failure.INTERNAL)
    if bugs >= 2:
        assert decision.step is Step.DEAD
    else:
        assert (decision.step, decision.due) == (Step.RETRY, NOW + SCHEDULE[attempts])
    other = judged(attempts=attempts, bugs=bugs, failure=Failure.CONNECT)
    assert (other.step, other.due) == (Step.RETRY, NOW + SCHEDULE[attempts])


@pytest.mark.parametrize(
    ("status", "wait", "step", "hold"),
    [
        (500, None, Step.DEAD, None),
        (500, 60_000, Step.DEAD, None),
        (429, None, Step.DEAD, None),
        (429, 60_000, Step.DEAD, NOW + 60_000),
        (503, DAY, Step.DEAD, NOW + DAY),
        (503, DAY + 1, Step.PAUSE, NOW + DAY + 1),
    ],
)
@pytest.mark.parametrize("last_success", [None, NOW])
def test_the_only_attempt_of_an_empty_schedule(
    status: int, wait: int | None, step: Step, hold: int | None, last_success: int | None
) -> None:
    """One failure pauses nothing, but nothing is sent to an endpoint that asked for peace."""
    decision = judged(
        schedule=(),
        last_success=last_success,
        status=status,
        failure=Failure.STATUS,
        retry_after=wait,
    )
    assert (decision.step, decision.hold) == (step, hold)


@pytest.mark.parametrize(("last_success", "step"), [(None, Step.PAUSE), (NOW, Step.DEAD)])
def test_retry_after_of_the_last_attempt_holds_the_subscription_too(
    last_success: int | None, step: Step
) -> None:
    """CloudEvents WH-5: until then nothing is sent to it, whatever becomes of this delivery."""
    decision = judged(
        attempts=len(SCHEDULE),
        last_success=last_success,
        status=429,
        failure=Failure.STATUS,
        retry_after=60_000,
    )
    assert (decision.step, decision.hold) == (step, NOW + 60_000)


@pytest.mark.parametrize("wait", [None, 1_000, 90_000])
@pytest.mark.parametrize("schedule", [SCHEDULE, ()])
def test_a_manual_attempt_uses_up_nothing_and_says_what_it_was(
    schedule: tuple[Millis, ...], wait: int | None
) -> None:
    decision = judged(
        schedule=schedule,
        attempts=2,
        manual=NOW + 60_000,
        status=500,
        failure=Failure.STATUS,
        retry_after=wait,
        detail="answered 500",
    )
    assert (decision.step, decision.counted) == (Step.RETRY, False)
    assert decision.due == NOW + max(60_000, wait or 0)
    assert decision.reason == "manual attempt 3 failed: answered 500"


def test_a_manual_attempt_that_pauses_uses_up_nothing_either() -> None:
    decision = judged(manual=NOW, status=429, failure=Failure.STATUS, retry_after=10**10)
    assert (decision.step, decision.counted) == (Step.PAUSE, False)
