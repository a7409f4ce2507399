"""A callback in, signed CloudEvents out: the promises of the main path, over real sockets."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import jsonschema
import pytest
from standardwebhooks import Webhook

from gateway.events import parse, schemas
from gateway.signing import verify
from tests.pipeline.world import (
    SECRET,
    configuration,
    consuming,
    running,
    shop_event,
)


def test_a_callback_becomes_a_signed_event(tmp_path: Path) -> None:
    async def story() -> None:
        async with consuming() as consumer, running(tmp_path, consumer) as world:
            answer = await world.shop(shop_event(1, total=49.26))
            assert answer.status_code == 200
            receipt = answer.json()
            assert receipt["verdict"] == "event"
            assert receipt["duplicate"] is False
            (seen,) = await world.delivered(1)
            assert receipt["events"] == [seen.id]
            assert seen.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
            assert seen.headers["accept-encoding"] == "identity"
            Webhook(SECRET).verify(seen.body, seen.headers)
            verify(seen.body, seen.headers, SECRET, now=float(seen.headers["webhook-timestamp"]))
            event = parse(seen.headers, seen.body)
            assert (event.get_id(), event.get_type()) == (seen.id, "order.created")
            data = event.get_data()
            jsonschema.validate(data, json.loads(schemas()["order.created.json"]))
            assert isinstance(data, dict)
            assert data["total"] == {"value": "49.26", "minor": None, "currency": None}
            # Design 7: what JavaScript writes again is what was sent.
            again = json.dumps(json.loads(seen.body), ensure_ascii=False, separators=(",", ":"))
            assert again.encode() == seen.body

    asyncio.run(story())


def test_all_modes_carry_the_same_event(tmp_path: Path) -> None:
    modes = "".join(
        f'[subscriptions.{mode}]\nurl = "http://127.0.0.1:PORT/{mode}"\nsecrets = ["{SECRET}"]\n'
        f'mode = "{mode}"\n'
        for mode in ("binary", "json", "structured")
    )

    async def story() -> None:
        async with consuming() as consumer:
            text = configuration(consumer.port, modes.replace("PORT", str(consumer.port)))
            async with running(tmp_path, consumer, text) as world:
                await world.shop(shop_event(1, order="Größe 1"))
                seen = {delivered.path: delivered for delivered in await world.delivered(4)}
            assert set(seen) == {"/good", "/binary", "/json", "/structured"}
            events = [parse(d.headers, d.body) for d in seen.values()]
            assert len({d.id for d in seen.values()}) == 1
            for delivered, event in zip(seen.values(), events, strict=True):
                Webhook(SECRET).verify(delivered.body, delivered.headers, json_parse=False)
                # Headers are text: an integer attribute comes back as its digits.
                assert _texts(event.get_attributes()) == _texts(events[0].get_attributes())
                assert event.get_data() == events[0].get_data()
            assert events[0].get_subject() == "Gr%C3%B6%C3%9Fe 1"
            assert seen["/json"].headers["content-type"] == "application/json"
            assert seen["/json"].body == seen["/structured"].body
            assert seen["/binary"].headers["content-type"] == "application/json"

    asyncio.run(story())


def _texts(attributes: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in attributes.items()}


def test_repeats_make_nothing_new(tmp_path: Path) -> None:
    async def story() -> None:
        async with consuming() as consumer, running(tmp_path, consumer) as world:
            body = json.dumps(shop_event(1)).encode()
            answers = await asyncio.gather(*(world.shop(body) for _ in range(30)))
            assert {answer.status_code for answer in answers} == {200}
            receipts = [answer.json() for answer in answers]
            assert sorted(receipt["duplicate"] for receipt in receipts) == [False] + [True] * 29
            assert len({json.dumps([r["id"], r["events"]]) for r in receipts}) == 1
            await world.settled()
            assert world.rows("SELECT count(*) FROM callbacks") == [(1,)]
            assert world.rows("SELECT count(*) FROM events") == [(1,)]
            assert len(consumer.seen) == 1

    asyncio.run(story())


def test_the_same_id_with_another_body_is_a_duplicate_and_noted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with consuming() as consumer, running(tmp_path, consumer) as world:
            first = (await world.shop(shop_event(1))).json()
            second = (await world.shop(shop_event(1, "order.paid"))).json()
            assert second == {**first, "duplicate": True}

    asyncio.run(story())
    assert "again with another body" in caplog.text


def test_one_payment_of_two_systems_is_one_event(tmp_path: Path) -> None:
    session = {
        "id": "evt_s1",
        "object": "event",
        "type": "checkout.session.completed",
        "created": 1_768_487_400,
        "livemode": False,
        "data": {
            "object": {
                "id": "cs_1",
                "object": "checkout.session",
                "mode": "payment",
                "payment_status": "paid",
                "payment_intent": "pi_1",
                "client_reference_id": "ord-1",
                "amount_total": 4926,
                "currency": "eur",
                "metadata": {},
            }
        },
    }

    async def story() -> None:
        async with consuming() as consumer, running(tmp_path, consumer) as world:
            assert (await world.shop(shop_event(1))).json()["verdict"] == "event"
            assert len((await world.stripe(session)).json()["events"]) == 1
            merged = (await world.shop(shop_event(2, "order.paid"))).json()
            assert (merged["verdict"], merged["events"]) == ("merged", [])
            await world.settled()
            events = sorted((seen.event for seen in consumer.seen), key=lambda e: e["orderseq"])
            assert [(e["orderseq"], e["type"]) for e in events] == [
                (1, "order.created"),
                (2, "order.paid"),
            ]
            assert events[1]["data"]["payment"]["paid"] == {
                "value": "49.26",
                "minor": 4926,
                "currency": "EUR",
            }

    asyncio.run(story())


def test_a_refund_waits_for_its_order(tmp_path: Path) -> None:
    refund = {
        "id": "evt_r1",
        "object": "event",
        "type": "refund.created",
        "created": 1_768_487_500,
        "livemode": False,
        "data": {
            "object": {
                "id": "re_1",
                "object": "refund",
                "amount": 1000,
                "currency": "eur",
                "status": "succeeded",
                "payment_intent": "pi_1",
                "charge": "ch_1",
            }
        },
    }
    intent = {
        "id": "evt_p1",
        "object": "event",
        "type": "payment_intent.succeeded",
        "created": 1_768_487_400,
        "livemode": False,
        "data": {
            "object": {
                "id": "pi_1",
                "object": "payment_intent",
                "amount": 4926,
                "amount_received": 4926,
                "currency": "eur",
                "metadata": {"order_id": "1001"},
            }
        },
    }

    async def story() -> None:
        async with consuming() as consumer, running(tmp_path, consumer) as world:
            waiting = (await world.stripe(refund)).json()
            assert (waiting["verdict"], waiting["events"]) == ("unlinked", [])
            assert world.rows("SELECT count(*) FROM unlinked") == [(1,)]
            await world.stripe(intent)
            await world.settled()
            events = sorted((seen.event for seen in consumer.seen), key=lambda e: e["orderseq"])
            types = ["order.created", "order.paid", "order.refunded"]
            assert [event["type"] for event in events] == types
            assert events[2]["data"]["change"]["full"] is False
            assert world.rows("SELECT count(*) FROM unlinked") == [(0,)]
            assert world.rows("SELECT verdict FROM callbacks WHERE id = 1") == [("event",)]

    asyncio.run(story())


def test_what_cannot_be_read_is_quarantined_and_read_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with consuming() as consumer, running(tmp_path, consumer) as world:
            broken = {**shop_event(1), "data": {}}
            for duplicate in (False, True):
                answer = await world.shop(broken)
                assert answer.status_code == 202
                assert answer.json()["verdict"] == "quarantined"
                assert answer.json()["duplicate"] is duplicate
            neighbours = await asyncio.gather(
                *(world.shop(shop_event(n, order=f"o-{n}")) for n in range(2, 12)),
                *(world.shop({**shop_event(n), "data": {}}) for n in range(12, 22)),
            )
            assert [answer.status_code for answer in neighbours] == [200] * 10 + [202] * 10
            await world.settled()
            assert len(consumer.seen) == 10

    asyncio.run(story())


def test_events_that_are_no_orders_reach_only_who_names_them(tmp_path: Path) -> None:
    more = (
        '[subscriptions.all]\nurl = "http://127.0.0.1:PORT/all"\ntypes = ["*"]\nsecrets = ["S"]\n'
        '[subscriptions.jobs]\nurl = "http://127.0.0.1:PORT/jobs"\n'
        'types = ["printstudio.job.failed"]\nsecrets = ["S"]\n'
    ).replace("S", SECRET, 1)

    async def story() -> None:
        async with consuming() as consumer:
            text = configuration(
                consumer.port,
                more.replace('"S"', f'"{SECRET}"').replace("PORT", str(consumer.port)),
            )
            async with running(tmp_path, consumer, text) as world:
                failed = {
                    "id": "evt-j",
                    "event": "job.failed",
                    "timestamp": "2026-01-15T14:30:00Z",
                    "data": {"jobId": "job-9", "error": "clogged"},
                }
                assert (await world.shop(failed)).json()["verdict"] == "event"
                (seen,) = await world.delivered(1)
                await world.settled()
            assert [seen.path for seen in consumer.seen] == ["/jobs"]
            assert seen.event["type"] == "printstudio.job.failed"
            assert seen.event["subject"] == "job-9"
            assert seen.event["data"]["error"] == "clogged"

    asyncio.run(story())
