"""Internal services publish CloudEvents: stored once, routed, delivered byte for byte."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.keys import Role
from gateway.signing import verify
from tests.pipeline.world import SECRET, World, configuration, consuming, running

STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"
MORE = f"""
[subscriptions.all]
url = "http://127.0.0.1:PORT/all"
types = ["*"]
secrets = ["{SECRET}"]
[subscriptions.binary]
url = "http://127.0.0.1:PORT/binary"
types = ["shop.*"]
mode = "binary"
secrets = ["{SECRET}"]
"""


def event(number: int = 1, **changes: Any) -> dict[str, Any]:
    fields = {
        "specversion": "1.0",
        "id": f"ask-{number}",
        "source": "/shop/desk",
        "type": "shop.asked",
        "data": {"text": "Größe?", "price": 1.10},
    }
    return {name: value for name, value in (fields | changes).items() if value is not None}


class Service:
    """An internal service with a key to publish."""

    def __init__(self, world: World, key: str) -> None:
        self.world, self.key = world, key

    async def publish(
        self, body: Any, kind: str = STRUCTURED, path: str = "/v1/events", **headers: str
    ) -> httpx2.Response:
        raw = body if isinstance(body, bytes) else json.dumps(body, indent=1).encode()
        given = {"authorization": f"Bearer {self.key}", "content-type": kind, **headers}
        return await self.world.client.post(self.world.public + path, content=raw, headers=given)


def play(folder: Path, story: Callable[[Service], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with consuming() as consumer:
            text = configuration(consumer.port, MORE.replace("PORT", str(consumer.port)))
            async with running(folder, consumer, text) as world:
                now = world.gateway.clock()
                _, key = await world.gateway.keyring.create(Role.PUBLISHER, now)
                await story(Service(world, key))

    asyncio.run(whole())


def test_an_event_is_stored_once_and_delivered_byte_for_byte(tmp_path: Path) -> None:
    async def story(service: Service) -> None:
        body = json.dumps(event(), indent=2, ensure_ascii=False).encode()
        first = await service.publish(body)
        assert first.status_code == 202
        told = first.json()
        names = {"state": "emitted", "subscriptions": ["all", "binary"]}
        assert told == {"id": told["id"], "duplicate": False, **names}
        again = (await service.publish(body)).json()
        assert again == told | {"duplicate": True}
        changed = (await service.publish(event(data={"text": "other"}))).json()
        assert changed == told | {"duplicate": True}
        seen = {delivered.path: delivered for delivered in await service.world.delivered(2)}
        await service.world.settled()
        assert len(service.world.consumer.seen) == 2
        whole, binary = seen["/all"], seen["/binary"]
        assert whole.body == body
        assert whole.id == binary.id == told["id"]
        assert verify(whole.body, whole.headers, SECRET) == told["id"]
        assert json.loads(binary.body) == event()["data"]
        assert binary.headers["content-type"] == "application/json"
        assert binary.headers["ce-id"] == "ask-1"
        assert binary.headers["ce-source"] == "/shop/desk"

    play(tmp_path, story)


def test_the_same_id_of_another_source_is_another_event(tmp_path: Path) -> None:
    async def story(service: Service) -> None:
        one = (await service.publish(event())).json()
        other = (await service.publish(event(source="/other"))).json()
        assert not other["duplicate"]
        assert other["id"] != one["id"]

    play(tmp_path, story)


def test_a_batch_is_answered_one_by_one(tmp_path: Path) -> None:
    async def story(service: Service) -> None:
        answer = await service.publish([event(1), event(2), event(1)], BATCHED)
        told = answer.json()
        assert [one["duplicate"] for one in told] == [False, False, True]
        assert told[0]["id"] == told[2]["id"] != told[1]["id"]
        assert (await service.publish([], BATCHED)).json() == []

    play(tmp_path, story)


def test_a_batch_is_stored_in_its_order(tmp_path: Path) -> None:
    async def story(service: Service) -> None:
        told = (await service.publish([event(n) for n in range(50)], BATCHED)).json()
        stored = service.world.rows("SELECT event_id FROM events ORDER BY id")
        assert [one["id"] for one in told] == [name for (name,) in stored]

    play(tmp_path, story)


def test_a_repeat_of_what_retention_has_taken_is_a_repeat(tmp_path: Path) -> None:
    async def story(service: Service) -> None:
        first = (await service.publish(event())).json()
        await service.world.settled()
        await service.world.gateway.store._writer.submit(
            lambda batch: batch.connection.execute("DELETE FROM events").close()
        )
        again = await service.publish(event())
        assert again.status_code == 202, again.text
        assert again.json() == first | {"duplicate": True, "subscriptions": []}

    play(tmp_path, story)


def test_binary_data_stay_bytes(tmp_path: Path) -> None:
    async def story(service: Service) -> None:
        headers = {
            "ce-specversion": "1.0",
            "ce-id": "1",
            "ce-source": "/s",
            "ce-type": "shop.photo",
        }
        answer = await service.publish(b"\x89PNG\x00", "image/png", **headers)
        assert answer.status_code == 202, answer.text
        seen = {delivered.path: delivered for delivered in await service.world.delivered(2)}
        assert seen["/binary"].body == b"\x89PNG\x00"
        assert seen["/binary"].headers["content-type"] == "image/png"
        assert seen["/all"].event["data_base64"] == "iVBORwA="

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        (event(type="gateway.subscription.gone"), STRUCTURED, 422, "$.type"),
        (event(type="order.lost"), STRUCTURED, 422, "$.type"),
        (event(type="order.paid"), STRUCTURED, 422, "$.data: "),
        ([event(1), event(2, type="order.paid")], BATCHED, 422, "$[1].data: "),
        (event(id=""), STRUCTURED, 400, "$.id"),
        (b"{", STRUCTURED, 400, "$"),
        (event(), "application/json", 400, "no event"),
        (event(), "application/cloudevents+avro", 400, "not taken"),
        (event(data="x" * 1_100_000), STRUCTURED, 413, "over"),
    ],
)
def test_what_is_refused_stores_nothing(
    tmp_path: Path, body: Any, kind: str, status: int, words: str
) -> None:
    async def story(service: Service) -> None:
        answer = await service.publish(body, kind)
        assert answer.status_code == status, answer.text
        assert words in answer.json()["detail"]
        assert service.world.rows("SELECT count(*) FROM callbacks") == [(0,)]

    play(tmp_path, story)


def test_encoded_bodies_and_odd_shops_are_refused(tmp_path: Path) -> None:
    async def story(service: Service) -> None:
        encoded = await service.publish(event(), **{"content-encoding": "gzip"})
        assert encoded.status_code == 415
        odd = await service.publish(event(), path="/v1/events?shop=a%20b")
        assert odd.status_code == 400

    play(tmp_path, story)


def test_the_name_of_their_source_is_the_gateways_own(tmp_path: Path) -> None:
    async def story(service: Service) -> None:
        await service.publish(event(), path="/v1/events?shop=north")
        assert service.world.rows("SELECT source, shop FROM events") == [("published", "north")]

    play(tmp_path, story)
