"""`gateway unlinked link` on a database that no gateway serves, and beside one that runs."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.acceptance.shell import run
from tests.pipeline.world import consuming, running, shop_event
from tests.web.test_api_unlinked import intent, refund


def test_it_is_linked_where_no_gateway_runs_and_where_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_STORE__URL", f"sqlite:///{tmp_path}/gateway.db")
    monkeypatch.setenv("GATEWAY_CONFIG", str(tmp_path / "gateway.toml"))

    async def story() -> None:
        async with consuming() as consumer:
            async with running(tmp_path, consumer) as world:
                await world.shop(shop_event(0, order="1001"))
                await world.stripe(intent(1))
                await world.stripe(refund(2, "pi_2"))
                await world.delivered(1)
            (tmp_path / "gateway.toml").chmod(0o600)
            said = await asyncio.to_thread(run, "unlinked", "link", "ul_2_1", "1002")
            assert said.code == 1
            assert "has no order 1002" in said.error
            said = await asyncio.to_thread(run, "unlinked", "link", "ul_2_1", "1001")
            assert (said.code, said.error) == (0, "")
            assert (
                "1 fact linked to order 1001 of shop default: 1 event; nothing is sent" in said.text
            )
            assert said.text.splitlines()[1].startswith("+ order.paid (evt_")
            assert said.text.splitlines()[1].endswith(") -> good")
            async with running(tmp_path, consumer) as world:
                seen = await world.delivered(2)
                assert seen[1].event["type"] == "order.paid"

    asyncio.run(story())
    said = run("unlinked", "link", "ul_3_2", "1001", "--shop", "other")
    assert (said.code, "is of shop default" in said.error) == (1, True)
    said = run("unlinked", "link", "ul_3_2", "77", "--new", "--json")
    told = json.loads(said.text)
    assert (told["order"], told["facts"], told["live"]) == ("77", 1, False)
    assert [event["type"] for event in told["events"]] == ["order.created", "order.refunded"]
    assert "No fact waits" in run("unlinked").text
