"""Sources that no file declares, by command: beside a gateway that runs, elsewhere, without one."""

import asyncio
import json
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.harness import Gateway, ask
from tests.acceptance.shell import run
from tests.acceptance.test_look import Said
from tests.acceptance.test_sources import Backstage
from tests.simulators.marketiger import MarketigerApi
from tests.simulators.printstudio import KEY, PrintStudioApi

pytestmark = pytest.mark.slow

CANARY = "whsec_a-canary-of-a-secret"
NEXT = "whsec_a-canary-of-the-next"
LATER = "when `gateway serve` runs."


class Bench:
    """A gateway whose file declares `shop`; `run` is the operator at its shell, in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.gateway = folder, Gateway(folder, [])
        self.config = folder / "gateway.toml"
        self.config.chmod(0o600)

    def run(self, *arguments: str) -> Said:
        """A command beside it; nothing that it says has a secret in it."""
        return self._said(*arguments, "--config", str(self.config))

    def afar(self, *arguments: str) -> Said:
        """The same over its API, with the key of an operator."""
        key = self.folder / "operator.secret"
        if not key.exists():
            self.run("keys", "create", "--role", "operator", "--to", str(key))
        url = f"http://127.0.0.1:{self.gateway.admin_port}"
        return self._said(*arguments, "--url", url, "--key-file", str(key))

    def _said(self, *arguments: str) -> Said:
        said = run(*arguments)
        for secret in (CANARY, NEXT, KEY):
            assert secret not in said.text + said.error, arguments
        return said

    def ok(self, *arguments: str) -> str:
        said = self.run(*arguments)
        assert (said.code, said.error) == (0, ""), (arguments, said.text, said.error)
        return said.text

    def json(self, *arguments: str) -> Any:
        return json.loads(self.ok(*arguments, "--json"))

    def names(self) -> dict[str, bool]:
        """All sources, and whether the file declares them."""
        return {row["name"]: row["declared"] for row in self.json("sources")}

    def answers(self, name: str) -> int:
        """What an unsigned callback is answered."""
        return asyncio.run(ask(self.gateway.port, f"POST /hooks/{name}", body=b"{}")).status

    def verdict(self, name: str, *arguments: str) -> str:
        """What becomes of a signed test callback."""
        (sent,) = self.json("send", name, "checkout.session.completed", *arguments)
        return str(sent["receipt"]["verdict"])

    def start(self) -> None:
        asyncio.run(self.gateway.start())

    def stop(self) -> None:
        assert asyncio.run(self.gateway.stop()) == 0


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A gateway that does not run yet; a secret in a variable, and the next one in a file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PAYS", CANARY)
    (tmp_path / "next").write_text(f"{NEXT}\n")
    (tmp_path / "next").chmod(0o600)
    bench = Bench(tmp_path)
    yield bench
    bench.gateway.kill()


@pytest.fixture
def live(bench: Bench) -> Bench:
    """The same, running."""
    bench.start()
    return bench


def test_a_source_is_made_used_changed_and_removed(live: Bench) -> None:
    assert live.answers("pay") == 404
    told = live.ok("sources", "add", "pay", "provider=stripe", "secrets=${PAYS}")
    assert told == (
        "Source pay is made. Callbacks to /hooks/pay of the public listener are received from"
        " now on.\n"
    )
    assert live.names() == {"shop": True, "pay": False}
    assert "at run time" in live.ok("sources")
    assert live.verdict("pay") == live.verdict("stripe") == "event"
    assert "payment_intent.succeeded" in live.run("send", "pay").text.split()

    changed = live.json("sources", "set", "pay", "secrets=${file:next}", "shop=berlin")
    assert (changed["source"], changed["shop"], changed["live"]) == ("pay", "berlin", True)
    assert (changed["callbacks"], "secrets" in changed["keys"]) == ("/hooks/pay", False)
    assert live.verdict("pay") == "event"  # signed with the next secret
    live.ok("sources", "set", "pay", "--default", "shop", "enabled=false")
    shown = live.json("sources", "show", "pay")
    assert (shown["shop"], shown["enabled"], shown["declared"]) == ("default", False, False)
    assert live.answers("pay") == 404
    assert "disabled" in live.ok("sources", "show", "pay")

    removed = live.json("sources", "remove", "pay")
    assert removed == {"source": "pay", "state": "removed", "live": True}
    assert (live.names(), live.answers("pay")) == ({"shop": True}, 404)


def test_a_restart_keeps_it_and_serve_tells_of_it(live: Bench) -> None:
    live.ok("sources", "add", "pay", "provider=stripe", "secrets=${PAYS}")
    live.stop()
    live.gateway.log.write_text("")
    config = live.config.read_text()
    live.config.write_text(
        "\n".join(config.partition("[sources.shop]")[::2]).replace("secrets", "#")
    )
    live.config.write_text(live.config.read_text().replace("provider", "#"))
    live.start()
    log = live.gateway.log.read_text()
    assert f"\nSource pay: POST http://127.0.0.1:{live.gateway.port}/hooks/pay\n" in log
    assert "No sources yet" not in log
    assert "No subscriptions yet" in log
    assert live.verdict("pay") == "event"
    live.stop()
    # The file wins: what it declares hides what was made, which comes back behind it.
    live.config.write_text(config + '[sources.pay]\nprovider = "printstudio"\nsecrets = ["x"]\n')
    live.start()
    assert live.names() == {"shop": True, "pay": True}
    assert live.run("sources", "set", "pay", "shop=a").sentence(1).startswith("source pay is the")
    live.stop()
    live.config.write_text(config)
    assert live.names() == {"shop": True, "pay": False}


def test_elsewhere_it_is_the_same(live: Bench) -> None:
    (live.folder / "nothing").mkdir()
    os.chdir(live.folder / "nothing")
    added = live.afar("sources", "add", "pay", "provider=stripe", "secrets=${PAYS}")
    assert added.text.startswith("Source pay is made. Callbacks to /hooks/pay")
    os.chdir(live.folder)
    assert live.verdict("pay") == "event"
    for command in (("sources",), ("sources", "show", "pay"), ("sources", "show", "shop")):
        for form in ((), ("--json",)):
            assert live.afar(*command, *form).text == live.ok(*command, *form)
    told = json.loads(live.afar("sources", "set", "pay", "shop=berlin", "--json").text)
    assert (told["shop"], told["live"]) == ("berlin", True)
    assert live.afar("sources", "set", "shop", "shop=a").sentence(1).startswith("source shop is")
    assert (
        live.afar("sources", "add", "pay", "provider=stripe").sentence(1).startswith("name: there")
    )
    assert live.afar("sources", "remove", "pay").code == 0
    assert "there is no source pay" in live.afar("sources", "remove", "pay").sentence(1)
    assert "there is no source pay" in live.afar("sources", "show", "pay").sentence(1)


def test_any_source_is_paused_and_resumed(live: Bench) -> None:
    told = live.ok("sources", "pause", "shop")
    assert told == (
        "Source shop is paused: whoever calls is told to try again later until"
        " `gateway sources resume shop`.\n"
    )
    (row,) = live.json("sources")
    assert (row["state"], row["declared"]) == ("paused", True)
    assert live.afar("sources").text == live.ok("sources")
    assert live.json("sources", "show", "shop")["paused_at"] is not None
    sent = live.run("send", "shop", "order.paid")
    assert (sent.code, "source shop is paused: try again later" in sent.text + sent.error) == (
        1,
        True,
    )
    live.stop()
    # Where none runs, it is the same, and it is so after the start.
    assert live.json("sources", "pause", "shop")["paused_at"] == row_of(live)["paused_at"]
    live.start()
    assert "\nSource shop: paused until `gateway" in live.gateway.log.read_text()
    assert live.answers("shop") == 401
    assert live.run("send", "shop", "order.paid").code == 1
    far = live.afar("sources", "resume", "shop")
    assert far.text == (
        "Source shop is resumed. Callbacks to /hooks/shop of the public listener are received"
        " from now on.\n"
    )
    assert live.run("send", "shop", "order.paid").code == 0
    live.stop()
    assert live.ok("sources", "resume", "shop").endswith(f"received {LATER}\n")
    assert "there is no source nobody" in live.run("sources", "pause", "nobody").sentence(1)


def row_of(bench: Bench) -> Any:
    return bench.json("sources", "show", "shop")


def wrong(bench: Bench, live: bool) -> None:
    for arguments, words in (
        (
            ("add", "shop", "provider=stripe", "secrets=x"),
            "the configuration declares a source shop",
        ),
        (("add", "pay", "provider=stripe", "secrets=x"), "there is a source pay already"),
        (("add", "b", "provider=strip"), 'did you mean "stripe"?'),
        (("add", "b", "provider=stripe"), "secrets: at least one secret is needed"),
        (("add", "b", "provider=stripe", "secrets=x", "typo=1"), "typo: unknown key"),
        (("add", "B", "provider=stripe", "secrets=x"), "not a name"),
        (("add", "gateway", "provider=stripe", "secrets=x"), "is the gateway's own name"),
        (("add", "b", "provider=stripe", "secrets=x", "tolerance=soon"), "tolerance: expected"),
        (("set", "shop", "shop=a"), "source shop is the configuration's: change it there"),
        (("set", "pay", "provider=marketiger"), "base_url: is required"),
        (("set", "nobody", "shop=a"), "there is no source nobody: known are shop, pay"),
        (("set", "no/name", "shop=a"), "there is no source no/name"),
        (("remove", "shop"), "source shop is the configuration's: change it there"),
        (("remove", "nobody"), "there is no source nobody: known are shop, pay"),
        (("show", "nobody"), "there is no source nobody: known are shop, pay"),
    ):
        said = bench.run("sources", *arguments)
        assert words in said.error, (arguments, said.error)
        assert said.code == (1 if live or "source " in words else 2), arguments
        assert said.text == ""
        assert said.error.count("\n") == 1


def test_what_cannot_be_is_the_same_sentence_with_a_gateway_and_without(live: Bench) -> None:
    live.ok("sources", "add", "pay", "provider=stripe", "secrets=${PAYS}")
    before = live.ok("sources", "show", "pay", "--json")
    wrong(live, live=True)
    assert live.ok("sources", "show", "pay", "--json") == before
    live.stop()
    wrong(live, live=False)
    assert live.names() == {"shop": True, "pay": False}


def test_without_a_gateway_it_waits_for_one(bench: Bench) -> None:
    assert "is not there yet: `gateway serve` makes it" in (
        bench.run("sources", "add", "pay", "provider=stripe", "secrets=${PAYS}").sentence(2)
    )
    assert bench.names() == {"shop": True}
    bench.start()
    bench.stop()
    told = bench.ok("sources", "add", "pay", "provider=stripe", "secrets=${PAYS}")
    assert told.endswith(f"Callbacks to /hooks/pay of the public listener are received {LATER}\n")
    assert bench.json("sources", "set", "pay", "link_wait=1h")["live"] is False
    assert bench.json("sources", "show", "pay")["keys"]["link_wait"] == "1h"
    bench.ok("sources", "add", "other", "provider=stripe", "secrets=${PAYS}")
    assert bench.json("sources", "remove", "other")["live"] is False
    bench.start()
    assert bench.verdict("pay") == "event"
    heard = []
    for running in (True, False):
        if not running:
            bench.stop()
        heard.append(datetime.fromisoformat(bench.json("sources", "show", "pay")["heard_at"]))
    assert abs(heard[1] - heard[0]) < timedelta(seconds=1)


def test_the_file_needs_no_secrets_for_it(bench: Bench) -> None:
    bench.start()
    bench.stop()
    text = bench.config.read_text()
    bench.config.write_text(text.replace('secrets = ["', 'secrets = ["${NOT_SET}'))
    bench.ok("sources", "add", "pay", "provider=stripe", "secrets=${PAYS}")
    assert bench.names() == {"shop": True, "pay": False}
    assert bench.json("sources", "show", "shop")["kind"] == "called"
    assert "the configuration declares a source shop" in (
        bench.run("sources", "add", "shop", "provider=stripe", "secrets=x").sentence(1)
    )


def test_without_the_master_key_it_is_said(live: Bench) -> None:
    live.ok("sources", "add", "pay", "provider=stripe", "secrets=${PAYS}")
    live.stop()
    key = live.gateway.database.with_name("gateway.db.key")
    kept = key.rename(live.folder / "kept")
    missing = "is not here: put it back"
    said = live.run("sources")
    assert (said.code, missing in said.error) == (0, True)
    assert said.error.startswith("gateway: warning: sources that were made at run time are not")
    assert "shop" in said.text
    for command in (
        ("send", "pay", "checkout.session.completed"),
        ("send", "pay"),
        ("poll", "pay", "--once"),
    ):
        assert missing in live.run(*command).sentence(2)
    doctor = live.run("doctor", "--offline", "--json")
    (found,) = [one for one in json.loads(doctor.text) if one["check"] == "sources"]
    assert (doctor.code, found["state"], missing in found["found"]) == (1, "problem", True)
    assert live.run("send", "printstudio").code == 0  # a provider is known anyway
    kept.rename(key)
    live.start()
    assert live.verdict("pay") == "event"


def test_one_that_cannot_be_read_rests_and_can_be_corrected(
    live: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "http://127.0.0.1:9/v2"
    live.ok("sources", "add", "tiger", "provider=marketiger", f"base_url={url}", "token=${PAYS}")
    live.stop()
    text = live.config.read_text()
    live.config.write_text(text.replace("127.0.0.0/8:*", "127.0.0.0/8:1"))
    reason = "sources.tiger.base_url: 127.0.0.1 is a loopback address"
    for running in (False, True):
        if running:
            live.start()
        (row,) = [row for row in live.json("sources") if row["name"] == "tiger"]
        assert (row["state"], row["reason"].startswith(reason)) == ("rests", True)
        shown = live.ok("sources", "show", "tiger")
        assert "rests" in shown
        doctor = json.loads(live.run("doctor", "--offline", "--json").text)
        (found,) = [one for one in doctor if one["check"] == "source tiger"]
        assert (found["state"], reason in found["found"]) == ("problem", True)
        assert live.run("send", "tiger", "5").code != 0
    assert "Source tiger: rests, as sources.tiger.base_url" in live.gateway.log.read_text()
    live.ok("sources", "set", "tiger", "base_url=http://127.0.0.1:1/v2", "token=${PAYS}")
    (row,) = [row for row in live.json("sources") if row["name"] == "tiger"]
    assert row["state"] in {"not asked yet", "asked", "failing"}


def test_its_rejected_requests_are_listed(live: Bench) -> None:
    live.ok("sources", "add", "pay", "provider=stripe", "secrets=${PAYS}")
    assert live.ok("rejected", "pay") == "No rejected requests of source pay are kept.\n"
    assert live.answers("pay") == 401
    assert "1, the last one because the header Stripe-Signature is missing" in (
        live.ok("sources", "show", "pay")
    )
    assert "the configuration has no source nobody: it declares shop" in (
        live.run("rejected", "nobody").sentence(1)
    )


# Those that are asked.


@pytest.fixture
def apis() -> Iterator[tuple[MarketigerApi, PrintStudioApi]]:
    backstage = Backstage()
    apis = MarketigerApi(), PrintStudioApi()
    try:
        for api in apis:
            backstage.do(api.start())
        yield apis
    finally:
        for api in apis:
            backstage.do(api.stop())
        backstage.close()


def test_one_that_is_asked_is_watched_polled_compared_and_reached(
    live: Bench, apis: tuple[MarketigerApi, PrintStudioApi], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiger, _ = apis
    (token,) = list(tiger.tokens)[:1]
    monkeypatch.setenv("TIGER", token)
    number = tiger.place()
    host = tiger.url.removeprefix("http://").removesuffix("/v2")
    told = live.ok(
        *("sources", "add", "tiger", "provider=marketiger", f"base_url={tiger.url}"),
        *("token=${TIGER}", "interval=1d"),
    )
    assert told == f"Source tiger is made. Its API at {host} is asked from now on.\n"
    for running in (True, False):
        if not running:
            live.stop()
        assert live.json("watch", "tiger", number)["live"] is running
        assert live.run("poll", "tiger", "--once").code == 0
        assert live.run("reconcile", "tiger").text.startswith("1 order compared: 1 the same.")
        doctor = json.loads(live.run("doctor", "--json").text)
        (found,) = [one for one in doctor if one["check"] == "source tiger"]
        assert (found["state"], host in found["found"]) == ("ok", True)
        shown = live.json("sources", "show", "tiger")
        assert (shown["kind"], shown["asking"]["host"]) == ("polled", host)
        assert (shown["asking"]["watched"], shown["asking"]["problem"]) == (1, None)
        assert token not in json.dumps(shown)
        assert "polled sources are tiger" in live.run("poll", "shop", "--once").sentence(1)


def test_a_shop_that_was_made_is_registered(
    live: Bench, apis: tuple[MarketigerApi, PrintStudioApi], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, shop = apis
    monkeypatch.setenv("SHOP", KEY)
    pairs = ("provider=printstudio", f"base_url={shop.url}", "token=${SHOP}", "interval=1d")
    live.ok("sources", "add", "berlin", *pairs)
    url = f"http://127.0.0.1:{live.gateway.port}/hooks/berlin"
    said, then = live.ok("printstudio", "register", "berlin", "--url", url).splitlines()
    assert said.startswith(f"The shop calls {url} from now on")
    pair = f'secrets=["${{file:{live.folder}/berlin.secret}}"]'
    assert then == f"`gateway sources set berlin '{pair}'` takes what it signs."
    assert live.answers("berlin") == 404
    live.ok("sources", "set", "berlin", pair)
    (sent,) = live.json("send", "berlin", "order.paid")
    assert sent["receipt"]["verdict"] == "event"
    assert live.json("sources", "show", "berlin")["kind"] == "both"
    again = live.ok("printstudio", "register", "berlin", "--url", url, "--secret-file", "new")
    assert "delete it there.\n`gateway sources set berlin 'secrets=[\"${file:new}\"]'`" in again
