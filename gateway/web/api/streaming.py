"""All events as they come, as server-sent events (HTML, 9.2), for whoever cannot be called.

The events have no name, because n8n's SSE trigger overlooks those that have one; and it can send no
header, so the key may stand in the query.
"""

import logging
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.responses import Response

from gateway.config.reader import Given, Place, read
from gateway.config.subscription import KINDS
from gateway.errors import GatewayError
from gateway.matching import wants_type
from gateway.models import Millis
from gateway.news import Listener
from gateway.stores.feed import Head
from gateway.web.api.operation import READERS, SUBSCRIBERS, Call, Operation
from gateway.web.api.subscriptions import check_types
from gateway.web.api.waiting import EVENT_STREAM, Stream, stands

PING = 15.0  # seconds; proxies end a connection that says nothing for a minute
TOGETHER = 256 << 10  # bytes of events that are read at once, but for the last one
RETRY = b"retry: 2000\n\n"  # milliseconds until a reader that was cut off comes back
SCOPE = "stream"
AT_ONCE = 100  # events

logger = logging.getLogger("gateway.api")


class StreamQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events, as in a subscription, and from where on: behind `cursor`, else `from`.

    Lists are separated by commas.
    """

    types: Annotated[str, Meta(min_length=1, max_length=2_000)] = "order.*"
    sources: Annotated[str, Meta(max_length=2_000)] = ""
    shops: Annotated[str, Meta(max_length=2_000)] = ""
    start: Annotated[
        str, Meta(description="`now`, `beginning` or an RFC 3339 time.", max_length=50)
    ] = msgspec.field(name="from", default="now")
    cursor: (
        Annotated[str, Meta(max_length=500, description="The `id` of the last event that came.")]
        | None
    ) = None
    token: Annotated[str, Meta(description="The key, for who can send no header.")] | None = None


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """Which events a stream is for; an empty list is all."""

    types: Sequence[str]
    sources: Sequence[str]
    shops: Sequence[str]

    def has(self, head: Head) -> bool:
        """Whether an event is one of them."""
        return (
            wants_type(self.types, head.type)
            and (not self.sources or head.source in self.sources)
            and (not self.shops or head.shop in self.shops)
        )


async def stream(call: Call[StreamQuery, None]) -> Response:
    """All events as they come, oldest first, as server-sent events that go on behind a cursor."""
    query, feed = call.query, call.gateway.store.feed
    wish = Wish(
        types=_list("types", query.types),
        sources=_list("sources", query.sources),
        shops=_list("shops", query.shops),
    )
    check_types(call.principal, wish.types)
    start = read(KINDS["from"], Given(query.start), Place("from"))
    last = call.request.headers.get("last-event-id") or query.cursor
    place = call.cursors.read(SCOPE, last)
    if call.request.method == "HEAD":
        return Response(media_type=EVENT_STREAM)
    listener = call.gateway.store.news.listen(key=call.principal.key)
    try:
        if place is None:
            place = await feed.place(None if start is None else Millis(start))
    except BaseException:
        listener.close()
        raise
    following = _Following(call, wish, place)
    return Stream(listener, following.chunks)


def _list(key: str, text: str) -> Sequence[str]:
    found: Sequence[str] = read(KINDS[key], Given(text), Place(key)) if text else ()
    return found


class _Following:
    """One reader: `place` is the last event that it has, or that is not for it."""

    def __init__(self, call: Call[Any, Any], wish: Wish, place: int) -> None:
        self._call, self._wish, self._place = call, wish, place

    async def chunks(self, listener: Listener) -> AsyncGenerator[bytes]:
        """What is sent, until the listener's waiting is over, or the key's time."""
        feed = self._call.gateway.store.feed
        yield RETRY
        pinged = time.monotonic()
        try:
            while not listener.over:
                listener.clear()
                heads = await feed.heads(self._place)
                for part in _parts(self._wish, heads):
                    yield await self._told(part)
                    if not stands(self._call) or listener.over:
                        return
                if heads:
                    self._place = heads[-1].number
                else:
                    await listener.wait(max(pinged + PING - time.monotonic(), 0))
                if time.monotonic() >= pinged + PING:
                    if not stands(self._call):
                        return
                    pinged = time.monotonic()
                    yield b": ping\n\n"
        except GatewayError as error:
            logger.info("a stream ended, and its reader will come back: %s", error)

    async def _told(self, heads: Sequence[Head]) -> bytes:
        numbers = [head.number for head in heads]
        bodies = await self._call.gateway.store.feed.bodies(numbers)
        return b"".join(
            b"id: %b\ndata: %b\n\n" % (self._cursor(number), _one_line(body))
            for number, body in zip(numbers, bodies, strict=True)
            if body is not None
        )

    def _cursor(self, number: int) -> bytes:
        return self._call.cursors.make(SCOPE, number).encode()


def _parts(wish: Wish, heads: Sequence[Head]) -> Iterator[Sequence[Head]]:
    """Those that are wished for, as many together as are read at once."""
    part: list[Head] = []
    size = 0
    for head in heads:
        if not wish.has(head):
            continue
        if part and (len(part) == AT_ONCE or size + head.size > TOGETHER):
            yield part
            part, size = [], 0
        part.append(head)
        size += head.size
    if part:
        yield part


def _one_line(body: bytes) -> bytes:
    """JSON has line breaks between its tokens only, where a blank is as good."""
    return body.replace(b"\r", b" ").replace(b"\n", b" ")


STREAMING: Sequence[Operation] = (
    Operation(
        method="GET",
        path="/v1/stream",
        name="streamEvents",
        roles=READERS | SUBSCRIBERS,
        act=stream,
        query=StreamQuery,
        headers=("Last-Event-ID",),
        media=EVENT_STREAM,
        keyed=True,
    ),
)
