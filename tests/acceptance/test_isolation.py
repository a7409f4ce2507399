"""Consumers that hang take nothing from the others; a delivery that meets a bug neither."""

import asyncio
import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.main import app
from gateway.models import Delivery, Outcome, Subscription
from gateway.sender import Sender
from tests.acceptance import isolation
from tests.pipeline.world import Consumer, configuration, consuming, running, shop_event

pytestmark = pytest.mark.slow

OTHERS = 20


@pytest.mark.slow
def test_ten_that_hang_among_twenty(tmp_path: Path) -> None:
    plan = isolation.Plan(subscriptions=20, hanging=10, callbacks=60, slots=4, timeout=1.0)
    report = asyncio.run(isolation.run(plan, tmp_path))
    assert not report.problems, str(report)
    assert report.arrived == 10 * 60
    assert report.held == (4, 4), str(report)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_fifty_that_hang_among_a_hundred(tmp_path: Path) -> None:
    """All slots together are three times what may be in flight: each has its share of that."""
    isolation.more_files()
    plan = isolation.Plan(subscriptions=100, hanging=50, callbacks=100, slots=32, timeout=3.0)
    report = asyncio.run(isolation.run(plan, tmp_path))
    assert not report.problems, str(report)
    assert report.arrived == 50 * 100
    assert report.held[0] >= 8, str(report)


def listed(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    """What `gateway ARGUMENTS --json` lists of the file in a folder, whose gateway has ended."""
    config = folder / "look.toml"
    config.write_text(f'store.url = "sqlite:///{folder}/gateway.db"\n', encoding="utf-8")
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        app([*arguments, "--json", "--config", str(config)], standalone_mode=False)
    found: list[dict[str, Any]] = json.loads(output.getvalue())
    return found


def poisoned(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let the sender raise for whatever tells of order `poison`."""
    send = Sender.send

    async def sending(self: Sender, subscription: Subscription, delivery: Delivery) -> Outcome:
        if b'"poison"' in delivery.body:
            await asyncio.sleep(0)
            raise error
        return await send(self, subscription, delivery)

    monkeypatch.setattr(Sender, "send", sending)


@pytest.mark.parametrize(
    "error",
    [ZeroDivisionError("one of ours"), MemoryError("one of ours"), asyncio.CancelledError()],
    ids=["a bug", "no memory", "its task is killed"],
)
def test_a_poisonous_delivery_is_a_dead_letter_at_the_third_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Security fact S15. The schedule has more places than that, and they are not used up."""
    poisoned(monkeypatch, error)

    async def story() -> None:
        async with consuming() as consumer:
            text = configuration(consumer.port).replace(
                '"100ms", "100ms", "100ms"', ", ".join(['"50ms"'] * 9)
            )
            async with running(tmp_path, consumer, text) as world:
                await world.shop(shop_event("p", order="poison"))
                for number in range(OTHERS):
                    await world.shop(shop_event(number, order=f"o-{number}"))
                await world.settled()
            check(consumer)

    asyncio.run(story())
    (dead,) = listed(tmp_path, "deliveries", "--state", "dead")
    assert dead["reason"] == "it met a bug of the gateway 3 times"
    (told,) = listed(tmp_path, "explain", dead["id"])
    attempts = told["attempts"][dead["id"]]
    assert [one["number"] for one in attempts] == [1, 2, 3]
    assert {one["failure"] for one in attempts} == {"internal"}
    assert type(error).__name__ in attempts[-1]["detail"]
    (exhausted,) = listed(tmp_path, "events", "--type", "gateway.delivery.exhausted")
    assert exhausted["type"] == "gateway.delivery.exhausted"


def test_failures_that_are_no_bugs_do_not_end_a_delivery_sooner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four attempts of which two meet a bug: a network that fails does not make them three."""
    send = Sender.send

    async def sending(self: Sender, subscription: Subscription, delivery: Delivery) -> Outcome:
        if delivery.number in {1, 3}:
            raise ZeroDivisionError("one of ours")
        return await send(self, subscription, delivery)

    monkeypatch.setattr(Sender, "send", sending)

    async def story() -> None:
        async with consuming() as consumer:
            answers = iter([None, None])
            consumer.answer = lambda _: next(answers, (200, {}, b""))
            text = configuration(consumer.port).replace(
                '"100ms", "100ms", "100ms"', ", ".join(['"50ms"'] * 9)
            )
            async with running(tmp_path, consumer, text) as world:
                await world.shop(shop_event(1))
                await world.settled()

    asyncio.run(story())
    (one,) = listed(tmp_path, "deliveries")
    assert one["state"] == "delivered"
    (told,) = listed(tmp_path, "explain", one["id"])
    failures = [attempt["failure"] for attempt in told["attempts"][one["id"]]]
    assert failures == ["reset", "internal", "reset", "internal", None]


def check(consumer: Consumer) -> None:
    """All others came, once."""
    orders = sorted(seen.event["subject"] for seen in consumer.seen)
    assert orders == sorted(f"o-{number}" for number in range(OTHERS))
