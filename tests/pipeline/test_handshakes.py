"""Who is asked for consent, when again, and what becomes of the answer; over real sockets."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

import gateway.handshakes
from gateway.consent import asked_for, judge
from gateway.errors import NotFound
from gateway.models import Millis
from gateway.stores.base import Consent, Handshake, Status
from tests.pipeline.handshaking import (
    GRANT,
    HOUR,
    NOW,
    ORIGIN,
    PUBLIC_URL,
    SECOND,
    Endpoint,
    answering,
    asking_of,
    refuse,
    subscription,
    told,
)

pytestmark = pytest.mark.slow


def test_the_secret_is_stored_before_the_endpoint_is_asked() -> None:
    async def story(endpoint: Endpoint) -> None:
        async with asking_of(subscription(endpoint)) as it:
            await it.answered(1)
            begun, ended = (known for _, known in it.shelf.written)
            assert begun.state is Consent.PENDING
            assert begun.asked_for == f"{ORIGIN} http://127.0.0.1:{endpoint.port}/1"
            (asked,) = endpoint.asked
            callback = asked.headers["webhook-request-callback"]
            assert callback == f"{PUBLIC_URL}/handshakes/{begun.secret}"
            assert ended == replace(
                begun,
                state=Consent.GRANTED,
                reason="",
                asked_at=NOW,
                next_at=ended.next_at,
            )

    told(story)


def test_own_headers_go_with_the_question() -> None:
    async def story(endpoint: Endpoint) -> None:
        headers = (("X-Key", b"k1"), ("User-Agent", b"mine"))
        async with asking_of(subscription(endpoint, headers=headers, rate=2.0)) as it:
            await it.answered(1)
            found = endpoint.asked[0].headers
            assert (found["x-key"], found["user-agent"]) == ("k1", "mine")
            assert found["webhook-request-rate"] == "120"

    told(story)


@pytest.mark.parametrize(
    "changes", [{"origin": None}, {"enabled": False}], ids=["no handshake", "disabled"]
)
def test_who_is_not_asked(changes: dict[str, Any]) -> None:
    async def story(endpoint: Endpoint) -> None:
        async with asking_of(subscription(endpoint, 1, **changes), subscription(endpoint, 2)) as it:
            await it.answered(1, number=2)
            assert [asked.path for asked in endpoint.asked] == ["/2"]

    told(story)


@pytest.mark.parametrize("state", ["paused", "gone"])
def test_a_subscription_that_is_not_active_is_asked_once_it_is(state: str) -> None:
    async def story(endpoint: Endpoint) -> None:
        async with asking_of() as it:
            it.shelf.statuses[1] = Status(subscription=subscription(endpoint), state=state)
            it.shelf.tell()
            await asyncio.sleep(0.1)
            assert endpoint.asked == []
            it.shelf.put(1, state="active")
            await it.answered(1)

    told(story)


def test_who_has_consented_is_not_asked_again() -> None:
    async def story(endpoint: Endpoint) -> None:
        async with asking_of(subscription(endpoint)) as it:
            await it.answered(1)
            it.advance(1_000 * HOUR)
            await asyncio.sleep(0.1)
            assert len(endpoint.asked) == 1

    told(story)


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (refuse(200, WebHook_Allowed_Origin="other.example"), Consent.DENIED),
        (refuse(405), Consent.UNSUPPORTED),
    ],
)
def test_who_does_not_consent_is_asked_every_hour(answer: Any, state: Consent) -> None:
    async def story(endpoint: Endpoint) -> None:
        endpoint.consent = answer
        async with asking_of(subscription(endpoint)) as it:
            for count in (1, 2, 3):
                known = await it.answered(count)
                assert (known.state, known.asked_at) == (state, it.clock.now)
                assert known.next_at == it.clock.now + HOUR
                assert known.reason
                it.advance(HOUR - 1)
                await asyncio.sleep(0.05)
                assert len(endpoint.asked) == count
                it.advance(1)
            await it.answered(4)
            assert len({asked.headers["webhook-request-callback"] for asked in endpoint.asked}) == 1
            endpoint.consent = refuse(200, **{k.replace("-", "_"): v for k, v in GRANT.items()})
            it.advance(HOUR)
            assert (await it.answered(5)).state is Consent.GRANTED

    told(story)


def test_waits_are_jittered() -> None:
    async def story(endpoint: Endpoint) -> None:
        endpoint.consent = refuse(405)
        for jitter, wait in ((0.0, 0.9), (1.0, 1.1)):
            async with asking_of(subscription(endpoint), jitter=jitter) as it:
                known = await it.answered(1)
                assert known.next_at == NOW + int(wait * HOUR)

    told(story)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda _: (503, {}, b""), "it answered 503"),
        (lambda _: (429, {}, b""), "it answered 429"),
        (lambda _: None, "it could not be asked: The connection was closed"),
    ],
)
def test_no_answer_is_asked_for_again_with_growing_waits(answer: Any, reason: str) -> None:
    async def story(endpoint: Endpoint) -> None:
        endpoint.consent = answer
        async with asking_of(subscription(endpoint)) as it:
            waits = []
            for count in range(1, 11):
                known = await it.answered(count)
                assert known.state is Consent.PENDING
                assert known.reason.startswith(reason)
                waits.append((known.next_at - it.clock.now) // SECOND)
                it.advance(known.next_at - it.clock.now)
            assert waits == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]

    told(story)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:9/", "it could not be asked: "),
        ("http://10.1.2.3/", "it could not be asked: "),  # the egress rules hold here too
        ("http://10.1.2/", "it could not be asked: '10.1.2' is a number"),
    ],
)
def test_an_endpoint_that_cannot_be_reached_stays_pending(url: str, reason: str) -> None:
    async def story(endpoint: Endpoint) -> None:
        async with asking_of(subscription(endpoint, url=url)) as it:
            known = await it.answered(1)
            assert known.state is Consent.PENDING
            assert known.reason.startswith(reason)

    told(story)


def test_a_hanging_endpoint_ends_at_its_timeout_and_holds_up_nobody() -> None:
    async def story(endpoint: Endpoint) -> None:
        async with answering() as hanging:
            hanging.hold = asyncio.Event()
            slow = [subscription(hanging, n, timeout=Millis(300)) for n in range(1, 20)]
            async with asking_of(*slow, subscription(endpoint, 20)) as it:
                await it.until(lambda: len(hanging.asked) == 19)
                assert (await it.answered(1, number=20)).state is Consent.GRANTED
                await it.answered(20)
                assert "deadline" in it.known(1).reason
                assert it.known(1).state is Consent.PENDING

    told(story)


def test_at_most_so_many_are_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.handshakes, "AT_ONCE", 3)

    async def story(endpoint: Endpoint) -> None:
        endpoint.hold = asyncio.Event()
        async with asking_of(*(subscription(endpoint, n) for n in range(1, 9))) as it:
            await it.until(lambda: len(endpoint.asked) == 3)
            await asyncio.sleep(0.05)
            assert len(endpoint.asked) == 3
            endpoint.hold.set()
            await it.answered(8)

    told(story)


def test_what_is_written_at_the_same_time_is_written_together() -> None:
    async def story(endpoint: Endpoint) -> None:
        wanted = [subscription(endpoint, number) for number in range(1, 41)]
        async with asking_of(*wanted) as it:
            del it.shelf.statuses[40]  # its removal must not fail the others
            await it.answered(39)
            assert all(it.known(number).state is Consent.GRANTED for number in range(1, 40))
            assert len(it.shelf.written) == 78
            assert len(it.shelf.together) <= 20

    told(story)


def test_retry_after_is_observed() -> None:
    async def story(endpoint: Endpoint) -> None:
        endpoint.consent = refuse(429, Retry_After="7200")
        async with asking_of(subscription(endpoint)) as it:
            known = await it.answered(1)
            assert known.next_at == NOW + 2 * HOUR

    told(story)


def test_a_refusal_stands_while_the_endpoint_cannot_be_reached() -> None:
    async def story(endpoint: Endpoint) -> None:
        endpoint.consent = refuse(200, WebHook_Allowed_Origin="other.example")
        async with asking_of(subscription(endpoint)) as it:
            before = await it.answered(1)
            endpoint.consent = lambda _: None
            it.advance(HOUR)
            after = await it.answered(2)
            assert (after.state, after.reason) == (Consent.DENIED, before.reason)
            assert after.next_at == it.clock.now + HOUR

    told(story)


@pytest.mark.parametrize("change", ["url", "origin"])
def test_another_url_or_origin_is_asked_anew_with_another_secret(change: str) -> None:
    async def story(endpoint: Endpoint) -> None:
        async with asking_of(subscription(endpoint)) as it:
            first = await it.answered(1)
            url = f"http://127.0.0.1:{endpoint.port}/new"
            changes: dict[str, Any] = {"url": url} if change == "url" else {"origin": "new.example"}
            endpoint.consent = refuse(405)
            it.shelf.put(1, subscription=subscription(endpoint, **changes))
            known = await it.answered(2)
            assert known.state is Consent.UNSUPPORTED
            assert known.asked_for != first.asked_for
            assert known.secret != first.secret
            with pytest.raises(NotFound):
                await it.handshakes.grant(first.secret, None)

    told(story)


def test_an_answer_for_a_url_that_was_changed_meanwhile_does_not_count() -> None:
    async def story(endpoint: Endpoint) -> None:
        endpoint.hold = asyncio.Event()
        async with asking_of(subscription(endpoint)) as it:
            await it.until(lambda: endpoint.asked)
            moved = subscription(endpoint, url=f"http://127.0.0.1:{endpoint.port}/moved")
            it.shelf.put(1, subscription=moved)
            endpoint.consent = lambda asked: (200, GRANT if asked.path == "/1" else {}, b"")
            endpoint.hold.set()
            known = await it.answered(1)
            assert [asked.path for asked in endpoint.asked] == ["/1", "/moved"]
            assert known.state is Consent.UNSUPPORTED
            assert known.asked_for == asked_for(moved)

    told(story)


def test_an_answer_does_not_count_for_what_another_process_has_asked_meanwhile() -> None:
    async def story(endpoint: Endpoint) -> None:
        endpoint.hold = asyncio.Event()
        async with asking_of(subscription(endpoint)) as it:
            await it.until(lambda: endpoint.asked)
            moved = subscription(endpoint, url=f"http://127.0.0.1:{endpoint.port}/moved")
            theirs = Handshake(
                asked_for=asked_for(moved) or "", secret="s", next_at=Millis(NOW + HOUR)
            )
            it.shelf.put(1, subscription=moved, handshake=theirs)
            endpoint.hold.set()
            await asyncio.sleep(0.1)
            assert it.known() == theirs

    told(story)


def test_a_store_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.handshakes, "STORE_PAUSE", 0.01)

    async def story(endpoint: Endpoint) -> None:
        async with asking_of() as it:
            it.shelf.failures = 3
            it.shelf.statuses[1] = Status(subscription=subscription(endpoint))
            it.shelf.tell()
            await it.until(lambda: endpoint.asked)
            it.shelf.failures = 3
            await it.answered(1)
            assert it.known().state is Consent.GRANTED
            assert len(endpoint.asked) == 1

    told(story)


def test_a_subscription_that_is_removed_while_it_is_asked() -> None:
    async def story(endpoint: Endpoint) -> None:
        endpoint.hold = asyncio.Event()
        async with asking_of(subscription(endpoint)) as it:
            await it.until(lambda: endpoint.asked)
            it.shelf.statuses.clear()
            it.shelf.tell()
            endpoint.hold.set()
            await asyncio.sleep(0.1)
            assert [known.state for _, known in it.shelf.written] == [Consent.PENDING]

    told(story)


def test_a_bug_with_one_does_not_end_the_asking_of_others(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(status: int, *arguments: Any, **named: Any) -> Any:
        if status == 418:
            raise ArithmeticError("planted")
        return judge(status, *arguments, **named)

    monkeypatch.setattr(gateway.handshakes, "judge", stumble)

    async def story(endpoint: Endpoint) -> None:
        endpoint.consent = lambda asked: (418 if asked.path == "/1" else 200, GRANT, b"")
        async with asking_of(subscription(endpoint, 1)) as it:
            await it.until(lambda: "met a bug" in caplog.text)
            it.shelf.statuses[2] = Status(subscription=subscription(endpoint, 2))
            it.shelf.tell()
            assert (await it.answered(1, number=2)).state is Consent.GRANTED
            assert len(endpoint.asked) == 2

    told(story)


def test_a_stop_does_not_wait_for_an_endpoint_that_hangs() -> None:
    async def story(endpoint: Endpoint) -> None:
        endpoint.hold = asyncio.Event()
        async with asking_of(subscription(endpoint)) as it:
            await it.until(lambda: endpoint.asked)
        assert [known.state for _, known in it.shelf.written] == [Consent.PENDING]

    told(story)
