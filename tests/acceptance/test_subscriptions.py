"""`gateway subscriptions add, show, rotate, remove`, beside a gateway that runs and without one."""

import asyncio
import hashlib
import hmac
import http.client
import json
import os
import pty
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from gateway.cli.main import app
from gateway.errors import GatewayError
from tests.acceptance.harness import Gateway

pytestmark = pytest.mark.slow

SECRET = "test-secret"
CONSUMER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
WHSEC = re.compile(r"whsec_[A-Za-z0-9+/]+=*")


class Consumer(ThreadingHTTPServer):
    """Keeps what it gets: path, headers and body."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taking)
        self.got: list[tuple[str, dict[str, str], bytes]] = []

    def wait_for(self, path: str, count: int) -> list[tuple[dict[str, str], bytes]]:
        """What came to a path, as soon as it is so much."""
        deadline = time.monotonic() + 60
        while True:
            found = [(headers, body) for at, headers, body in self.got if at == path]
            if len(found) >= count:
                return found
            assert time.monotonic() < deadline, f"{len(found)} of {count} came to {path}"
            time.sleep(0.02)


class Taking(BaseHTTPRequestHandler):
    """Answers 200."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        assert isinstance(self.server, Consumer)
        self.server.got.append((self.path, dict(self.headers), body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Shop:
    """A gateway with a folder, of which `file` is declared; `run` is the operator at its shell."""

    def __init__(self, folder: Path, consumer: Consumer) -> None:
        self.folder, self.consumer = folder, consumer
        self.gateway = Gateway(folder, [])
        self.url = f"http://127.0.0.1:{consumer.server_address[1]}"
        self._told = 0
        text = (folder / "gateway.toml").read_text("utf-8")
        declared = (
            f'[subscriptions.file]\nurl = "{self.url}/file"\nsecrets = ["${{FILE_SECRET}}"]\n'
        )
        (folder / "gateway.toml").write_text(f"{text}\n{declared}", "utf-8")

    def start(self) -> None:
        os.environ["FILE_SECRET"] = CONSUMER
        try:
            asyncio.run(self.gateway.start())
        finally:
            del os.environ["FILE_SECRET"]

    def run(self, *arguments: str) -> str:
        """What `gateway subscriptions ARGUMENTS` prints into a pipe."""
        done = subprocess.run(
            (sys.executable, "-m", "gateway", "subscriptions", *arguments),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, *arguments: str) -> str:
        """The sentence with which it says no; without the cost of a process."""
        config = str(self.folder / "gateway.toml")
        with pytest.raises(GatewayError) as error:
            app(["subscriptions", *arguments, "--config", config], standalone_mode=False)
        return str(error.value)

    def on_terminal(self, *arguments: str) -> str:
        """The same on a terminal."""
        leader, follower = pty.openpty()
        command = (sys.executable, "-m", "gateway", "subscriptions", *arguments)
        with subprocess.Popen(command, cwd=self.folder, stdout=follower) as process:
            os.close(follower)
            output = b""
            try:
                while chunk := os.read(leader, 65536):
                    output += chunk
            except OSError:
                pass  # Linux says EIO when the last writer is gone
            os.close(leader)
            assert process.wait(60) == 0
        return output.decode()

    def tell(self) -> str:
        """A callback that makes one event; its order."""
        self._told += 1
        order = f"ord-{self._told}"
        body = json.dumps(
            {
                "id": f"evt-{self._told}",
                "event": "order.created",
                "timestamp": "2026-01-15T14:30:00Z",
                "data": {"orderId": order},
            }
        ).encode()
        digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=60)
        headers = {"X-PrintStudio-Signature": f"sha256={digest}"}
        connection.request("POST", "/hooks/shop", body, headers)
        with connection.getresponse() as response:
            assert (response.status, response.read()[:1]) == (200, b"{")
        connection.close()
        return order

    def secret(self, name: str) -> str:
        """What stands in a file that only its owner may read."""
        path = self.folder / name
        assert path.stat().st_mode & 0o777 == 0o600
        return path.read_text("ascii").strip()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    consumer = Consumer()
    threading.Thread(target=consumer.serve_forever, daemon=True).start()
    shop = Shop(tmp_path, consumer)
    try:
        yield shop
    finally:
        shop.gateway.kill()
        consumer.shutdown()
        consumer.server_close()


def signed_by(request: tuple[dict[str, str], bytes], secret: str) -> bool:
    try:
        Webhook(secret).verify(request[1], {k.lower(): v for k, v in request[0].items()})
    except WebhookVerificationError:
        return False
    return True


@pytest.mark.slow
def test_a_subscription_lives_through_kills(shop: Shop) -> None:
    shop.start()
    url = f"url={shop.url}/crm?token=abc"
    text = shop.run("add", "crm", url, "types=order.created,order.paid", "timeout=7s")
    assert "crm.secret" in text
    assert WHSEC.search(text) is None
    old = shop.secret("crm.secret")
    shop.gateway.kill()
    shop.start()
    order = shop.tell()
    (first,) = shop.consumer.wait_for("/crm?token=abc", 1)
    assert json.loads(first[1])["subject"] == order
    assert signed_by(first, old)

    assert "crm.2.secret" in shop.run("rotate", "crm", "--overlap", "1h")
    new = shop.secret("crm.2.secret")
    assert shop.secret("crm.secret") == old
    shop.gateway.kill()
    shop.start()
    shop.tell()
    second = shop.consumer.wait_for("/crm?token=abc", 2)[1]
    assert signed_by(second, old)
    assert signed_by(second, new)

    shown = shop.run("show", "crm")
    for words in ("order.created, order.paid", "7s", "signs until", "active", "?***", "closed"):
        assert words in shown
    for hidden in (old, new, "abc"):
        assert hidden not in shown
        assert hidden not in shop.run("show", "crm", "--json")
        assert hidden not in shop.gateway.log_end()

    shop.run("remove", "crm")
    shop.gateway.kill()
    shop.start()
    shop.tell()
    shop.consumer.wait_for("/file", 3)
    assert len(shop.consumer.wait_for("/crm?token=abc", 0)) == 2
    assert "crm" not in shop.run()
    assert "there is no subscription crm" in shop.refused("show", "crm")


@pytest.mark.slow
def test_without_a_gateway_it_is_done_under_the_lock(shop: Shop) -> None:
    shop.start()
    assert asyncio.run(shop.gateway.stop()) == 0
    text = shop.run("add", "crm", f"url={shop.url}/crm", "--secret-file", "own.secret")
    assert "nothing is sent before `gateway serve` runs" in text
    shop.run("add", "other", f"url={shop.url}/other")
    shop.run("remove", "other")
    shop.run("rotate", "crm", "--overlap", "0s", "--secret-file", "new.secret")
    assert "stand in the configuration" in shop.refused("rotate", "file")
    assert "take it out there" in shop.refused("remove", "file")
    shop.start()
    shop.tell()
    (delivered,) = shop.consumer.wait_for("/crm", 1)
    assert signed_by(delivered, shop.secret("new.secret"))
    assert not signed_by(delivered, shop.secret("own.secret"))
    shop.consumer.wait_for("/file", 1)
    assert shop.consumer.wait_for("/other", 0) == []


@pytest.mark.slow
def test_what_the_file_no_longer_declares_can_be_removed(shop: Shop) -> None:
    shop.start()
    assert asyncio.run(shop.gateway.stop()) == 0
    config = shop.folder / "gateway.toml"
    whole = config.read_text("utf-8")
    config.write_text(f"{whole}enabled = false\n", "utf-8")
    shop.start()
    assert "is resumed, but disabled" in shop.run("resume", "file")
    assert asyncio.run(shop.gateway.stop()) == 0
    assert "is resumed, but disabled" in shop.run("resume", "file")
    config.write_text(whole.partition("[subscriptions.file]")[0], "utf-8")
    assert "is removed" in shop.run("remove", "file")
    assert json.loads(shop.run("--json")) == []


def test_a_terminal_is_shown_the_secret_once(shop: Shop) -> None:
    shop.start()
    text = shop.on_terminal("add", "crm", f"url={shop.url}/crm")
    (secret,) = WHSEC.findall(text)
    (rotated,) = WHSEC.findall(shop.on_terminal("rotate", "crm"))
    assert list(shop.folder.glob("*.secret")) == []
    shop.tell()
    (delivered,) = shop.consumer.wait_for("/crm", 1)
    assert signed_by(delivered, secret)
    assert signed_by(delivered, rotated)
    assert WHSEC.search(shop.on_terminal("show", "crm")) is None
    assert "file.secret" in shop.run(
        "add", "file-2", f"url={shop.url}/x", "--secret-file", "file.secret"
    )


def test_add_gives_the_advice_that_the_file_would_get(
    shop: Shop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.start()
    config = str(shop.folder / "gateway.toml")
    url = f"url={shop.url}/crm"

    def warned(name: str, *pairs: str) -> list[str]:
        app(["subscriptions", "add", name, url, *pairs, "--config", config], standalone_mode=False)
        said = capsys.readouterr()
        assert f"Subscription {name} gets its events" in said.out
        return said.err.splitlines()

    assert warned("crm", "types=order.paid", "sources=shop", "shops=default") == []
    path = "gateway: warning: subscriptions.odd"
    assert warned("odd", "types=order.payd", "sources=shpo", "shops=other", "batch_size=7") == [
        f'{path}.types[0]: no event has the type "order.payd" (did you mean "order.paid"?)',
        f'{path}.sources[0]: no source of this file has "shpo" (did you mean "shop"?)',
        f'{path}.shops[0]: no source of this file has "other"',
        f'{path}.batch_size: does nothing without mode = "batch"',
    ]
    for pair, words in (
        ("slots=3", ""),
        ("types=order.payd", "crm.types[0]: no event has the type"),
    ):
        app(["subscriptions", "set", "crm", pair, "--config", config], standalone_mode=False)
        advice = capsys.readouterr().err
        assert words in advice
        assert advice.count("\n") == bool(words)
    monkeypatch.setenv("GATEWAY_SOURCES__SHOP__SHOP", "other")
    (said,) = warned("third", "shops=other,default")
    assert said.endswith('third.shops[1]: no source of this file has "default"')


@pytest.mark.slow
def test_refusals_change_nothing_and_leave_no_file(shop: Shop) -> None:
    shop.start()
    url = f"url={shop.url}/crm"
    assert "subscriptions.crm.url" in shop.refused("add", "crm", "types=order.paid")
    assert "subscriptions.crm.typo" in shop.refused("add", "crm", url, "typo=1")
    assert "subscriptions.crm.secrets" in shop.refused("add", "crm", url, f"secrets={CONSUMER}")
    said = shop.refused("add", "crm", CONSUMER)
    assert "expected KEY=VALUE" in said
    assert CONSUMER not in said
    assert "given twice" in shop.refused("add", "crm", url, url)
    assert "the configuration declares" in shop.refused("add", "file", url)
    assert "two entries" in shop.refused("rotate", "file")
    assert "take it out there" in shop.refused("remove", "file")
    assert "there is no subscription crm" in shop.refused("rotate", "crm")
    assert "--overlap" in shop.refused("rotate", "crm", "--overlap", "soon")
    mine = shop.folder / "mine.secret"
    mine.write_text("kept")
    said = shop.refused("add", "crm", url, "--secret-file", str(mine))
    assert "is not overwritten" in said
    assert mine.read_text() == "kept"
    assert [path.name for path in shop.folder.glob("*.secret")] == ["mine.secret"]
    rows = json.loads(shop.run("--json"))
    assert [row["name"] for row in rows] == ["file"]
