"""The circuit breaker: when it opens, for how long, and how it lets an endpoint up again."""

import pytest

from gateway.breaker import FIRST, LONGEST, Breaker, is_down
from gateway.models import Failure, Millis, Outcome

SLOTS = 8


def breaker(jitter: float = 0.5) -> Breaker:
    return Breaker(random=lambda: jitter)


def feed(tested: Breaker, *, good: int = 0, bad: int = 0, now: int = 1_000_000) -> None:
    for _ in range(good):
        tested.record(Millis(now), down=False, slots=SLOTS)
    for _ in range(bad):
        tested.record(Millis(now), down=True, slots=SLOTS)


def outcome(status: int | None = None, failure: Failure | None = None) -> Outcome:
    return Outcome(started_at=Millis(0), duration=1.0, status=status, failure=failure)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 599])
def test_these_answers_speak_against_the_endpoint(status: int) -> None:
    assert is_down(outcome(status, Failure.STATUS))


@pytest.mark.parametrize("status", [400, 401, 404, 409, 410, 413, 415, 422])
def test_other_4xx_may_be_one_poisonous_order_s(status: int) -> None:
    assert not is_down(outcome(status, Failure.STATUS))


@pytest.mark.parametrize(
    ("failure", "down"),
    [
        (Failure.TIMEOUT, True),
        (Failure.DNS, True),
        (Failure.CONNECT, True),
        (Failure.TLS, True),
        (Failure.RESET, True),
        (Failure.PROTOCOL, True),
        (Failure.REDIRECT, False),
        (Failure.FORBIDDEN, False),
        (Failure.INTERNAL, False),
    ],
)
def test_failures_without_an_answer(failure: Failure, down: bool) -> None:
    assert is_down(outcome(None, failure)) is down


@pytest.mark.parametrize(
    ("good", "bad", "opens"),
    [(0, 9, False), (0, 10, True), (5, 5, True), (6, 5, False), (100, 99, False), (100, 100, True)],
)
def test_opens_at_half_of_at_least_ten(good: int, bad: int, opens: bool) -> None:
    tested = breaker()
    feed(tested, good=good, bad=bad)
    assert (tested.until is not None) is opens


def test_only_the_last_minute_counts() -> None:
    tested = breaker()
    feed(tested, bad=9, now=1_000_000)
    feed(tested, bad=1, now=1_061_000)
    assert tested.until is None
    feed(tested, bad=9, now=1_100_000)
    assert tested.until is not None


def test_stays_open_for_half_a_minute_doubling_to_ten() -> None:
    tested, now, lengths = breaker(), 1_000_000, []
    feed(tested, bad=10, now=now)
    for _ in range(7):
        assert tested.until is not None
        lengths.append(tested.until - now)
        now = tested.until
        tested.record(Millis(now), down=True, slots=SLOTS)
    assert lengths == [30_000, 60_000, 120_000, 240_000, 480_000, 600_000, 600_000]


@pytest.mark.parametrize(("jitter", "length"), [(0.0, 0.9 * FIRST), (1.0, 1.1 * FIRST)])
def test_its_length_is_jittered(jitter: float, length: float) -> None:
    tested = breaker(jitter)
    feed(tested, bad=10, now=0)
    assert tested.until == int(length)


def test_nothing_goes_while_it_is_open_and_one_probe_after() -> None:
    tested = breaker()
    assert tested.room(Millis(0)) is None
    feed(tested, bad=10, now=0)
    assert tested.until is not None
    assert tested.room(Millis(tested.until - 1)) == 0
    assert tested.room(tested.until) == 1


def test_late_outcomes_of_before_change_nothing() -> None:
    tested = breaker()
    feed(tested, bad=10, now=0)
    until = tested.until
    feed(tested, good=50, bad=50, now=1_000)
    assert (tested.until, tested.trips) == (until, 1)


def test_each_success_lets_twice_as_many_through_until_it_is_closed() -> None:
    tested, seen = breaker(), []
    feed(tested, bad=10, now=0)
    assert tested.until is not None
    now = tested.until
    for _ in range(4):
        seen.append(tested.room(now))
        tested.record(now, down=False, slots=SLOTS)
    assert seen == [1, 2, 4, 8]
    assert tested.room(now) is None
    assert tested.trips == 0


def test_what_was_counted_before_it_opened_is_forgotten_when_it_closes() -> None:
    tested = breaker()
    feed(tested, bad=10, now=0)
    assert tested.until is not None
    feed(tested, good=4, now=tested.until)
    feed(tested, bad=9, now=FIRST + 5_000)
    assert tested.until is None


def test_goes_on_where_it_was_after_a_restart() -> None:
    tested = Breaker(until=Millis(50_000), trips=3, random=lambda: 0.5)
    assert tested.room(Millis(49_999)) == 0
    tested.record(Millis(50_000), down=True, slots=SLOTS)
    assert tested.until == 50_000 + 8 * FIRST
    assert tested.until < 50_000 + LONGEST


def test_a_clock_that_was_set_back_keeps_it_open_no_longer_than_ever() -> None:
    tested = breaker()
    feed(tested, bad=10, now=86_400_000)
    assert tested.room(Millis(1_000)) == 1
    feed(tested, good=9, now=1_000)
    assert tested.room(Millis(1_000)) is None


def test_what_was_counted_in_the_future_is_not_recent() -> None:
    tested = breaker()
    feed(tested, bad=9, now=86_400_000)
    feed(tested, bad=1, now=1_000)
    assert tested.until is None
