"""`gateway listen` on streams that break at any place, and what it sends to a developer."""

import asyncio
import json
import os
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from gateway.cli import following
from gateway.cli.forwarding import Forwarder, Key, development_key, endpoint
from gateway.errors import StartupError
from gateway.events import parse
from gateway.keys import make_key
from gateway.models import Mode
from gateway.signing import parse_secret, verify
from tests.acceptance.shell import run
from tests.acceptance.test_look import Said
from tests.pipeline.world import SECRET, consuming

STREAM = {"content-type": "text/event-stream", "x-request-id": "req_1"}
PROBLEM = {"content-type": "application/problem+json", "x-request-id": "req_1"}
Step = tuple[int, Mapping[str, str], bytes, bool]


def event(number: int, **more: object) -> bytes:
    told = {
        "specversion": "1.0",
        "id": f"evt_{number:040}",
        "source": "/sources/shop",
        "type": "order.paid",
        "time": "2026-01-15T14:30:00Z",
        "data": {"order": f"ord-{number}"},
    }
    return b"id: c%d\ndata: %b\n\n" % (number, json.dumps({**told, **more}).encode())


def streamed(*parts: bytes, whole: bool = True) -> Step:
    return 200, STREAM, b"retry: 2000\n\n" + b"".join(parts), whole


def refused(status: int, detail: str = "over") -> Step:
    return status, PROBLEM, json.dumps({"detail": detail}).encode(), True


class Script(ThreadingHTTPServer):
    """Answers one request after the other by `steps`, then 401; those not `whole` break off."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Get)
        self.steps: list[Step] = []
        self.asked: list[tuple[str, str | None]] = []  # the query, and Last-Event-ID
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def listen(self, *steps: Step, more: tuple[str, ...] = ()) -> Said:
        self.steps = [*steps, refused(401)]
        url = f"http://127.0.0.1:{self.server_port}"
        return run("listen", "--url", url, "--key", make_key(os.urandom), *more)


class _Get(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Script

    def do_GET(self) -> None:
        self.server.asked.append((urlsplit(self.path).query, self.headers["last-event-id"]))
        status, headers, body, whole = self.server.steps.pop(0)
        self.close_connection = True
        if not status:
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        if not whole:
            self.send_header("Content-Length", str(len(body) + 1))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    monkeypatch.setattr(following, "FIRST_PAUSE", 0.001)
    server = Script()
    yield server
    server.shutdown()
    server.server_close()


def told(said: Said) -> list[str]:
    return [line.split()[3] for line in said.text.splitlines()]


def test_a_stream_goes_on_behind_the_last_event_however_it_broke(script: Script) -> None:
    said = script.listen(
        streamed(event(1), event(2)[:30], whole=False),
        refused(503),
        (0, {}, b"", True),  # nothing is answered
        (502, {"content-type": "text/html"}, b"<h1>a proxy", True),
        streamed(event(2), b": ping\n\n", event(3), event(4)[:-1]),
        streamed(b": ping\n\n"),
        streamed(b"event: other\nid: c3b\ndata: {}\n\n", event(4)),
    )
    assert told(said) == ["ord-1", "ord-2", "ord-3", "ord-4"]
    assert [last for _, last in script.asked] == [
        *(None, "c1", "c1", "c1", "c1"),
        *("c3", "c3", "c4"),
    ]
    assert said.code == 1
    assert said.error.count("Cut off: ") == 4  # once each time, however often it was tried
    assert said.error.count("The stream goes on.") == 3
    assert "does not take this key" in said.error.splitlines()[-1]


def test_what_comes_before_the_first_event_and_after_a_break_is_not_skipped(
    script: Script,
) -> None:
    before = datetime.now(UTC)
    said = script.listen(streamed(), streamed(event(1)))
    after = datetime.now(UTC)
    assert told(said) == ["ord-1"]
    first, second = (parse_qs(query) for query, last in script.asked[:2] if last is None)
    assert first == {"from": ["now"]}
    since = datetime.fromisoformat(second["from"][0])
    assert before - timedelta(seconds=3) < since <= after


def test_what_is_asked_for(script: Script) -> None:
    options = ("--types", "order.paid", "--types", "a.*,b", "--source", "shop", "--shop", "b-2")
    script.listen(more=(*options, "--from", "beginning"))
    ((query, _),) = script.asked
    assert parse_qs(query) == {
        "types": ["order.paid,a.*,b"],
        "sources": ["shop"],
        "shops": ["b-2"],
        "from": ["beginning"],
    }


def test_what_would_fail_again_ends_it(script: Script) -> None:
    html = {"content-type": "text/html"}
    for step, sentence in (
        (refused(403, "a key of the role publisher may not do this"), "publisher may not"),
        (refused(400, "types: expected"), "types: expected"),
        (refused(503, "100 streams are open"), "100 streams are open"),
        (refused(404), "gateway: over"),
        ((200, html, b"hello", True), "is no API of a gateway, it answered 200"),
        ((200, {"x-request-id": "r"}, b"{}", True), "answered no stream of events"),
        ((302, {"location": "/x", **STREAM}, b"", True), "it answered 302"),
        ((502, html, b"", True), "it answered 502"),
        (streamed(b"data: nonsense\n\n"), "something that is no event"),
    ):
        script.asked.clear()
        said = script.listen(step)
        assert said.code == 1, said.error
        assert sentence in said.error.splitlines()[-1]
        assert len(script.asked) == 1


def test_the_pauses_between_two_tries(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "FIRST_PAUSE", 0.5)
    slept, sleep = [], asyncio.sleep

    async def quick(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", quick)
    script.listen(streamed(), *[refused(503)] * 6, streamed(event(1)))
    assert slept == [0.5, 1, 2, 4, 8, 10, 10, 0.5]


def test_a_terminal_gets_nothing_that_others_wrote_but_printable(script: Script) -> None:
    hostile = {"type": "\x1b]0;owned\x07", "data": {"order": "\u202e\x9b2J[red]"}, "time": "\x1b["}
    said = script.listen(streamed(event(1, **hostile), event(2, data=["x"], subject="s\x7f")))
    assert all(line.isprintable() for line in said.text.splitlines())
    assert "[red]" in said.text
    assert "s\\x7f" in said.text
    said = script.listen(streamed(event(1, **hostile)), more=("--json",))
    assert said.text.rstrip("\n").isprintable()
    assert json.loads(said.text)["event"]["data"] == hostile["data"]


@pytest.mark.parametrize("mode", [Mode.STRUCTURED, Mode.JSON, Mode.BINARY])
def test_each_mode_is_sent_as_a_delivery_is(mode: Mode) -> None:
    body = event(1).split(b"data: ")[1].strip()

    async def story() -> None:
        async with consuming() as consumer:
            to = endpoint(f"http://127.0.0.1:{consumer.port}/x?a=1", mode=mode, flat=False)
            forwarder = Forwarder(to, Key(SECRET, Path()))
            outcome = await forwarder.send("evt_1", "order.paid", body)
            await forwarder.close()
            (seen,) = consumer.seen
        assert (outcome.status, outcome.failure) == (200, None)
        assert seen.path == "/x?a=1"
        assert verify(seen.body, seen.headers, SECRET) == "evt_1"
        assert seen.headers["user-agent"].startswith("webhook-gateway/")
        if mode is not Mode.JSON:
            assert parse(seen.headers, seen.body).get_id() == f"evt_{1:040}"
        assert (seen.body == body) is (mode is not Mode.BINARY)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("url", "mode", "timeout"),
    [
        ("http://localhost:3000/hook", Mode.STRUCTURED, 15_000),
        ("http://localhost:5678/webhook-test/orders", Mode.JSON, 30_000),
    ],
)
def test_without_a_mode_it_is_that_of_the_profile(url: str, mode: Mode, timeout: int) -> None:
    to = endpoint(url, mode=None, flat=False)
    assert (to.mode, to.timeout) == (mode, timeout)
    assert endpoint(url, mode=Mode.BINARY, flat=False).mode is Mode.BINARY


def test_the_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path / "state")}
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: development_key(environ), range(32)))
    assert {key.secret for key in keys} == {keys[0].secret}
    assert len(parse_secret(keys[0].secret)) == 32
    (file,) = (tmp_path / "state" / "gateway").iterdir()
    assert (file, file.stat().st_mode & 0o777) == (keys[0].file, 0o600)


def test_the_state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for environ in ({}, {"XDG_STATE_HOME": ""}, {"XDG_STATE_HOME": "relative"}):
        assert development_key(environ).file == tmp_path / ".local/state/gateway/listen.secret"


def test_a_secret_that_cannot_be_kept_or_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match=r"listen\.secret \(Not a directory\): name a folder"):
        development_key({"XDG_STATE_HOME": str(tmp_path / "file")})
    kept = development_key({"XDG_STATE_HOME": str(tmp_path)}).file
    for text in ("", "whsec_", "nonsense", "whsec_é"):
        kept.write_text(text)
        with pytest.raises(StartupError, match="holds no secret: remove it"):
            development_key({"XDG_STATE_HOME": str(tmp_path)})


def test_a_forwarded_event_that_cannot_be_sent_is_said() -> None:
    async def story() -> None:
        to = endpoint("http://127.0.0.1:1/x", mode=None, flat=True)
        forwarder = Forwarder(to, Key(SECRET, Path()))
        deep = b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        outcome = await forwarder.send("evt_1", "t", deep)
        assert "nest too deep" in outcome.detail
        outcome = await forwarder.send("evt_1", "t", msgspec.json.encode({"data": 1}))
        assert outcome.failure == "connect"
        await forwarder.close()

    asyncio.run(story())
