"""Sources that never call, from the command line: real APIs over HTTP, with a gateway and without."""

import asyncio
import contextlib
import json
import os
import pty
import re
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.acceptance.harness import Gateway
from tests.acceptance.test_look import CONSUMER, TIME, Said
from tests.simulators.api import BAD_GATEWAY, Api, Request, Response, silence
from tests.simulators.marketiger import MarketigerApi
from tests.simulators.printstudio import KEY, PrintStudioApi

pytestmark = pytest.mark.slow  # whole processes, command by command

T = TypeVar("T")
LATER = "nothing is sent before `gateway serve` runs"
LINE = re.compile(r"secrets = \[.*\]")


class Backstage:
    """A loop in a thread of its own, so that APIs answer while a command runs."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Watchful(PrintStudioApi):
    """A shop that looks, when it is given an endpoint, whether the secret lies in a file already."""

    def __init__(self) -> None:
        super().__init__()
        self.secret_file = Path("nowhere")
        self.kept = ""

    def answer(self, request: Request) -> Response:
        if request.method == "POST":
            self.kept = self.secret_file.read_text() if self.secret_file.exists() else "no file"
        return super().answer(request)


class Bench:
    """A configuration with Marketiger and a PrintStudio shop; `run` is the operator at its shell.

    The interval is a day: after the first round the gateway asks only when it is told to.
    """

    def __init__(self, folder: Path, mt: MarketigerApi, ps: Watchful) -> None:
        self.folder, self.mt, self.ps = folder, mt, ps
        self.gateway = Gateway(folder, [])
        self.config = folder / "gateway.toml"
        (folder / "mt.token").write_text("tiger-token\n")
        (folder / "mt.token").chmod(0o600)
        self.configure(self.config)

    def configure(self, path: Path, *, token: str = "${file:mt.token}", more: str = "") -> Path:
        """Write a configuration of the gateway's database; `more` stands below the shop."""
        path.touch()
        path.chmod(0o600)
        path.write_text(
            f'store.url = "sqlite:///{self.gateway.database}"\n'
            f"[server]\nport = {self.gateway.port}\n[admin]\nport = {self.gateway.admin_port}\n"
            f'[sources.mt]\nprovider = "marketiger"\nbase_url = "{self.mt.url}"\n'
            f'token = "{token}"\ninterval = "1d"\n'
            f'[sources.ps]\nprovider = "printstudio"\nbase_url = "{self.ps.url}"\nshop = "berlin"\n'
            f'token = "{KEY}"\ninterval = "1d"\nrequests_per_minute = 1000\n{more}\n'
            f'[sources.silent]\nprovider = "threeyourmind"\nenabled = false\n'
            f'base_url = "https://t.example/api"\ntoken = "{token}"\nstatus_map = {{a = "shipped"}}\n'
            f'[sources.hooked]\nprovider = "stripe"\nsecrets = ["{token}"]\n'
            f'[subscriptions.audit]\nurl = "https://audit.example/"\nsecrets = ["{CONSUMER}"]\n'
            '[egress]\nallow = ["127.0.0.0/8:*"]\n'
        )
        return path

    def run(self, *arguments: str, config: Path | None = None) -> Said:
        """`gateway ARGUMENTS` with its output in pipes."""
        done = subprocess.run(
            self.command(*arguments),
            env=self.environ(config),
            capture_output=True,
            timeout=60,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr.decode())

    def command(self, *arguments: str) -> tuple[str, ...]:
        return sys.executable, "-m", "gateway", *arguments

    def environ(self, config: Path | None = None) -> dict[str, str]:
        return {**os.environ, "GATEWAY_CONFIG": str(config or self.config), "FORCE_COLOR": "1"}

    def lines(self, code: int, *arguments: str, config: Path | None = None) -> list[str]:
        said = self.run(*arguments, config=config)
        assert (said.code, said.error) == (code, ""), said.text
        return said.text.splitlines()

    def told(self, code: int, *arguments: str) -> list[dict[str, Any]]:
        """The JSON lines of a command."""
        return [json.loads(line) for line in self.lines(code, *arguments, "--json")]

    def types(self, order: str) -> list[str]:
        """The types of an order's events, as the database has them."""
        sql = "SELECT type FROM events WHERE order_id = ? ORDER BY id"
        with contextlib.closing(sqlite3.connect(self.gateway.database)) as connection:
            return [row[0] for row in connection.execute(sql, (order,))]

    def change(self, sql: str) -> None:
        with contextlib.closing(sqlite3.connect(self.gateway.database)) as connection, connection:
            connection.execute(sql)

    def wait_for(self, order: str, *types: str) -> None:
        deadline = time.monotonic() + 60
        while self.types(order) != list(types):
            assert time.monotonic() < deadline, self.types(order)
            time.sleep(0.02)

    def await_round(self) -> None:
        """Wait for the end of the shop's first round."""
        deadline = time.monotonic() + 60
        while not self.source("ps")["last_answer"]:
            assert time.monotonic() < deadline

    def source(self, name: str) -> dict[str, Any]:
        (row,) = (
            row for row in json.loads(self.run("sources", "--json").text) if row["name"] == name
        )
        found: dict[str, Any] = row
        return found


@pytest.fixture(scope="module")
def backstage() -> Iterator[Backstage]:
    backstage = Backstage()
    yield backstage
    backstage.close()


@contextlib.contextmanager
def set_up(backstage: Backstage, folder: Path) -> Iterator[Bench]:
    apis: tuple[MarketigerApi, Watchful] = MarketigerApi(), Watchful()
    started: list[Api] = []
    try:
        for api in apis:
            backstage.do(api.start())
            started.append(api)
        apis[1].place("ord-old", status="printing")
        yield Bench(folder, *apis)
    finally:
        for one in started:
            backstage.do(one.stop())


@pytest.fixture(scope="module")
def live(backstage: Backstage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A gateway that runs; its first round has recorded the order `ord-old`."""
    with set_up(backstage, tmp_path_factory.mktemp("live")) as bench:
        asyncio.run(bench.gateway.start())
        try:
            bench.await_round()
            yield bench
        finally:
            asyncio.run(bench.gateway.stop())


@pytest.fixture
def alone(backstage: Backstage, tmp_path: Path) -> Iterator[Bench]:
    """No gateway runs, and there is no database yet."""
    with set_up(backstage, tmp_path) as bench:
        yield bench


# While a gateway runs.


def test_serve_says_what_it_asks(live: Bench) -> None:
    said = live.gateway.log.read_text("utf-8")
    public = f"http://127.0.0.1:{live.gateway.port}"
    assert f"\nSource mt: asks {live.mt.url.removesuffix('/v2')} every 86400s\n" in said
    assert f"\nSource ps: asks {live.ps.url} every 86400s\n" in said
    assert f"\nSource hooked: POST {public}/hooks/hooked\n" in said
    assert "\nSource silent: disabled\n" in said


def test_a_watched_order_is_asked_for_at_once(live: Bench) -> None:
    number = live.mt.place()
    live.mt.move(number, 5)
    asked = f"Order {number} of source mt is asked for from now on, as order 1001."
    # The running gateway has the secrets: who talks to it needs none.
    config = live.configure(live.folder / "blind.toml", token="${NOT_HERE}")
    assert live.lines(0, "watch", "mt", number, "--order", "1001", config=config) == [asked]
    live.wait_for("1001", "order.created", "order.paid")
    again = f"Order {number} of source mt was watched already: it is asked for at once."
    assert live.lines(0, "watch", "mt", number) == [again]


@pytest.mark.parametrize(
    "arguments",
    [("watch", "no", "1"), ("poll", "no", "--once"), ("reconcile", "no"), ("watch", "hooked", "1")],
)
def test_a_source_that_is_not_asked_is_one_sentence(
    live: Bench, arguments: tuple[str, ...]
) -> None:
    sentence = live.run(*arguments).sentence(1)
    assert re.fullmatch(
        r"there is no polled source '\w+' \(one has a base_url and a token\);"
        " polled sources are mt, ps",
        sentence,
    )


def test_a_name_that_is_none_reaches_no_other_route(live: Bench) -> None:
    assert live.run("watch", "../subscriptions/audit", "1").sentence(1) == (
        "there is no source ../subscriptions/audit: `gateway sources` lists them"
    )


def test_a_number_that_cannot_be_is_refused(live: Bench) -> None:
    assert "printable" in live.run("watch", "mt", "a\x1b[2Jb").sentence(1)


def test_poll_says_what_it_found_and_what_followed(live: Bench) -> None:
    live.ps.place("ord-1")
    live.ps.place("ord-2", status="printing")
    *rows, blank, last = live.lines(0, "poll", "ps", "--once")
    assert rows[0].split() == ["number", "status", "what", "followed", "order", "events"]
    found = {row.split()[0]: re.split(r"  +", row)[1:] for row in rows[1:]}
    assert found == {
        "ord-1": ["pending_payment", "event", "ord-1", "order.created"],
        "ord-2": ["printing", "event", "ord-2", "order.created, order.paid, order.printing"],
    }
    sums = "Of 3 orders 2 changed and made 4 events, 1 did not change, 0 could not be read."
    assert blank == ""
    assert re.fullmatch(rf"{re.escape(sums)} It is asked again at {TIME}\.", last)
    assert live.types("ord-2") == ["order.created", "order.paid", "order.printing"]
    (last,) = live.lines(0, "poll", "ps", "--once")
    assert last.startswith("Of 3 orders 0 changed and made 0 events, 3 did not change, 0 could")


def test_poll_prints_its_lines_as_json(live: Bench) -> None:
    live.ps.place("ord-json")
    *found, end = live.told(0, "poll", "ps", "--once")
    ((made,),) = (one["found"]["events"] for one in found if one["found"]["events"])
    assert (made["type"], made["order"], made["subscriptions"]) == (
        *("order.created", "ord-json"),
        ["audit"],
    )
    assert end["end"]["source"] == "ps"
    assert end["end"]["problem"] is None


def test_without_once_poll_says_who_polls(live: Bench) -> None:
    assert live.run("poll", "mt").sentence(2).startswith("`gateway serve` polls all the time")


def test_an_order_that_cannot_be_read_is_a_line_and_no_failure(live: Bench) -> None:
    assert live.run("watch", "mt", "no-guid").code == 0
    *rows, _, last = live.lines(0, "poll", "mt", "--once")
    (row,) = (row for row in rows if row.startswith("no-guid"))
    assert re.search(r"^no-guid +problem +.*INCORRECT_PARAMETERS", row), row
    assert ", 1 could not be read." in last


def test_an_api_that_fails_ends_the_round(live: Bench) -> None:
    live.ps.broken = BAD_GATEWAY
    try:
        *_, last = live.lines(1, "poll", "ps", "--once")
    finally:
        live.ps.broken = None
    assert re.fullmatch(
        rf".*The round ended early: it answered 502 .*; it is asked again at {TIME}\.",
        last,
    )
    assert live.source("ps")["state"] == "failing"
    assert "502" in live.source("ps")["reason"]
    assert live.run("poll", "ps", "--once").code == 0
    assert live.source("ps")["state"] == "asked"


def test_a_refused_token_is_shown_until_it_is_taken_again(live: Bench) -> None:
    tokens, live.mt.tokens = live.mt.tokens, {}
    try:
        last = live.lines(1, "poll", "mt", "--once")[-1]
        assert "asked no more until its configuration changes" in last
        assert "AUTHENTICATION" in last
        row = live.source("mt")
        assert (row["state"], row["next_round"]) == ("refused", None)
        assert "AUTHENTICATION" in live.run("sources").text
    finally:
        live.mt.tokens = tokens
    assert live.run("poll", "mt", "--once").code == 0
    assert live.source("mt")["state"] == "asked"


def test_reconcile_says_what_is_missing_and_makes_it(live: Bench) -> None:
    for number in ("ord-missed", "ord-back"):
        live.ps.place(number)
        live.ps.move(number, "ready")
    assert live.run("poll", "ps", "--once").code == 0
    live.ps.place("ord-silent")
    live.ps.move("ord-missed", "shipped")
    live.ps.move("ord-back", "printing")
    live.ps.place("ord-bad", status=[])
    lines = live.lines(1, "reconcile", "ps")
    parts = [part.splitlines() for part in "\n".join(lines).split("\n\n")]
    assert [part[0].partition(":")[0] for part in parts] == [
        *("Orders silent", "Facts missed", "Facts that differ", "Unreadable"),
        "8 orders compared",
    ]
    assert [part[2].split()[0] for part in parts[:4]] == [
        *("ord-silent", "ord-missed", "ord-back", "ord-bad"),
    ]
    assert "order.shipped" in parts[1][2]
    assert "events with --emit" in parts[1][1]
    assert parts[4][0].endswith(
        ": 4 the same, 1 silent, 1 with facts missed, 1 with facts that differ, 1 unreadable."
    )
    assert parts[4][1] == "--emit would make 2 events."
    assert live.types("ord-silent") == []
    del live.ps.orders["ord-bad"]
    lines = live.lines(0, "reconcile", "ps", "--emit")
    assert lines[-1] == "2 events made."
    assert live.types("ord-silent") == ["order.created"]
    assert live.types("ord-missed")[-1] == "order.shipped"
    live.ps.move("ord-back", "ready")
    assert live.lines(0, "reconcile", "ps") == ["7 orders compared: 7 the same."]


def test_reconcile_without_a_list_goes_over_what_is_known(live: Bench) -> None:
    number = live.mt.place()
    live.mt.move(number, 10)
    assert live.run("watch", "mt", number, "--order", "old").code == 0
    live.wait_for("old", "order.created", "order.paid", "order.shipped")
    first, *compared = live.told(1, "reconcile", "mt", "--since", "1d")
    assert first == {"listed": False}
    kinds = {one["compared"]["number"]: one["compared"]["kind"] for one in compared}
    assert kinds[number] == "older"
    lines = live.lines(1, "reconcile", "mt", "--since", "1d")
    assert "1 unreadable" in lines[-2]
    assert lines[-1].startswith("This source has no list of orders")


def test_a_wrong_since_is_one_sentence(live: Bench) -> None:
    assert live.run("reconcile", "mt", "--since", "7x").sentence(2).startswith("--since: expected")


def test_a_bar_goes_on_on_a_terminal_and_not_through_the_output(live: Bench) -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        live.command("reconcile", "ps", "--json"),
        env=live.environ() | {"TERM": "xterm"},
        stdout=subprocess.PIPE,
        stderr=follower,
    )
    os.close(follower)
    output, _ = process.communicate(timeout=60)
    shown = b""
    with contextlib.suppress(OSError):  # Linux says EIO when the last writer is gone
        while chunk := os.read(leader, 65536):
            shown += chunk
    os.close(leader)
    assert b"comparing ps" in shown
    assert b"compared" not in shown
    assert len([json.loads(line) for line in output.splitlines()]) == 8
    assert process.returncode == 0


def test_sources_are_listed_without_their_secrets(live: Bench) -> None:
    config = live.configure(live.folder / "blind.toml", token="${NOT_HERE}")
    rows = {
        row["name"]: row for row in json.loads(live.run("sources", "--json", config=config).text)
    }
    assert list(rows) == ["mt", "ps", "silent", "hooked"]
    port = live.ps.port
    changing = {"watched", "last_answer", "next_round"}
    assert {key: rows["ps"][key] for key in rows["ps"] if key not in changing} == {
        "name": "ps",
        "provider": "printstudio",
        "shop": "berlin",
        "declared": True,
        "callbacks": False,
        "host": f"127.0.0.1:{port}",
        "state": "asked",
        "reason": None,
    }
    assert rows["ps"]["watched"] == len(live.ps.orders)
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    assert rows["ps"]["last_answer"] < now < rows["ps"]["next_round"]
    assert (rows["hooked"]["state"], rows["hooked"]["callbacks"]) == ("callbacks", True)
    assert (rows["silent"]["state"], rows["silent"]["host"]) == ("disabled", "t.example")
    lines = live.lines(0, "sources", config=config)
    assert re.search(rf"^ps +printstudio +berlin +127\.0\.0\.1:{port} +asked", lines[2])
    assert re.search(r"^hooked +stripe +default +/hooks/hooked +callbacks$", lines[4])


# Without one.


@pytest.mark.slow
def test_what_is_done_without_a_gateway_waits_for_one(alone: Bench) -> None:
    number = alone.mt.place()
    sentence = alone.run("watch", "mt", number).sentence(2)
    assert "is not there yet: `gateway serve` makes it" in sentence
    assert json.loads(alone.run("sources", "--json").text)[0]["state"] == "not asked yet"
    assert not alone.gateway.database.exists()
    (row, _) = alone.lines(0, "poll", "ps", "--once")[1:3]
    assert re.split(r"  +", row)[:3] == ["ord-old", "printing", "baseline"]
    watched = (
        f"Order {number} of source mt is watched, as order 7; asking begins with `gateway serve`."
    )
    assert alone.lines(0, "watch", "mt", number, "--order", "7") == [watched]
    again = watched.replace("is watched, as order 7", "was watched already")
    assert alone.lines(0, "watch", "mt", number) == [again]
    *_, last = alone.lines(0, "poll", "mt", "--once")
    assert re.fullmatch(
        r"Of 1 order 1 changed and made 1 event, 0 did not change, 0 could not be read; "
        rf"{LATER}\. `gateway serve` asks again from {TIME} on\.",
        last,
    )
    assert alone.types("7") == ["order.created"]
    assert (alone.source("mt")["watched"], alone.source("mt")["state"]) == (1, "asked")
    alone.change("UPDATE watched SET next_at = NULL WHERE source = 'mt'")
    assert alone.source("mt")["watched"] == 0
    alone.ps.place("ord-new")
    assert alone.lines(1, "reconcile", "ps")[-1] == "--emit would make 1 event."
    assert alone.lines(0, "reconcile", "ps", "--emit")[-1] == f"1 event made; {LATER}."
    assert alone.types("ord-new") == ["order.created"]


@pytest.mark.parametrize("arguments", [("poll", "no", "--once"), ("poll", "silent", "--once")])
def test_nothing_is_made_for_a_source_that_is_not_asked(
    alone: Bench, arguments: tuple[str, ...]
) -> None:
    assert "polled sources are mt, ps" in alone.run(*arguments).sentence(1)
    assert not list(alone.folder.glob("gateway.db*"))


def test_reconcile_makes_no_database(alone: Bench) -> None:
    assert "is not there yet" in alone.run("reconcile", "ps").sentence(2)
    assert not list(alone.folder.glob("gateway.db*"))


def test_direct_work_needs_the_secrets(alone: Bench) -> None:
    config = alone.configure(alone.folder / "blind.toml", token="${NOT_HERE}")
    assert "NOT_HERE is not set" in alone.run("poll", "ps", "--once", config=config).sentence(2)
    assert not list(alone.folder.glob("gateway.db*"))


def test_a_gateway_that_ends_meanwhile_is_told(alone: Bench) -> None:
    asyncio.run(alone.gateway.start())
    try:
        alone.await_round()
        alone.ps.broken = silence
        asked = len(alone.ps.requests)
        process = subprocess.Popen(
            alone.command("poll", "ps", "--once"),
            env=alone.environ(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + 60
        while len(alone.ps.requests) == asked:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(alone.gateway.pid, signal.SIGKILL)
        output, error = process.communicate(timeout=60)
    finally:
        alone.gateway.kill()
    assert (process.returncode, error) == (1, b"")
    assert b"The round ended early: the running gateway gave no more answers" in output


# Registration at a PrintStudio shop.


def test_a_shop_is_registered_and_its_callbacks_are_taken(
    alone: Bench, backstage: Backstage
) -> None:
    path = alone.ps.secret_file = alone.folder / "ps.secret"
    url = f"http://127.0.0.1:{alone.gateway.port}/hooks/ps"
    said, hint, line = alone.lines(0, "printstudio", "register", "ps", "--url", url)
    assert said.startswith(f"The shop calls {url} from now on as whe-1.")
    (endpoint,) = alone.ps.endpoints.values()
    assert alone.ps.kept == f"{endpoint.secret}\n" == path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert endpoint.secret not in said + hint + line
    assert len(endpoint.secret) >= 43
    assert hint == "Put this line below [sources.ps], and restart the gateway:"
    assert LINE.fullmatch(line)
    alone.configure(alone.config, more=line)
    asyncio.run(alone.gateway.start())
    try:
        number = alone.ps.place("ord-called")
        (sent,) = backstage.do(alone.ps.fire("order.created", number))
        assert sent.status == 200
        assert f"\nSource ps: POST {url}; asks {alone.ps.url} every 86400s\n" in (
            alone.gateway.log.read_text("utf-8")
        )
    finally:
        asyncio.run(alone.gateway.stop())


def test_a_secret_is_never_overwritten(alone: Bench) -> None:
    path = alone.folder / "other.secret"
    path.write_text("mine")
    register = ("printstudio", "register", "ps", "--url", "http://127.0.0.1:1/hooks/ps")
    sentence = alone.run(*register, "--secret-file", str(path)).sentence(1)
    assert sentence.startswith(f"{path} is there already and is not overwritten")
    assert path.read_text() == "mine"
    assert alone.ps.endpoints == {}
    assert "cannot be written" in alone.run(*register, "--secret-file", f"{path}/x").sentence(2)


def test_without_success_no_secret_is_left(alone: Bench) -> None:
    register = ("printstudio", "register", "ps")
    assert alone.run(*register).sentence(2).startswith("--url is required")
    assert alone.run(*register, "--url", "ftp://x/").sentence(2).startswith("--url: ")
    alone.ps.keys.clear()
    sentence = alone.run(*register, "--url", "http://127.0.0.1:1/hooks/ps").sentence(1)
    assert sentence.startswith("source ps was not registered: it answered 401")
    assert [path.name for path in alone.folder.glob("*.secret")] == []
    assert alone.run("printstudio", "register", "mt").sentence(1) == (
        "there is no PrintStudio source mt; known are ps"
    )


def test_the_public_url_is_what_the_shop_calls(alone: Bench) -> None:
    text = alone.config.read_text()
    alone.config.write_text(
        text.replace("[server]\n", '[server]\npublic_url = "https://hooks.example.com"\n').replace(
            'shop = "berlin"\n', 'shop = "berlin"\nsecrets = ["old"]\n'
        )
    )
    lines = alone.lines(0, "printstudio", "register", "ps")
    (endpoint,) = alone.ps.endpoints.values()
    assert endpoint.url == "https://hooks.example.com/hooks/ps"
    assert lines[-1].startswith('Add "${file:ps.secret}" to the secrets of [sources.ps]')


# Advice.


def test_check_and_serve_say_what_a_provider_remarks(alone: Bench) -> None:
    text = alone.config.read_text().replace("enabled = false\n", "")
    alone.config.write_text(text.replace('status_map = {a = "shipped"}\n', ""))
    warning = "gateway: warning: sources.silent: status_map is empty"
    assert warning in alone.run("check").error
    alone.config.write_text(text.replace(alone.ps.url, "http://localhost:1"))
    said = alone.run("check").error
    assert "sources.ps.base_url: localhost can mean 127.0.0.1 and ::1" in said
    assert "status_map" not in said
