"""Secrets with canaries, and all that could let one out: none is found where it does not belong."""

import asyncio
import base64
import hashlib
import hmac
import http.client
import json
import re
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from gateway.cli.main import app
from gateway.errors import GatewayError
from gateway.sealing import parse_key
from gateway.signing import generate_secret, parse_secret
from tests.acceptance.harness import Gateway, ask

pytestmark = pytest.mark.slow

SHOP, TOKEN = "canary-of-the-shop-1f6b", "canary-of-a-token-77aa"
DECLARED, MADE, PASSWORD = "canary-declared-90cd", "canary-made-3e21", "canary-password-5b5b"
NEW_SECRET, NEXT_SECRET = "canary-of-a-new-shop-2c19", "canary-of-its-rotation-77f0"
NEW_TOKEN, NEW_URL = "canary-of-a-new-token-0be1", "canary-in-a-base-url-a9d2"
PATH, QUERY = "canary-in-a-path-8d01", "canary-in-a-query-4c77"
BASIC = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
CALLBACK = re.compile(r"WebHook-Request-Callback: http://hooks\.example/handshakes/([\w-]{43})")


class Far(ThreadingHTTPServer):
    """Whoever is called; a path begins with the status that it answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Echoing)
        self.told: list[tuple[str, str, str]] = []  # method, path, headers

    def wait(self, method: str, path: str) -> str:
        """The headers of the first such request, as soon as it came."""
        deadline = time.monotonic() + 60
        while True:
            for verb, at, head in self.told:
                if (verb, at) == (method, path):
                    return head
            assert time.monotonic() < deadline, f"no {method} came to {path}: {self.told}"
            time.sleep(0.02)


class Echoing(BaseHTTPRequestHandler):
    """Says back all headers that it was sent, in the body and in where it leads to."""

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        assert isinstance(self.server, Far)
        head = str(self.headers)
        self.server.told.append((self.command, self.path, head))
        own = self.headers.get("Authorization", "")
        said = json.dumps({"headers": dict(self.headers), "own": own}).encode()
        self.send_response(int(self.path[1:4]))
        self.send_header("Location", f"/login?{own}")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):  # whatever the method
            return self._answer
        raise AttributeError(name)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Talkative(Gateway):
    """A gateway that logs all it can."""

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                (sys.executable, "-m", "gateway", "serve", "--log-level", "debug"),
                cwd=self._folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )


class OverSocket(http.client.HTTPConnection):
    """HTTP over the control socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("gateway", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))


class Stage:
    """A gateway with all kinds of secrets; `heard` is what it said, but where it shows one once."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capture, self.far = folder, capture, Far()
        Thread(target=self.far.serve_forever, daemon=True).start()
        self.at = f"http://127.0.0.1:{self.far.server_address[1]}"
        self.signing = generate_secret()
        self.gateway = Talkative(folder, [])
        self.heard: list[tuple[str, str]] = []
        file = folder / "gateway.toml"
        text = file.read_text("utf-8").replace('"test-secret"', f'"{SHOP}"')
        text = text.replace("[server]\n", '[server]\npublic_url = "http://hooks.example"\n')
        file.write_text(text + self._more(), "utf-8")
        file.chmod(0o600)

    def _more(self) -> str:
        return f"""
[sources.tiger]
provider = "marketiger"
base_url = "{self.at}/500"
token = "{TOKEN}"
[subscriptions.declared]
url = "{self.at}/302"
secrets = ["{self.signing}"]
schedule = ["100ms"]
headers = {{ Authorization = "Basic user:{PASSWORD}", X-Declared = "{DECLARED}" }}
[subscriptions.asked]
url = "{self.at}/405"
secrets = ["{self.signing}"]
handshake = true
"""

    def command(self, *arguments: str) -> str:
        """What a command prints into a pipe, and the sentence with which it fails."""
        self.capture.readouterr()
        try:
            app([*arguments, "--config", str(self.folder / "gateway.toml")], standalone_mode=False)
            sentence = ""
        except GatewayError as error:
            sentence = str(error)
        out, err = self.capture.readouterr()
        self.heard.append((" ".join(arguments[:4]), f"{out}\n{err}\n{sentence}"))
        return out + sentence

    def control(self, method: str, path: str, body: object = None) -> None:
        """A request over the control socket."""
        connection = OverSocket(self.folder / "gateway.db.sock")
        with closing(connection):
            connection.request(method, path, json.dumps(body), {"content-type": "application/json"})
            with connection.getresponse() as answer:
                said = f"{answer.status} {answer.headers} {answer.read().decode()}"
        self.heard.append((f"{method} {path} over the control socket", said))

    def post(self, path: str, headers: Mapping[str, str], body: bytes = b"{}") -> None:
        """A request at the public door."""
        answer = asyncio.run(ask(self.gateway.port, f"POST {path}", headers=headers, body=body))
        said = f"{answer.status} {answer.headers} {answer.body.decode()}"
        self.heard.append((f"POST {path} with {sorted(headers)}", said))

    def call(self) -> None:
        """A callback of the shop that makes one event."""
        body = json.dumps(
            {
                "id": "evt-1",
                "event": "order.created",
                "timestamp": "2026-01-15T14:30:00Z",
                "data": {"orderId": "ord-1"},
            }
        ).encode()
        digest = hmac.new(SHOP.encode(), body, hashlib.sha256).hexdigest()
        self.post("/hooks/shop", {"X-PrintStudio-Signature": f"sha256={digest}"}, body)

    def until(self, sql: str) -> None:
        """Wait until a query finds something."""
        deadline = time.monotonic() + 60
        with closing(sqlite3.connect(self.folder / "gateway.db")) as connection:
            while connection.execute(sql).fetchone() is None:
                assert time.monotonic() < deadline, sql
                time.sleep(0.05)

    def kept(self) -> dict[str, bytes]:
        """All files but those that a secret belongs into."""
        return {
            path.name: path.read_bytes()
            for path in self.folder.iterdir()
            if path.is_file() and path.suffix not in {".secret", ".toml", ".key", ".admin-key"}
        }


@pytest.fixture
def stage(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Stage]:
    made = Stage(tmp_path, capfd)
    asyncio.run(made.gateway.start())
    yield made
    made.gateway.kill()
    made.far.shutdown()
    made.far.server_close()


def forms(secret: str) -> set[bytes]:
    """How a secret may be found: as it is, its key, and that in base64."""
    if not secret.startswith("whsec_"):
        return {secret.encode()}
    return {secret.encode(), secret.removeprefix("whsec_").encode(), parse_secret(secret)}


def found(secrets: Mapping[str, str], places: Mapping[str, bytes]) -> list[str]:
    return [
        f"{what} in {where}: {content[max(0, content.index(form) - 60) :][:200]!r}"
        for what, secret in secrets.items()
        for form in forms(secret)
        for where, content in places.items()
        if form in content
    ]


def test_no_secret_is_where_it_does_not_belong(stage: Stage) -> None:
    headers = f'{{ Authorization = "Bearer {MADE}", X-Shop = "berlin" }}'
    crm = f"url={stage.at}/500/{PATH}?token={QUERY}"
    stage.command("subscriptions", "add", "crm", crm, f"headers={headers}")
    assert "crm.2.secret" in stage.command("subscriptions", "rotate", "crm", "--overlap", "1h")
    stage.command("subscriptions", "rotate", "crm", "--overlap", "0s")
    question = CALLBACK.search(stage.far.wait("OPTIONS", "/405"))
    assert question is not None

    stage.call()
    assert f"Bearer {MADE}" in stage.far.wait("POST", f"/500/{PATH}?token={QUERY}")
    own = stage.far.wait("POST", "/302")
    assert f"Basic {BASIC}" in own
    assert DECLARED in own
    for status in (302, 500):
        kept = "instr(head, CAST('headers' AS BLOB))"
        stage.until(f"SELECT 1 FROM attempts WHERE {kept} AND status = {status}")
    _sources(stage)
    stage.command("watch", "tiger", "4711")
    stage.until("SELECT 1 FROM polls WHERE problem IS NOT NULL")
    _wrong_requests(stage, question[1])
    _looks(stage)
    secrets = {
        "the shop's secret": SHOP,
        "the token": TOKEN,
        "a declared header": DECLARED,
        "a made header": MADE,
        "a password": PASSWORD,
        "a password in base64": BASIC,
        "a declared secret": stage.signing,
        "the handshake's secret": question[1],
        "the master key": (stage.folder / "gateway.db.key").read_text("ascii").strip(),
    }
    for path in (*stage.folder.glob("*.secret"), *stage.folder.glob("*.admin-key")):
        secrets[path.name] = path.read_text("ascii").strip()
    assert {"crm.secret", "crm.2.secret", "crm.3.secret"} <= set(secrets)
    assert all(len(secret) > 12 for secret in secrets.values())
    live = stage.kept()
    assert {"gateway.db", "gateway.db-wal", "gateway.db-shm", "gateway.log"} <= set(live)
    assert {"gateway.db.rejected", "gateway.db.rejected-wal"} & set(live)
    secrets |= {
        "a made source's secret": NEW_SECRET,
        "its next one": NEXT_SECRET,
        "a made source's token": NEW_TOKEN,
    }
    urls = {"a made URL's path": PATH, "a made URL's query": QUERY, "a base URL": NEW_URL}
    assert found(secrets | urls, live) == []
    for what, said in stage.heard:
        # Only the owner asks for the whole command that sends a delivery.
        hidden = secrets if what.endswith("--curl") else secrets | {"a query": QUERY}
        assert found(hidden, {what: said.encode()}) == []
    assert asyncio.run(stage.gateway.stop()) == 0
    after = stage.kept()
    assert found(secrets | urls, after) == []
    key = parse_key(secrets["the master key"])
    assert [name for name, content in after.items() if key in content] == []
    # The search itself can find: what the consumers were told is what was looked for.
    told = {"told": repr(stage.far.told).encode()}
    assert len(found({"made": MADE, "basic": BASIC, "token": TOKEN}, told)) == 3


def _sources(stage: Stage) -> None:
    """Sources that are made, changed, asked, refused, shown and removed; wrong ones too."""
    called = {"provider": "printstudio", "secrets": [NEW_SECRET]}
    asked = {"provider": "marketiger", "token": NEW_TOKEN, "interval": "1s"}
    asked["base_url"] = f"{stage.at}/302/{NEW_URL}"
    stage.control("POST", "/v1/sources", {"name": "made", **called})
    stage.control("POST", "/v1/sources", {"name": "asked", **asked})
    stage.control("PATCH", "/v1/sources/made", {"secrets": [NEW_SECRET, NEXT_SECRET]})
    stage.control("POST", "/v1/sources", {"name": "gone", **called})
    stage.control("DELETE", "/v1/sources/gone")
    for keys in (
        {"secrets": {NEW_SECRET: NEXT_SECRET}},
        {"secrets": [f"${{{NEW_SECRET}}}"]},
        {"shop": 7, "secrets": NEXT_SECRET},
        {"token": f"{NEW_TOKEN} {NEW_TOKEN}"},
        {"base_url": f"{stage.at}/?token={NEW_TOKEN}", "token": NEW_TOKEN},
        {"base_url": f"https://user:{NEW_TOKEN}@a.example.com", "token": NEW_TOKEN},
        {"typos": NEW_SECRET},
    ):
        stage.control("POST", "/v1/sources", {"name": "wrong", **called, **keys})
        stage.control("PATCH", "/v1/sources/made", keys)
    for name in ("made", "asked"):
        stage.control("POST", f"/v1/sources/{name}/watch", {"id": "4711"})
        stage.control("POST", f"/v1/sources/{name}/poll")
        stage.control("POST", f"/v1/sources/{name}/reconcile")
    stage.far.wait("GET", f"/302/{NEW_URL}/Order/GetOrder?orderId=4711")
    stage.until("SELECT 1 FROM polls WHERE source = 'asked' AND problem IS NOT NULL")
    for secret in (NEW_SECRET, "wrong"):
        body = b'{"id": "evt-9", "event": "order.created", "data": {}}'
        digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        stage.post("/hooks/made", {"X-PrintStudio-Signature": f"sha256={digest}"}, body)
        stage.post("/hooks/gone", {"X-PrintStudio-Signature": f"sha256={digest}"}, body)
    for path in ("", "/made", "/shop"):
        stage.control("GET", f"/v1/sources{path}")
    stage.control("GET", "/v1/explain/evt-9")


def _wrong_requests(stage: Stage, consent: str) -> None:
    """Whatever is answered with an error, with secrets where somebody may put them."""
    stage.post("/hooks/shop", {"X-PrintStudio-Signature": f"sha256={'0' * 64}"})
    stage.post("/hooks/shop", {"Authorization": f"Bearer {MADE}", "X-Shop-Secret": SHOP})
    stage.post("/hooks/nowhere", {"Authorization": f"Bearer {MADE}"})
    stage.post(f"/handshakes/{consent}", {"WebHook-Allowed-Rate": "often"})
    stage.post(f"/handshakes/{consent[:-1]}", {})
    stage.post(f"/handshakes/{consent}", {"WebHook-Allowed-Rate": "10"})
    wrong = {"url": f"{stage.at}/in", "headers": f'{{ Authorization = "{MADE}" }}', "typos": "x"}
    for body in (
        {"name": "new", **wrong},
        {"name": "new", "url": f"{stage.at}/in", "headers": f"Bearer {MADE}"},
        {"name": "new", "url": f"{stage.at}/in", "secrets": stage.signing},
        {"name": "crm", "url": f"{stage.at}/in"},
        {"name": "new", "secret": MADE},
        MADE,
    ):
        stage.control("POST", "/v1/subscriptions", body)
    for name in ("crm", "declared", "nobody"):
        for verb in ("pause", "resume"):
            stage.control("POST", f"/v1/subscriptions/{name}/{verb}")
    stage.control("POST", "/v1/subscriptions/declared/rotate", {"overlap": "0s"})
    for name in ("", "/crm", "/declared"):
        stage.control("GET", f"/v1/subscriptions{name}")
    stage.control("PATCH", "/v1/subscriptions/crm", {"headers": {"X-A": MADE}, "typos": MADE})
    stage.control("GET", "/v1/nowhere")
    stage.until("SELECT 1 FROM subscriptions WHERE instr(handshake, CAST('granted' AS BLOB))")


def _looks(stage: Stage) -> None:
    """All commands that show something."""
    for name in ("crm", "declared", "asked"):
        for more in ((), ("--json",)):
            assert name in stage.command("subscriptions", "show", name, *more)
    for listing in (("subscriptions",), ("deliveries",), ("events",)):
        stage.command(*listing)
        stage.command(*listing, "--json")
    for number in (1, 2, 3):
        stage.command("deliveries", "show", f"dl_{number}")
        stage.command("deliveries", "show", f"dl_{number}", "--json")
        assert "curl" in stage.command("deliveries", "show", f"dl_{number}", "--curl")
    stage.command("explain", "ord-1")
    stage.command("explain", "cb_1", "--json")
    assert "x-shop-secret" in stage.command("rejected", "shop")
    stage.command("rejected", "shop", "--json")
    stage.command("sources", "--json")
    stage.command("check")
