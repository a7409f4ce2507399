"""Facts without an order over the API: listed in pages, and linked by hand."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.keys import Role
from gateway.stores.sqlite import linking
from tests.pipeline.world import shop_event
from tests.web.test_api import Caller, play


def stripe_event(number: int, kind: str, thing: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "id": f"evt_{number}",
        "object": "event",
        "type": kind,
        "created": 1_768_487_400 + number,
        "livemode": False,
        "data": {"object": thing},
    } | more


def refund(number: int, intent: str = "pi_1") -> dict[str, Any]:
    """A refund that names a payment intent, and no order."""
    thing = {
        "id": f"re_{number}",
        "object": "refund",
        "amount": 100,
        "currency": "eur",
        "status": "succeeded",
        "payment_intent": intent,
        "metadata": {},
    }
    return stripe_event(number, "refund.created", thing)


def intent(number: int, name: str = "pi_1") -> dict[str, Any]:
    """A payment that succeeded, and names no order."""
    thing = {
        "id": name,
        "object": "payment_intent",
        "amount": 4926,
        "amount_received": 4926,
        "currency": "eur",
        "metadata": {},
    }
    return stripe_event(number, "payment_intent.succeeded", thing)


async def waiting(caller: Caller, *events: dict[str, Any]) -> list[dict[str, Any]]:
    for event in events:
        assert (await caller.world.stripe(event)).json()["verdict"] == "unlinked"
    rows: list[dict[str, Any]] = (await caller.read("/v1/unlinked"))["data"]
    return rows


async def link(caller: Caller, fact: str, status: int = 200, **body: Any) -> dict[str, Any]:
    response = await caller.ask(f"/v1/unlinked/{fact}/link", method="POST", body=body)
    assert response.status_code == status, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_waiting_facts_are_gone_through_in_pages_oldest_first(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        rows = await waiting(caller, *(refund(number, f"pi_{number}") for number in range(5)))
        assert [row["links"] for row in rows] == [[f"stripe:pi_{number}"] for number in range(5)]
        assert {(row["source"], row["shop"], row["track"]) for row in rows} == {
            ("stripe", "default", "refund")
        }
        seen: list[str] = []
        page = await caller.read("/v1/unlinked?limit=2")
        while not page["done"]:
            seen += [row["id"] for row in page["data"]]
            page = await caller.read(f"/v1/unlinked?limit=2&cursor={page['cursor']}")
        assert seen + [row["id"] for row in page["data"]] == [row["id"] for row in rows]
        assert (await caller.read("/v1/unlinked?source=shop"))["data"] == []
        assert len((await caller.read("/v1/unlinked?source=stripe"))["data"]) == 5
        response = await caller.get(f"/v1/events?cursor={(await first(caller))['cursor']}")
        assert response.status_code == 400

    play(tmp_path, story)


async def first(caller: Caller) -> dict[str, Any]:
    page: dict[str, Any] = await caller.read("/v1/unlinked?limit=1")
    return page


def test_a_page_that_finds_nothing_of_a_source_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linking, "SCANNED", 2)

    async def story(caller: Caller) -> None:
        await waiting(caller, *(refund(number, f"pi_{number}") for number in range(5)))
        page, pages = await caller.read("/v1/unlinked?source=shop"), 1
        while not page["done"]:
            assert page["data"] == []
            page = await caller.read(f"/v1/unlinked?source=shop&cursor={page['cursor']}")
            pages += 1
        assert pages == 3

    play(tmp_path, story)


def test_a_fact_is_linked_by_hand_and_all_that_shares_its_links_with_it(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        world = caller.world
        await world.shop(shop_event(0, order="1001"))
        rows = await waiting(caller, refund(1), intent(2), refund(3), refund(4, "pi_other"))
        told = await link(caller, rows[0]["id"], order="1001")
        assert (told["shop"], told["order"], told["facts"]) == ("default", "1001", 3)
        types = [event["type"] for event in told["events"]]
        assert types == ["order.paid", "order.refunded", "order.refunded"]
        assert {tuple(event["subscriptions"]) for event in told["events"]} == {("good",)}
        assert {event["order"] for event in told["events"]} == {"1001"}
        assert [one["id"] for one in told["callbacks"]] == ["cb_2", "cb_3", "cb_4"]
        assert {one["verdict"] for one in told["callbacks"]} == {"event"}
        await world.settled()
        sent = {seen.event["orderseq"]: seen.event for seen in world.consumer.seen}
        assert [sent[seq]["type"] for seq in (1, 2, 3, 4)] == ["order.created", *types]
        assert {event["subject"] for event in sent.values()} == {"1001"}
        callback = await caller.read("/v1/callbacks/cb_2")
        assert (callback["verdict"], callback["reason"]) == ("event", "linked by hand")
        # What is told later of the same payment finds the order by itself.
        later = (await world.stripe(refund(5))).json()
        assert (later["verdict"], len(later["events"])) == ("event", 1)
        left = (await caller.read("/v1/unlinked"))["data"]
        assert [row["links"] for row in left] == [["stripe:pi_other"]]

    play(tmp_path, story)


def test_what_waits_no_more_is_not_linked_again_though_its_row_is_anothers(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        await caller.world.shop(shop_event(0, order="1001"))
        (old,) = await waiting(caller, refund(1))
        await link(caller, old["id"], order="1001")
        (new,) = await waiting(caller, refund(2, "pi_2"))
        assert caller.world.rows("SELECT id FROM unlinked") == [(1,)]  # the same row again
        problem = await link(caller, old["id"], 404, order="1001")
        assert old["id"] in problem["detail"]
        assert (await caller.read("/v1/unlinked"))["data"] == [new]

    play(tmp_path, story)


def test_an_order_that_is_not_known_begins_only_when_it_is_meant(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        (fact,) = await waiting(caller, intent(1))
        problem = await link(caller, fact["id"], 409, order="1O01")
        assert "1O01" in problem["detail"]
        assert "new" in problem["detail"]
        assert len((await caller.read("/v1/unlinked"))["data"]) == 1
        told = await link(caller, fact["id"], order="1001", shop="default", new=True)
        assert [event["type"] for event in told["events"]] == ["order.created", "order.paid"]
        await caller.world.delivered(2)

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("fact", "body", "status", "word"),
    [
        ("ul_1_1", {"order": "1001", "shop": "other", "new": True}, 409, "not of other"),
        ("ul_1_1", {"order": ""}, 400, "order"),
        ("ul_1_1", {"order": "1\n2"}, 400, "order"),
        ("ul_1_1", {"order": "x" * 256}, 400, "order"),
        ("ul_1_1", {}, 400, "order"),
        ("ul_1_1", {"order": 7}, 400, "order"),
        ("ul_1_2", {"order": "1001"}, 404, "ul_1_2"),
        ("ul_7", {"order": "1001"}, 404, "ul_7"),
        ("ul_99999999999999999999_1", {"order": "1001"}, 404, "ul_9"),
        ("%F0%9F%90%99", {"order": "1001"}, 404, ""),
    ],
)
def test_what_cannot_be_linked_is_said_and_waits_on(
    tmp_path: Path, fact: str, body: dict[str, Any], status: int, word: str
) -> None:
    async def story(caller: Caller) -> None:
        await waiting(caller, refund(0))
        assert word in (await link(caller, fact, status, **body))["detail"]
        assert len((await caller.read("/v1/unlinked"))["data"]) == 1

    play(tmp_path, story)


def test_two_hands_at_once_link_a_fact_once(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        for number in range(2):
            await caller.world.shop(shop_event(number, order=f"{number}"))
        (fact,) = await waiting(caller, intent(5))
        path = f"/v1/unlinked/{fact['id']}/link"
        answers = await asyncio.gather(
            *(caller.ask(path, method="POST", body={"order": order}) for order in ("0", "1") * 3)
        )
        assert sorted(answer.status_code for answer in answers) == [200, *[404] * 5]
        await caller.world.settled()
        assert len(caller.world.consumer.seen) == 3

    play(tmp_path, story)


def test_an_order_is_named_by_any_of_its_names(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        thing: dict[str, Any] = {
            "id": "cs_1",
            "object": "checkout.session",
            "payment_status": "unpaid",
        }
        thing |= {"payment_intent": "pi_9", "mode": "payment", "metadata": {}}
        await caller.world.stripe(stripe_event(1, "checkout.session.completed", thing))
        named = {**intent(2, "pi_9")["data"]["object"], "metadata": {"order_id": "1001"}}
        await caller.world.stripe(stripe_event(3, "payment_intent.succeeded", named))
        (fact,) = await waiting(caller, refund(4))
        told = await link(caller, fact["id"], order="1001")
        assert told["order"] == "cs_1"
        assert [event["type"] for event in told["events"]] == ["order.refunded"]

    play(tmp_path, story)


def test_who_may_look_may_not_link(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        (fact,) = await waiting(caller, refund(0))
        path = f"/v1/unlinked/{fact['id']}/link"
        response = await caller.ask(path, method="POST", body={"order": "1"}, role=Role.READER)
        assert response.status_code == 403
        await caller.read("/v1/unlinked", role=Role.READER)

    play(tmp_path, story)


def test_quarantine_is_a_list_of_its_own(tmp_path: Path) -> None:
    async def story(caller: Caller) -> None:
        for number in range(3):
            await caller.world.shop({**shop_event(number), "data": {}})
        await caller.world.shop(shop_event(9))
        page = await caller.read("/v1/quarantine?limit=2")
        assert [row["id"] for row in page["data"]] == ["cb_3", "cb_2"]
        rest = await caller.read(f"/v1/quarantine?limit=2&cursor={page['cursor']}")
        assert [row["id"] for row in rest["data"]] == ["cb_1"]
        assert rest["done"]
        assert (await caller.read("/v1/quarantine?source=stripe"))["data"] == []
        assert {row["verdict"] for row in page["data"]} == {"quarantined"}

    play(tmp_path, story)
