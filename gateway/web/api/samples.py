"""Samples of deliveries, for tools that map fields by an example: what Zapier's editor loads."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct
from starlette.responses import Response

from gateway.catalogue import MEANINGS, example, in_mode
from gateway.config.values import TYPE
from gateway.errors import BadRequest
from gateway.matching import wants_type
from gateway.models import Event, Mode
from gateway.stores.views import EventFilter, EventRow, Records
from gateway.web.api.operation import READERS, SUBSCRIBERS, Call, Operation

PAGE = 200  # events of any type that are looked at, at once, for a pattern of types
PAGES = 5  # and how many times: what is not found then has an example


class SampleQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which deliveries they are samples of: `type` may be a pattern such as `order.*`."""

    type: Annotated[str, Meta(max_length=200)] = "order.*"
    limit: Annotated[int, Meta(ge=1, le=100)] = 3
    flat: bool = False
    mode: Literal["json", "structured"] = "json"


async def samples(call: Call[SampleQuery, None]) -> Response:
    """The newest events as a delivery has them, newest first; the catalogue's where there are none."""
    asked = call.query
    if TYPE.fullmatch(asked.type) is None:
        raise BadRequest('type: expected an event type such as "order.paid", "order.*" or "*"')
    found: list[bytes] = []
    async with call.gateway.store.records() as records:
        async for row in _events(records, asked.type):
            found.extend(_bodies(row, (await records.event_body(row.id))[1], asked))
            if len(found) == asked.limit:
                break
    body = b",".join(found or _examples(call, asked))
    return Response(b"[%b]" % body, media_type="application/json")


async def _events(records: Records, wanted: str) -> AsyncIterator[EventRow]:
    """Events of this type, or of this pattern, newest first."""
    exact = None if wanted.endswith("*") else wanted
    before: int | None = None
    for _ in range(PAGES):
        page = await records.event_page(EventFilter(type=exact), before=before, limit=PAGE)
        for row in page.rows:
            if wants_type((wanted,), row.type):
                yield row
        before = page.following
        if before is None:
            return


def _bodies(row: EventRow, body: bytes, asked: SampleQuery) -> Sequence[bytes]:
    """As it is delivered; none of one that cannot be, because it is too large when it is flat."""
    event = Event(
        id=row.id,
        type=row.type,
        source=row.source,
        shop=row.shop,
        order=row.order,
        seq=row.seq,
        time=row.time,
        recorded=row.recorded,
        body=body,
    )
    try:
        return [in_mode(event, Mode(asked.mode), flat=asked.flat)[1]]
    except ValueError:
        return ()


def _examples(call: Call[Any, Any], asked: SampleQuery) -> Sequence[bytes]:
    public_url = call.gateway.settings.server.public_url
    more = {"public_url": public_url} if public_url else {}
    events = [example(name, **more) for name in MEANINGS if wants_type((asked.type,), name)]
    return [in_mode(event, Mode(asked.mode), flat=asked.flat)[1] for event in events[: asked.limit]]


SAMPLES: Sequence[Operation] = (
    Operation(
        method="GET",
        path="/v1/samples",
        name="listSamples",
        roles=SUBSCRIBERS | READERS,
        act=samples,
        query=SampleQuery,
        answer=list[dict[str, Any]],
    ),
)
