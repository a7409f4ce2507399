"""Bad input on `POST /hooks/{source}` of a real process: 2xx or 4xx, and nobody else notices."""

import asyncio
import gzip
import json
import time
import unicodedata
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.bad_input import (
    GROWTH,
    LIMIT,
    SECRETS,
    Answer,
    Stage,
    envelope,
    hostile_bodies,
    hostile_fields,
    signature,
    staged,
)
from tests.providers import callbacks, test_printstudio_signature, test_stripe_signature

pytestmark = pytest.mark.slow

BODY = b'{"id":"evt-signed","event":"order.paid","data":{"orderId":"ord-1"}}'
SENDERS = ("stripe", "shop", "curious", "curious-stripe")
Story = Callable[[Stage], Coroutine[Any, Any, None]]


def play(folder: Path, story: Story) -> None:
    async def whole() -> None:
        async with staged(folder) as stage:
            await story(stage)

    asyncio.run(whole())


def test_no_body_breaks_anything(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        client = stage.client()
        for _ in range(200):
            await stage.neighbour(client)
        before = stage.memory()
        bodies = [(source, *body) for body in hostile_bodies() for source in SENDERS]
        await stage.send_all(bodies)
        await stage.send_all(list(hostile_fields()))
        quarantined = stage.rows("SELECT count(*) FROM callbacks WHERE verdict = 'quarantined'")
        assert quarantined[0][0] > 300, "the corpus does not reach the normalizers"
        grown = stage.memory() - before
        assert grown < GROWTH, f"{grown >> 20} MiB more"

    play(tmp_path, story)


def test_malformed_signatures_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        refused = 0
        for source, values in _signatures():
            name = b"Stripe-Signature" if source == "stripe" else b"X-PrintStudio-Signature"
            client = stage.client()
            answer = await client.post(source, BODY, [(name, value) for value in values])
            client.close()
            if answer.status not in (400, 401, 431):
                stage.problems.append(f"{source}: {values!r} was answered {answer}"[:500])
            refused += 1
        assert refused >= 110
        assert stage.rows("SELECT count(*) FROM callbacks") == [(0,)]
        client = stage.client()  # the signatures were wrong in their form alone
        for source in ("stripe", "shop"):
            answer = await client.signed(source, BODY)
            assert answer.status in (200, 202)

    play(tmp_path, story)


def _signatures() -> list[tuple[str, list[bytes]]]:
    """The tables of the providers' tests, signed anew for the body and the time of this test.

    HTTP takes blanks off the ends of a value, so values that are wrong only there are left out.
    """
    found: list[tuple[str, list[bytes]]] = []
    tables: dict[str, tuple[Any, bytes]] = {
        "stripe": (test_stripe_signature, b"%d" % time.time()),
        "shop": (test_printstudio_signature, b""),
    }
    for source, (module, now) in tables.items():
        provider = "stripe" if source == "stripe" else "printstudio"
        message = now + b"." + BODY if now else BODY
        good = callbacks.digest(message, SECRETS[provider]).encode()
        old = module.GOOD.encode()
        for _, values, _ in module.MALFORMED:
            new = [value.encode() if isinstance(value, str) else value for value in values]
            for known, fresh in (
                (old, good),
                (old.upper(), good.upper()),
                (old[:-1], good[:-1]),
                (old[::-1], good[::-1]),
                (str(test_stripe_signature.TIME).encode(), now or b"1"),
            ):
                new = [value.replace(known, fresh) for value in new]
            if new == [value.strip(b" \t\r\n") for value in new]:
                found.append((source, new))
    return found


@pytest.mark.parametrize("source", ["stripe", "shop"])
def test_framing_and_sizes(tmp_path: Path, source: str) -> None:
    async def story(stage: Stage) -> None:
        async def send(
            body: bytes, framing: bytes | None = None, sent: bytes | None = None, *extra: Any
        ) -> Answer:
            client = stage.client()
            headers = [signature(source, body), *extra]
            answer = await client.post(
                source, body if sent is None else sent, headers, framing=framing
            )
            client.close()
            stage.judge(f"{framing!r}", answer)
            return answer

        for size, status in ((LIMIT - 1, 200), (LIMIT, 200), (LIMIT + 1, 413), (3 * LIMIT, 413)):
            body = _event(source, f"evt-{size}").ljust(size)
            assert (await send(body)).status == status, size
            chunks = b"".join(_chunk(body[i : i + 50_000]) for i in range(0, size, 50_000))
            chunked = await send(body, b"Transfer-Encoding: chunked\r\n", chunks + b"0\r\n\r\n")
            assert chunked.status == status, size
        endless = _chunk(b" " * 60_000) * 40
        assert (await send(b"", b"Transfer-Encoding: chunked\r\n", endless)).status == 413
        body = _event(source, "evt-framed")
        for value in (b"-1", b"+5", b"x", b"", b"1e3", b"0x10", b"9" * 30, b"5, 5", b"5 5"):
            answer = await send(body, b"Content-Length: %b\r\n" % value)
            assert answer.status in (400, 413), value
        twice = b"Content-Length: %d\r\n" % len(body) * 2
        assert (await send(body, twice)).status == 400
        both = b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n" % len(body)
        assert (await send(body, both, _chunk(body) + b"0\r\n\r\n")).status == 400
        assert (await send(body, b"Content-Length: %d\r\n" % (len(body) - 1))).status == 401
        assert (await send(body, b"")).status == 401  # no length is no body
        packed = gzip.compress(body)
        encoding = (b"Content-Encoding", b"gzip")
        assert (await send(packed, None, None, encoding)).status == 415
        assert (await send(body, None, None, (b"Content-Encoding", b"identity"))).status == 200
        stored = {
            body for (body,) in stage.rows("SELECT body FROM callbacks WHERE source = ?", source)
        }
        assert all(json.loads(one) for one in stored), "an over-long body was stored cut short"

    play(tmp_path, story)


def test_a_body_that_ends_early_is_not_stored(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        body = _event("shop", "evt-early")
        head = b"POST /hooks/shop HTTP/1.1\r\nHost: a\r\n%b: %b\r\nContent-Length: %d\r\n\r\n"
        for given in (0, 1, len(body) - 1):
            _, writer = await asyncio.open_connection("127.0.0.1", stage.gateway.port)
            writer.write(head % (*signature("shop", body), len(body)) + body[:given])
            await writer.drain()
            writer.close()
        await stage.neighbour(stage.client())
        assert stage.rows("SELECT count(*) FROM callbacks") == [(1,)]

    play(tmp_path, story)


def _event(source: str, number: str) -> bytes:
    if source == "stripe":
        return json.dumps(callbacks.stripe_event("x.unknown", {}, id=number)).encode()
    return json.dumps(envelope(number, orderId=number)).encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


# Whose order it is.


def test_of_a_name_given_twice_the_last_counts(tmp_path: Path) -> None:
    """As `gateway/providers/reading.py` says, and as the consumers' parsers read."""

    async def story(stage: Stage) -> None:
        client = stage.client()
        body = (
            b'{"id":"evt-a","event":"order.paid","event":"order.created","id":"evt-b",'
            b'"data":{"orderId":"never"},"data":{"orderId":"first","orderId":"last"}}'
        )
        answer = await client.signed("shop", body)
        stage.judge("twice", answer)
        assert answer.receipt["verdict"] == "event"
        found = stage.rows("SELECT c.event_id, e.type, e.order_id FROM callbacks c, events e")
        assert found == [("evt-b", "order.created", "last")]

    play(tmp_path, story)


def test_names_that_look_alike_are_two_orders(tmp_path: Path) -> None:
    composed, parted = (unicodedata.normalize(form, "Zoë-1") for form in ("NFC", "NFD"))
    orders = ["ord-1", "ORD-1", "Ord-1", " ord-1", "ord-1 ", composed, parted, "ﬁ", "fi"]
    orders += ["ſ", "s", "١", "1", "👩‍🚀", "\u202eord", "a/b", "a%2Fb", "'; --", "<b>", "€" * 255]

    async def story(stage: Stage) -> None:
        client = stage.client()
        for number, order in enumerate(orders):
            answer = await client.signed("shop", _order(f"evt-{number}", order))
            stage.judge(order, answer)
            assert answer.receipt["verdict"] == "event", order
        await stage.delivered()
        bodies = [json.loads(one.body) for one in stage.receiver.arrivals]
        # Deliveries of different orders may overtake each other.
        assert sorted(one["data"]["order"] for one in bodies) == sorted(orders)
        assert len({one["partitionkey"] for one in bodies}) == len(orders)
        assert {one["orderseq"] for one in bodies} == {1}
        assert stage.rows("SELECT count(*) FROM orders") == [(len(orders),)]
        assert all(f"{one['subject']}{one['partitionkey']}".isascii() for one in bodies)

    play(tmp_path, story)


def test_ids_of_255_characters_are_taken_longer_ones_are_quarantined(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        client = stage.client()
        for letter in ("x", "é", "😀"):
            for length, status in ((255, 200), (256, 202)):
                for number, order in (
                    (("evt-" + letter * length)[:length], "short"),
                    (
                        f"evt-{letter}{length}",
                        letter * length,
                    ),
                ):
                    answer = await client.signed("shop", _order(number, order))
                    stage.judge(f"{length} {letter}", answer)
                    assert answer.status == status
                    again = await client.signed("shop", _order(number, order))
                    assert again.receipt["id"] == answer.receipt["id"]

    play(tmp_path, story)


def test_whose_event_id_and_whose_order(tmp_path: Path) -> None:
    """An event id is its source's; an order is its shop's, whichever source tells of it."""

    async def story(stage: Stage) -> None:
        client = stage.client()
        answers = {
            source: await client.signed(source, _order("evt-same", "ord-1"))
            for source in ("shop", "second", "other")
        }
        for source, answer in answers.items():
            stage.judge(source, answer)
            assert (answer.status, answer.receipt["duplicate"]) == (200, False), source
        verdicts = {source: answer.receipt["verdict"] for source, answer in answers.items()}
        assert verdicts == {"shop": "event", "second": "merged", "other": "event"}
        assert len({answer.receipt["id"] for answer in answers.values()}) == 3
        assert stage.rows("SELECT shop, order_id, seq FROM orders ORDER BY shop") == [
            ("default", "ord-1", 1),
            ("other", "ord-1", 1),
        ]

    play(tmp_path, story)


def _order(number: str, order: str) -> bytes:
    return json.dumps(envelope(number, orderId=order), ensure_ascii=False).encode()


def test_paths_and_methods_are_refused(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        sign = b"%b: %b\r\n" % signature("shop", BODY)
        head = b"Host: a\r\n%bContent-Length: %d\r\n\r\n%b" % (sign, len(BODY), BODY)
        names = [b"", b"/", b"nobody", b"shop/", b"shop/x", b"../hooks/shop", b"%00", b"%ff"]
        names += [b"SHOP", b"shop%20", b"shop%2f", b"a" * 8_000, b"shop#x", b"'--", b"%F0%9F"]
        for name in names:
            client = stage.client()
            answer = await client.raw(b"POST /hooks/%b HTTP/1.1\r\n" % name + head)
            client.close()
            if not 400 <= answer.status < 500:
                stage.problems.append(f"{name!r} was answered {answer}")
        for method in (b"GET", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE"):
            client = stage.client()
            answer = await client.raw(b"%b /hooks/shop HTTP/1.1\r\n" % method + head)
            client.close()
            assert answer.status == 405, method
        assert stage.rows("SELECT count(*) FROM callbacks") == [(0,)]

    play(tmp_path, story)
