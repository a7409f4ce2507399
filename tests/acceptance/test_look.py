"""What an operator can see and change from the command line, beside a gateway that runs."""

import asyncio
import contextlib
import fcntl
import hashlib
import hmac
import http.client
import io
import json
import os
import pty
import re
import shutil
import sqlite3
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from gateway.cli.control import pause
from gateway.cli.main import app
from gateway.config.load import load
from gateway.errors import StartupError
from gateway.signing import verify
from gateway.stores.migrate import APPLICATION_ID
from tests.acceptance.harness import Gateway
from tests.providers.callbacks import intent, stripe_event

pytestmark = pytest.mark.slow

SECRET = "test-secret"
CONSUMER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HANGS = 300  # seconds; longer than all the tests take, on a busy machine too
UNKIND = 3  # one more in a row, and the subscription would be said to be failing
HOSTILE = b"\x1b]0;owned\x07\x1b[2J\r\nno [red]entry[/red] " + b"z" * 300
QUARANTINED = b'{"id":"evt-bad","event":"order.paid","data":{"note":"\\u001b[2J"}}'
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"
SGR = re.compile(rb"\x1b\[[0-9;]*m")


class Sink(BaseHTTPRequestHandler):
    """`/good` fails the first few times with an unkind answer, `/bad` always, `/hang` until `released`."""

    seen: ClassVar[set[str]] = set()
    requests: ClassVar[list[tuple[dict[str, str], bytes]]] = []
    released: ClassVar[threading.Event] = threading.Event()

    def do_POST(self) -> None:
        event = self.headers["webhook-id"]
        body = self.rfile.read(int(self.headers["content-length"]))
        self.requests.append((dict(self.headers.items()), body))
        good = self.path == "/good" and (event in self.seen or len(self.seen) == UNKIND)
        if self.path == "/good" and not good:
            self.seen.add(event)
        elif self.path == "/hang":
            good = self.released.wait(HANGS)
        self.send_response(200 if good else 500)
        answer = b"thank you" if good else HOSTILE
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Shop:
    """A serving gateway with a history; `run` is the operator at its shell."""

    def __init__(self, folder: Path, sink: int) -> None:
        self.folder = folder
        self.gateway = Gateway(folder, [])
        self.config = folder / "gateway.toml"
        self.config.write_text(self._configuration(sink, self.gateway.database), "utf-8")
        self.sink = sink

    def _configuration(self, sink: int, database: Path) -> str:
        def subscription(name: str, types: str, schedule: str) -> str:
            return (
                f'[subscriptions.{name}]\nurl = "http://127.0.0.1:{sink}/{name}"\n'
                f'types = ["{types}"]\nschedule = ["{schedule}"]\nsecrets = ["{CONSUMER}"]\n'
                f'timeout = "{HANGS}s"\n'
            )

        return "\n".join(
            [
                f'store.url = "sqlite:///{database}"\n[server]\nport = {self.gateway.port}',
                f'stop_grace = "1s"\n[admin]\nport = {self.gateway.admin_port}',
                f'[sources.shop]\nprovider = "printstudio"\nsecrets = ["{SECRET}"]',
                f'[sources.stripe]\nprovider = "stripe"\nsecrets = ["{SECRET}"]',
                subscription("good", "order.*", "100ms"),
                subscription("bad", "order.shipped", '1h", "1h'),
                subscription("hang", "order.cancelled", "1h"),
                '[egress]\nallow = ["127.0.0.0/8:*"]',
            ]
        )

    def tell(self, body: bytes, *, source: str = "shop") -> dict[str, Any]:
        """Post a signed callback; its receipt."""
        at = str(int(time.time()))
        signed = body if source == "shop" else f"{at}.".encode() + body
        digest = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
        name, value = ("X-PrintStudio-Signature", f"sha256={digest}")
        if source == "stripe":
            name, value = ("Stripe-Signature", f"t={at},v1={digest}")
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=60)
        connection.request("POST", f"/hooks/{source}", body, {name: value})
        receipt: dict[str, Any] = json.loads(connection.getresponse().read())
        connection.close()
        return receipt

    def order(self, event: str, order: str, number: int) -> dict[str, Any]:
        """Tell one step of an order."""
        said = {"id": f"evt-{order}-{number}", "event": event, "data": {"orderId": order}}
        said["timestamp"] = f"2026-08-01T10:00:0{number}Z"
        return self.tell(json.dumps(said).encode())

    def run(self, *arguments: str, config: Path | None = None) -> "Said":
        """`gateway ARGUMENTS` with its output in pipes."""
        done = subprocess.run(
            (sys.executable, "-m", "gateway", *arguments),
            env={**os.environ, "GATEWAY_CONFIG": str(config or self.config), "FORCE_COLOR": "1"},
            capture_output=True,
            timeout=60,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr.decode())

    def rows(self, *arguments: str, config: Path | None = None) -> list[dict[str, Any]]:
        """What `gateway ARGUMENTS --json` lists, without the cost of a process."""
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            app(
                [*arguments, "--json", "--config", str(config or self.config)],
                standalone_mode=False,
            )
        listed: list[dict[str, Any]] = json.loads(output.getvalue())
        return listed

    def wait_for(self, number: int, *arguments: str) -> list[dict[str, Any]]:
        """The rows of a list as soon as there are so many."""
        deadline = time.monotonic() + 60
        while len(rows := self.rows(*arguments)) != number:
            assert time.monotonic() < deadline, rows
            time.sleep(0.05)
        return rows

    def copied(self, folder: Path) -> Path:
        """A configuration whose database is a copy that no gateway serves."""
        copy = folder / "copy.db"
        copy.touch(0o600)
        with (
            closing(sqlite3.connect(self.gateway.database)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
        source.close()
        target.close()
        return self.configured(folder, copy)

    def configured(self, folder: Path, database: Path) -> Path:
        """A configuration with another database."""
        path = folder / "other.toml"
        path.write_text(self._configuration(self.sink, database), "utf-8")
        return path


class Said:
    """What a command answered."""

    def __init__(self, code: int, output: bytes, error: str) -> None:
        self.code, self.output, self.error = code, output, error
        self.text = output.decode()

    def sentence(self, code: int) -> str:
        """The one line of an error, after checking that it is one."""
        assert self.code == code, (self.text, self.error)
        assert self.output == b""
        assert len(self.error.splitlines()) == 1, self.error
        assert self.error.startswith("gateway: ")
        assert "Traceback" not in self.error
        return self.error.removeprefix("gateway: ").strip()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Orders A-1 (delivered, shipped too), A-2 (in flight); one unlinked, one in quarantine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    shop = Shop(tmp_path_factory.mktemp("look"), server.server_address[1])
    asyncio.run(shop.gateway.start())
    try:
        shop.order("order.created", "A-1", 1)
        shop.order("order.shipped", "A-1", 3)
        shop.order("order.printing", "A-1", 2)
        shop.order("order.created", "A-2", 1)
        shop.order("order.cancelled", "A-2", 2)
        shop.order("order.moved\u202e\ufeff", "A-3", 1)
        shop.tell(QUARANTINED)
        paid = stripe_event("payment_intent.succeeded", intent(metadata={}))
        shop.tell(json.dumps(paid).encode(), source="stripe")
        shop.wait_for(4, "deliveries", "--subscription", "good", "--state", "delivered")
        shop.wait_for(1, "deliveries", "--subscription", "bad", "--state", "pending")
        yield shop
    finally:
        Sink.released.set()
        asyncio.run(shop.gateway.stop())
        server.shutdown()
        server.server_close()


# Lists.


def test_events_are_listed_newest_first(shop: Shop) -> None:
    rows = shop.rows("events")
    assert [(row["order"], row["type"]) for row in rows] == [
        ("A-2", "order.cancelled"),
        ("A-2", "order.created"),
        (None, "gateway.fact.superseded"),  # told of A-1, but no event of the order
        ("A-1", "order.shipped"),
        ("A-1", "order.created"),
    ]
    text = shop.run("events").text
    lines = text.splitlines()[1:]
    assert [line.split()[0] for line in lines] == [row["id"] for row in rows]
    assert re.search(rf"2 +default +A-1 +{TIME}  {TIME}  shop    cb_2      good, bad$", lines[3])


def test_events_are_chosen_by_order_type_and_limit(shop: Shop) -> None:
    assert [row["seq"] for row in shop.rows("events", "--order", "A-1")] == [2, 1]
    assert [row["seq"] for row in shop.rows("events", "--type", "order.shipped")] == [2]
    assert [row["order"] for row in shop.rows("events", "--limit", "1")] == ["A-2"]
    text = shop.run("events", "--limit", "2").text
    assert text.endswith("There are more than these 2: --limit shows them.\n")


def test_deliveries_show_how_they_stand(shop: Shop) -> None:
    assert {row["subscription"] for row in shop.rows("deliveries")} == {"good", "bad", "hang"}
    (waiting,) = shop.rows("deliveries", "--state", "pending")
    assert (waiting["subscription"], waiting["last_status"]) == ("bad", 500)
    line = shop.run("deliveries", "--subscription", "bad").text.splitlines()[1]
    assert line.startswith(f"{waiting['id']}      bad           {waiting['event_id']}  ")
    assert re.search(rf"pending  1         500   {TIME} +answered 500$", line)


def test_an_unknown_subscription_is_told_with_the_known_ones(shop: Shop) -> None:
    said = shop.run("deliveries", "--subscription", "nobody")
    assert said.code == 1
    assert "there is no subscription nobody: known are bad, good, hang" in said.error


def test_unknown_state_is_a_usage_error(shop: Shop) -> None:
    said = shop.run("deliveries", "--state", "lost")
    assert said.code == 2
    assert "leased" in said.error


def test_unlinked_facts_are_listed(shop: Shop) -> None:
    (row,) = shop.rows("unlinked")
    assert (row["source"], row["track"], row["state"]) == ("stripe", "payment", "paid")
    assert "stripe:pi_1" in row["links"]
    assert "stripe:pi_1" in shop.run("unlinked").text


def test_quarantine_is_listed_with_the_reason_and_the_way_on(shop: Shop) -> None:
    (row,) = shop.rows("quarantine")
    assert (row["source"], row["event_id"], row["verdict"]) == ("shop", "evt-bad", "quarantined")
    text = shop.run("quarantine").text
    assert f"{row['id']}" in text
    assert "$.data.orderId: must be a string" in text
    assert f"`gateway quarantine show {row['id']}`" in text
    assert "`gateway quarantine retry --dry-run`" in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("events", "--order", "none"), "There are no such events."),
        *(
            (("deliveries", "--state", state), "There are no such deliveries.")
            for state in ("dead", "parked", "behind", "batched")
        ),
    ],
)
def test_nothing_found_is_said(shop: Shop, arguments: tuple[str, ...], sentence: str) -> None:
    said = shop.run(*arguments)
    assert (said.code, said.text) == (0, f"{sentence}\n")
    assert shop.rows(*arguments) == []


def test_json_is_one_document(shop: Shop) -> None:
    said = shop.run("events", "--json")
    assert (said.code, said.error) == (0, "")
    assert json.loads(said.output) == shop.rows("events") != []


def test_subscriptions_show_how_they_stand(shop: Shop, tmp_path: Path) -> None:
    rows = {row["name"]: row for row in shop.rows("subscriptions")}
    assert sorted(rows) == ["bad", "good", "hang"]
    assert (rows["bad"]["state"], rows["bad"]["unfinished"]) == ("active", 1)
    assert (rows["bad"]["last_success"], rows["good"]["last_success"] is None) == (None, False)
    config = shop.copied(tmp_path)
    assert shop.run("subscriptions", "pause", "good", config=config).code == 0
    text = shop.run("subscriptions", config=config).text
    assert re.search(rf"good +paused +127.0.0.1:{shop.sink} +0 +{TIME} +paused by the op", text)
    assert f":{shop.sink}/" not in text


# Explain.


def test_explain_tells_the_whole_order(shop: Shop) -> None:
    (story,) = shop.rows("explain", "A-1")
    assert [row["verdict"] for row in story["callbacks"]] == ["event", "event", "superseded"]
    text = shop.run("explain", "A-1").text
    assert text.startswith("order A-1 of shop default\n")
    for part in ("Callbacks", "Facts", "Events", "Subscriptions", "Deliveries", "Attempts"):
        assert f"\n\n{part}\n" in text
    assert re.search(r"cb_1 +fulfilment +created +merged +this provider order was known", text)
    assert re.search(r"cb_3 +fulfilment +printing +superseded +this provider order is ship", text)
    assert re.search(r"hang +not matched +its types do not include order.created\n", text)
    for delivery in story["deliveries"]:
        attempts = story["attempts"][delivery["id"]]
        assert len(attempts) == delivery["attempts"] > 0
        for attempt in attempts:
            times = rf"{TIME} +{TIME} +(open|[0-9.]+ ms) +[0-9.]+ ms +[0-9.]+ ms"
            shown = rf"{delivery['id']} +{attempt['number']} +{times} +{attempt['status']} "
            assert re.search(shown, text)
    assert re.search(rf"\nNewest: {TIME} attempt \d of dl_\d+ to .*is due {TIME}\n$", text)


def test_explain_finds_by_every_id(shop: Shop) -> None:
    (story,) = shop.rows("explain", "A-1")
    event, delivery = story["events"][1]["id"], story["deliveries"][0]["id"]
    assert len(shop.rows("explain", event)[0]["deliveries"]) == 2
    assert [d["id"] for d in shop.rows("explain", delivery)[0]["deliveries"]] == [delivery]
    assert shop.rows("explain", "cb_3")[0]["callbacks"][0]["verdict"] == "superseded"
    assert shop.rows("explain", "evt-A-1-2")[0]["callbacks"][0]["id"] == "cb_3"


def test_explain_of_nothing_known(shop: Shop) -> None:
    assert shop.run("explain", "no\x1bsuch").sentence(1).startswith("nothing is known under")
    assert shop.run("explain", "none", "--json").sentence(1)


@pytest.mark.parametrize("part", ["", "A", "A-", "paid", "shipped", "printstudio", "UPS"])
def test_explain_takes_a_part_or_a_word_for_no_id(shop: Shop, part: str) -> None:
    assert shop.run("explain", part).sentence(1).startswith("nothing is known under")


@pytest.mark.parametrize(
    "command",
    [("explain",), ("orders", "show"), ("subscriptions", "show"), ("lanes", "release", "good")],
)
def test_bytes_that_are_no_text_are_one_sentence(shop: Shop, command: tuple[str, ...]) -> None:
    said = shop.run(*command, "\udcff").sentence(1)
    assert said == "something on the command line is no text: write it in UTF-8"


# One delivery.


def test_one_delivery_is_shown_with_all_of_its_attempts(shop: Shop) -> None:
    (waiting,) = shop.rows("deliveries", "--state", "pending")
    (story,) = shop.rows("deliveries", "show", waiting["id"])
    assert story["delivery"] == waiting
    assert story["event"]["id"] == waiting["event_id"]
    assert (story["subscription"]["name"], story["subscription"]["state"]) == ("bad", "active")
    (attempt,) = story["attempts"]
    assert attempt["head"] == HOSTILE.decode()
    assert attempt["queued_at"] <= attempt["started_at"]
    assert 0 <= attempt["connected"] <= attempt["first_byte"] <= attempt["duration"]
    text = shop.run("deliveries", "show", waiting["id"]).text
    assert text.startswith(f"delivery      {waiting['id']}\nstate         pending\n")
    assert re.search(rf"\n +answered 500; due {TIME}\n", text)
    times = (
        rf"queued +{TIME}\nstarted +{TIME}\nconnected +.*\naddress .*:{shop.sink}\nfirst byte .*"
    )
    said = "answer +500\nerror +status\n +answered 500\nbody "
    assert re.search(rf"\n\nattempt +1\n{times}\ndone +[0-9.]+ ms\n{said}", text)
    assert text.rstrip().endswith("z" * 300)
    ended = shop.rows("deliveries", "--state", "delivered")[0]["id"]
    assert re.search(rf"\n +delivered {TIME}\n", shop.run("deliveries", "show", ended).text)


@pytest.mark.parametrize("other", ["evt_" + "0" * 40, "cb_1", "7"])
def test_an_id_of_another_kind_is_told_what_one_looks_like(shop: Shop, other: str) -> None:
    said = shop.run("deliveries", "show", other).sentence(1)
    assert said == f"there is no delivery {other}: an id looks like dl_7"


def test_a_command_for_sh_is_no_json(shop: Shop) -> None:
    said = shop.run("deliveries", "show", "dl_1", "--curl", "--json").sentence(2)
    assert said == "--curl prints a command for sh, which is no JSON: leave one of the two out"


@pytest.mark.parametrize("form", [(), ("--json",), ("--curl",)])
def test_an_unknown_delivery_is_one_sentence(shop: Shop, form: tuple[str, ...]) -> None:
    said = shop.run("deliveries", "show", "dl_999", *form)
    assert said.sentence(1) == "there is no delivery dl_999"


needs_curl = pytest.mark.skipif(
    shutil.which("curl") is None and os.environ.get("CI") != "true", reason="curl is not here"
)


def pasted(command: str) -> str:
    """What the consumer answers to a command that is pasted into sh."""
    done = subprocess.run(
        ("sh",), input=command, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_curl
def test_the_curl_command_sends_the_same_bytes_validly_signed(shop: Shop) -> None:
    row = shop.rows("deliveries", "--subscription", "good", "--state", "delivered")[-1]
    said = shop.run("deliveries", "show", row["id"], "--curl")
    assert said.code == 0
    before = [
        (headers, body)
        for headers, body in Sink.requests
        if headers["webhook-id"] == row["event_id"]
    ]
    assert pasted(said.text) == "thank you"
    first, again = before[0], Sink.requests[-1]
    assert again[1] == first[1] != b""
    own = {"webhook-timestamp", "webhook-signature"}
    assert again[0].keys() == first[0].keys()
    assert all(again[0][name] == first[0][name] for name in first[0].keys() - own)
    verify(again[1], again[0], CONSUMER, now=time.time())


@needs_curl
def test_a_curl_command_without_secrets_says_why_it_is_not_signed(
    shop: Shop, tmp_path: Path
) -> None:
    row = shop.rows("deliveries", "--subscription", "good", "--state", "delivered")[-1]
    config = shop.configured(tmp_path, shop.gateway.database)
    config.write_text(config.read_text("utf-8").replace(CONSUMER, "${NOT_HERE}"), "utf-8")
    said = shop.run("deliveries", "show", row["id"], "--curl", config=config)
    assert said.code == 0
    assert re.match(r"# not signed: subscriptions\.good\.secrets.* NOT_HERE is not set", said.text)
    assert pasted(said.text) == "thank you"
    assert "webhook-signature" not in Sink.requests[-1][0]


# Text of others.


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_nothing_of_others_reaches_the_terminal_raw(shop: Shop, form: tuple[str, ...]) -> None:
    order = shop.run("explain", "A-1", *form).text
    ignored = shop.run("explain", "evt-A-3-1", *form).text
    assert "[red]entry[/red]" in order
    assert r"order.moved\u202e\ufeff" in ignored
    assert form or r"\x1b]0;owned\x07\x1b[2J\r\nno" in order
    for one in (order + ignored).replace("\n", ""):
        assert one.isprintable(), repr(one)


def test_terminal_gets_colours_and_whole_ids(shop: Shop) -> None:
    output = on_terminal(shop, "explain", "A-1")
    assert b"\x1b[1m" in output
    plain = SGR.sub(b"", output)
    assert b"\x1b" not in plain
    lines = plain.decode().split("\r\n")
    assert max(map(len, lines)) <= 132
    (story,) = shop.rows("explain", "A-1")
    assert all(any(event["id"] in line for line in lines) for event in story["events"])


def test_body_is_spelled_out_on_a_terminal(shop: Shop) -> None:
    callback = shop.tell(b"\x1b[2Jnot json \x9b\xff")["id"]
    shown = SGR.sub(b"", on_terminal(shop, "quarantine", "show", callback))
    assert shown.endswith(b"\r\n\r\n" + rb"\x1b[2Jnot json \x9b\xff" + b"\r\n")
    assert b"\x1b" not in shown


def on_terminal(shop: Shop, *arguments: str) -> bytes:
    """What a command writes to a terminal of 132 columns."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 132, 0, 0))
    process = subprocess.Popen(
        (sys.executable, "-m", "gateway", *arguments),
        env={**os.environ, "GATEWAY_CONFIG": str(shop.config), "TERM": "xterm"},
        stdout=follower,
    )
    os.close(follower)
    output = b""
    try:
        while chunk := os.read(leader, 65536):
            output += chunk
    except OSError:
        pass  # Linux says EIO when the last writer is gone
    os.close(leader)
    assert process.wait(60) == 0
    return output


# Files that are no database of ours.


def bad_file(kind: str, folder: Path) -> Path:
    """A path where no database of a gateway is."""
    path = folder / "other.db"
    if kind == "missing":
        return path
    if kind == "below a file":
        path.write_bytes(b"x")
        return path / "gateway.db"
    if kind == "a folder":
        path.mkdir()
    elif kind in {"empty", "no database"}:
        path.write_bytes(b"no database at all" * 100 * (kind == "no database"))
    else:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE t (x)")
            if kind == "newer":
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute("PRAGMA user_version = 9999")
        connection.close()
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "is not there yet"),
        ("below a file", "is not there yet"),
        ("a folder", "Is a directory"),
        ("empty", "is empty"),
        ("no database", "cannot be read as a gateway's database"),
        ("foreign", "is a database of another program"),
        ("newer", "has schema 9999"),
    ],
)
def test_bad_database_is_refused(shop: Shop, tmp_path: Path, kind: str, words: str) -> None:
    path = bad_file(kind, tmp_path)
    config = shop.configured(tmp_path, path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StartupError, match=words):
        shop.rows("events", config=config)
    with pytest.raises(StartupError, match=words):
        pause(load(config, {}), "good")
    assert before is None or path.read_bytes() == before
    assert not path.with_name("other.db.lock").exists()


def test_bad_database_is_one_sentence(shop: Shop, tmp_path: Path) -> None:
    config = shop.configured(tmp_path, bad_file("foreign", tmp_path))
    assert "another program" in shop.run("events", config=config).sentence(2)
    said = shop.run("replay", "--delivery", "dl_1", config=config)
    assert "another program" in said.sentence(2)


def test_unreadable_database_is_one_sentence(shop: Shop, tmp_path: Path) -> None:
    config = shop.copied(tmp_path)
    (tmp_path / "copy.db").chmod(0)
    if os.access(tmp_path / "copy.db", os.R_OK):
        pytest.skip("this user may read every file")
    assert "Permission denied" in shop.run("events", config=config).sentence(2)


def test_damaged_database_is_one_sentence(shop: Shop, tmp_path: Path) -> None:
    config = shop.copied(tmp_path)
    with closing(sqlite3.connect(tmp_path / "copy.db")) as connection, connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'events'"
        ).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    with (tmp_path / "copy.db").open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    assert "malformed" in shop.run("events", config=config).sentence(1)


# What changes something.


def test_replay_of_an_ended_delivery_sends_it_again(shop: Shop) -> None:
    ended = shop.rows("deliveries", "--subscription", "good", "--state", "delivered")[-1]
    text = shop.run("replay", "--delivery", ended["id"]).text
    said = re.fullmatch(rf"{ended['id']} had ended: its event is due again as (dl_\d+)\.\n", text)
    assert said is not None
    again = shop.wait_for(5, "deliveries", "--subscription", "good", "--state", "delivered")[0]
    assert (again["id"], again["event_id"]) == (said[1], ended["event_id"])


def test_replay_of_a_waiting_delivery_starts_its_next_attempt(shop: Shop) -> None:
    (waiting,) = shop.rows("deliveries", "--state", "pending")
    text = shop.run("replay", "--delivery", waiting["id"]).text
    assert text == f"{waiting['id']} had not ended: its next attempt is due now.\n"
    deadline = time.monotonic() + 60
    while len(shop.rows("explain", waiting["id"])[0]["attempts"][waiting["id"]]) != 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_replay_of_a_delivery_in_flight_is_refused(shop: Shop) -> None:
    (leased,) = shop.rows("deliveries", "--state", "leased")
    said = shop.run("replay", "--delivery", leased["id"])
    assert said.sentence(1) == f"delivery {leased['id']} is in flight: wait for its end"


@pytest.mark.parametrize("name", ["dl_999", "../../healthz", ""])
def test_replay_of_an_unknown_delivery(shop: Shop, name: str) -> None:
    assert shop.run("replay", "--delivery", name).sentence(1).startswith("there is no delivery")


def test_pause_and_resume(shop: Shop) -> None:
    assert shop.run("subscriptions", "pause", "good").text.startswith(
        "Subscription good is paused: "
    )
    shop.order("order.created", "B-1", 1)
    (kept,) = shop.rows("deliveries", "--subscription", "good", "--state", "pending")
    assert kept["attempts"] == 0
    assert shop.run("subscriptions", "resume", "good").text == (
        "Subscription good is active: what waits for it is due.\n"
    )
    shop.wait_for(0, "deliveries", "--subscription", "good", "--state", "pending")
    said = shop.run("subscriptions", "pause", "no/such\nname")
    assert said.sentence(1) == r"there is no subscription no/such\nname"
    said = shop.run("subscriptions", "resume", "nobody")
    assert said.sentence(1) == "there is no subscription nobody"


@pytest.mark.slow
def test_without_a_gateway_the_store_is_changed_directly(shop: Shop, tmp_path: Path) -> None:
    config = shop.copied(tmp_path)
    rows = shop.rows("deliveries", "--subscription", "hang", config=config)
    # Nobody serves the copy: what was in flight is not, and only waits.
    said = shop.run("replay", "--delivery", rows[0]["id"], config=config)
    assert said.text.endswith("is due now; nothing is sent before `gateway serve` runs.\n")
    assert shop.run("subscriptions", "pause", "good", config=config).code == 0
    assert shop.run("subscriptions", "resume", "nobody", config=config).sentence(1)
    with closing(sqlite3.connect(tmp_path / "copy.db")) as connection, connection:
        state = connection.execute("SELECT state FROM subscriptions WHERE name = 'good'")
        assert state.fetchone() == ("paused",)
    connection.close()


def test_to_change_something_no_secrets_are_needed(shop: Shop, tmp_path: Path) -> None:
    """They are in the environment of the gateway, not of every shell."""
    config = shop.configured(tmp_path, shop.gateway.database)
    config.write_text(config.read_text("utf-8").replace(f'"{SECRET}"', '"${NOT_HERE}"'), "utf-8")
    assert "NOT_HERE is not set" in shop.run("check", config=config).sentence(2)
    said = shop.run("replay", "--delivery", "dl_999", config=config)
    assert said.sentence(1) == "there is no delivery dl_999"
    assert shop.run("subscriptions", "resume", "good", config=config).code == 0


def test_an_owner_without_a_socket_is_not_overlooked(shop: Shop, tmp_path: Path) -> None:
    config = shop.copied(tmp_path)
    with (tmp_path / "copy.db.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = shop.run("subscriptions", "pause", "good", config=config)
    assert "is in use by another gateway" in said.sentence(2)


def test_long_socket_path_is_reached(shop: Shop, tmp_path: Path) -> None:
    """The path is over the size of `sun_path`: the same gateway, by a link to its folder."""
    deep = tmp_path / ("d" * 120)
    deep.symlink_to(shop.folder, target_is_directory=True)
    config = shop.configured(tmp_path, deep / shop.gateway.database.name)
    said = shop.run("replay", "--delivery", "dl_999", config=config)
    assert said.sentence(1) == "there is no delivery dl_999"


def test_help_imports_no_server_and_no_store() -> None:
    heavy = {"uvicorn", "starlette", "aiosqlite", "httpx2", "uvloop"}
    code = f"import sys, gateway.cli.main; sys.exit(len({heavy} & set(sys.modules)))"
    assert subprocess.run((sys.executable, "-c", code), check=False).returncode == 0
