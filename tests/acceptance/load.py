"""Senders: they post signed PrintStudio callbacks, each until a 2xx receipt was read, as providers do."""

import asyncio
import contextlib
import hashlib
import hmac
import uuid
from random import Random

import msgspec

from tests.acceptance.peers import read_message

SECRET = "test-secret"
STEPS = ("order.created", "order.paid", "order.printing", "order.ready", "order.shipped")
SHUFFLED_SHARE = 0.25  # of the orders: told out of order, so that facts imply and supersede
REPEAT_SHARE = 0.1  # of the answered callbacks: sent once more
ANSWER_TIMEOUT = 10.0  # seconds, then the sender tries again
RETRY_PAUSE = 0.05  # seconds


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """One callback: its id at the provider, its order, its bytes and their signature."""

    id: str
    order: str
    body: bytes
    signature: str


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway's answer to a callback, as `POST /hooks/{source}` documents it."""

    id: str
    events: tuple[str, ...]
    duplicate: bool
    verdict: str


class Acked(msgspec.Struct, frozen=True, kw_only=True):
    """A callback and the first 2xx receipt that was read for it."""

    sent: Sent
    receipt: Receipt


def callbacks(rng: Random, order: str) -> list[Sent]:
    """The callbacks of one order in the order of sending; a quarter of the orders is shuffled."""
    made = [_callback(rng, order, step) for step in range(len(STEPS))]
    if rng.random() < SHUFFLED_SHARE:
        rng.shuffle(made)
    return made


def _callback(rng: Random, order: str, step: int) -> Sent:
    callback_id = f"evt-{uuid.UUID(int=rng.getrandbits(128))}"
    body = msgspec.json.encode(
        {
            "id": callback_id,
            "event": STEPS[step],
            "timestamp": f"2026-01-15T14:{30 + step}:00Z",
            "data": {
                "orderId": order,
                "trackingNumber": f"1Z{rng.getrandbits(40):012d}",
                "carrier": "UPS",
                "note": "für Zoë " + rng.randbytes(rng.randrange(200)).hex(),
            },
        }
    )
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    return Sent(id=callback_id, order=order, body=body, signature=f"sha256={digest}")


class Load:
    """Senders that post to one gateway until `stop`; `port` outlives the gateway's restarts."""

    def __init__(
        self, *, port: int, rng: Random, senders: int, pause: float, enough: int | None = None
    ) -> None:
        """Let each sender rest up to `pause` seconds; stop by itself after `enough` callbacks."""
        self.sent: dict[str, Sent] = {}
        self.acked: dict[str, Acked] = {}
        self.problems: list[str] = []
        self.lost_answers = 0
        self.repeats = 0
        self._port = port
        self._seeds = [rng.getrandbits(64) for _ in range(senders)]
        self._pause = pause
        self._enough = enough
        self._stopped = False

    async def run(self) -> None:
        """Send until `stop` was called and every callback that was begun is answered."""
        senders = (self._sender(n, Random(seed)) for n, seed in enumerate(self._seeds))
        await asyncio.gather(*senders)

    def stop(self) -> None:
        """Begin no new callback."""
        self._stopped = True

    async def _sender(self, number: int, rng: Random) -> None:
        connection = Connection(self._port)
        orders = 0
        while not self._stopped:
            orders += 1
            for callback in callbacks(rng, f"ord-{number}-{orders}"):
                if self._stopped:
                    break
                await self._settle(connection, callback)
                if rng.random() < REPEAT_SHARE:
                    self.repeats += 1
                    await self._settle(connection, callback)
                await asyncio.sleep(rng.uniform(0, self._pause))
        await connection.close()

    async def _settle(self, connection: "Connection", callback: Sent) -> None:
        """Send until a 2xx receipt was read."""
        self.sent[callback.id] = callback
        while True:
            status, body = await connection.post(callback)
            if status in (200, 202):
                self._note(callback, msgspec.json.decode(body, type=Receipt))
                return
            if status is None:
                self.lost_answers += 1
            elif status != 503:
                self.problems.append(
                    f"answers: {callback.id} was answered {status}: {body[:200]!r}"
                )
                return
            await asyncio.sleep(RETRY_PAUSE)

    def _note(self, callback: Sent, receipt: Receipt) -> None:
        first = self.acked.get(callback.id)
        if first is None:
            self.acked[callback.id] = Acked(sent=callback, receipt=receipt)
            self._stopped = self._stopped or len(self.acked) == self._enough
        elif (receipt.id, receipt.events) != (first.receipt.id, first.receipt.events):
            self.problems.append(
                f"repeats: a repeat of {callback.id} got another receipt: {receipt}"
            )
        elif not receipt.duplicate:
            self.problems.append(
                f"repeats: a repeat of {callback.id} was not told to be a duplicate"
            )


class Connection:
    """One keep-alive connection to the gateway, opened anew after each break."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, callback: Sent) -> tuple[int | None, bytes]:
        """Send a callback; return status and body, None when no whole answer was read."""
        request = (
            f"POST /hooks/shop HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
            f"X-PrintStudio-Signature: {callback.signature}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(callback.body)}\r\n\r\n"
        )
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                if self._streams is None:
                    self._streams = await asyncio.open_connection("127.0.0.1", self._port)
                reader, writer = self._streams
                writer.write(request.encode() + callback.body)
                headers, body = await read_message(reader)
        except (OSError, asyncio.IncompleteReadError):
            await self.close()
            return None, b""
        if headers.get("connection") == "close":
            await self.close()
        return int(headers[""].split(" ")[1]), body

    async def close(self) -> None:
        """Hang up; the next `post` opens a new connection."""
        if self._streams is None:
            return
        _, writer = self._streams
        self._streams = None
        writer.close()
        with contextlib.suppress(OSError):  # it was broken already
            await writer.wait_closed()
