"""Internal services publish what happened to orders: facts like any other, told by the gateway itself."""

import asyncio
import json
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from gateway.catalogue import example
from gateway.events import parse
from gateway.orders.tables import OrderType
from gateway.signing import verify
from tests.pipeline.test_publishing import BATCHED, Service, event, play
from tests.pipeline.world import SECRET
from tests.providers.callbacks import intent, stripe_event
from tests.unit.test_told import eur, written

DAMAGED = {
    "no data": b'{"specversion":"1.0","id":"1","source":"/s","type":"order.paid"}',
    "a list": json.dumps(written("paid") | {"data": []}).encode(),
    "base64": b'{"specversion":"1.0","id":"1","source":"/s","type":"order.paid","data_base64":"e30="}',
    "a large number": json.dumps(written("shipped", quantity=10**400)).encode(),
    "half a character": json.dumps(written("paid", reason="\ud800")).encode(),
    "deep": b'{"specversion":"1.0","id":"1","source":"/s","type":"order.paid","data":%b%b}'
    % (b"[" * 100_000, b"]" * 100_000),
    "deep inside": json.dumps(written("paid", customer={"a": "DEEP"}))
    .encode()
    .replace(b'"DEEP"', b"[" * 100_000 + b"]" * 100_000),
    "deep, of another type": json.dumps(event())
    .encode()
    .replace(b'"Gr', b"[" * 100_000 + b"]" * 100_000 + b',"a":"Gr'),
    "the end of time": json.dumps(event(time="9999-12-31T23:59:59.9999999Z")).encode(),
}


def told(service: Service, subscription: str = "/good") -> list[dict[str, Any]]:
    """What a subscriber got, by its place in the order's life."""
    seen = [one.event for one in service.world.consumer.seen if one.path == subscription]
    return sorted(seen, key=lambda one: int(one["orderseq"]))


def test_an_order_event_is_told_as_the_gateways_own(tmp_path: Path) -> None:
    async def story(service: Service) -> None:
        given = example(OrderType.SHIPPED).body
        answer = await service.publish(given)
        assert answer.status_code == 202, answer.text
        said = answer.json()
        names = {"duplicate": False, "state": "emitted", "subscriptions": ["good", "all"]}
        assert said == {"id": said["id"], **names}
        assert (await service.publish(given)).json() == said | {"duplicate": True}
        await service.world.settled()
        opening, shipped = told(service)
        assert (opening["type"], opening["data"]["change"]["implied"]) == ("order.created", True)
        assert shipped["id"] == said["id"] == json.loads(given)["id"]  # the same occurrence
        assert (shipped["orderseq"], shipped["source"]) == (2, "/sources/published")
        assert shipped["time"] == json.loads(given)["time"]
        before = json.loads(given)["data"]
        for name in ("order", "ids", "total", "lines", "shipment"):
            assert shipped["data"][name] == before[name]
        delivered = next(one for one in service.world.consumer.seen if one.id == said["id"])
        assert verify(delivered.body, delivered.headers, SECRET) == said["id"]
        assert parse(delivered.headers, delivered.body).get_type() == "order.shipped"

    play(tmp_path, story)


def test_the_event_as_it_came_is_the_callback_that_explains_it(tmp_path: Path) -> None:
    async def story(service: Service) -> None:
        given = json.dumps(written("paid", id="pi_1", amount=eur("49.26")), indent=3).encode()
        said = (await service.publish(given)).json()
        rows = service.world.rows("SELECT source, event_id, event_type, body FROM callbacks")
        assert rows == [("published", '["/warehouse","paid-4-1"]', "order.paid", given)]
        await service.world.settled()
        cause = {"provider": "cloudevents", "event_id": rows[0][1], "type": "order.paid"}
        assert told(service)[-1]["data"]["cause"] == cause
        (story,) = await explained(service, said["id"])
        assert [one["source"] for one in story["callbacks"]] == ["published"]

    play(tmp_path, story)


async def explained(service: Service, name: str) -> list[dict[str, Any]]:
    answer = await service.world.client.get(f"{service.world.control}/v1/explain/{name}")
    assert answer.status_code == 200, answer.text
    stories: list[dict[str, Any]] = answer.json()
    return stories


def test_what_says_nothing_new_makes_no_event(tmp_path: Path) -> None:
    async def story(service: Service) -> None:
        await service.publish(written("shipped"))
        again = written("shipped") | {"source": "/other"}
        nothing: dict[str, Any] = {"id": None, "duplicate": False, "subscriptions": []}
        assert (await service.publish(again)).json() == nothing | {"state": "merged"}
        late = (await service.publish(written("printing"))).json()
        assert late == nothing | {"state": "superseded"}
        assert (await service.publish(written("printing"))).json() == late | {"duplicate": True}
        await service.world.settled()
        assert [one["type"] for one in told(service)] == ["order.created", "order.shipped"]
        asides = service.world.rows("SELECT type FROM events WHERE type LIKE 'gateway.%'")
        assert asides == [("gateway.fact.superseded",)]

    play(tmp_path, story)


def test_a_payment_that_stripe_tells_at_the_same_time_is_one_event(tmp_path: Path) -> None:
    orders = [str(number) for number in range(12)]

    async def story(service: Service) -> None:
        def stripe(order: str) -> Awaitable[Any]:
            thing = intent(id=f"pi_{order}", latest_charge=None, metadata={"order_id": order})
            name = f"evt_{order}"
            return service.world.stripe(stripe_event("payment_intent.succeeded", thing, id=name))

        def desk(order: str) -> Awaitable[Any]:
            return service.publish(
                written("paid", order=order, id=f"pi_{order}", amount=eur("49.26"))
                | {"id": f"ask-{order}"}
            )

        both = [(stripe, desk), (desk, stripe)] * 6
        calls = [way(order) for order, ways in zip(orders, both, strict=True) for way in ways]
        answers = await asyncio.gather(*calls)
        assert {answer.status_code for answer in answers} <= {200, 202}
        await service.world.settled()
        types = service.world.rows("SELECT order_id, type FROM events WHERE type LIKE 'order.%'")
        expected = [(order, kind) for order in orders for kind in ("order.created", "order.paid")]
        assert sorted(types) == sorted(expected)

    play(tmp_path, story)


def test_each_event_of_a_batch_stands_alone(tmp_path: Path) -> None:
    async def story(service: Service) -> None:
        batch = [written("paid"), event(1), written("paid") | {"id": "again"}, written("ready")]
        answer = await service.publish(batch, BATCHED)
        assert [one["state"] for one in answer.json()] == [
            "emitted",
            "emitted",
            "merged",
            "emitted",
        ]
        await service.world.settled()
        kinds = [one["type"] for one in told(service)]
        assert kinds == ["order.created", "order.paid", "order.ready"]

    play(tmp_path, story)


def test_a_batch_with_one_that_does_not_fit_stores_nothing(tmp_path: Path) -> None:
    async def story(service: Service) -> None:
        wrong = written("ready", amount=eur("5.00") | {"currency": 5})
        answer = await service.publish([written("paid"), wrong], BATCHED)
        assert answer.status_code == 422
        problem = answer.json()
        assert problem["code"] == "unprocessable"
        assert problem["detail"].startswith("$[1].data.change.amount.currency: ")
        assert service.world.rows("SELECT count(*) FROM callbacks") == [(0,)]

    play(tmp_path, story)


def test_the_shop_is_what_the_data_say(tmp_path: Path) -> None:
    async def story(service: Service) -> None:
        north = written("paid", shop="north")
        refused = await service.publish(north, path="/v1/events?shop=south")
        assert refused.status_code == 422
        assert refused.json()["detail"].startswith("$.data.shop: ")
        assert (await service.publish(north, path="/v1/events?shop=north")).status_code == 202
        await service.publish(written("paid", shop="west") | {"id": "another"})
        found = service.world.rows("SELECT DISTINCT shop FROM events ORDER BY shop")
        assert found == [("north",), ("west",)]

    play(tmp_path, story)


def test_an_order_event_in_binary_mode(tmp_path: Path) -> None:
    async def story(service: Service) -> None:
        given = written("paid", order="Größe 1")
        data = json.dumps(given.pop("data")).encode()
        headers = {f"ce-{name}": value for name, value in given.items()} | {"ce-id": "1"}
        headers["ce-subject"] = "Gr%25C3%25B6%25C3%259Fe 1"  # as a delivery in binary mode has it
        answer = await service.publish(data, "application/json", **headers)
        assert answer.status_code == 202, answer.text
        await service.world.settled()
        assert told(service)[-1]["data"]["order"] == "Größe 1"

    play(tmp_path, story)


@pytest.mark.parametrize("name", DAMAGED)
def test_whatever_comes_is_no_bug(tmp_path: Path, name: str) -> None:
    async def story(service: Service) -> None:
        single = await service.publish(DAMAGED[name])
        batch = await service.publish(b"[" + DAMAGED[name] + b"]", BATCHED)
        assert {single.status_code, batch.status_code} <= {400, 422}, single.text
        assert service.world.rows("SELECT count(*) FROM callbacks") == [(0,)]

    play(tmp_path, story)
