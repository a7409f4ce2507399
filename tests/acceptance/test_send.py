"""`gateway send`: signed test callbacks, posted to a gateway that runs."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.providers.printstudio import ORDER_EVENTS
from gateway.providers.stripe import EVENTS
from tests.acceptance.harness import Gateway
from tests.acceptance.shell import run
from tests.acceptance.test_look import Said
from tests.ports import free_port

SECRET = "a-canary-of-a-secret"
SOURCES = f"""
[server]
port = {{port}}
allowed_hosts = ["gateway.example"]
[admin]
port = {{admin}}
[store]
url = "sqlite:///{{database}}"
[sources.shop]
provider = "printstudio"
secrets = ["{SECRET}"]
[sources.pay]
provider = "stripe"
secrets = ["{SECRET}", "another"]
order_id = ["orderNumber"]
livemode = false
[sources.asked]
provider = "printstudio"
base_url = "https://shop.example"
token = "{SECRET}"
enabled = false
[sources.tiger]
provider = "marketiger"
base_url = "https://tiger.example"
token = "{SECRET}"
enabled = false
[sources.live]
provider = "stripe"
secrets = ["{SECRET}"]
livemode = true
"""


class Bench:
    """A gateway that runs; `send` is the operator at its shell."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.gateway = folder, Gateway(folder, [])
        self.config = folder / "gateway.toml"
        self.config.write_text(
            SOURCES.format(
                port=self.gateway.port,
                admin=self.gateway.admin_port,
                database=self.gateway.database,
            )
        )
        self.config.chmod(0o600)

    def send(self, *arguments: str, config: Path | None = None) -> Said:
        said = run("send", *arguments, "--config", str(config or self.config))
        assert SECRET not in said.text + said.error
        return said

    def sent(self, *arguments: str) -> list[dict[str, Any]]:
        said = self.send(*arguments, "--json")
        assert said.code == 0, said.text + said.error
        found: list[dict[str, Any]] = json.loads(said.text)
        return found

    def types(self, order: str) -> list[str]:
        """The types of an order's events, in their order."""
        said = run("events", "--order", order, "--json", "--config", str(self.config))
        return [event["type"] for event in reversed(json.loads(said.text))]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("send"))
    asyncio.run(bench.gateway.start())
    try:
        yield bench
    finally:
        asyncio.run(bench.gateway.stop())


def test_a_sample_is_signed_taken_and_made_into_events(bench: Bench) -> None:
    said = bench.send("pay", "checkout.session.completed", "--order", "A-1")
    assert said.code == 0
    assert "verdict    event" in said.text
    assert "duplicate  no" in said.text
    assert "`gateway explain cb_" in said.text
    assert bench.types("A-1") == ["order.created", "order.paid"]


@pytest.mark.parametrize("kind", EVENTS)
def test_every_type_of_stripe_is_accepted(bench: Bench, kind: str) -> None:
    (sent,) = bench.sent("pay", kind)
    assert (sent["status"], sent["type"], sent["receipt"]["duplicate"]) == (200, kind, False)
    others = {
        "checkout.session.expired": "ignored",  # the source has no `cancel_from`
        "payment_intent.canceled": "ignored",
        "refund.failed": "merged",  # of an order that had no refund
    }
    assert sent["receipt"]["verdict"] == others.get(kind, "event")


def test_every_type_of_printstudio_is_accepted(bench: Bench) -> None:
    kinds = bench.send("shop").text.split()
    assert set(ORDER_EVENTS) < set(kinds)
    for kind in kinds:
        (sent,) = bench.sent("printstudio", kind, "--source", "shop")
        assert sent["receipt"]["verdict"] == "event", kind
        assert len(sent["receipt"]["events"]) > 0


def test_samples_of_one_order_are_one_story(bench: Bench) -> None:
    for kind in ("checkout.session.completed", "payment_intent.succeeded", "charge.refunded"):
        bench.sent("pay", kind, "--order", "Straße 7/2")
    bench.sent("shop", "order.shipped", "--order", "Straße 7/2")
    told = bench.types("Straße 7/2")
    assert told == ["order.created", "order.paid", "order.refunded", "order.shipped"]


def test_each_is_another_and_a_repeat_is_known(bench: Bench) -> None:
    first, again = bench.sent("shop", "order.paid", "--repeat")
    assert first["receipt"]["id"] == again["receipt"]["id"]
    assert [one["receipt"]["duplicate"] for one in (first, again)] == [False, True]
    (other,) = bench.sent("shop", "order.paid")
    assert other["receipt"]["id"] != first["receipt"]["id"]
    assert other["order"] != first["order"]


def test_a_test_event_is_none_for_a_source_that_takes_live_ones(bench: Bench) -> None:
    (sent,) = bench.sent("live", "payment_intent.succeeded")
    assert sent["receipt"]["verdict"] == "ignored"


def test_a_file_is_sent_as_it_is(bench: Bench) -> None:
    body = bench.folder / "body.json"
    body.write_bytes(
        b'{ "id":"evt-own","event":"order.paid", "data":{"orderId":"own-1"},'
        b'"timestamp":"2026-01-15T14:30:00Z"}'
    )
    (sent,) = bench.sent("shop", "--body", str(body))
    assert sent["type"] is None
    assert bench.types("own-1") == ["order.created", "order.paid"]
    body.write_bytes(b"nonsense")
    said = bench.send("shop", "--body", str(body))
    assert said.code == 0  # authentic, kept and told: 202
    assert "quarantined" in said.text
    said = bench.send("shop", "--body", str(bench.folder / "none.json"))
    assert "none.json cannot be read: No such file" in said.sentence(2)


def test_types_are_listed_without_secrets_and_without_a_gateway(tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text('[sources.pay]\nprovider = "stripe"\nsecrets = ["${NOT_SET}"]\n')
    for name in ("pay", "stripe"):
        said = run("send", name, "--config", str(config))
        assert (said.code, set(said.text.split())) == (0, set(EVENTS))
    said = run("send", "printstudio", "--config", str(config), "--json")
    assert "order.shipped" in json.loads(said.text)
    assert "NOT_SET is not set" in run(
        "send", "pay", "payment_intent.succeeded", "--config", str(config)
    ).sentence(2)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("nobody", "x"), 1, "there is no source or provider nobody; sources: shop, pay"),
        (("nobody",), 1, "there is no source or provider nobody; providers: marketiger"),
        (("stripe", "payment_intent.succeeded"), 2, "pay and live are sources of stripe: choose"),
        (("stripe", "x", "--source", "shop"), 2, "--source: shop is no source of stripe"),
        (("stripe", "x", "--source", "none"), 1, "there is no source or provider none"),
        (("pay", "payment_intent.suceeded"), 1, 'did you mean "payment_intent.succeeded"?'),
        (("tiger", "5"), 2, "marketiger never calls, the gateway asks it: `gateway poll tiger"),
        (("marketiger", "5"), 2, "`gateway poll tiger --once` does so now"),
        (("tiger",), 2, "marketiger never calls"),
        (("asked", "order.paid"), 2, "sources.asked.secrets: without one the gateway takes no"),
        (("threeyourmind", "x"), 2, "threeyourmind never calls"),
        (("shop", "order.paid", "--order", "a\nb"), 2, "--order: expected an order id of print"),
        (("shop", "order.paid", "--order", "a" * 201), 2, "--order: expected at most 200"),
        (("shop", "order.paid", "--url", "ftp://x"), 2, "--url: The URL must begin with http"),
        (("shop", "--order", "1"), 2, "--order needs a TYPE"),
        (("shop", "order.paid", "--body", "x"), 2, "--body is sent as it is: leave TYPE out"),
        (("shop", "--order", "1", "--body", "x"), 2, "leave --order out"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    bench: Bench, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    assert sentence in bench.send(*arguments).sentence(code)


def test_no_gateway_there(bench: Bench) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    said = bench.send("shop", "order.paid", "--url", url).sentence(1)
    assert said.startswith(f"no gateway answers at {url}")
    assert "gateway serve" in said


def test_what_is_refused_is_shown_and_fails(bench: Bench, tmp_path: Path) -> None:
    """Signed with the secret of another configuration; and sent to where no source is."""
    other = tmp_path / "gateway.toml"
    other.write_text(bench.config.read_text().replace(SECRET, "a-wrong-one"))
    said = bench.send("shop", "order.paid", config=other)
    assert said.code == 1
    assert "answer   401" in said.text
    assert "`gateway rejected shop` says why." in said.text
    hooks = f"http://127.0.0.1:{bench.gateway.port}/hooks"
    said = bench.send("shop", "order.paid", "--url", f"{hooks}/nobody", "--json")
    assert said.code == 1
    (sent,) = json.loads(said.text)
    assert (sent["status"], sent["receipt"]) == (404, None)
    assert "nobody" in sent["problem"]
    base = hooks.removesuffix("/hooks")
    (sent,) = bench.sent("shop", "order.paid", "--url", f"{base}/")
    assert sent["url"] == f"{hooks}/shop"


def test_as_a_command_of_its_own(bench: Bench) -> None:
    """Through pipes, standard input too, with proxies in the environment that must not matter."""
    body = b'{"id":"evt-piped","event":"order.paid","data":{"orderId":"piped-1"}}'
    done = subprocess.run(
        (sys.executable, "-m", "gateway", "send", "shop", "--body", "-"),
        env={
            **os.environ,
            "GATEWAY_CONFIG": str(bench.config),
            "HTTP_PROXY": "http://127.0.0.1:1",
            "FORCE_COLOR": "1",
        },
        input=body,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\x1b" not in done.stdout
    assert b"verdict    event" in done.stdout
    assert bench.types("piped-1") == ["order.created", "order.paid"]
