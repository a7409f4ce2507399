"""Flat deliveries over real sockets: what is signed is what is sent, at every attempt; others see nothing of it."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.exceptions import CloudEventValidationError
from standardwebhooks import Webhook

from gateway.cli.main import app
from gateway.events import parse
from gateway.flat import flatten
from gateway.models import Mode
from gateway.sender import Sender, request_of
from gateway.signing import verify
from tests.pipeline.test_sender import NOW, delivery, lines, subscription
from tests.pipeline.transport_peers import OK, answering, listening, transport
from tests.pipeline.world import SECRET, Consumer, World, shop_event
from tests.standards.stage import play, telling


def test_a_flat_delivery_is_signed_over_the_flat_bytes(tmp_path: Path) -> None:
    stored: list[bytes] = []

    async def story(world: World) -> None:
        await telling(shop_event(1, order="Nº 1", total=49.26))(world)
        stored.extend(body for (body,) in world.rows("SELECT body FROM events"))

    keys: dict[str, dict[str, Any]] = {
        "plain": {},
        "flat": {"flat": True},
        "mapped": {"flat": True, "mode": "json"},
    }
    seen = {one.path: one for one in play(tmp_path, keys, story)}
    assert set(seen) == {"/plain", "/flat", "/mapped"}
    assert [seen["/plain"].body] == stored  # the event stays what it is, and for others too
    assert seen["/flat"].body == seen["/mapped"].body == flatten(stored[0])
    assert seen["/flat"].headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert seen["/mapped"].headers["content-type"] == "application/json"
    assert len({one.id for one in seen.values()}) == 1
    for one in seen.values():
        Webhook(SECRET).verify(one.body, one.headers)
        assert verify(one.body, one.headers, SECRET) == one.id
    found = json.loads(seen["/mapped"].body)
    assert (found["type"], found["data__order"]) == ("order.created", "Nº 1")
    assert found["data__total__value"] == "49.26"
    assert found["data__total__currency"] is None
    assert "data" not in found


def test_every_attempt_has_the_same_bytes(tmp_path: Path) -> None:
    def prepare(consumer: Consumer) -> None:
        answers = iter([500, 503])
        consumer.answer = lambda _: (next(answers, 200), {}, b"")

    keys = {"flat": {"flat": True, "schedule": ["50ms", "50ms"]}}
    seen = play(
        tmp_path,
        keys,
        telling(shop_event(1, lineItems=[{"id": "1", "quantity": 2}])),
        prepare=prepare,
    )
    assert len(seen) == 3
    assert len({one.body for one in seen}) == len({one.id for one in seen}) == 1
    assert json.loads(seen[0].body)["data__lines__0__quantity"] == 2


def test_it_is_no_cloudevent_for_a_library(tmp_path: Path) -> None:
    """As docs/delivery.md says: a name with underscores is no attribute's."""
    (seen,) = play(tmp_path, {"flat": {"flat": True}}, telling(shop_event(1)))
    with pytest.raises(CloudEventValidationError):
        parse(seen.headers, seen.body)


@pytest.mark.parametrize("mode", [Mode.STRUCTURED, Mode.JSON])
def test_the_request_that_is_shown_is_the_one_that_is_sent(mode: Mode) -> None:
    """`gateway deliveries show ID --curl` makes it by the same function."""

    async def scene() -> None:
        async with listening(answering(OK)) as peer, transport() as client:
            made = subscription(f"http://127.0.0.1:{peer.port}/", mode=mode, flat=True)
            await Sender(client, wall=lambda: NOW).send(made, delivery())
            request = request_of(made, delivery(), NOW)
            (wire,) = peer.requests
            assert wire.endswith(b"\r\n\r\n" + request.body)
            assert lines(request)["webhook-signature"].encode() in wire
            assert b'"data__order":"N\xc2\xba 1"' in request.body

    asyncio.run(scene())


def test_what_cannot_be_flat_fails_its_attempt_and_nothing_else() -> None:
    async def scene() -> None:
        async with listening(answering(OK, then="repeat")) as peer, transport() as client:
            sender = Sender(client)
            made = subscription(f"http://127.0.0.1:{peer.port}/", flat=True)
            long = json.dumps({"id": "evt_1", "data": {"k" * 100_000: [1] * 100}}).encode()
            outcome = await sender.send(made, delivery(long))
            assert outcome.detail == (
                "The request cannot be made: with flat = true, it is longer than 8 MiB"
            )
            assert peer.connections == 0
            assert (await sender.send(made, delivery())).status == 200

    asyncio.run(scene())


def test_the_command_line_shows_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a subscription of the file the store keeps what `--curl` needs to make the same body."""
    play(tmp_path, {"flat": {"flat": True}}, telling(shop_event(1)))
    monkeypatch.chdir(tmp_path)  # where its database is
    config = ("--config", str(tmp_path / "gateway.toml"))
    app(["subscriptions", "show", "flat", *config], standalone_mode=False)
    assert re.search(r"^flat +true *$", capsys.readouterr().out, re.MULTILINE)
    app(["deliveries", "show", "dl_1", "--curl", *config], standalone_mode=False)
    assert '"data__order":"ord-1"' in capsys.readouterr().out
