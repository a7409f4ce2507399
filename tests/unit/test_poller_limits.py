"""How fast a source is asked: the budget of a minute, and the pauses that an API asks for."""

import asyncio
from collections.abc import Mapping
from random import Random
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.egress.client import ApiClient
from gateway.models import Millis, Query, Reply
from gateway.poller.asker import Asker, Resting
from gateway.poller.limits import LONGEST_PAUSE, MINUTE, Budget, pause_of, until

NOW = Millis(1_795_264_825_000)  # Sat, 21 Nov 2026 12:40:25 GMT
DAY = 24 * 3_600_000


class Time:
    """Seconds that pass only while somebody sleeps, or when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept.append(seconds)
        self.now += seconds


def most_in_a_minute(sent: list[float]) -> int:
    """The largest number of requests in any 60 s that begin with one of them."""
    return max(sum(start <= at < start + MINUTE for at in sent) for start in sent)


@pytest.mark.parametrize("size", [1, 2, 7, 60])
@pytest.mark.parametrize("pace", ["at once", "steady", "bursts", "random"])
def test_no_minute_has_more_than_the_budget(size: int, pace: str) -> None:
    time, sent, random = Time(), [], Random(f"{size} {pace}")

    def gap(number: int) -> float:
        return {
            "at once": 0.0,
            "steady": MINUTE / size * 0.9,
            "bursts": 59.0 if number % (2 * size) == 0 else 0.0,
            "random": random.expovariate(1 / 3),
        }[pace]

    async def story() -> None:
        budget = Budget(size, clock=time.clock, sleep=time.sleep)
        for number in range(size * 6):
            await budget.take()
            sent.append(time.now)
            time.now += gap(number)

    asyncio.run(story())
    assert most_in_a_minute(sent) <= size


def test_the_budget_is_used_up_before_anybody_waits() -> None:
    time = Time()

    async def story() -> None:
        budget = Budget(3, clock=time.clock, sleep=time.sleep)
        for _ in range(3):
            await budget.take()
            time.now += 10
        assert time.slept == []
        await budget.take()  # the first one lies 30 s back
        assert time.slept == [30.0]
        await budget.take()
        assert time.slept == [30.0, 10.0]
        time.now += 2 * MINUTE
        for _ in range(3):
            await budget.take()
        assert len(time.slept) == 2

    asyncio.run(story())


def test_a_sleep_that_ends_too_early_is_gone_on_with() -> None:
    """An event loop's timer may fire a little before its time."""
    time = Time()

    async def too_short(seconds: float) -> None:
        await time.sleep(max(seconds * 0.9, 0.001))

    async def story() -> None:
        budget = Budget(1, clock=time.clock, sleep=too_short)
        await budget.take()
        first = time.now
        await budget.take()
        assert time.now - first >= MINUTE

    asyncio.run(story())


class Client:
    """Answers what it is told to, and notes when it was asked, in seconds."""

    def __init__(self, time: Time, *replies: Reply) -> None:
        self._time, self._replies = time, list(replies)
        self.asked: list[float] = []

    def mask(self, text: str) -> str:
        return text

    async def ask(self, query: Query) -> Reply:
        self.asked.append(self._time.now)
        return self._replies.pop(0) if self._replies else reply()


def reply(status: int = 200, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status=status, headers=named, body=b"{}", at=NOW)


def asker(client: Client, time: Time, size: int = 3) -> Asker:
    budget = Budget(size, clock=time.clock, sleep=time.sleep)
    return Asker(cast("ApiClient", client), budget, clock=lambda: Millis(int(time.now * 1000)))


QUERY = Query(path="order")


def test_the_patient_wait_out_a_pause_within_their_budget() -> None:
    time = Time()
    client = Client(time, reply(429, retry_after="300"), reply(429, retry_after="5"))

    async def story() -> None:
        asking = asker(client, time)
        with asking.patient():
            assert (await asking.ask(QUERY)).status == 200
            assert client.asked == [1_000.0, 1_300.0, 1_305.0]
            for _ in range(9):
                await asking.ask(QUERY)
        assert most_in_a_minute(client.asked) == 3
        assert asking.sent == 12

    asyncio.run(story())


def test_even_the_patient_give_up() -> None:
    time = Time()
    client = Client(time, *[reply(429, retry_after="1")] * 5)

    async def story() -> None:
        asking = asker(client, time)
        with asking.patient():
            assert (await asking.ask(QUERY)).status == 429
        assert len(client.asked) == 3

    asyncio.run(story())


def test_the_others_rest_without_a_request() -> None:
    time = Time()
    client = Client(time, reply(429, retry_after="30"), reply(x_ratelimit='"d";r=0;t=30'))

    async def story() -> None:
        asking = asker(client, time)
        assert (await asking.ask(QUERY)).status == 429
        for _ in range(9):
            with pytest.raises(Resting, match="left alone until 1970-01-01 00:17:10 UTC"):
                await asking.ask(QUERY)
        assert (asking.sent, time.slept) == (1, [])
        time.now += 30
        assert (await asking.ask(QUERY)).status == 200
        with pytest.raises(Resting):
            await asking.ask(QUERY)
        assert client.asked == [1_000.0, 1_030.0]

    asyncio.run(story())


SECOND = 1_000


@pytest.mark.parametrize(
    ("status", "headers", "pause"),
    [
        # Retry-After: seconds or a date, of 429 and 503 only.
        (429, {"retry-after": "30"}, 30 * SECOND),
        (503, {"retry-after": " 30 "}, 30 * SECOND),
        (429, {"retry-after": "Sat, 21 Nov 2026 12:41:25 GMT"}, 60 * SECOND),
        (429, {"retry-after": "Saturday, 21-Nov-26 12:41:25 GMT"}, 60 * SECOND),
        (429, {"retry-after": "Sat Nov 21 12:41:25 2026"}, 60 * SECOND),
        (429, {"retry-after": "Sat, 21 Nov 2026 12:39:25 GMT"}, 0),
        (429, {"retry-after": "0"}, 0),
        (200, {"retry-after": "30"}, None),
        (500, {"retry-after": "30"}, None),
        (429, {}, None),
        # X-RateLimit-*: seconds from now, seconds since 1970, milliseconds since 1970.
        (200, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "30"}, 30 * SECOND),
        (200, {"x-ratelimit-remaining": " 0 ", "x-ratelimit-reset": " 30 "}, 30 * SECOND),
        (200, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1795264855"}, 30 * SECOND),
        (200, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1795264855000"}, 30 * SECOND),
        (200, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1795264000"}, 0),
        (429, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "30"}, 30 * SECOND),
        (200, {"x-ratelimit-remaining": "1", "x-ratelimit-reset": "30"}, None),
        (200, {"x-ratelimit-remaining": "0"}, None),
        (200, {"x-ratelimit-reset": "30"}, None),
        # The IETF's draft, under either name.
        (200, {"x-ratelimit": '"default";r=0;t=30'}, 30 * SECOND),
        (200, {"ratelimit": '"default";r=0;t=30'}, 30 * SECOND),
        (200, {"ratelimit": '"default"; r=0; t=30'}, 30 * SECOND),
        (200, {"ratelimit": '"default";t=30;r=0'}, 30 * SECOND),
        (200, {"ratelimit": '"default";r=1;t=30'}, None),
        (200, {"ratelimit": '"default";r=0'}, None),
        (200, {"ratelimit": '"hour";r=90;t=1800, "burst";r=0;t=3'}, 3 * SECOND),
        (200, {"ratelimit": '"burst";r=0;t=3, "hour";r=90;t=1800'}, 3 * SECOND),
        # The longest of all counts, and a day at most.
        (429, {"retry-after": "5", "ratelimit": '"d";r=0;t=9'}, 9 * SECOND),
        (429, {"retry-after": "9", "ratelimit": '"d";r=0;t=5'}, 9 * SECOND),
        (429, {"retry-after": "nonsense", "ratelimit": '"d";r=0;t=5'}, 5 * SECOND),
        (429, {"retry-after": "604800"}, DAY),
        (429, {"retry-after": "9" * 400}, DAY),
        (429, {"retry-after": "Sat, 21 Nov 9999 12:41:25 GMT"}, DAY),
        (200, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "9999999999999"}, DAY),
        (200, {"ratelimit": '"d";r=0;t=999999999999'}, DAY),
        # What is none of it.
        (429, {"retry-after": ""}, None),
        (429, {"retry-after": "-30"}, None),
        (429, {"retry-after": "1e9"}, None),
        (429, {"retry-after": "30 s"}, None),
        (429, {"retry-after": "٣٠"}, None),
        (429, {"retry-after": "Sat, 99 Nov 2026 99:99:99 GMT"}, None),
        (200, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "-1"}, None),
        (200, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "٣٠"}, None),
        (200, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "9" * 400}, None),
        (200, {"ratelimit": '"d";r=0;t=' + "9" * 400}, None),
        (200, {"ratelimit": "r" * 60_000}, None),
    ],
)
def test_how_long_an_api_wants_to_be_left_alone(
    status: int, headers: Mapping[str, str], pause: int | None
) -> None:
    assert pause_of(status, headers, NOW) == pause


NAMES = ["retry-after", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit", "x-ratelimit"]
VALUES = st.one_of(
    st.text(max_size=60),
    st.sampled_from(["0", "30", '"d";r=0;t=3', "Sat, 21 Nov 2026 12:41:25 GMT"]),
    st.integers().map(str),
    st.from_regex(r"[A-Z][a-z]{2}, [0-9]{1,3} Nov [0-9]{1,12} [0-9:]{1,12} [-+A-Z0-9]{0,8}"),
)


@given(st.sampled_from([200, 429, 503]), st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_no_header_does_more_than_ask_for_a_pause(status: int, headers: dict[str, str]) -> None:
    pause = pause_of(status, headers, NOW)
    assert pause is None or 0 <= pause <= LONGEST_PAUSE


def test_a_time_for_a_log_line() -> None:
    assert until(NOW) == "2026-11-21 12:40:25 UTC"
