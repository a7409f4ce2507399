"""`gateway listen`: real events as they come, forwarded to a developer, and no delivery is touched."""

import asyncio
import http.client
import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gateway.keys import make_key
from gateway.signing import VerificationError, verify
from tests.acceptance.harness import Gateway
from tests.acceptance.shell import run
from tests.acceptance.test_look import Said
from tests.ports import free_port

pytestmark = pytest.mark.slow

SECRET = "shop-secret"
CONSUMER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
CONFIGURATION = f"""
[server]
port = {{port}}
[admin]
port = {{admin}}
[store]
url = "sqlite:///{{database}}"
[egress]
allow = ["127.0.0.0/8:*"]
[sources.shop]
provider = "printstudio"
secrets = ["{SECRET}"]
[subscriptions.production]
url = "http://127.0.0.1:{{sink}}/production"
secrets = ["{CONSUMER}"]
"""
# Ctrl-C is for whoever has the terminal: where these tests run in the background it is ignored.
COMMAND = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    " sys.argv[0] = 'gateway'; from gateway.cli.main import main; main()"
)
OF_AN_ATTEMPT = {"webhook-signature", "webhook-timestamp", "host"}
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d  (\S+) +(\S+) +(evt_[0-9a-f]{40})")


class Sink(ThreadingHTTPServer):
    """Keeps what is posted, by path; `answers` has the status of a path, 200 unless named."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Post)
        self.seen: dict[str, list[tuple[dict[str, str], bytes]]] = {}
        self.answers: dict[str, int] = {}
        self.pause = 0.0  # seconds before an answer
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def handle_error(self, *_: object) -> None:
        """Whoever leaves in the middle is nobody's fault."""

    def at(self, path: str) -> list[tuple[dict[str, str], bytes]]:
        return self.seen.setdefault(path, [])

    def orders(self, path: str) -> list[str]:
        return [json.loads(body)["subject"] for _, body in self.at(path)]


class _Post(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Sink

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        time.sleep(self.server.pause if self.path != "/production" else 0)
        status = self.server.answers.get(self.path, 200)
        self.server.at(self.path).append((headers, body))
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Listener:
    """A `gateway listen` that runs, its output in files."""

    def __init__(self, folder: Path, name: str, arguments: tuple[str, ...]) -> None:
        self._out, self._err = folder / f"{name}.out", folder / f"{name}.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                (sys.executable, "-c", COMMAND, "listen", *arguments),
                env={**os.environ, "XDG_STATE_HOME": str(folder / "state"), "FORCE_COLOR": "1"},
                stdout=out,
                stderr=err,
            )

    @property
    def text(self) -> str:
        return self._out.read_text()

    @property
    def error(self) -> str:
        return self._err.read_text()

    def until(self, what: Callable[[], bool], patience: float = 60) -> None:
        deadline = time.monotonic() + patience
        while not what():
            assert self.process.poll() is None, self.error
            assert time.monotonic() < deadline, self.text + self.error
            time.sleep(0.02)

    def said(self, words: str, times: int = 1) -> None:
        self.until(lambda: self.error.count(words) == times)

    def ready(self) -> None:
        self.said("Listening to")

    def end(self) -> str:
        """Ctrl-C; the last thing that it says."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(60) == 0, self.error
        assert "Traceback" not in self.error
        return self.error.splitlines()[-1]


class Bench:
    """A gateway that runs, a consumer in production, and a developer."""

    def __init__(self, folder: Path, sink: Sink) -> None:
        self.folder, self.sink, self.gateway = folder, sink, Gateway(folder, [])
        self.config = folder / "gateway.toml"
        self.config.write_text(
            CONFIGURATION.format(
                port=self.gateway.port,
                admin=self.gateway.admin_port,
                database=self.gateway.database,
                sink=sink.server_port,
            )
        )
        self.config.chmod(0o600)
        self.key_file = self.folder / "state" / "gateway" / "listen.secret"

    @property
    def secret(self) -> str:
        return self.key_file.read_text().strip()

    def url(self, path: str) -> str:
        return f"http://localhost:{self.sink.server_port}{path}"

    def tell(self, order: str, kind: str = "order.shipped") -> None:
        """One callback of the shop: two events, unless the order is known."""
        said = run("send", "shop", kind, "--order", order, "--config", str(self.config))
        assert said.code == 0, said.error

    def key(self, role: str) -> Path:
        path = self.folder / f"{role}.key"
        create = ("keys", "create", "--role", role, "--to", str(path))
        made = run(*create, "--config", str(self.config))
        assert made.code == 0, made.error
        return path

    def publish(self) -> str:
        """An event of a service's own; the `webhook-id` that the gateway gives it."""
        headers = {
            "authorization": f"Bearer {self.key('publisher').read_text().strip()}",
            "content-type": "application/cloudevents+json",
        }
        event = {"specversion": "1.0", "id": "chosen-1", "source": "/t", "type": "t.asked"}
        body = json.dumps({**event, "subject": "it", "data": {"n": 1}}, indent=1)
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=60)
        connection.request("POST", "/v1/events", body, headers)
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        connection.close()
        assert "id" in answer, answer
        return str(answer["id"])

    def run(self, *arguments: str) -> Said:
        return run("listen", *arguments, "--config", str(self.config))

    @contextmanager
    def listening(self, *arguments: str, afar: bool = False) -> Iterator[Listener]:
        place = () if afar else ("--config", str(self.config))
        name = f"listen-{len([*self.folder.glob('*.out')])}"
        listener = Listener(self.folder, name, (*arguments, *place))
        try:
            yield listener
        finally:
            listener.process.kill()
            listener.process.wait()

    def deliveries(self) -> list[tuple[Any, ...]]:
        """All that is known of deliveries and attempts."""
        with closing(sqlite3.connect(self.gateway.database)) as database:
            tables = ("subscriptions", "deliveries", "attempts")
            return [row for name in tables for row in database.execute(f"SELECT * FROM {name}")]

    def settled(self, count: int) -> list[tuple[Any, ...]]:
        """The same, when so many deliveries have been made."""
        deadline = time.monotonic() + 60
        while True:
            listed = run(
                "deliveries", "--state", "delivered", "--json", "--config", str(self.config)
            )
            if len(json.loads(listed.text)) == count:
                return self.deliveries()
            assert time.monotonic() < deadline, listed.text
            time.sleep(0.02)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    sink = Sink()
    bench = Bench(tmp_path_factory.mktemp("listen"), sink)
    asyncio.run(bench.gateway.start())
    try:
        yield bench
    finally:
        asyncio.run(bench.gateway.stop())
        sink.shutdown()
        sink.server_close()


def test_events_are_forwarded_as_deliveries_are_and_no_delivery_is_touched(bench: Bench) -> None:
    bench.tell("A-1")
    before = bench.settled(2)
    with bench.listening("--from", "beginning", "--forward", bench.url("/dev")) as listener:
        listener.until(lambda: len(bench.sink.at("/dev")) == 2)
        assert bench.deliveries() == before
        bench.sink.answers["/dev"] = 307
        bench.tell("A-2", "order.created")
        listener.until(lambda: listener.text.count("\n") == 6)
        assert listener.end() == "3 events, 2 forwarded, 1 failed."
    bench.settled(3)
    delivered = {
        headers["webhook-id"]: (headers, body) for headers, body in bench.sink.at("/production")
    }
    got = bench.sink.at("/dev")
    wanted = [delivered[headers["webhook-id"]] for headers, _ in got]  # those may overtake
    assert len(wanted) == len(delivered) == 3
    assert [body for _, body in got] == [body for _, body in wanted]
    for (production, _), (development, body) in zip(wanted, got, strict=True):
        assert list(production) == list(development)  # their order, too
        for name in set(production) - OF_AN_ATTEMPT:
            assert development[name] == production[name], name
        assert verify(body, development, bench.secret) == production["webhook-id"]
        with pytest.raises(VerificationError):
            verify(body, development, CONSUMER)
    assert "/elsewhere" not in bench.sink.seen
    lines = listener.text.splitlines()
    told = [found.groups() for line in lines[::2] if (found := LINE.fullmatch(line))]
    assert [one[:2] for one in told] == [
        ("order.created", "A-1"),
        ("order.shipped", "A-1"),
        ("order.created", "A-2"),
    ]
    assert [one[2] for one in told] == [headers["webhook-id"] for headers, _ in got]
    assert all(re.fullmatch(r"  200 in \d+ ms", line) for line in lines[1:4:2])
    assert re.fullmatch(r"  failed in \d+ ms: answered 307 to /elsewhere: .*", lines[5])
    assert "is not tried again" in listener.error
    assert bench.secret not in listener.text + listener.error
    assert f"is in {bench.key_file} (it stays the same)" in listener.error
    assert bench.key_file.stat().st_mode & 0o777 == 0o600
    assert bench.key_file.parent.stat().st_mode & 0o777 == 0o700


def test_afar_with_a_key_for_a_script_and_with_the_same_secret(bench: Bench) -> None:
    key = bench.key("reader")
    old = bench.secret if bench.key_file.exists() else None
    place = ("--url", f"http://127.0.0.1:{bench.gateway.port}", "--key-file", str(key))
    forward = ("--forward", bench.url("/json"), "--mode", "json", "--flat", "--json")
    types = ("--types", "order.shipped", "--types", "order.paid,t.asked")
    with bench.listening(*place, *forward, *types, afar=True) as listener:
        listener.ready()
        bench.tell("Straße 7")
        published = bench.publish()
        listener.until(lambda: listener.text.count("\n") == 2)
        assert listener.end() == "2 events, 2 forwarded, 0 failed."
    told, other = [json.loads(line) for line in listener.text.splitlines()]
    assert listener.text.isascii()
    assert (told["type"], told["order"], told["id"]) == (
        "order.shipped",
        "Straße 7",
        told["event"]["id"],
    )
    assert told["time"] == told["event"]["time"]
    assert told["event"]["data"]["order"] == "Straße 7"
    assert told["forward"]["status"] == 200
    assert told["forward"]["failure"] is None
    assert told["forward"]["duration_ms"] > 0
    (headers, body), (others, _) = bench.sink.at("/json")
    assert headers["content-type"] == "application/json"
    assert json.loads(body)["data__order"] == "Straße 7"
    assert verify(body, headers, bench.secret) == told["id"]
    assert (other["id"], other["order"]) == ("chosen-1", "it")
    assert others["webhook-id"] == published
    assert '--types: the catalogue has no event of the type "t.asked"' in listener.error
    assert old in {None, bench.secret}
    assert key.read_text().strip() not in listener.text + listener.error


def test_what_cannot_be_is_one_sentence(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    admin = f"http://127.0.0.1:{bench.gateway.admin_port}"
    nowhere = f"http://127.0.0.1:{free_port()}"
    dev = ("--forward", bench.url("/x"))
    for arguments, code, sentence in (
        (("--types", "order..paid"), 2, "--types[0]: expected an event type"),
        (("--types", "Order.*"), 2, "in lower case"),
        (("--source", "no name"), 2, "--source[0]: "),
        (("--from", "yesterday"), 2, "--from: expected "),
        (("--mode", "json"), 2, "--mode says how to forward: add --forward URL"),
        (("--flat",), 2, "--flat says how to forward: add --forward URL"),
        ((*dev, "--mode", "binary", "--flat"), 2, "--flat does not go with --mode binary"),
        (("--forward", "localhost:3000"), 2, "--forward: The URL must begin with http://"),
        (("--forward", "http://u:p@localhost"), 2, "--forward: The URL carries a user name"),
    ):
        said = bench.run(*arguments).sentence(code)
        assert sentence in said, said
    said = run("listen", "--url", admin, "--key", make_key(os.urandom)).sentence(1)
    assert "does not take this key" in said
    said = run("listen", "--url", nowhere, "--key", make_key(os.urandom)).sentence(1)
    assert said.startswith(f"no gateway answers at {nowhere}")
    assert not (tmp_path / "gateway").exists()  # nothing was forwarded


def test_no_gateway_runs(bench: Bench, tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    source, copy = sqlite3.connect(bench.gateway.database), sqlite3.connect(tmp_path / "copy.db")
    with closing(source), closing(copy):
        source.backup(copy)
    config.write_text(f'store.url = "sqlite:///{tmp_path}/copy.db"\n')
    said = run("listen", "--config", str(config)).sentence(1)
    assert said.startswith(f"no gateway runs on {tmp_path}/copy.db: start it with `gateway serve`")


def numbers(orders: list[str]) -> list[int]:
    return [int(order.removeprefix("R-")) for order in orders]


@pytest.mark.slow
@pytest.mark.parametrize("afar", [False, True])
def test_nothing_is_skipped_or_repeated_when_the_gateway_is_killed_and_stopped(
    tmp_path: Path, *, afar: bool
) -> None:
    """Its target is slow: events wait in the gateway, before and after each of its ends."""
    bench = Bench(tmp_path, Sink())
    asyncio.run(bench.gateway.start())
    try:
        place: tuple[str, ...] = ()
        if afar:
            place = ("--url", f"http://127.0.0.1:{bench.gateway.admin_port}")
            place += ("--key-file", str(bench.key("reader")))
        bench.sink.pause = 0.02
        forward = ("--forward", bench.url("/dev"), "--types", "order.created")
        with bench.listening(*place, *forward, afar=afar) as listener:
            listener.ready()
            for part in range(4):
                # No event has come when the first one ends.
                for number in range(20 * part if part else 20, 20 * part + 20):
                    bench.tell(f"R-{number:03}", "order.created")
                if part % 2:
                    asyncio.run(bench.gateway.stop())
                else:
                    bench.gateway.kill()
                listener.said("Cut off", part + 1)
                asyncio.run(bench.gateway.start())
                if not part:
                    bench.tell("R-000", "order.created")  # while nobody listens
                    for number in range(1, 20):
                        bench.tell(f"R-{number:03}", "order.created")
                listener.said("The stream goes on.", part + 1)
            listener.until(lambda: listener.text.count(" ms\n") >= 80)
            assert listener.end() == "80 events, 80 forwarded, 0 failed."
        assert numbers(bench.sink.orders("/dev")) == list(range(80))
    finally:
        bench.gateway.kill()
        bench.sink.shutdown()
        bench.sink.server_close()


@pytest.mark.slow
def test_an_event_is_under_way_and_a_target_hangs_when_ctrl_c_comes(bench: Bench) -> None:
    bench.sink.pause = 20.0
    try:
        with bench.listening("--forward", bench.url("/hang")) as listener:
            listener.ready()
            bench.tell("H-1")
            listener.until(lambda: listener.text.count("\n") == 1)
            begun = time.monotonic()
            assert listener.end() == "1 event, 0 forwarded, 0 failed."
            assert time.monotonic() - begun < 15  # it does not wait for the answer
    finally:
        bench.sink.pause = 0.0


@pytest.mark.slow
@pytest.mark.parametrize("coloured", [True, False])
def test_a_terminal_shows_the_secret_and_colours(bench: Bench, *, coloured: bool) -> None:
    leader, follower = pty.openpty()
    environment = {**os.environ, "XDG_STATE_HOME": str(bench.folder / "state"), "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    arguments = ("--forward", bench.url("/tty"), "--from", "beginning", "--types", "order.created")
    process = subprocess.Popen(
        (sys.executable, "-c", COMMAND, "listen", *arguments, "--config", str(bench.config)),
        env=environment if coloured else {**environment, "NO_COLOR": "1"},
        stdout=follower,
        stderr=subprocess.DEVNULL,
    )
    os.close(follower)
    try:
        bench.tell("T-1")
        shown = b""
        while b" ms" not in shown:
            shown += os.read(leader, 65536)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        os.close(leader)
    assert f"Your development secret is {bench.secret} (it stays the same).".encode() in shown
    assert (b"\x1b[36morder.created" in shown, b"\x1b[" in shown) == (coloured, coloured)
