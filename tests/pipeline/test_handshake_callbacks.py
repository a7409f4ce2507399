"""Consent that comes by callback, and handshakes in a whole gateway, over restarts."""

import asyncio
from pathlib import Path

import pytest

import gateway.handshakes
from gateway.consent import asked_for
from gateway.errors import BadRequest, NotFound, Unavailable
from gateway.models import Millis
from gateway.stores.base import Consent, Handshake, Status
from tests.pipeline.handshaking import (
    GRANT,
    HOUR,
    NOW,
    ORIGIN,
    Endpoint,
    asking,
    asking_of,
    callback_of,
    handshake,
    refuse,
    subscription,
    told,
)
from tests.pipeline.world import World, running, shop_event

pytestmark = pytest.mark.slow


def test_a_callback_that_is_faster_than_the_answer_stands() -> None:
    async def story(endpoint: Endpoint) -> None:
        endpoint.hold, endpoint.consent = asyncio.Event(), refuse(200)
        async with asking_of(subscription(endpoint)) as it:
            await it.until(lambda: endpoint.asked)
            assert await it.handshakes.grant(it.known().secret, b"30") == "s1"
            endpoint.hold.set()
            await asyncio.sleep(0.1)
            assert (it.known().state, it.known().rate) == (Consent.GRANTED, 30)

    told(story)


def test_a_callback_and_an_answer_at_the_same_moment_end_in_a_grant() -> None:
    async def story(endpoint: Endpoint) -> None:
        endpoint.hold, endpoint.consent = asyncio.Event(), refuse(200)
        async with asking_of(subscription(endpoint)) as it:
            await it.until(lambda: endpoint.asked)
            entered, leave = asyncio.Event(), asyncio.Event()

            async def dawdle(known: Handshake) -> None:
                if known.state is Consent.GRANTED:
                    entered.set()
                    await leave.wait()

            it.shelf.after_write = dawdle
            granting = asyncio.create_task(it.handshakes.grant(it.known().secret, None))
            await entered.wait()
            endpoint.hold.set()
            await asyncio.sleep(0.1)  # the answer is there, and the grant is written but not told
            leave.set()
            await granting
            await asyncio.sleep(0.1)
            assert it.known().state is Consent.GRANTED

    told(story)


def test_a_callback_counts_until_there_is_a_grant_and_only_with_its_secret() -> None:
    async def story(endpoint: Endpoint) -> None:
        endpoint.consent = refuse(200, WebHook_Allowed_Origin="other.example")
        one, two = subscription(endpoint, 1, rate=1.0), subscription(endpoint, 2)
        async with asking_of(one, two) as it:
            await it.answered(2)
            secret = it.known(1).secret
            for wrong in ("", "x", secret[:-1], secret + "x", secret.lower(), "\u00e9", "\udcff"):
                with pytest.raises(NotFound):
                    await it.handshakes.grant(wrong, None)
            for wrong_rate in (b"0", b"-1", b"", b"6O"):
                with pytest.raises(BadRequest):
                    await it.handshakes.grant(secret, wrong_rate)
            assert it.known(1).state is Consent.DENIED
            await it.handshakes.grant(secret, None)
            assert (it.known(1).state, it.known(1).rate) == (Consent.GRANTED, 60)
            assert await it.handshakes.grant(secret, b"6000") == "s1"
            assert it.known(1).rate == 60  # a repeat changes nothing
            assert it.known(2).state is Consent.DENIED

    told(story)


def test_a_handshake_without_a_secret_cannot_be_called_back() -> None:
    async def story(endpoint: Endpoint) -> None:
        one = subscription(endpoint)
        known = Handshake(asked_for=asked_for(one) or "", next_at=Millis(NOW + HOUR))
        async with asking_of() as it:
            it.shelf.statuses[1] = Status(subscription=one, handshake=known)
            it.shelf.tell()
            with pytest.raises(NotFound):
                await it.handshakes.grant("", None)

    told(story)


def test_a_callback_that_the_store_does_not_take_fails_and_may_be_repeated() -> None:
    async def story(endpoint: Endpoint) -> None:
        endpoint.consent = refuse(405)
        async with asking_of(subscription(endpoint)) as it:
            await it.answered(1)
            it.shelf.failures = 1
            with pytest.raises(Unavailable):
                await it.handshakes.grant(it.known().secret, None)
            await it.handshakes.grant(it.known().secret, None)
            assert it.known().state is Consent.GRANTED

    told(story)


def test_a_bug_with_one_callback_is_no_other_callbacks(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*_: object) -> None:
        raise ArithmeticError("planted")

    async def story(endpoint: Endpoint) -> None:
        endpoint.consent = refuse(405)
        async with asking_of(subscription(endpoint)) as it, asyncio.timeout(30):
            await it.answered(1)
            with monkeypatch.context() as planted:
                planted.setattr(gateway.handshakes, "granted_rate", stumble)
                with pytest.raises(ArithmeticError):
                    await it.handshakes.grant(it.known().secret, None)
            await it.handshakes.grant(it.known().secret, None)
            assert it.known().state is Consent.GRANTED

    told(story)


def test_a_grant_survives_a_restart(tmp_path: Path) -> None:
    async def story(endpoint: Endpoint) -> None:
        for number in (1, 2):
            async with running(tmp_path, endpoint, asking(endpoint.port)) as world:
                await world.shop(shop_event(number, order=f"o-{number}"))
                await world.settled()
        assert endpoint.order == ["OPTIONS", "POST", "POST"]

    told(story)


@pytest.mark.parametrize("status", [405, 503])
def test_after_resume_it_is_asked_at_once(tmp_path: Path, status: int) -> None:
    async def story(endpoint: Endpoint) -> None:
        endpoint.consent = refuse(status)
        async with running(tmp_path, endpoint, asking(endpoint.port)) as world:
            await world.until(lambda: handshake(world) and handshake(world).asked_at)
            await world.gateway.pause("good")
            await world.shop(shop_event(1))
            endpoint.consent = lambda _: (200, GRANT, b"")
            assert len(endpoint.asked) == 1
            await world.gateway.resume("good")
            await world.settled()
            assert endpoint.order == ["OPTIONS", "OPTIONS", "POST"]
            await world.gateway.pause("good")
            await world.gateway.resume("good")
            await world.shop(shop_event(2, order="o-2"))
            await world.settled()
            assert endpoint.order == ["OPTIONS", "OPTIONS", "POST", "POST"]

    told(story)


def test_a_new_url_gets_nothing_before_it_has_consented(tmp_path: Path) -> None:
    async def story(endpoint: Endpoint) -> None:
        async with running(tmp_path, endpoint, asking(endpoint.port)) as world:
            await world.until(lambda: endpoint.asked)
            await world.shop(shop_event(1))
            await world.settled()
        endpoint.consent = refuse(200)
        endpoint.seen.clear()
        async with running(tmp_path, endpoint, asking(endpoint.port, path="/new")) as world:
            await world.shop(shop_event(2, order="o-2"))
            await world.until(lambda: handshake(world).state is Consent.UNSUPPORTED)
            await asyncio.sleep(0.2)
            assert endpoint.seen == []
            await world.client.get(callback_of(world, endpoint))
            (seen,) = await world.delivered(1)
            assert seen.path == "/new"

    told(story)


def test_the_consent_of_a_former_url_is_not_shown_for_a_new_one(tmp_path: Path) -> None:
    """Also while nobody is asked, because the subscription is paused."""

    async def story(endpoint: Endpoint) -> None:
        async with running(tmp_path, endpoint, asking(endpoint.port)) as world:
            await world.until(lambda: handshake(world) and handshake(world).state == "granted")
            await world.gateway.pause("good")
        async with running(tmp_path, endpoint, asking(endpoint.port)) as world:
            assert handshake(world).state is Consent.GRANTED
        async with running(tmp_path, endpoint, asking(endpoint.port, path="/new")) as world:
            assert handshake(world) is None
            endpoint.seen.clear()
            await world.shop(shop_event(1))
            await world.gateway.resume("good")
            await world.settled()
            assert [seen.path for seen in endpoint.seen] == ["/new"]

    told(story)


def test_one_of_no_file_is_asked_in_the_name_that_the_gateway_has_now(tmp_path: Path) -> None:
    async def story(endpoint: Endpoint) -> None:
        endpoint.consent = lambda _: (200, {"WebHook-Allowed-Origin": "*"}, b"")
        text = asking(endpoint.port, "enabled = false")
        keys = {
            "url": f"http://127.0.0.1:{endpoint.port}/made",
            "types": "order.*",
            "handshake": True,
        }
        async with running(tmp_path, endpoint, text) as world:
            await world.gateway.subscribe("made", keys)
            await world.until(lambda: endpoint.asked)
        async with running(tmp_path, endpoint, text) as world:
            await asyncio.sleep(0.2)
            assert len(endpoint.asked) == 1
        text = text.replace(ORIGIN, "new.example.com")
        async with running(tmp_path, endpoint, text) as world:
            await world.shop(shop_event(1))
            await world.settled()
        asked = [seen.headers["webhook-request-origin"] for seen in endpoint.asked]
        assert asked == [ORIGIN, "new.example.com"]
        (seen,) = endpoint.seen
        assert seen.headers["webhook-request-origin"] == "new.example.com"

    told(story)


def test_without_handshake_in_the_file_any_more_it_is_sent(tmp_path: Path) -> None:
    async def story(endpoint: Endpoint) -> None:
        endpoint.consent = refuse(405)
        text = asking(endpoint.port)
        async with running(tmp_path, endpoint, text) as world:
            await world.shop(shop_event(1))
            await world.until(lambda: handshake(world).state is Consent.UNSUPPORTED)
        text = text.replace("handshake = true", "handshake = false")
        async with running(tmp_path, endpoint, text) as world:
            await world.settled()
            assert len(endpoint.seen) == 1
            assert "webhook-request-origin" not in endpoint.seen[0].headers

    told(story)


def test_the_callback_route(tmp_path: Path) -> None:
    async def story(endpoint: Endpoint) -> None:
        endpoint.consent = refuse(405)
        async with running(tmp_path, endpoint, asking(endpoint.port)) as world:
            await world.until(lambda: handshake(world) and handshake(world).asked_at)
            url = callback_of(world, endpoint)
            assert await statuses(world, url) == {
                ("HEAD", ""): 405,
                ("PUT", ""): 405,
                ("OPTIONS", ""): 405,
                ("GET", "x"): 404,
                ("POST", "x"): 404,
                ("GET", "/x"): 404,
            }
            twice = [("WebHook-Allowed-Rate", "60"), ("WebHook-Allowed-Rate", "60")]
            assert (await world.client.get(url, headers=twice)).status_code == 400
            zero = {"WebHook-Allowed-Rate": "0"}
            assert (await world.client.post(url, headers=zero)).status_code == 400
            assert handshake(world).state is Consent.UNSUPPORTED
            # What is in a body is nobody's matter, as long as it may be.
            answer = await world.client.post(url, content=b"x" * 100_000)
            assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
            assert handshake(world).state is Consent.GRANTED
            assert (await world.client.get(url)).status_code == 200

    async def statuses(world: World, url: str) -> dict[tuple[str, str], int]:
        found = {}
        for method, more in [("HEAD", ""), ("PUT", ""), ("OPTIONS", ""), ("GET", "x"),
                             ("POST", "x"), ("GET", "/x")]:  # fmt: skip
            answer = await world.client.request(method, url + more)
            found[method, more] = answer.status_code
            assert url.rpartition("/")[2] not in answer.text
        return found

    told(story)


def test_the_admin_door_knows_no_callback(tmp_path: Path) -> None:
    async def story(endpoint: Endpoint) -> None:
        endpoint.consent = refuse(405)
        async with running(tmp_path, endpoint, asking(endpoint.port)) as world:
            await world.until(lambda: handshake(world) and handshake(world).asked_at)
            url = callback_of(world, endpoint).replace(world.public, world.admin)
            assert (await world.client.get(url)).status_code == 404

    told(story)


def test_the_secret_is_not_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")

    async def story(endpoint: Endpoint) -> None:
        endpoint.consent = refuse(405)
        async with running(tmp_path, endpoint, asking(endpoint.port)) as world:
            await world.until(lambda: handshake(world) and handshake(world).asked_at)
            known = world.gateway.store.catalog.statuses[0].handshake
            assert known is not None
            secret = known.secret
            assert (len(secret), handshake(world).secret) == (43, "")  # sealed in the file
            await world.gateway.handshakes.grant(secret, None)
        ours = [line for line in caplog.messages if secret in line]
        assert ours == []
        assert any("handshake unsupported" in line for line in caplog.messages)

    told(story)
