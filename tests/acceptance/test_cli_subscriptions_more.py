"""`gateway subscriptions set`, `stats` and `fetch`: beside a gateway that runs, elsewhere, without one."""

import asyncio
import errno
import json
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from gateway.cli import fetching
from gateway.cli.control import owning
from gateway.config.load import load
from tests.acceptance.shell import run
from tests.acceptance.test_look import Said
from tests.acceptance.test_subscriptions import CONSUMER, Consumer, Shop

pytestmark = pytest.mark.slow

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A gateway that runs, for all tests here."""
    consumer = Consumer()
    threading.Thread(target=consumer.serve_forever, args=(0.02,), daemon=True).start()
    running = Shop(tmp_path_factory.mktemp("shop"), consumer)
    try:
        running.start()
        yield running
    finally:
        running.gateway.kill()
        consumer.shutdown()
        consumer.server_close()


def here(shop: Shop, *arguments: str) -> Said:
    """`gateway subscriptions ARGUMENTS` beside it."""
    return run("subscriptions", *arguments, "--config", str(shop.folder / "gateway.toml"))


def afar(shop: Shop, *arguments: str) -> Said:
    """The same with `--url` and a key."""
    key = shop.folder / "operator.secret"
    if not key.exists():
        config = ("--config", str(shop.folder / "gateway.toml"))
        run("keys", "create", "--role", "operator", "--to", str(key), *config)
    url = f"http://127.0.0.1:{shop.gateway.admin_port}"
    return run("subscriptions", *arguments, "--url", url, "--key-file", str(key))


def told(said: Said) -> Any:
    """What one that succeeds tells a script."""
    assert (said.code, said.error) == (0, ""), said.error
    return json.loads(said.text)


def events(said: Said) -> list[Any]:
    """The same, a line an event."""
    assert (said.code, said.error) == (0, ""), said.error
    return [json.loads(line) for line in said.text.splitlines()]


def add(shop: Shop, name: str, *pairs: str) -> None:
    said = here(shop, "add", name, *pairs, "--secret-file", str(shop.folder / f"{name}.secret"))
    assert said.code == 0, said.error


def test_keys_are_changed_and_all_others_stay(shop: Shop) -> None:
    add(shop, "crm", f"url={shop.url}/crm", "rate=7/s", "types=order.*", "headers={ A = 'b' }")
    said = here(shop, "set", "crm", "types=order.paid,order.shipped", "description=For us")
    assert (said.text, said.error) == ("Subscription crm is changed: types, description.\n", "")
    for shell in (here, afar):
        after = told(shell(shop, "set", "crm", f"url={shop.url}/b?token=hidden", "--json"))
        assert "hidden" not in json.dumps(after)
        assert (after["subscription"], after["live"], after["state"]) == ("crm", True, "active")
        assert (after["rate"], after["headers"], after["description"]) == ("7/s", ["A"], "For us")
        assert after["types"] == ["order.paid", "order.shipped"]
        assert after["url"].startswith(f"{shop.url}/b")


def test_what_cannot_be_changed_is_one_sentence(shop: Shop) -> None:
    add(shop, "fixed", f"url={shop.url}/fixed")
    before = here(shop, "show", "fixed", "--json").text
    for shell, name, pair, code, words in (
        (here, "file", "rate=1/s", 1, "file is, or was, the configuration's: change it there"),
        (afar, "file", "rate=1/s", 1, "file is, or was, the configuration's: change it there"),
        (afar, "no/name", "rate=1/s", 1, "there is no subscription no/name"),
        (here, "fixed", "rate=often", 1, "rate: expected"),
        (afar, "fixed", "typo=1", 1, "typo: "),
        (here, "fixed", "from=beginning", 1, "from: is for a new subscription"),
        (here, "fixed", "name=other", 2, "name: cannot be changed"),
        (here, "fixed", "whsec_secret", 2, "expected KEY=VALUE"),
    ):
        said = shell(shop, "set", name, pair)
        assert words in said.sentence(code)
        assert "whsec_secret" not in said.error
    assert here(shop, "show", "fixed", "--json").text == before


def test_what_was_sent_is_summed_up(shop: Shop) -> None:
    add(shop, "sums", f"url={shop.url}/sums")
    add(shop, "kept", "pull=true")
    shop.tell()
    shop.consumer.wait_for("/sums", 1)
    until(lambda: told(here(shop, "stats", "sums", "--json"))["delivered"] == 1)
    for shell in (here, afar):
        sums = told(shell(shop, "stats", "sums", "--since", "1h", "--json"))
        assert (sums["name"], sums["attempts"], sums["failed"]) == ("sums", 1, 0)
        back = datetime.now(UTC) - datetime.fromisoformat(sums["since"])
        assert timedelta(hours=1) <= back < timedelta(hours=2)
    text = here(shop, "stats", "sums").text
    assert re.search(r"^waiting +nothing$", text, re.MULTILINE)
    assert re.search(r"^took at most +[0-9.]+ ms half, [0-9.]+ ms 95 in", text, re.MULTILINE)
    text = afar(shop, "stats", "kept").text
    assert re.search(r"^waiting +pending 1$", text, re.MULTILINE), text
    assert "there is no subscription nobody" in here(shop, "stats", "nobody").sentence(1)
    assert "--since: expected" in afar(shop, "stats", "sums", "--since", "x").sentence(2)


def until(holds: Any) -> None:
    for _ in range(1_500):
        if holds():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it did not come to that")


def test_events_come_again_until_they_are_acknowledged(shop: Shop) -> None:
    add(shop, "erp", "pull=true", "types=order.*")
    assert here(shop, "fetch", "erp").text == "There is nothing to fetch.\n"
    orders = [shop.tell() for _ in range(3)]
    for shell in (here, afar):
        assert [one["order"] for one in events(shell(shop, "fetch", "erp", "--json"))] == orders
    with mock.patch.object(fetching, "PAGE", 1):  # so that there are several
        first, second = events(here(shop, "fetch", "erp", "--limit", "2", "--json"))
    assert first["event"]["data"]["order"] == first["order"] == orders[0]
    assert (first["id"], first["type"]) == (first["event"]["id"], "order.created")
    assert (second["order"], first["cursor"] != second["cursor"]) == (orders[1], True)
    lines = here(shop, "fetch", "erp", "--limit", "1").text.splitlines()
    assert re.fullmatch(rf"{TIME}  order.created       {orders[0]} +{first['id']}", lines[0])
    assert "There are more than these 1: --limit" in lines[1]
    with mock.patch.object(fetching, "PAGE", 1):
        said = afar(shop, "fetch", "erp", "--limit", "2", "--ack")
    assert said.text.splitlines()[2] == "2 events were acknowledged, 1 left."
    assert [one["order"] for one in events(here(shop, "fetch", "erp", "--ack", "--json"))] == (
        orders[2:]
    )
    assert events(afar(shop, "fetch", "erp", "--json")) == []


def test_what_was_not_printed_is_not_acknowledged(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(shop, "piped", "pull=true")
    order = shop.tell()

    def full(_: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(fetching, "say", full)
        assert here(shop, "fetch", "piped", "--ack").code == 1
    assert [one["order"] for one in events(here(shop, "fetch", "piped", "--json"))] == [order]


def test_it_waits_for_what_is_not_there_yet(shop: Shop) -> None:
    add(shop, "patient", "pull=true")
    telling = threading.Timer(0.1, shop.tell)
    telling.start()
    found = events(here(shop, "fetch", "patient", "--wait", "30", "--json"))
    telling.join()
    assert [one["type"] for one in found] == ["order.created"]


def test_what_cannot_be_fetched_is_one_sentence(shop: Shop) -> None:
    assert "has a URL, to which its events are sent" in here(shop, "fetch", "file").sentence(1)
    assert "there is no subscription nobody" in afar(shop, "fetch", "nobody").sentence(1)
    with mock.patch.object(fetching, "ask", return_value={"data": 1}):
        said = afar(shop, "fetch", "file")
    assert "answered what this version does not understand" in said.sentence(1)


def test_without_a_gateway_it_is_changed_and_summed_up_under_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    declared = f'[subscriptions.file]\nurl = "https://a.example/in"\nsecrets = ["{CONSUMER}"]\n'
    Path("gateway.toml").write_text(f'store.url = "sqlite:///gateway.db"\n{declared}', "utf-8")
    Path("gateway.toml").chmod(0o600)

    async def make() -> None:
        async with owning(load(Path("gateway.toml"), {})) as gateway:
            await gateway.subscribe("crm", {"url": "https://b.example/in"})

    asyncio.run(make())
    said = run("subscriptions", "set", "crm", "rate=5/s", "description=Ours")
    assert said.text == (
        "Subscription crm is changed: rate, description;"
        " nothing is sent before `gateway serve` runs.\n"
    )
    after = told(run("subscriptions", "set", "crm", "types=order.paid", "--json"))
    assert (after["rate"], after["description"], after["live"]) == ("5/s", "Ours", False)
    said = run("subscriptions", "set", "file", "rate=5/s")
    assert "change it there, and restart" in said.sentence(1)
    assert "there is no subscription no" in run("subscriptions", "stats", "no").sentence(1)
    assert told(run("subscriptions", "stats", "file", "--json"))["attempts"] == 0
    said = run("subscriptions", "fetch", "crm")
    assert "no gateway runs on gateway.db, and only one that runs" in said.sentence(1)
