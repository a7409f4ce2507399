"""The curl command: what it prints is really run by sh, and must send the very same request."""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import msgspec
import pytest

from gateway.curl import Command, command_of
from gateway.models import Delivery, Mode, Subscription
from gateway.sender import Request, request_of
from gateway.signing import parse_secret, verify

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOW = 1_785_578_405.9
SHELLS = [shell for shell in ("sh", "dash", "bash", "ksh", "zsh") if shutil.which(shell)]
EVENT = {
    "specversion": "1.0",
    "id": "evt_1",
    "source": "/sources/shop",
    "type": "order.paid",
    "subject": "A 1",
    "datacontenttype": "application/json",
    "data": {"buyer": "Zoë O'Hara", "note": "100% \\ $HOME `id` !\n\u202e"},
}

needs_curl = pytest.mark.skipif(
    shutil.which("curl") is None and os.environ.get("CI") != "true", reason="curl is not here"
)


class Consumer(BaseHTTPRequestHandler):
    """Keeps what it was sent."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[tuple[str, list[tuple[str, str]], bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.seen.append((self.path, self.headers.items(), body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    Consumer.seen.clear()
    with HTTPServer(("127.0.0.1", 0), Consumer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def subscription(**fields: object) -> Subscription:
    known = Subscription(
        id=1, name="sink", url="http://127.0.0.1:9/in", secrets=(parse_secret(SECRET),)
    )
    return msgspec.structs.replace(known, **fields)


def command(
    wanted: Subscription, body: bytes = msgspec.json.encode(EVENT), *, unsigned: str = ""
) -> tuple[Command, list[tuple[str, str]], bytes]:
    """The command that delivers `body`, and the headers and the body that it must send."""
    request, whole = request_for(wanted, body)
    lines = request.head.decode().split("\r\n")[:-1]
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    own = [name for name, _ in wanted.headers]
    return command_of(request, own=own, unsigned=unsigned), headers, whole


def request_for(
    wanted: Subscription, body: bytes = msgspec.json.encode(EVENT)
) -> tuple[Request, bytes]:
    """The signed request that delivers `body`, and the bytes that it carries."""
    delivery = Delivery(
        id=1,
        subscription=1,
        event_id="evt_1",
        event_type="order.paid",
        body=body,
        attempts=0,
        number=0,
        first_at=None,
        claim=0,
    )
    request = request_of(wanted, delivery, NOW)
    return request, request.body


def run(text: str, *, shell: str = "sh", **variables: str) -> subprocess.CompletedProcess[bytes]:
    """The command on the standard input of a shell, as if it were pasted."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables}
    return subprocess.run(
        (shell,), input=text.encode("ascii"), env=environment, capture_output=True, check=False
    )


def sent(expected: Sequence[tuple[str, str]], port: int) -> tuple[str, bytes]:
    """The path and the body of the one request, whose headers are checked to be the expected."""
    ((path, headers, body),) = Consumer.seen
    frame = {"Host", "Content-Length", "Accept-Encoding"}
    assert dict(headers)["Host"] == f"127.0.0.1:{port}"
    assert dict(headers)["Accept-Encoding"] == "identity"
    assert [one for one in headers if one[0] not in frame] == list(expected)
    return path, body


@needs_curl
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("mode", list(Mode))
def test_what_is_printed_sends_the_same_request(port: int, mode: Mode, shell: str) -> None:
    wanted = subscription(url=f"http://127.0.0.1:{port}/a'b$(id)[1-3]/../c?x={{a,b}}&y", mode=mode)
    body = (
        b"[%b]" % msgspec.json.encode(EVENT) if mode is Mode.BATCH else msgspec.json.encode(EVENT)
    )
    printed, headers, whole = command(wanted, body)
    done = run(printed.text, shell=shell)
    assert (done.returncode, printed.variables) == (0, [])
    path, received = sent(headers, port)
    assert path == "/a'b$(id)[1-3]/../c?x=%7Ba,b%7D&y"
    assert received == whole
    verify(received, dict(headers), SECRET, now=NOW)


@needs_curl
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "body",
    [
        bytes(range(256)) * 2,
        b"-n",
        b"--",
        b"@/etc/passwd",
        b"%s%d%%\\c\\0\\",
        b"\0" + b"12345678",
        b"",
        b"'\"'\n\r\n",
    ],
)
def test_every_byte_of_a_body_arrives(port: int, body: bytes, shell: str) -> None:
    printed, headers, _ = command(subscription(url=f"http://127.0.0.1:{port}/"), body)
    assert run(printed.text, shell=shell).returncode == 0
    assert sent(headers, port) == ("/", body)


@needs_curl
def test_a_body_longer_than_an_argument_may_be(port: int) -> None:
    body = b'["' + "é".encode() * 800_000 + b'"]'
    printed, headers, _ = command(subscription(url=f"http://127.0.0.1:{port}/"), body)
    assert run(printed.text).returncode == 0
    assert sent(headers, port)[1] == body


@needs_curl
def test_values_of_own_headers_come_from_the_environment(port: int) -> None:
    own = (
        ("Authorization", b"Bearer top-secret"),
        ("X-$a`b!", b"other-secret"),
        ("User-Agent", b"mine"),
    )
    wanted = subscription(url=f"http://127.0.0.1:{port}/", headers=own)
    printed, headers, body = command(wanted)
    assert printed.variables == [
        "GATEWAY_HEADER_AUTHORIZATION",
        "GATEWAY_HEADER_X__A_B_",
        "GATEWAY_HEADER_USER_AGENT",
    ]
    assert all(value.decode() not in printed.text for _, value in own)
    values = dict(zip(printed.variables, (value.decode() for _, value in own), strict=True))
    assert run(printed.text, **values).returncode == 0
    assert sent(headers, port) == ("/", body)


@needs_curl
def test_the_query_of_a_url_that_is_not_shown_whole_comes_from_the_environment(port: int) -> None:
    wanted = subscription(url=f"http://127.0.0.1:{port}/a'b?token=t0ken&x={{1}}")
    request, body = request_for(wanted)
    printed = command_of(request, own=(), whole=False)
    assert printed.variables == ["GATEWAY_URL_QUERY"]
    assert "t0ken" not in printed.text
    assert run(printed.text).returncode != 0
    assert Consumer.seen == []
    assert run(printed.text, GATEWAY_URL_QUERY="token=t0ken&x=%7B1%7D").returncode == 0
    assert (Consumer.seen[0][0], Consumer.seen[0][2]) == ("/a'b?token=t0ken&x=%7B1%7D", body)
    plain = subscription(url=f"http://127.0.0.1:{port}/in")
    request, _ = request_for(plain)
    assert command_of(request, own=(), whole=False) == command_of(request, own=())


@needs_curl
def test_a_value_that_is_not_set_is_complained_of_and_nothing_is_sent(port: int) -> None:
    wanted = subscription(url=f"http://127.0.0.1:{port}/", headers=(("X-Key", b"v"),))
    done = run(command(wanted)[0].text)
    assert done.returncode != 0
    assert b"GATEWAY_HEADER_X_KEY" in done.stderr
    assert Consumer.seen == []


def test_headers_that_differ_only_in_signs_have_variables_of_their_own() -> None:
    wanted = subscription(headers=(("X-A", b"1"), ("X_A", b"2")))
    assert command(wanted)[0].variables == ["GATEWAY_HEADER_X_A", "GATEWAY_HEADER_X_A_"]


@needs_curl
def test_without_a_signature_it_says_why_and_still_runs(port: int) -> None:
    wanted = subscription(url=f"http://127.0.0.1:{port}/", secrets=())
    printed, headers, body = command(wanted, unsigned="X is not set")
    assert printed.text.startswith("# not signed: X is not set\n")
    assert run(printed.text).returncode == 0
    signature = "webhook-signature"
    assert sent([one for one in headers if one[0] != signature], port) == ("/", body)


def test_it_is_plain_ascii() -> None:
    text = command(subscription(), bytes(range(256)))[0].text
    assert all(" " <= one <= "~" for one in text.replace("\n", ""))
