"""`gateway subscriptions test` and `test-filter`: beside a gateway that runs, and without one."""

import asyncio
import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.main import app
from tests.acceptance.test_subscriptions import CONSUMER, Consumer, Shop, signed_by

pytestmark = pytest.mark.slow


@pytest.fixture
def tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    consumer = Consumer()
    threading.Thread(target=consumer.serve_forever, daemon=True).start()
    shop = Shop(tmp_path, consumer)
    try:
        shop.start()
        monkeypatch.setenv("FILE_SECRET", CONSUMER)  # a test without a gateway needs it as well
        yield shop
    finally:
        shop.gateway.kill()
        consumer.shutdown()
        consumer.server_close()


def command(shop: Shop, *arguments: str) -> int:
    """Run it in this process; its exit code."""
    config = str(shop.folder / "gateway.toml")
    return int(app(["subscriptions", *arguments, "--config", config], standalone_mode=False) or 0)


def test_an_endpoint_is_tried_beside_a_gateway_and_without_one(
    tried: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    for round_ in (1, 2):
        assert command(tried, "test", "file", "--type", "order.paid") == 0
        text = capsys.readouterr().out
        for word in ("200", "order.paid", "webhook-id", "curl --http1.1", "gatewaytest"):
            assert word in text
        sent = tried.consumer.wait_for("/file", round_)[-1]
        assert signed_by(sent, CONSUMER)
        assert json.loads(sent[1])["gatewaytest"] is True
        if round_ == 1:
            refused = tried.refused("test", "file", "--type", "x.y")
            assert "no example of x.y: `gateway types` and" in refused
            assert "there is no subscription no" in tried.refused("test", "no")
            assert asyncio.run(tried.gateway.stop()) == 0
    assert "there is no subscription no" in tried.refused("test", "no")
    with closing(sqlite3.connect(tried.folder / "gateway.db")) as database, database:
        counts = database.execute(
            "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM deliveries)"
        )
        assert counts.fetchone() == (0, 0)
    database.close()


def test_a_failed_test_ends_with_1_and_is_shown_as_json(
    tried: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    command(tried, "add", "crm", "url=http://127.0.0.1:1/in", "types=order.*,desk.*")
    capsys.readouterr()
    assert command(tried, "test", "crm", "--json") == 1
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (told["failure"], told["status"], told["type"]) == ("connect", None, "order.created")
    assert told["started_at"].endswith("Z")
    assert told["advice"]
    assert command(tried, "test", "crm") == 1
    assert "advice" in capsys.readouterr().out


def test_filters_are_tried_on_a_kept_event(tried: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    filters = (
        'filters=[{ any = [{ prefix = { subject = "A-" } }, { exact = { orderseq = "1" } }] }]'
    )
    command(tried, "add", "some", f"url={tried.url}/some", filters)
    command(
        tried, "add", "none", f"url={tried.url}/none", 'filters=[{ prefix = { subject = "A-" } }]'
    )
    order = tried.tell()
    capsys.readouterr()
    (delivered,) = tried.consumer.wait_for("/some", 1)
    event = json.loads(delivered[1])["id"]
    assert command(tried, "test-filter", "some", event) == 0
    text = capsys.readouterr().out
    assert f"Subscription some wants {event}." in text
    assert [line.split()[:2] for line in text.splitlines()[3:]] == [
        ["filters[0].any", "yes"],
        ["filters[0].any[0].prefix.subject", "no"],
        ["filters[0].any[1].exact.orderseq", "yes"],
    ]
    command(tried, "test-filter", "none", event)
    assert f'filters[0].prefix.subject is "{order}", not beginning with "A-"' in (
        capsys.readouterr().out
    )
    command(tried, "test-filter", "none", event, "--json")
    told = json.loads(capsys.readouterr().out)
    assert (told["matched"], told["terms"][0]["actual"]) == (False, f'"{order}"')
    assert "there is no event evt_0" in tried.refused("test-filter", "some", "evt_0")
    assert "there is no subscription no" in tried.refused("test-filter", "no", event)
