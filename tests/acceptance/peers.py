"""Receivers on loopback: they write down every arrival, and answer well, badly or late."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable
from random import Random

import msgspec
from standardwebhooks import Webhook, WebhookVerificationError

REFUSED = 3  # the failing receiver refuses one request in so many: more would open the breaker
LATE_SHARE = 0.03  # of the slow receiver's first tries: answered after the timeout


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a receiver does with a request: wait `delay` seconds, then answer `status`."""

    status: int = 200
    delay: float = 0.0


Manner = Callable[[int], Answer]
"""How a receiver answers, from the number of times that it has seen the event before."""


def prompt(_seen: int) -> Answer:
    """The answer of a good receiver: 200, at once."""
    return Answer()


def refusing(*, delay: float = 0.0) -> Manner:
    """500 for every third request, 200 for the others, all after `delay` seconds."""
    requests = itertools.count(1)

    def answer(_seen: int) -> Answer:
        refused = next(requests) % REFUSED == 0
        return Answer(status=500 if refused else 200, delay=delay)

    return answer


def slow(rng: Random, *, late: float) -> Manner:
    """200 after 200 to 500 ms; a few of the first tries only after `late` seconds."""

    def answer(seen: int) -> Answer:
        if seen == 0 and rng.random() < LATE_SHARE:
            return Answer(delay=late)
        return Answer(delay=rng.uniform(0.2, 0.5))

    return answer


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """One request that came whole; times in seconds of `time.monotonic`."""

    event_id: str  # the header webhook-id
    body: bytes
    arrived: float
    answered: float | None  # None: the sender had hung up before the answer
    status: int
    fault: str | None = None  # why the signature does not hold

    @property
    def delivered(self) -> bool:
        """Whether a 2xx was written to a sender that still listened."""
        return self.answered is not None and self.status < 300


class Receiver:
    """An HTTP server that keeps what arrives; `name` is its path and its subscription's name."""

    def __init__(self, name: str, manner: Manner, secret: str) -> None:
        self.name = name
        self.secret = secret
        self.arrivals: list[Arrival] = []
        self.busy = 0  # requests that wait for their answer
        self._manner = manner
        self._webhook = Webhook(secret)
        self._seen: Counter[str] = Counter()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._port = 0

    @property
    def url(self) -> str:
        """Where the gateway delivers to; known after `start`."""
        return f"http://127.0.0.1:{self._port}/{self.name}"

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=1000)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and hang up on whoever is still there."""
        if self._server is None:
            return
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._converse(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await self._exchange(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the sender hung up, or was killed
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        headers, body = await read_message(reader)
        arrived = time.monotonic()
        self.busy += 1
        try:
            event_id = headers.get("webhook-id", "")
            answer = self._manner(self._seen[event_id])
            self._seen[event_id] += 1
            await asyncio.sleep(answer.delay)
            heard = not (reader.at_eof() or reader.exception() or writer.is_closing())
            arrival = Arrival(
                event_id=event_id,
                body=body,
                arrived=arrived,
                answered=time.monotonic() if heard else None,
                status=answer.status,
                fault=self._fault(headers, body),
            )
            self.arrivals.append(arrival)
        finally:
            self.busy -= 1
        writer.write(b"HTTP/1.1 %d Answer\r\nContent-Length: 0\r\n\r\n" % answer.status)
        await writer.drain()

    def _fault(self, headers: dict[str, str], body: bytes) -> str | None:
        try:
            self._webhook.verify(body, headers, json_parse=False)
        except (WebhookVerificationError, ValueError) as error:
            return f"{type(error).__name__}: {error}"
        return None


async def read_message(reader: asyncio.StreamReader) -> tuple[dict[str, str], bytes]:
    """Read one HTTP/1.1 message with `Content-Length`: headers by lower-case name, and the body.

    The start line is under the name `""`. Raises `asyncio.IncompleteReadError` or
    `ConnectionError` when the peer hangs up first.
    """
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    start, *lines = head.rstrip("\r\n").split("\r\n")
    headers = {"": start}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return headers, await reader.readexactly(int(headers.get("content-length", "0")))
