"""The pages for developers: every file on them is run, as it is, against a gateway that runs."""

import asyncio
import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest

from gateway.catalogue import example, in_mode
from gateway.config.settings import SubscriptionSettings
from gateway.models import Mode
from gateway.signing import generate_secret, parse_secret, sign
from tests.acceptance.developers import (
    FILES,
    GO,
    INSTALLS,
    NODE,
    PAGES,
    PYTHON,
    ROOT,
    Language,
    Shop,
    Terminal,
    Workshop,
    files_of,
)
from tests.acceptance.harness import Answer, ask
from tests.ports import free_port

EXAMPLE = "order.paid #3 of order 1001: 49.26 EUR"  # what a receiver prints of the catalogue's


def cases(*begins: str) -> pytest.MarkDecorator:
    """The files of all languages that begin so; what is not Python is slow."""
    return pytest.mark.parametrize(
        ("language", "name"),
        [
            pytest.param(
                *(language, name),
                marks=[] if language is PYTHON else [pytest.mark.slow, pytest.mark.timeout(400)],
                id=name,
            )
            for language, names in FILES.items()
            for name in names
            if name.startswith(begins)
        ],
    )


@pytest.mark.parametrize("language", FILES, ids=lambda one: one.page)
def test_the_pages_have_these_files(language: Language) -> None:
    assert tuple(files_of(language)) == FILES[language]
    text = (PAGES / language.page).read_text("utf-8")
    assert len(re.findall(r"^```(?:python|js|go)$", text, re.MULTILINE)) == len(FILES[language])


def test_the_readme_links_every_page() -> None:
    links = set(re.findall(r"\]\((\w+\.md)\)", (PAGES / "README.md").read_text("utf-8")))
    assert {path.name for path in PAGES.glob("*.md")} - {"README.md"} <= links
    assert "docs/consumers/" in (ROOT / "README.md").read_text("utf-8")


def test_what_the_python_page_installs_is_what_is_tested() -> None:
    text = (PAGES / PYTHON.page).read_text("utf-8")
    pinned = re.findall(r"(\w+)==([\d.]+)", text)
    assert [name for name, _ in pinned] == ["standardwebhooks", "cloudevents"]
    assert all(version(name) == wanted for name, wanted in pinned)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    made = Shop(tmp_path_factory.mktemp("shop"))
    try:
        yield made
    finally:
        made.gateway.kill()


@contextmanager
def noting() -> Iterator[tuple[int, list[set[str]]]]:
    """A consumer that notes the names of the headers that it gets; its port, and those."""
    found: list[set[str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            found.append({name.lower() for name in self.headers})
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_address[1], found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_headers_are_those_of_a_delivery(shop: Shop) -> None:
    told = (PAGES / "README.md").read_text("utf-8").partition("## What a delivery has")[2]
    named = re.findall(r"^\| `([A-Za-z-]+)` \|", told.partition("\n## ")[0], re.MULTILINE)
    with noting() as (port, found):
        wanted = {"url": f"http://127.0.0.1:{port}/", "types": ["order.*"]}
        made = shop.call("POST /v1/subscriptions", body=wanted)
        shop.tell("H-1")
        deadline = time.monotonic() + 60
        while not found and time.monotonic() < deadline:
            time.sleep(0.02)
        shop.call(f"DELETE /v1/subscriptions/{made['id']}")
    ordinary = {"host", "content-length", "accept-encoding"}
    assert found[0] - ordinary == {name.lower() for name in named}


def test_the_numbers_of_the_readme_are_the_gateways() -> None:
    text = (PAGES / "README.md").read_text("utf-8")
    settings = SubscriptionSettings(url="https://orders.example.com/hook", secrets=())
    assert f"2xx, within {settings.timeout // 1000} seconds" in text
    assert [delay // 1000 for delay in settings.schedule[:3]] == [5, 5 * 60, 30 * 60]
    assert "after 5 seconds, 5 minutes, half an hour ... for three days" in text
    assert 3 <= sum(settings.schedule) / 86_400_000 < 3.5


class Delivery:
    """The catalogue's paid order, signed with some secrets, as the gateway sends it."""

    def __init__(self, port: int, webhook_id: str, mode: Mode = Mode.STRUCTURED) -> None:
        self._port = port
        self.id = webhook_id
        self._told, self.body = in_mode(example("order.paid"), mode)

    def send(self, *secrets: str, late: int = 0, **instead: str | bytes) -> Answer:
        """Send it, signed `late` seconds ago, with something put in after it was signed."""
        stamp = int(time.time()) - late
        keys = [parse_secret(one) for one in secrets]
        headers = {
            **self._told,
            "webhook-id": self.id,
            "webhook-timestamp": str(stamp),
            "webhook-signature": sign(keys, self.id, stamp, self.body).decode(),
        }
        body = instead.pop("body", self.body)
        assert isinstance(body, bytes)
        headers |= {f"webhook-{name}": str(value) for name, value in instead.items()}
        return asyncio.run(ask(self._port, "POST /hook", headers=headers, body=body))


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


MODES = {  # beside `structured`
    "receive.py": "json",
    "receive_asgi.py": "json binary",
    "receive.mjs": "json",
    "receive-libraries.mjs": "binary",
    "receive.go": "json",
    "receive_libraries.go": "binary",
}


@cases("receive")
def test_deliveries_are_verified_and_taken_once(
    language: Language, name: str, shop: Shop, tmp_path: Path
) -> None:
    workshop = Workshop(language, tmp_path)
    port, other, order = free_port(), generate_secret(), f"A-{name}"
    environ = shop.environ("subscriber") | {"WEBHOOK_URL": f"http://127.0.0.1:{port}/hook"}
    secret = subscribed(workshop, language, environ)
    if name in INSTALLS:
        workshop.install()
    workshop.paste(name)
    environ = {"PORT": str(port), "WEBHOOK_SECRET": f"{other} {secret}"}
    (made,) = shop.call(f"GET /v1/subscriptions?url=http://127.0.0.1:{port}/hook")["data"]
    try:
        with workshop.running(name, environ) as terminal:
            terminal.until(lambda: listens(port))
            shop.tell(order)
            terminal.until(lambda: len(terminal.lines) >= 2)
            assert sorted(terminal.lines) == [
                f"order.created #1 of order {order}: 49.26 EUR",
                f"order.paid #2 of order {order}: 49.26 EUR",
            ]
            terminal.until(lambda: states(shop, made["name"]) == ["delivered"] * 2)
            takes_once(terminal, Delivery(port, f"evt_{'0' * 40}"), secret, other)
            takes_nothing_forged(terminal, Delivery(port, f"evt_{'1' * 40}"), secret)
            reads(terminal, port, secret, MODES[name])
        if "libraries.go" not in name:  # that one says that it forgets
            with workshop.running(name, environ) as terminal:
                terminal.until(lambda: listens(port))
                assert Delivery(port, f"evt_{'0' * 40}").send(secret).status == 204
                assert terminal.lines == []
    finally:
        shop.call(f"DELETE /v1/subscriptions/{made['id']}")


def subscribed(workshop: Workshop, language: Language, environ: Mapping[str, str]) -> str:
    """The secret that the page's file prints; it is the same one when it is started again."""
    name = f"subscribe.{language.ending}"
    workshop.paste(name)
    command = workshop.command(name)
    first, again = (workshop.said(*command, environ=environ) for _ in range(2))
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == again.stdout
    parse_secret(first.stdout.strip())
    wrong = workshop.said(*command, environ={**environ, "WEBHOOK_URL": "http://"})
    assert wrong.returncode != 0
    assert '"code":"bad_request"' in wrong.stderr
    return first.stdout.strip()


def states(shop: Shop, subscription: str) -> list[str]:
    found = shop.call(f"GET /v1/deliveries?subscription={subscription}", "reader")
    return [one["state"] for one in found["data"]]


def takes_once(terminal: Terminal, delivery: Delivery, secret: str, other: str) -> None:
    """Signed with any of the secrets, or with several, it is taken; the repeats do nothing."""
    before = terminal.lines
    unknown = generate_secret()
    for secrets in ((secret,), (secret,), (other,), (unknown, secret), (secret, unknown)):
        assert delivery.send(*secrets).status == 204, secrets
    assert terminal.lines == [*before, EXAMPLE]


def takes_nothing_forged(terminal: Terminal, delivery: Delivery, secret: str) -> None:
    """Whatever a forger sends is answered 401, and does nothing."""
    before = terminal.lines
    real = delivery.send
    answers = [
        real(generate_secret()),
        real(secret, body=delivery.body.replace(b"49.26", b"99.26")),
        real(secret, body=b"\xff\xfe"),
        real(secret, body=b""),
        real(secret, late=310),
        real(secret, late=-310),
        real(secret, id="evt_other"),
        real(secret, id=""),
        real(secret, timestamp="now"),
        real(secret, timestamp="9" * 30),
        real(secret, signature="v1"),
        real(secret, signature="v1,"),
        real(secret, signature="v1,\N{SNOWMAN}= ,, v2,AAAA"),
        real(secret, signature=""),
    ]
    assert [answer.status for answer in answers] == [401] * len(answers)
    assert terminal.lines == before
    assert delivery.send(secret).status == 204
    assert terminal.lines == [*before, EXAMPLE]


def reads(terminal: Terminal, port: int, secret: str, modes: str) -> None:
    """What it cannot read it does not acknowledge, so that it is not lost."""
    for mode in (Mode.JSON, Mode.BINARY, Mode.BATCH):
        before = terminal.lines
        try:
            taken = Delivery(port, f"evt_{mode}", mode).send(secret).status == 204
        except asyncio.IncompleteReadError:  # it hung up
            taken = False
        assert taken == (mode in modes.split()), mode
        assert terminal.lines == [*before, EXAMPLE][: len(before) + taken]


@cases("publish")
def test_publishing_again_makes_no_second_event(
    language: Language, name: str, shop: Shop, tmp_path: Path
) -> None:
    workshop = Workshop(language, tmp_path)
    workshop.paste(name, **{"invoice-2026-0042": f"invoice-{language.ending}"})
    command, environ = workshop.command(name), shop.environ("publisher")
    first, again = (workshop.said(*command, environ=environ) for _ in range(2))
    assert (first.returncode, first.stderr) == (0, "")
    new, known = json.loads(first.stdout), json.loads(again.stdout)
    assert (new["duplicate"], known["duplicate"]) == (False, True)
    assert new["id"] == known["id"]
    event = shop.call(f"GET /v1/events/{new['id']}", "reader")["cloudevent"]
    told = tuple(event[name] for name in ("source", "type", "subject"))
    assert told == ("/billing", "invoice.sent", "1001")
    assert event["data"]["total"] == {"value": "49.26", "currency": "EUR"}
    refused = workshop.said(*command, environ=shop.environ("subscriber"))
    assert refused.returncode != 0
    assert '"code":"forbidden"' in refused.stderr


@cases("pull")
def test_what_is_fetched_is_acknowledged(
    language: Language, name: str, shop: Shop, tmp_path: Path
) -> None:
    workshop = Workshop(language, tmp_path)
    workshop.paste(name)
    path, order = "/v1/subscriptions/bookkeeping", f"P-{language.ending}"
    try:
        with workshop.running(name, shop.environ("subscriber")) as terminal:
            terminal.until(lambda: shop.call(f"GET {path}") is not None)
            shop.tell(order)
            terminal.until(lambda: len(terminal.lines) >= 2)
            assert terminal.lines == [f"order.created of {order}", f"order.paid of {order}"]
            terminal.until(lambda: shop.call(f"GET {path}/events")["data"] == [])
    finally:
        shop.call(f"DELETE {path}")


PAUSES = {
    PYTHON: ("time.sleep(5)", "time.sleep(0.1)"),
    NODE: ("pause(5000)", "pause(100)"),
    GO: ("5 * time.Second", "100 * time.Millisecond"),
}


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("language", FILES, ids=lambda one: one.page)
def test_a_restart_of_the_gateway_is_sat_out(
    language: Language, shop: Shop, tmp_path: Path
) -> None:
    workshop = Workshop(language, tmp_path)
    pull, publish = f"pull.{language.ending}", f"publish.{language.ending}"
    workshop.paste(pull, **dict([PAUSES[language]]))
    workshop.paste(publish, **{"invoice-2026-0042": f"late-{language.ending}"})
    command, environ = workshop.command(publish), shop.environ("publisher")
    path, order = "/v1/subscriptions/bookkeeping", f"R-{language.ending}"
    try:
        with (
            workshop.running(pull, shop.environ("subscriber")) as terminal,
            ThreadPoolExecutor() as pool,
        ):
            terminal.until(lambda: shop.call(f"GET {path}") is not None)
            shop.gateway.kill()
            published = pool.submit(workshop.said, *command, environ=environ)
            time.sleep(0.5)
            assert not published.done()
            asyncio.run(shop.gateway.start())
            shop.tell(order)
            terminal.until(lambda: len(terminal.lines) >= 2)
            assert terminal.lines == [f"order.created of {order}", f"order.paid of {order}"]
            assert json.loads(published.result().stdout)["duplicate"] is False
    finally:
        shop.call(f"DELETE {path}")


@pytest.mark.slow
def test_the_python_files_are_clean_and_typed(tmp_path: Path) -> None:
    workshop = Workshop(PYTHON, tmp_path)
    names = FILES[PYTHON]
    for name in names:
        workshop.paste(name)
    config = str(ROOT / "pyproject.toml")
    scripts = "T201,INP001,D,S310"  # they print, have no package, and open a URL that is given
    lint = ("ruff", "check", "--no-cache", "--config", config, "--extend-ignore", scripts)
    form = ("ruff", "format", "--no-cache", "--config", config, "--check")
    types = ("mypy", "--strict", "--config-file", os.devnull, "--cache-dir", os.devnull)
    for tool in (lint, form, types):
        done = workshop.said(sys.executable, "-m", *tool, *names, patience=100)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("language", [NODE, GO], ids=lambda one: one.page)
def test_the_other_files_are_clean(language: Language, tmp_path: Path) -> None:
    workshop = Workshop(language, tmp_path)
    for name in FILES[language]:
        workshop.paste(name)
        command = ("gofmt", "-l") if language is GO else ("node", "--check")
        done = workshop.said(*command, name)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), name
