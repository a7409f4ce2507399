"""Standard Webhooks 1.0.0, rule by rule; `docs/standards.md` lists them."""

import asyncio
import base64
import hashlib
import hmac
import re
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from gateway import signing
from gateway.breaker import is_down
from gateway.config.load import load
from gateway.config.settings import PROFILES, SubscriptionSettings
from gateway.errors import ConfigError
from gateway.models import Delivery, Millis, Outcome, Subscription
from gateway.retries import Step, decide
from gateway.signing import VerificationError, generate_secret, parse_secret, sign, verify
from tests.pipeline.world import SECRET, Consumer, Delivered, World, shop_event
from tests.standards.stage import (
    HOSTILE,
    OTHER_SECRET,
    all_modes,
    by_path,
    configuration,
    play,
    telling,
)

DAY = 86_400_000
DEFAULTS = SubscriptionSettings(url="https://example.com", secrets=())


def accepts(secret: str, delivered: Delivered) -> bool:
    """Whether the reference library verifies a delivery with this secret."""
    try:
        Webhook(secret).verify(delivered.body, delivered.headers, json_parse=False)
    except WebhookVerificationError:
        return False
    return True


def answering(*statuses: int, **headers: str) -> Any:
    """A consumer that answers these statuses to its first requests, and 200 to all others."""
    rest = iter(statuses)
    fields = {name.replace("_", "-"): value for name, value in headers.items()}

    def prepare(consumer: Consumer) -> None:
        def answer(_: Delivered) -> tuple[int, dict[str, str], bytes]:
            status = next(rest, 200)
            return status, fields if status != 200 else {}, b""

        consumer.answer = answer

    return prepare


def state_of(world: World, name: str) -> str:
    state: str = world.rows("SELECT state FROM subscriptions WHERE name = ?", name)[0][0]
    return state


def test_sw_1_three_headers_and_old_and_new_key_both_sign(tmp_path: Path) -> None:
    began = int(time.time())
    seen = play(tmp_path, {"good": {"secrets": [OTHER_SECRET, SECRET]}}, telling())
    (delivered,) = seen
    names = [line.partition(":")[0].lower() for line in delivered.lines]
    assert sorted(name for name in names if name.startswith("webhook")) == [
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
    ]
    assert re.fullmatch(r"[0-9]{10}", delivered.headers["webhook-timestamp"])
    assert began <= int(delivered.headers["webhook-timestamp"]) <= time.time()
    entry = r"v1,[A-Za-z0-9+/]{43}="
    assert re.fullmatch(f"{entry} {entry}", delivered.headers["webhook-signature"])
    assert accepts(SECRET, delivered)
    assert accepts(OTHER_SECRET, delivered)
    assert not accepts(generate_secret(), delivered)


def test_sw_2_what_is_signed_is_what_is_sent(tmp_path: Path) -> None:
    seen = by_path(play(tmp_path, all_modes(), telling()))
    assert len(seen) == 4
    for delivered in seen.values():
        content = f"{delivered.id}.{delivered.headers['webhook-timestamp']}.".encode()
        digest = hmac.new(parse_secret(SECRET), content + delivered.body, hashlib.sha256).digest()
        expected = "v1," + base64.b64encode(digest).decode()
        assert delivered.headers["webhook-signature"] == expected
        assert accepts(SECRET, delivered)
        delivered.body += b" "
        assert not accepts(SECRET, delivered)


def test_sw_3_nothing_that_a_sender_chose_is_in_the_id_or_the_timestamp(tmp_path: Path) -> None:
    event = shop_event("1.2.evt_3.4", order=HOSTILE)
    seen = by_path(play(tmp_path, all_modes(), telling(event)))
    for mode, delivered in seen.items():
        pattern = r"bat_[0-9a-f]{32}" if mode == "batch" else r"evt_[0-9a-f]{40}"
        assert re.fullmatch(pattern, delivered.id)
        assert re.fullmatch(r"[0-9]+", delivered.headers["webhook-timestamp"])


@pytest.mark.parametrize("mode", ["structured", "batch"])
def test_sw_4_id_is_constant_over_retries_timestamp_is_the_attempts(
    tmp_path: Path, mode: str
) -> None:
    async def story(world: World) -> None:
        await telling()(world)
        started = world.rows("SELECT started_at FROM attempts ORDER BY number")
        stamps = [int(seen.headers["webhook-timestamp"]) for seen in world.consumer.seen]
        assert stamps == [at // 1000 for (at,) in started]

    keys = {"mode": mode, "schedule": ["1300ms", "1300ms"]}
    first, second = play(tmp_path, {"good": keys}, story, prepare=answering(500))
    assert first.id == second.id
    assert first.body == second.body
    assert first.headers["webhook-timestamp"] < second.headers["webhook-timestamp"]
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]
    assert accepts(SECRET, first)
    assert accepts(SECRET, second)


VECTORS = [  # svix/svix-webhooks src/worker.rs, standard-webhooks libraries/rust/src/lib.rs
    (
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}'),
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ),
    (
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        (
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            1_649_367_553,
            b'{"email":"test@example.com","username":"test_user"}',
        ),
        "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
    ),
]


@pytest.mark.parametrize(("secret", "message", "signature"), VECTORS)
def test_sw_5_published_vectors(
    secret: str, message: tuple[str, int, bytes], signature: str
) -> None:
    assert sign([parse_secret(secret)], *message).decode() == signature


@pytest.mark.parametrize(
    ("length", "good"), [(0, False), (23, False), (24, True), (64, True), (65, False)]
)
def test_sw_5_a_secret_has_24_to_64_bytes(tmp_path: Path, length: int, good: bool) -> None:
    secret = "whsec_" + base64.b64encode(b"x" * length).decode()
    (tmp_path / "gateway.toml").write_text(configuration(1, {"good": {"secrets": [secret]}}))
    if good:
        load(tmp_path / "gateway.toml", {})
        return
    with pytest.raises(ConfigError, match=r"subscriptions\.good\.secrets"):
        load(tmp_path / "gateway.toml", {})


def test_sw_5_a_secret_that_is_made_here_is_one(tmp_path: Path) -> None:
    secret = generate_secret()
    (delivered,) = play(tmp_path, {"good": {"secrets": [secret]}}, telling())
    assert accepts(secret, delivered)
    assert secret.startswith("whsec_")
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32


def test_sw_8_each_subscription_signs_with_its_own_key(tmp_path: Path) -> None:
    subscriptions = {"one": {"secrets": [SECRET]}, "two": {"secrets": [OTHER_SECRET]}}
    seen = by_path(play(tmp_path, subscriptions, telling()))
    assert accepts(SECRET, seen["one"])
    assert not accepts(OTHER_SECRET, seen["one"])
    assert accepts(OTHER_SECRET, seen["two"])
    assert not accepts(SECRET, seen["two"])


def test_sw_9_every_pair_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(left: bytes, right: bytes) -> bool:
        compared.append((left, right))
        return hmac.compare_digest(left, right)

    class Counting:
        compare_digest = staticmethod(compare)
        digest = staticmethod(hmac.digest)

    monkeypatch.setattr(signing, "hmac", Counting)
    signature = sign([parse_secret(SECRET), parse_secret(OTHER_SECRET)], "evt_1", 9, b"{}")
    fields = {"webhook-id": "evt_1", "webhook-timestamp": "9"}
    fields["webhook-signature"] = signature.decode()
    verify(b"{}", fields, [SECRET, generate_secret(), OTHER_SECRET], now=9)
    assert len(compared) == 6


@pytest.mark.parametrize(("off", "good"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_sw_9_the_timestamp_is_held_to_five_minutes(off: int, good: bool) -> None:
    signature = sign([parse_secret(SECRET)], "evt_1", 1_000, b"{}").decode()
    fields = {"webhook-id": "evt_1", "webhook-timestamp": "1000", "webhook-signature": signature}
    if good:
        verify(b"{}", fields, SECRET, now=1_000 + off)
        return
    with pytest.raises(VerificationError, match="301 s off"):
        verify(b"{}", fields, SECRET, now=1_000 + off)


def test_sw_9_no_key_is_taken_from_the_request() -> None:
    signature = sign([parse_secret(OTHER_SECRET)], "evt_1", 9, b"{}").decode()
    fields = {
        "webhook-id": "evt_1",
        "webhook-timestamp": "9",
        "webhook-signature": f"{signature} whsec,{OTHER_SECRET} v1a,AAAA",
        "webhook-secret": OTHER_SECRET,
        "webhook-key": OTHER_SECRET,
        "authorization": OTHER_SECRET,
        "jwk": OTHER_SECRET,
    }
    with pytest.raises(VerificationError, match="no v1 entry"):
        verify(b"{}", fields, SECRET, now=9)


def test_sw_10_every_mode_is_a_post(tmp_path: Path) -> None:
    seen = by_path(play(tmp_path, all_modes(), telling()))
    for mode, delivered in seen.items():
        assert delivered.lines[0] == f"POST /{mode} HTTP/1.1"


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 226, 299])
def test_sw_13_each_2xx_is_a_success(tmp_path: Path, status: int) -> None:
    async def story(world: World) -> None:
        await telling()(world)
        assert world.rows("SELECT state, number FROM deliveries") == [(2, 1)]

    play(tmp_path, {"good": {}}, story, prepare=answering(status))


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_sw_13_a_redirect_is_a_failure_and_not_followed(tmp_path: Path, status: int) -> None:
    prepare = answering(status, Location="/elsewhere")
    seen = play(tmp_path, {"good": {"schedule": ["50ms"]}}, telling(), prepare=prepare)
    assert [delivered.lines[0] for delivered in seen] == ["POST /good HTTP/1.1"] * 2
    assert seen[0].id == seen[1].id


def test_sw_14_410_ends_the_subscription(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.shop(shop_event(1))
        await world.until(lambda: state_of(world, "good") == "gone")
        await telling(shop_event(2, "order.paid"), shop_event(3, order="ord-2"))(world)
        assert len(world.consumer.seen) == 1

    play(tmp_path, {"good": {"schedule": ["50ms"]}}, story, prepare=answering(410))


@pytest.mark.parametrize("status", [429, 503])
def test_sw_15_nothing_is_sent_before_the_end_of_retry_after(tmp_path: Path, status: int) -> None:
    async def story(world: World) -> None:
        await world.shop(shop_event(1))
        await world.until(lambda: world.rows("SELECT 1 FROM attempts"))
        await telling(shop_event(2, "order.paid"))(world)
        times = [at for (at,) in world.rows("SELECT started_at FROM attempts ORDER BY started_at")]
        assert len(times) == 3
        assert min(times[1:]) - times[0] >= 1_000

    prepare = answering(status, Retry_After="1")
    play(tmp_path, {"good": {"schedule": ["50ms", "10s"]}}, story, prepare=prepare)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_sw_15_what_asks_for_less_is_throttled_by_the_breaker(tmp_path: Path, status: int) -> None:
    assert is_down(Outcome(started_at=Millis(0), duration=1, status=status))

    async def story(world: World) -> None:
        for number in range(10):
            await world.shop(shop_event(number, order=f"ord-{number}"))
        await world.until(lambda: len(world.rows("SELECT 1 FROM attempts")) >= 10)
        sent = len(world.consumer.seen)
        await world.shop(shop_event(99, order="ord-99"))
        await asyncio.sleep(0.3)
        assert len(world.consumer.seen) == sent

    keys = {"schedule": ["10s"], "slots": 10}
    play(tmp_path, {"good": keys}, story, prepare=answering(*[status] * 100))


def test_sw_16_an_attempt_has_15_to_30_seconds() -> None:
    timeouts = {name: profile.timeout for name, profile in PROFILES.items()}
    assert timeouts == {"service": 15_000, "n8n": 30_000, "zapier": 30_000}
    assert DEFAULTS.timeout == 15_000


def decided(attempts: int, random: float) -> Millis:
    """When the attempt after this many is due, counted from now."""
    schedule = tuple(Millis(delay) for delay in DEFAULTS.schedule)
    decision = decide(
        Subscription(id=1, name="good", url="", schedule=schedule),
        Delivery(
            id=1,
            subscription=1,
            event_id="evt_1",
            event_type="order.paid",
            body=b"",
            attempts=attempts,
            number=attempts,
            first_at=Millis(0),
            claim=1,
        ),
        Outcome(started_at=Millis(0), duration=1, status=500),
        now=Millis(0),
        last_success=None,
        random=lambda: random,
    )
    assert decision.step is Step.RETRY
    assert decision.due is not None
    return decision.due


def test_sw_17_it_is_tried_for_days_ever_more_rarely_and_with_jitter() -> None:
    delays = [decided(number, 0.5) for number in range(len(DEFAULTS.schedule))]
    assert sum(delays) > 3 * DAY
    assert all(before < after for before, after in pairwise(delays))
    for number, delay in enumerate(delays):
        assert decided(number, 0.0) < delay < decided(number, 1.0)
        assert abs(decided(number, 0.0) / delay - 0.9) < 0.001
        assert abs(decided(number, 1.0) / delay - 1.1) < 0.001


def test_sw_18_long_failure_is_told_elsewhere_and_then_it_is_paused(tmp_path: Path) -> None:
    def prepare(consumer: Consumer) -> None:
        consumer.answer = lambda seen: (500 if seen.path == "/good" else 200, {}, b"")

    async def story(world: World) -> None:
        await world.shop(shop_event(1))
        await world.until(lambda: state_of(world, "good") == "paused")
        await world.until(lambda: len(told(world)) >= 2)
        assert told(world) == ["gateway.subscription.failing", "gateway.subscription.paused"]
        assert sum(seen.path == "/good" for seen in world.consumer.seen) == 5
        assert world.rows("SELECT state FROM deliveries WHERE subscription = 1") == [(0,)]

    def told(world: World) -> list[str]:
        seen = (seen.event for seen in world.consumer.seen if seen.path == "/operator")
        return sorted(event["type"] for event in seen if event["subject"] == "good")

    subscriptions = {
        "good": {"schedule": ["50ms", "50ms", "50ms", "50ms"]},
        "operator": {"types": ["gateway.*"], "secrets": [OTHER_SECRET]},
    }
    play(tmp_path, subscriptions, story, prepare=prepare)
