"""What the tests of bad input share: a gateway as a process, a sender that signs anything, a corpus."""

import asyncio
import contextlib
import hashlib
import hmac
import itertools
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from random import Random
from typing import Any

import jsonschema
import msgspec

from gateway.events import schemas
from tests.acceptance.harness import Gateway, Wanted, secret
from tests.acceptance.peers import Receiver, prompt, read_message
from tests.providers.callbacks import stripe_event
from tests.providers.test_fuzz import NASTY, VALID, WHOLE, places, replaced

LIMIT = 1 << 20  # bytes of a body, the default of `server.body_limit`
ANSWER_TIMEOUT = 20.0  # seconds
GROWTH = 100 << 20  # bytes of resident memory that bad input may cost
SECRETS = {"stripe": b"whsec_stripe", "printstudio": b"test-secret"}
SOURCES = """
[sources.second]
provider = "printstudio"
secrets = ["test-secret"]
[sources.other]
provider = "printstudio"
secrets = ["test-secret"]
shop = "other"
[sources.stripe]
provider = "stripe"
secrets = ["whsec_stripe"]
tolerance = "1h"
cancel_from = ["checkout.session.expired", "payment_intent.canceled"]
[sources.curious]
provider = "printstudio"
secrets = ["test-secret"]
shop = "curious"
currency = "JPY"
include = ["customer", "original"]
[sources.curious-stripe]
provider = "stripe"
secrets = ["whsec_stripe"]
shop = "curious"
include = ["customer", "original"]
trust_client_reference = true
unnamed_session = "wait"
unlinked = "own"
link_wait = "500ms"
"""
PLAIN = stripe_event("payment_intent.succeeded", {"id": "pi_1", "amount": 1, "currency": "eur"})

Headers = Sequence[tuple[bytes, bytes]]


class Answer(msgspec.Struct, frozen=True):
    """Status and body; status 0 means that the gateway hung up without an answer."""

    status: int
    body: bytes

    @property
    def receipt(self) -> dict[str, Any]:
        """The body of a 200 or 202."""
        receipt: dict[str, Any] = json.loads(self.body)
        return receipt


def signature(source: str, body: bytes) -> tuple[bytes, bytes]:
    """The header with which a source's provider signs a body now."""
    provider = "stripe" if "stripe" in source else "printstudio"
    key = SECRETS[provider]
    if provider == "stripe":
        now = b"%d" % time.time()
        digest = hmac.new(key, now + b"." + body, hashlib.sha256).hexdigest().encode()
        return b"Stripe-Signature", b"t=%b,v1=%b" % (now, digest)
    digest = hmac.new(key, body, hashlib.sha256).hexdigest().encode()
    return b"X-PrintStudio-Signature", b"sha256=" + digest


class Client:
    """One keep-alive connection that sends what no library would, opened anew after each break."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(
        self, source: str, body: bytes, headers: Headers, *, framing: bytes | None = None
    ) -> Answer:
        """Send one callback; `framing` stands in place of the right Content-Length."""
        lines = b"".join(b"%b: %b\r\n" % header for header in headers)
        framing = b"Content-Length: %d\r\n" % len(body) if framing is None else framing
        head = b"POST /hooks/%b HTTP/1.1\r\nHost: 127.0.0.1\r\n%b%b\r\n"
        return await self.raw(head % (source.encode(), lines, framing) + body)

    async def signed(self, source: str, body: bytes) -> Answer:
        """Send one callback as the source's provider would sign it."""
        return await self.post(source, body, [signature(source, body)])

    async def raw(self, request: bytes) -> Answer:
        """Send these bytes and read one answer."""
        async with asyncio.timeout(ANSWER_TIMEOUT):
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._streams
            writer.write(request)
            try:
                with contextlib.suppress(ConnectionError):  # the answer may be there all the same
                    await writer.drain()
                headers, body = await read_message(reader)
            except (asyncio.IncompleteReadError, ConnectionError):
                self.close()
                return Answer(0, b"")
        if headers.get("connection") == "close":
            self.close()
        return Answer(int(headers[""].split(" ")[1]), body)

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class Stage:
    """A gateway in `folder`, one receiver of all events, and good neighbours that never stop."""

    def __init__(self, folder: Path, receiver: Receiver) -> None:
        self.receiver = receiver
        wanted = Wanted(receiver=receiver, types=("order.*", "printstudio.*"))
        self.gateway = Gateway(folder, [wanted])
        with (folder / "gateway.toml").open("a", encoding="utf-8") as file:
            file.write(SOURCES)
        self.events: set[str] = set()
        self.problems: list[str] = []
        self._numbers = itertools.count()
        self._clients: list[Client] = []
        self.sender = self.client()

    def client(self) -> Client:
        """A new sender; it hangs up at the end by itself."""
        self._clients.append(Client(self.gateway.port))
        return self._clients[-1]

    async def send_all(self, bodies: Sequence[tuple[str, str, bytes]], *, senders: int = 6) -> None:
        """Send (source, name, body) side by side, with a good callback beside every third one."""
        queue = iter(bodies)

        async def sender() -> None:
            client = self.client()
            for number, (source, name, body) in enumerate(queue):
                self.judge(f"{source} {name}", await client.signed(source, body))
                if number % 3 == 0:
                    await self.neighbour(client)

        await asyncio.gather(*(sender() for _ in range(senders)))

    def judge(self, name: str, answer: Answer) -> None:
        """Whatever is sent: 200, 202 or 4xx, and a receipt with the former."""
        good = answer.status in (200, 202) or 400 <= answer.status < 500
        if not good:
            self.problems.append(f"{name} was answered {answer.status}: {answer.body[:200]!r}")
        elif answer.status < 300:
            self.events.update(answer.receipt["events"])

    async def neighbour(self, client: Client) -> None:
        """A good callback of a new order is taken, whatever else is sent."""
        number = next(self._numbers)
        body = json.dumps(envelope(f"good-{number}", orderId=f"good-{number}")).encode()
        answer = await client.signed("shop", body)
        if answer.status != 200 or answer.receipt["verdict"] != "event":
            self.problems.append(f"a good callback was answered {answer}")
        else:
            self.events.update(answer.receipt["events"])

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Look into the file."""
        with closing(sqlite3.connect(self.gateway.database)) as connection:
            return connection.execute(sql, parameters).fetchall()

    def memory(self) -> int:
        """Resident bytes of the gateway."""
        status = Path(f"/proc/{self.gateway.pid}/status").read_text(encoding="ascii")
        (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024

    async def delivered(self, seconds: float = 60.0) -> None:
        """Wait until every event that an answer named has arrived; what has not is a problem."""
        end = time.monotonic() + seconds
        while missing := self.events - {one.event_id for one in self.receiver.arrivals}:
            if time.monotonic() > end:
                self.problems.append(f"{len(missing)} of {len(self.events)} were not delivered")
                return
            await asyncio.sleep(0.05)
        faults = [one.fault for one in self.receiver.arrivals if one.fault]
        self.problems += [f"a delivery was wrong: {fault}" for fault in faults[:5]]

    async def end(self) -> None:
        """The gateway lives, stops when asked, and leaves a sound file and a clean log."""
        await self.neighbour(self.sender)
        for client in self._clients:
            client.close()
        if (code := await self.gateway.stop()) != 0:
            self.problems.append(f"exit {code}")
        if (found := self.rows("PRAGMA integrity_check")) != [("ok",)]:
            self.problems.append(f"integrity_check: {found}")
        log = self.gateway.log.read_text(encoding="utf-8", errors="replace")
        if "Traceback" in log:
            self.problems.append(log[log.index("Traceback") :][:2000])
        if lost := self.events - {name for (name,) in self.rows("SELECT event_id FROM events")}:
            self.problems.append(
                f"{len(lost)} events of answers are not in the store: {lost}"[:500]
            )
        self.problems += misfits(self.rows("SELECT type, body FROM events"))


@asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[Stage]:
    """A stage that plays; at the end nothing may be wrong with it."""
    receiver = Receiver("good", prompt, secret(Random(1)))
    await receiver.start()
    stage = Stage(folder, receiver)
    try:
        await stage.gateway.start()
        yield stage
        await stage.delivered()
        await stage.end()
    finally:
        stage.gateway.kill()
        await receiver.stop()
    assert not stage.problems, "\n".join(stage.problems[:20])


def misfits(events: Sequence[tuple[str, bytes]]) -> Iterator[str]:
    """What is wrong with stored events: strict JSON, and the schema of their type."""
    texts = schemas()
    common = jsonschema.Draft202012Validator(json.loads(texts["order.json"]))
    for kind, body in events:
        try:
            event = json.loads(body, parse_constant=_no_constant)
            body.decode()
            if kind.startswith("order."):
                common.validate(event["data"])
        except (ValueError, jsonschema.ValidationError) as error:
            yield f"an event {kind} does not fit: {str(error)[:300]}"


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


# The corpus.


def envelope(number: str, event: str = "order.created", **data: Any) -> dict[str, Any]:
    """A callback of PrintStudio."""
    return {"id": number, "event": event, "timestamp": "2026-01-15T14:30:00Z", "data": data}


def is_stripe(event: Any) -> bool:
    """Whose event this is."""
    return "object" in event


def hostile_bodies() -> Iterator[tuple[str, bytes]]:
    """Bodies that are wrong as a whole, or deep inside what is read or skipped."""
    yield from ((f"whole {body[:30]!r}", body) for body in WHOLE)
    for levels in (100, 1_000, 10_000, 100_000):
        array = b"[" * levels + b"]" * levels
        thing = b'{"":' * levels + b"1" + b"}" * levels
        for name, deep in (("arrays", array), ("objects", thing), ("open", b"[" * levels)):
            yield f"{levels} {name}", deep
            yield f"{levels} {name} within", _within(deep)
            yield f"{levels} {name} beside", _beside(deep)
    yield "900,000 levels", b"[" * 900_000
    yield "900,000 levels within", _within(b"[" * 900_000)
    for text in (*NASTY, "-Infinity", "Infinity", "9" * 10_000, "-0.0", "1e-400", "0e99999"):
        yield f"{text[:30]} ({len(text)}) within", _within(text.encode())
        yield f"{text[:30]} ({len(text)}) beside", _beside(text.encode())
    for junk in (b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\0", b"\n", b"\x7f"):
        yield f"{junk!r} within", _within(b'"%b"' % junk)
        yield f"{junk!r} beside", _beside(b'"%b"' % junk)
    many = b"{" + b",".join(b'"k%d":1' % number for number in range(80_000)) + b"}"
    yield "80,000 keys within", _within(many)
    yield "a key of 1 MB within", _within(b'{"' + b"k" * 1_000_000 + b'":1}')
    for code in ("utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-7"):
        yield code, json.dumps(envelope("evt-coded", orderId="ö")).encode(code)
    yield "Latin-1", json.dumps(envelope("l", orderId="ö"), ensure_ascii=False).encode("latin-1")


def _within(value: bytes) -> bytes:
    """An event of either provider that has this value where it is read, and where it is passed on."""
    thing = PLAIN | {"event": "job.failed", "id": f"evt-{next(_counter)}"}
    thing["data"] = {"object": {"id": "pi_1", "amount": "\x01"}, "jobId": "j", "why": "\x01"}
    return json.dumps(thing).encode().replace(MARKER, value)


def _beside(value: bytes) -> bytes:
    """An event of either provider that has this value only where nobody reads it."""
    thing = PLAIN | {"event": "order.created", "id": f"evt-{next(_counter)}", "unread": "\x01"}
    thing["data"] = PLAIN["data"] | {"orderId": "ord-1", "unread": "\x01"}
    return renamed(json.dumps(thing).encode().replace(MARKER, value))


MARKER = b'"\\u0001"'
_counter = itertools.count()


def hostile_fields() -> Iterator[tuple[str, str, bytes]]:
    """Valid events with one field of each kind replaced: wrong types, NUL, surrogates, long text."""
    wrong = ("null", "1", "-1", "1.5", "true", '""', "[]", "{}", '[{"id":"x"}]', '{"id":"x"}')
    texts = (r'"a\u0000b"', r'"\ud800"', r'"x\udfff"', r'"\r\n\t"', '"' + "é" * 300 + '"')
    for event in VALID:
        source = "stripe" if is_stripe(event) else "shop"
        for path in places(event):
            for text in (*wrong, *texts):
                numbered = event | {"id": f"evt-{next(_counter)}"}
                yield source, f"{path} = {text[:20]}", renamed(replaced(numbered, path, text))


def renamed(body: bytes) -> bytes:
    """The same event of an order of its own, so that it is no repeat of what was told before."""
    number = b"-%d" % next(_counter)
    for name in (b"1001", b"ord-1", b"pi_1", b"cs_1", b"ch_1", b"re_1", b"dp_1"):
        body = body.replace(name, name + number)
    return body
