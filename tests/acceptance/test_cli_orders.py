"""Orders and their timelines, publishing, and the catalogue, from the command line."""

import asyncio
import io
import json
import re
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.catalogue import MEANINGS
from gateway.cli import remote
from gateway.cli.control import owning
from gateway.cli.serve import socket_path
from gateway.config.load import load
from gateway.keys import Role
from gateway.web.app import control_app
from gateway.web.limits import Limits
from gateway.web.server import make_server, unix_address
from tests.acceptance.shell import run
from tests.acceptance.test_look import Said
from tests.pipeline.world import (
    SECRET,
    SHOP_SECRET,
    World,
    configuration,
    consuming,
    running,
    shop_event,
)

BERLIN = f"""
[sources.berlin]
provider = "printstudio"
shop = "berlin"
secrets = ["{SHOP_SECRET}"]
"""
CRM = f"""
[subscriptions.crm]
url = "http://127.0.0.1:{{port}}/crm"
secrets = ["{SECRET}"]
types = ["*"]
filters = [{{{{ prefix = {{{{ type = "crm." }}}} }}}}]
"""
CONFIGURATION = f"""
store.url = "sqlite:///gateway.db"
[subscriptions.crm]
url = "https://crm.example/in"
secrets = ["{SECRET}"]
types = ["*"]
filters = [{{ prefix = {{ type = "crm." }} }}]
"""


def event(number: int, **more: object) -> dict[str, Any]:
    """A CloudEvent of a service."""
    return {
        "specversion": "1.0",
        "id": f"e-{number}",
        "source": "//crm",
        "type": "crm.note",
        "data": {"number": number},
    } | more


class Two:
    """A gateway with orders of two shops; `here` is beside its database, `there` by `--url`."""

    def __init__(self, world: World, key: str) -> None:
        self.world, self._key = world, key

    async def there(self, *arguments: str) -> Said:
        given = ("--url", self.world.admin, "--key", self._key)
        return await asyncio.to_thread(run, *arguments, *given)

    async def here(self, *arguments: str) -> Said:
        file = self.world.folder / "store.toml"
        file.write_text(f'store.url = "sqlite:///{self.world.folder}/gateway.db"\n')
        return await asyncio.to_thread(run, *arguments, "--config", str(file))

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """While its control socket is there."""
        path = socket_path(self.world.gateway.settings)
        with unix_address(path) as address, socket.socket(socket.AF_UNIX) as sock:
            sock.bind(address)
            server = make_server(control_app(self.world.gateway), limits=Limits(), sock=sock)
            serving = asyncio.create_task(server.serve())
            try:
                yield
            finally:
                server.stop(self.world.gateway.settings.server.stop_grace)
                await serving


def play(folder: Path, story: Callable[[Two], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with consuming() as consumer:
            text = configuration(consumer.port, CRM.format(port=consumer.port), BERLIN)
            async with running(folder, consumer, text) as world:
                _, key = await world.gateway.keyring.create(Role.ADMIN, world.gateway.clock())
                await story(Two(world, key))

    asyncio.run(whole())


@pytest.fixture
def idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration, and with a database that no gateway serves."""
    (tmp_path / "gateway.toml").write_text(CONFIGURATION)
    (tmp_path / "gateway.toml").chmod(0o600)
    monkeypatch.chdir(tmp_path)

    async def make() -> None:
        async with owning(load(Path("gateway.toml"), {})):
            pass

    asyncio.run(make())
    return tmp_path


LOOKS = (
    ("orders",),
    ("orders", "--limit", "2"),
    ("orders", "--shop", "berlin"),
    ("orders", "show", "o-2"),
    ("orders", "show", "o-1", "--shop", "berlin"),
)


def test_orders_are_told_afar_as_they_are_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PAGE", 2)

    async def story(two: Two) -> None:
        world = two.world
        for number in range(1, 4):
            await world.shop(shop_event(number, order=f"o-{number}"))
        await world.shop(shop_event(4, "order.printing", "o-2"))
        await world.shop(shop_event(2, order="o-2"))  # a repeat
        await world.shop(shop_event(5, order="o-1"), "berlin")
        await world.settled()
        told = {}
        for command in LOOKS:
            for form in ((), ("--json",)):
                here, there = await two.here(*command, *form), await two.there(*command, *form)
                assert (there.code, there.error) == (0, ""), (command, there.error)
                assert there.text == here.text, command
            told[command] = json.loads(there.text)
        every, first, berlin, printing, one = told.values()
        assert [row["order"] for row in every] == ["o-1", "o-2", "o-3", "o-1"]
        assert first == every[:2]
        assert [(row["shop"], row["order"]) for row in berlin] == [("berlin", "o-1")]
        assert every[1]["state"]["fulfilment"] == "printing"
        assert printing["order"]["state"] == every[1]["state"]
        assert [entry["callback"]["event_type"] for entry in printing["timeline"]] == [
            "order.created",
            "order.printing",
        ]
        assert one["order"]["shop"] == "berlin"

        text = (await two.here("orders", "--limit", "2")).text
        assert "There are more than these 2: --limit shows them." in text
        text = (await two.here("orders", "show", "o-2")).text
        for words in (
            r"^order +o-2$",
            r"^fulfilment +printing$",
            r" shop +order.printing +cb_4 +event$",
            r" fact +fulfilment printing +event$",
            r" event #2 +order.printing +evt_[0-9a-f]{40}$",
            r" delivery +good +dl_\d+ +delivered$",
        ):
            assert re.search(words, text, re.MULTILINE), words + text
        for run_it in (two.here, two.there):
            said = await run_it("orders", "show", "o-1")
            assert "is in several shops, berlin, default: name one" in said.sentence(1)
            assert (await run_it("orders", "show", "x/y")).sentence(1) == "there is no order x/y"
            assert (
                await run_it("orders", "--shop", "nobody")
            ).text == "There are no such orders.\n"

    play(tmp_path, story)


def test_events_are_published_here_and_afar(tmp_path: Path) -> None:
    one, two_more = tmp_path / "one.json", tmp_path / "more.json"
    raw = json.dumps(event(1), indent=3)
    one.write_text(raw)
    two_more.write_text(f"\n {json.dumps([event(1), event(2)])}")
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps([event(3), event(4, specversion="2.0")]))

    async def story(two: Two) -> None:
        world = two.world
        said = await two.there("publish", str(one), "--json")
        (first,) = json.loads(said.text)["events"]
        assert first == {
            "id": first["id"],
            "duplicate": False,
            "state": "emitted",
            "subscriptions": ["crm"],
        }
        await world.settled()
        (sent,) = world.consumer.seen
        assert (sent.id, sent.body) == (first["id"], raw.encode())  # byte for byte
        async with two.listening():
            said = await two.here("publish", str(two_more), "--json")
            told = json.loads(said.text)
            assert told["live"] is True
            assert [row["duplicate"] for row in told["events"]] == [True, False]
            assert told["events"][0]["id"] == first["id"]
            wrong = await two.here("publish", str(bad))
        for said in (wrong, await two.there("publish", str(bad))):
            assert said.sentence(1) == '$[1].specversion: expected "1.0"'
        assert not world.rows("SELECT 1 FROM callbacks WHERE event_id LIKE '%e-3%'")
        said = await two.there("publish", str(one), "--shop", "not/one")
        assert said.sentence(1) == "shop: not a name of a shop"
        _, key = await world.gateway.keyring.create(Role.PUBLISHER, world.gateway.clock())
        given = ("publish", str(one), "--url", world.public, "--key", key)
        said = await asyncio.to_thread(run, *given)  # at the public listener, with no other role
        assert re.search(rf"^{first['id']} +emitted +yes +crm$", said.text, re.MULTILINE)
        assert said.text.endswith("\n0 events published.\n")
        said = await asyncio.to_thread(run, *given[:3], "http://127.0.0.1:1", *given[4:])
        assert "no gateway answers at http://127.0.0.1:1" in said.sentence(1)

    play(tmp_path, story)


def test_events_are_published_where_no_gateway_runs(
    idle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def given(text: str) -> None:
        standard = SimpleNamespace(buffer=io.BytesIO(text.encode()), isatty=lambda: False)
        monkeypatch.setattr(sys, "stdin", standard)

    given(json.dumps([event(1), event(1), event(2, type="other.kind")]))
    told = json.loads(run("publish", "--json").text)
    assert told["live"] is False
    assert [one["subscriptions"] for one in told["events"]] == [["crm"], ["crm"], []]
    assert sorted(one["duplicate"] for one in told["events"]) == [False, False, True]
    given(json.dumps(event(3)))
    said = run("publish", "-")
    assert "1 event published; nothing is sent before `gateway serve` runs." in said.text
    for text, words in (
        (json.dumps(event(4, id="")), "$.id: "),
        (json.dumps(event(4, type="gateway.own")), "$.type: gateway.* are the gateway's own"),
        ("", "$: an event is a JSON object"),
        (json.dumps(event(4, data="x" * (1 << 20))), "the body is over 1048576 bytes"),
    ):
        given(text)
        assert run("publish", "-").sentence(1).startswith(words), text[:100]
    assert "absent.json cannot be read" in run("publish", "absent.json").sentence(2)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    assert "name a FILE" in run("publish").sentence(2)
    assert [row["type"] for row in json.loads(run("events", "--json").text)] == [
        "crm.note",
        "other.kind",
        "crm.note",
    ]


def test_the_catalogue_needs_no_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEWAY_CONFIG", "nowhere.toml")
    listed = json.loads(run("types", "--json").text)
    assert {one["type"]: one["description"] for one in listed} == MEANINGS
    table = run("types").text
    for name, text in MEANINGS.items():
        assert re.search(rf"^{re.escape(name)} +{re.escape(text)}$", table, re.MULTILINE)
    detail = json.loads(run("types", "order.paid", "--json").text)
    assert detail["schema"] == "/schemas/v1/order.paid.json"
    assert detail["example"]["type"] == "order.paid"
    assert detail["description"] == MEANINGS["order.paid"]
    text = run("types", "order.paid").text
    assert json.loads(text[text.index("{") :]) == detail["example"]
    assert detail["schema"] in text
    assert '(did you mean "order.paid"?)' in run("types", "order.pad").sentence(1)
    assert list(tmp_path.iterdir()) == []
