"""`gateway replay` and `gateway lanes` at a shell, beside a gateway that runs and without one."""

import asyncio
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.acceptance.test_look import Said, Shop

pytestmark = pytest.mark.slow  # whole processes, command by command

ORDERS = [f"R-{number}" for number in range(1, 6)]


class Poison(BaseHTTPRequestHandler):
    """Takes everything, but answers 422 to `order.created` of order R-1 at `/laned`."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        bad = self.path == "/laned" and b'"R-1"' in body and b'"order.created"' in body
        self.send_response(422 if bad else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Replayed(Shop):
    """A shop whose subscriptions are `good`, and `laned`, which keeps the order."""

    def _configuration(self, sink: int, database: Path) -> str:
        text = super()._configuration(sink, database).split("[subscriptions.good]")[0]
        egress = '[egress]\nallow = ["127.0.0.0/8:*"]'
        keys = 'secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]\nschedule = ["100ms"]\n'
        return "\n".join(
            [
                text,
                f'[subscriptions.good]\nurl = "http://127.0.0.1:{sink}/good"\n{keys}',
                f'[subscriptions.laned]\nurl = "http://127.0.0.1:{sink}/laned"\n{keys}',
                'ordering = "order"\nfinal_status = [422]',
                egress,
            ]
        )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replayed]:
    """Five orders, created and paid: all delivered, but R-1 is parked at `laned`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Poison)
    Thread(target=server.serve_forever, daemon=True).start()
    shop = Replayed(tmp_path_factory.mktemp("replay"), server.server_address[1])
    asyncio.run(shop.gateway.start())
    try:
        for order in ORDERS:
            shop.order("order.created", order, 1)
            shop.order("order.paid", order, 2)
        shop.wait_for(18, "deliveries", "--state", "delivered")
        shop.wait_for(1, "deliveries", "--state", "parked")
        yield shop
    finally:
        shop.gateway.kill()
        server.shutdown()
        server.server_close()


def count(database: Path) -> int:
    """How many deliveries there are."""
    with closing(sqlite3.connect(database)) as connection, connection:
        ((found,),) = connection.execute("SELECT count(*) FROM deliveries")
    connection.close()
    return int(found)


# Beside a gateway.


def test_a_dry_run_says_how_many(shop: Replayed) -> None:
    before = count(shop.gateway.database)
    text = shop.run("replay", "--order", "R-2", "--dry-run").text
    assert text.splitlines()[:3] == [
        "4 deliveries would be sent again:",
        "  2 to good",
        "  2 to laned",
    ]
    assert re.fullmatch(r"They are dl_\d+(, dl_\d+){3}", text.splitlines()[3])
    assert shop.run("replay", "--type", "order.refunded", "--dry-run").text == (
        "Nothing would be sent again.\n"
    )
    (one,) = shop.rows("deliveries", "--state", "parked")
    said = shop.run("replay", "--delivery", one["id"], "--dry-run")
    assert said.text.splitlines()[0] == "1 delivery would be sent again:"
    assert count(shop.gateway.database) == before


def test_a_job_is_done_when_the_command_ends(shop: Replayed) -> None:
    said = shop.run("replay", "--subscription", "good", "--since", "2h", "--state", "delivered")
    *told, end = said.text.splitlines()
    done = re.fullmatch(r"Replay job (\d+) is done: of \d+ deliveries 10 are sent again\.", end)
    assert done is not None, said.text
    assert all(
        re.fullmatch(rf"Replay job {done[1]}: \d+ of \d+ .*looked at\.", one) for one in told
    )
    shop.wait_for(28, "deliveries", "--state", "delivered", "--limit", "99")
    assert shop.run("replay", "--job", done[1]).text == f"{end}\n"


def test_what_goes_to_the_end_of_a_lane_says_so(shop: Replayed) -> None:
    (head,) = shop.rows("deliveries", "--state", "parked")
    (waits,) = shop.rows("deliveries", "--state", "behind")
    text = shop.run("replay", "--delivery", waits["id"]).text
    assert re.fullmatch(
        rf"The event of {waits['id']} is sent again as dl_\d+, at the end of its lane:"
        rf" it waits behind {head['id']}\.\n",
        text,
    )


def test_what_a_paused_subscription_gets_waits_and_says_so(shop: Replayed) -> None:
    shop.run("subscriptions", "pause", "good")
    one = shop.rows("deliveries", "--subscription", "good", "--state", "delivered")[0]
    text = shop.run("replay", "--delivery", one["id"]).text
    assert text.endswith(
        ". But subscription good is paused until `gateway subscriptions resume good`.\n"
    )
    shop.run("subscriptions", "resume", "good")
    shop.wait_for(0, "deliveries", "--subscription", "good", "--state", "pending")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "say what to send again: --delivery, --event"),
        (("--dry-run",), 2, "say what to send again"),
        (("--since", "yesterday"), 2, "--since: expected a time such as"),
        (("--until", "now"), 2, "--until: expected"),
        (("--job", "1", "--order", "R-1"), 2, "--job shows a replay"),
        (("--since", "2h", "--until", "3h"), 1, "until: nothing lies before it"),
        (("--since", "2h", "--until", "3h", "--dry-run"), 1, "until: nothing lies before it"),
        (("--job", "999"), 1, "there is no replay job 999"),
        (("--order", "R-99"), 1, "there is no order R-99"),
        (("--subscription", "nobody", "--dry-run"), 1, "there is no subscription nobody"),
        (("--type", "Order!"), 1, "type: expected an event type"),
        (("--event", "x", "--delivery", "7x"), 1, "there is no delivery 7x"),
        (("--order", "\udcff"), 1, "a text is not Unicode"),
    ],
)
def test_what_cannot_be_replayed(
    shop: Replayed, arguments: tuple[str, ...], code: int, words: str
) -> None:
    assert shop.run("replay", *arguments).sentence(code).startswith(words)


def test_a_bar_is_drawn_on_a_terminal(shop: Replayed) -> None:
    code, output = on_terminal(shop, "replay", "--subscription", "good")
    assert code == 0
    assert b"Replay job" in output
    assert b"is done: of" in output.splitlines()[-1]


@pytest.mark.slow
def test_ctrl_c_leaves_the_job_to_the_gateway(shop: Replayed) -> None:
    """The command looks only once, so that it does not come to its end by itself."""
    before = shop.run("replay", "--subscription", "good")
    last = re.match(r"Replay job (\d+)", before.text.splitlines()[-1])
    assert last is not None
    process = subprocess.Popen(
        (sys.executable, "-c", WAITING, "replay", "--subscription", "good"),
        env={**os.environ, "GATEWAY_CONFIG": str(shop.config)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"Replay job")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    number = int(last[1]) + 1
    assert process.returncode == 130
    assert error.decode() == (
        f"gateway: Replay job {number} goes on; `gateway replay --job {number}` shows how it is\n"
    )
    assert f"Replay job {number} is done" in shop.run("replay", "--job", str(number)).text


WAITING = """
from gateway.cli import jobs, main
jobs.LOOK = 60
main.main()
"""


def on_terminal(shop: Shop, *arguments: str) -> tuple[int, bytes]:
    """`gateway ARGUMENTS` with its output on a terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["GATEWAY_CONFIG"] = str(shop.config)
        os.execv(sys.executable, [sys.executable, "-m", "gateway", *arguments])
    output = b""
    while True:
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        output += chunk
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), output


def test_parked_lanes(shop: Replayed) -> None:
    (lane,) = shop.rows("lanes")
    waiting = len(shop.rows("deliveries", "--state", "behind"))
    assert (lane["subscription"], lane["order"], lane["behind"]) == ("laned", "R-1", waiting)
    assert lane["reason"].startswith("the endpoint answered 422")
    text = shop.run("lanes").text
    assert "R-1" in text
    assert "`gateway lanes release SUBSCRIPTION ORDER` tries the delivery again" in text
    said = shop.run("lanes", "release", "laned", "R-1").text
    assert said == (
        f"{lane['delivery']}, order R-1 at subscription laned, is due now,"
        " at the beginning of its schedule.\n"
    )
    shop.wait_for(1, "lanes")  # it fails again
    attempts = f"explain {lane['delivery']}".split()
    deadline = time.monotonic() + 60
    while len(_attempts(shop.rows(*attempts), lane["delivery"])) < 2 or not shop.rows("lanes"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (
        shop.run("lanes", "release", "laned").sentence(2) == "name an order, or take --all of them"
    )
    assert "not parked" in shop.run("lanes", "release", "laned", "R-2").sentence(1)
    said = shop.run("lanes", "skip", "laned", "--all").text
    assert said == "1 lane of subscription laned skipped.\n"
    shop.wait_for(0, "deliveries", "--state", "behind")
    assert shop.rows("explain", lane["delivery"])[0]["deliveries"][0]["state"] == "dead"


def _attempts(stories: list[dict[str, Any]], delivery: str) -> list[Any]:
    found: list[Any] = stories[0]["attempts"][delivery]
    return found


# Without a gateway.


def test_without_a_gateway_the_whole_job_is_done_here(shop: Replayed, tmp_path: Path) -> None:
    config = shop.copied(tmp_path)
    before = count(tmp_path / "copy.db")
    said = shop.run("replay", "--order", "R-3", config=config)
    end = said.text.splitlines()[-1]
    assert re.fullmatch(
        r"Replay job \d+ is done: of \d+ deliveries 4 are sent again, 1 of them at the end of"
        r" their lanes; nothing is sent before `gateway serve` runs\.",
        end,
    ), said.text
    assert count(tmp_path / "copy.db") == before + 4
    again = shop.run("replay", "--job", end.split()[2], config=config)
    assert again.text.splitlines()[-1] == end
    assert count(tmp_path / "copy.db") == before + 4


def test_without_a_gateway_lanes_are_released_too(shop: Replayed, tmp_path: Path) -> None:
    config = shop.copied(tmp_path)
    with closing(sqlite3.connect(tmp_path / "copy.db")) as connection, connection:
        connection.execute("UPDATE deliveries SET state = -2 WHERE id = 2 AND lane IS NOT NULL")
    connection.close()
    (lane,) = shop.rows("lanes", config=config)
    said: Said = shop.run("lanes", "skip", "laned", lane["order"], config=config)
    assert said.text.endswith(
        "; nothing waited behind it; nothing is sent before `gateway serve` runs.\n"
    )
    assert shop.run("lanes", config=config).text == "No lane is parked.\n"
