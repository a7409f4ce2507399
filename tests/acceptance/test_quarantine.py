"""The quarantine from the command line: a callback that could not be read is read after a fix."""

import asyncio
import hashlib
import hmac
import http.client
import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.signing import generate_secret
from tests.acceptance.harness import Gateway
from tests.acceptance.test_look import CONSUMER, SECRET, SGR, Said, on_terminal
from tests.providers.callbacks import intent, stripe_event

pytestmark = pytest.mark.slow  # whole processes, command by command

ID = "evt_[0-9a-f]+"
UNREADABLE = b'{"id":"evt-bad","event":"order.paid","data":{"note":"\\u001b[2J"}}'


class Bench:
    """A gateway whose source takes only live events: one that does not say so is quarantined."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gateway = Gateway(folder, [])
        self.config = folder / "gateway.toml"
        self.configure(livemode=True)

    def configure(
        self, *, livemode: bool, secret: str = SECRET, database: Path | None = None
    ) -> Path:
        """Write a configuration; the one of the gateway unless it is of another database."""
        path = self.config if database is None else database.with_suffix(".toml")
        path.touch(0o600)
        path.write_text(
            f'store.url = "sqlite:///{database or self.gateway.database}"\n'
            f"[server]\nport = {self.gateway.port}\n[admin]\nport = {self.gateway.admin_port}\n"
            f'[sources.shop]\nprovider = "printstudio"\nsecrets = ["{secret}"]\n'
            f'[sources.stripe]\nprovider = "stripe"\nsecrets = ["{secret}"]\n'
            + "livemode = true\n" * livemode
            + "".join(
                f'[subscriptions.{name}]\nurl = "https://{name}.example/"\n'
                f'types = ["{types}"]\nsecrets = ["{secret}"]\nschedule = ["1h"]\n'
                for name, types, secret in (
                    ("audit", "order.paid", generate_secret()),
                    ("good", "order.*", CONSUMER),
                )
            ),
            "utf-8",
        )
        return path

    def copied(self, folder: Path, **keys: Any) -> Path:
        """A configuration of a copy of the database that no gateway serves."""
        copy = folder / "copy.db"
        copy.touch(0o600)
        with (
            closing(sqlite3.connect(self.gateway.database)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
        source.close()
        target.close()
        return self.configure(livemode=False, database=copy, **keys)

    def tell(self, body: bytes, *, source: str) -> dict[str, Any]:
        """Post a signed callback; its receipt."""
        at = b"%d" % int(time.time())
        signed = at + b"." + body if source == "stripe" else body
        digest = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
        headers = {
            "stripe": {"Stripe-Signature": f"t={at.decode()},v1={digest}"},
            "shop": {"X-PrintStudio-Signature": digest},
        }[source]
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=60)
        connection.request("POST", f"/hooks/{source}", body, headers)
        receipt: dict[str, Any] = json.loads(connection.getresponse().read())
        connection.close()
        return receipt

    def paid(self, number: int, order: str, payment: str) -> str:
        """Tell of a payment without saying whether it is live; the callback that lies in quarantine."""
        charge = payment.replace("pi", "ch")
        thing = intent(id=payment, latest_charge=charge, metadata={"order_id": order})
        event = stripe_event("payment_intent.succeeded", thing, id=f"evt_{number}", livemode=None)
        receipt = self.tell(json.dumps(event).encode(), source="stripe")
        assert receipt["verdict"] == "quarantined"
        callback: str = receipt["id"]
        return callback

    def run(self, *arguments: str, config: Path | None = None) -> Said:
        """`gateway quarantine ARGUMENTS` with its output in pipes."""
        done = subprocess.run(
            (sys.executable, "-m", "gateway", "quarantine", *arguments),
            env={**os.environ, "GATEWAY_CONFIG": str(config or self.config)},
            capture_output=True,
            timeout=60,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr.decode())

    def lines(self, *arguments: str, config: Path | None = None) -> list[str]:
        said = self.run(*arguments, config=config)
        assert (said.code, said.error) == (0, "")
        return said.text.splitlines()

    def left(self, config: Path | None = None) -> list[str]:
        """The callbacks in quarantine, newest first."""
        return [row["id"] for row in json.loads(self.run("--json", config=config).output)]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Three payments and something unreadable in quarantine; the payments can be read by now."""
    bench = Bench(tmp_path_factory.mktemp("quarantine"))
    asyncio.run(bench.gateway.start())
    try:
        assert bench.tell(b'{"id":"evt-0","event":"unknown"}', source="shop")["id"] == "cb_1"
        assert bench.paid(1, "1001", "pi_1") == "cb_2"
        assert bench.paid(2, "1001", "pi_1") == "cb_3"
        assert bench.tell(UNREADABLE, source="shop")["id"] == "cb_4"
        assert bench.paid(3, "1 [red]\u202e", "pi_3") == "cb_5"
        asyncio.run(bench.gateway.stop())
        bench.configure(livemode=False)
        asyncio.run(bench.gateway.start())
        yield bench
    finally:
        asyncio.run(bench.gateway.stop())


WOULD = [
    rf"cb_2 \+ order\.created of order 1001 \({ID}\) -> good",
    rf"cb_2 \+ order\.paid of order 1001 \({ID}\) -> audit, good",
]


def assert_lines(lines: list[str], expected: list[str]) -> None:
    assert len(lines) == len(expected), lines
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line), (line, pattern)


def test_the_list_says_why_and_how_to_go_on(bench: Bench) -> None:
    lines = bench.lines()
    assert [line.split()[0] for line in lines[1:5]] == ["cb_5", "cb_4", "cb_3", "cb_2"]
    assert lines[4].endswith("$.livemode: must be true or false")
    assert lines[2].endswith("$.data.orderId: must be a string")


def test_one_is_shown_with_its_body_as_it_came(bench: Bench) -> None:
    said = bench.run("show", "cb_4")
    assert said.output.endswith(b"\n\n" + UNREADABLE)
    parts = dict(line.split(None, 1) for line in said.text.split("\n\n")[0].splitlines())
    assert (parts["callback"], parts["source"], parts["verdict"]) == (
        "cb_4",
        "shop",
        "quarantined",
    )
    assert parts["bytes"] == str(len(UNREADABLE))
    assert int(parts["headers"]) >= 3
    assert parts["reason"].startswith("$.data.orderId: must be")
    assert "x-printstudio-signature" not in said.text.lower()


@pytest.mark.parametrize("verb", ["show", "retry"])
@pytest.mark.parametrize("name", ["cb_999", "no\x1bsuch", ""])
def test_an_unknown_one_is_one_sentence(bench: Bench, verb: str, name: str) -> None:
    assert bench.run(verb, name).sentence(1).startswith("there is no callback")


def test_one_that_is_not_in_quarantine_is_shown_but_not_read_again(bench: Bench) -> None:
    assert "ignored" in bench.run("show", "cb_1").text
    assert "quarantine" in bench.run("retry", "cb_1").sentence(1)


def test_a_dry_run_says_what_it_would_make_and_makes_nothing(bench: Bench) -> None:
    before = bench.left()
    lines = bench.lines("retry", "cb_2", "--dry-run")
    last = r"Of 1 callback 1 would make 2 events, 0 nothing, 0 would stay in quarantine\."
    assert_lines(lines, [*WOULD, last])
    lines = bench.lines("retry", "--dry-run")
    assert_lines(
        lines,
        [
            *WOULD,
            *(line.replace("cb_2", "cb_3") for line in WOULD),
            r"cb_4 ! still quarantined: \$\.data\.orderId: must be .*",
            rf"cb_5 \+ order\.created of order 1 \[red\]\\u202e \({ID}\) -> good",
            rf"cb_5 \+ order\.paid of order 1 \[red\]\\u202e \({ID}\) -> audit, good",
            last.replace("1 callback 1", "4 callbacks 3")
            .replace("2 e", "6 e")
            .replace("0 w", "1 w")
            + r" Each was tried alone, on what is known now\.",
        ],
    )
    assert bench.left() == before == ["cb_5", "cb_4", "cb_3", "cb_2"]
    with closing(sqlite3.connect(bench.gateway.database)) as connection, connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (0,)
    connection.close()


@pytest.mark.parametrize("dry_run", [True, False])
def test_without_a_gateway_it_is_done_directly(
    bench: Bench, tmp_path: Path, *, dry_run: bool
) -> None:
    config = bench.copied(tmp_path)
    lines = bench.lines("retry", *["--dry-run"] * dry_run, config=config)
    assert_lines(lines[:2], WOULD)
    assert bench.left(config) == (["cb_5", "cb_4", "cb_3", "cb_2"] if dry_run else ["cb_4"])
    with closing(sqlite3.connect(tmp_path / "copy.db")) as connection, connection:
        events = "SELECT type FROM events WHERE type LIKE 'order.%' ORDER BY id"
        deliveries = "SELECT s.name FROM deliveries d JOIN subscriptions s ON s.id = d.subscription"
        types = [row[0] for row in connection.execute(events)]
        wanted = sorted(row[0] for row in connection.execute(deliveries))
    connection.close()
    assert types == ([] if dry_run else ["order.created", "order.paid"] * 2)
    assert wanted == ([] if dry_run else ["audit"] * 2 + ["good"] * 4)
    if not dry_run:
        assert re.fullmatch(r"cb_3 = nothing: merged, .+", lines[2]), lines[2]
        assert lines[-1] == (
            "Of 4 callbacks 2 made 4 events, 1 nothing, 1 stayed in quarantine;"
            " nothing is sent before `gateway serve` runs."
        )


def test_only_direct_work_needs_the_secrets(bench: Bench, tmp_path: Path) -> None:
    config = bench.copied(tmp_path, secret="${NOT_HERE}")
    assert "NOT_HERE is not set" in bench.run("retry", "--dry-run", config=config).sentence(2)
    assert not (tmp_path / "copy.db.lock").exists()
    config = bench.configure(livemode=False, secret="${NOT_HERE}", database=tmp_path / "live.db")
    config.write_text(
        config.read_text("utf-8").replace(str(tmp_path / "live.db"), str(bench.gateway.database)),
        "utf-8",
    )
    assert_lines(bench.lines("retry", "cb_2", "--dry-run", config=config)[:-1], WOULD)


def test_on_a_terminal_a_bar_goes_on_below_the_lines(bench: Bench) -> None:
    shown = on_terminal(bench, "quarantine", "retry", "--dry-run")  # type: ignore[arg-type]
    assert b"reading again" in shown
    assert b"\x1b[2J" not in shown
    plain = SGR.sub(b"", shown).decode()
    for line in WOULD:
        assert re.search(line, plain), plain
    assert "Of 4 callbacks" in plain
    assert b"reading again" not in on_terminal(
        bench,  # type: ignore[arg-type]
        *("quarantine", "retry", "cb_2", "--dry-run"),
    )


def test_what_can_be_read_leaves_the_quarantine_once_and_for_all(bench: Bench) -> None:
    """It stands last: it changes what the others look at."""
    lines = bench.lines("retry", "cb_2")
    last = r"Of 1 callback 1 made 2 events, 0 nothing, 0 stayed in quarantine\."
    assert_lines(lines, [*WOULD, last])
    assert "quarantine" in bench.run("retry", "cb_2").sentence(1)
    lines = bench.lines("retry")
    assert_lines(
        lines,
        [
            r"cb_3 = nothing: merged, .+",
            r"cb_4 ! still quarantined: \$\.data\.orderId: must be .*",
            rf"cb_5 \+ order\.created of order .* \({ID}\) -> good",
            rf"cb_5 \+ order\.paid of order .* \({ID}\) -> audit, good",
            r"Of 3 callbacks 1 made 2 events, 1 nothing, 1 stayed in quarantine\.",
        ],
    )
    assert bench.left() == ["cb_4"]
    with closing(sqlite3.connect(bench.gateway.database)) as connection, connection:
        connection.execute("UPDATE callbacks SET verdict = 'ignored' WHERE id = 4")
    connection.close()
    assert bench.lines("retry") == ["The quarantine is empty."]
