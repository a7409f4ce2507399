"""Consumers that count what they have in flight, and senders that fill a gateway quickly.

They are written for many: twenty thousand deliveries in a few seconds beside the gateway itself.
"""

import asyncio
import hashlib
import hmac
import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import cast

import msgspec

from tests.acceptance.load import SECRET, Connection, Sent

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ID = re.compile(rb"\r\nwebhook-id: *([^\r]+)", re.IGNORECASE)


class Tally:
    """What several consumers have in flight together: `busy` now, `most` at any moment."""

    def __init__(self) -> None:
        self.busy = self.most = 0

    def add(self, count: int) -> None:
        """Count requests that came, or that were answered or given up (negative)."""
        self.busy += count
        self.most = max(self.most, self.busy)


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """One request that came whole: seconds of `time.monotonic`, and how many were open with it.

    `answered` is how many had been answered before, `status` what it is answered, None for nothing.
    """

    at: float
    event_id: str
    body: bytes
    in_flight: int
    answered: int
    status: int | None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a consumer says after `delay` seconds; `extra` are whole header lines."""

    status: int = 200
    extra: bytes = b""
    delay: float = 0.0


class Consumer:
    """A consumer on a port of its own, which refuses until it is `up`.

    While it is `hanging` it takes requests and never answers; `answer` decides otherwise, from the
    request's number, the first is 1. `taken` are the events that it answered with a 2xx.
    """

    def __init__(self, name: str, tally: Tally | None = None) -> None:
        self.name = name
        self.tally = tally or Tally()
        self.arrivals: list[Arrival] = []
        self.taken: Counter[str] = Counter()
        self.busy = self.most = self.answered = 0
        self.hanging = False
        self.answer: Callable[[int], Answer] = lambda _: Answer()
        self._open: set[Conversation] = set()
        self._server: asyncio.Server | None = None
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))  # taken, and as long as nobody listens it refuses
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/{name}"

    @property
    def ids_in_order(self) -> list[str]:
        """The events that came, repeats too."""
        return [one.event_id for one in self.arrivals]

    @property
    def ids(self) -> set[str]:
        """The events that came."""
        return set(self.ids_in_order)

    async def up(self) -> None:
        """Listen from now on."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Conversation(self), sock=self._socket, backlog=1000
        )

    def recover(self) -> None:
        """Hang no longer: whoever waits is hung up on, who comes is answered."""
        self.hanging = False
        for conversation in tuple(self._open):
            conversation.abort()

    def close(self) -> None:
        """Stop listening and hang up on whoever is there."""
        if self._server is not None:
            self._server.close()
        self._socket.close()
        self.recover()

    def opened(self, conversation: "Conversation") -> None:
        """Note a connection."""
        self._open.add(conversation)

    def lost(self, conversation: "Conversation", unanswered: int) -> None:
        """Note the end of a connection, with requests that were given up."""
        self._open.discard(conversation)
        self._count(-unanswered)

    def arrived(self, conversation: "Conversation", head: bytes, body: bytes) -> None:
        """Note a request, and answer it in due course."""
        self._count(1)
        found = _ID.search(head)
        event_id = found[1].decode() if found else ""
        answer = None if self.hanging else self.answer(len(self.arrivals) + 1)
        self.arrivals.append(
            Arrival(
                at=time.monotonic(),
                event_id=event_id,
                body=body,
                in_flight=self.busy,
                answered=self.answered,
                status=answer.status if answer else None,
            )
        )
        if answer is None:
            return
        if answer.delay:
            loop = asyncio.get_running_loop()
            loop.call_later(answer.delay, self._say, conversation, event_id, answer)
        else:
            self._say(conversation, event_id, answer)

    def _say(self, conversation: "Conversation", event_id: str, answer: Answer) -> None:
        if conversation.closed:
            return
        self._count(-1)
        self.answered += 1
        if answer.status < 300:
            self.taken[event_id] += 1
        conversation.say(
            b"HTTP/1.1 %d Answer\r\n%bContent-Length: 0\r\n\r\n" % (answer.status, answer.extra)
        )

    def _count(self, by: int) -> None:
        self.busy += by
        self.most = max(self.most, self.busy)
        self.tally.add(by)


class Conversation(asyncio.Protocol):
    """One keep-alive connection; each request has a length, as every delivery has one."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._buffer = b""
        self._unanswered = 0
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what to answer on."""
        self._transport = cast("asyncio.Transport", transport)
        self._consumer.opened(self)

    def data_received(self, data: bytes) -> None:
        """Hand on each request that is whole."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._buffer, 0, end + 2)
            whole = end + 4 + int(length[1] if length else 0)
            if len(self._buffer) < whole:
                return
            head, body = self._buffer[:end], self._buffer[end + 4 : whole]
            self._buffer = self._buffer[whole:]
            self._unanswered += 1
            self._consumer.arrived(self, head, body)

    def say(self, answer: bytes) -> None:
        """Answer the oldest request."""
        self._unanswered -= 1
        self._transport.write(answer)

    def abort(self) -> None:
        """Hang up."""
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the consumer."""
        self.closed = True
        self._consumer.lost(self, self._unanswered)


def callback(order: str, kind: str = "order.created", number: int = 1) -> Sent:
    """A signed PrintStudio callback, which makes one event of an order that it tells of first."""
    name = f"evt-{order}-{number}"
    body = msgspec.json.encode(
        {
            "id": name,
            "event": kind,
            "timestamp": f"2026-01-15T14:{number:02d}:00Z",
            "data": {"orderId": order},
        }
    )
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    return Sent(id=name, order=order, body=body, signature=f"sha256={digest}")


async def post_all(port: int, callbacks: Sequence[Sent], *, senders: int = 64) -> None:
    """Send each once, so many at a time; every one must be answered 200."""
    await post_chains(port, [[sent] for sent in callbacks], senders=senders)


async def post_chains(port: int, chains: Sequence[Sequence[Sent]], *, senders: int) -> None:
    """Send chains, so many at a time, and the callbacks of each one after the other."""
    left = iter(chains)

    async def send() -> None:
        connection = Connection(port)
        for chain in left:
            for sent in chain:
                status, body = await connection.post(sent)
                assert status == 200, (status, body)
        await connection.close()

    await asyncio.gather(*(send() for _ in range(min(senders, len(chains)))))
