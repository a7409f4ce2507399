"""The calls about sources that there are: how they do, and what to ask them now.

What takes long is told line by line (JSON Lines). `sourcing.py` makes and changes sources.
"""

import hashlib
from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.responses import Response, StreamingResponse

from gateway.config.settings import PollSettings, SourceSettings
from gateway.egress.rules import parse_target
from gateway.errors import NotFound
from gateway.lookout import Heard
from gateway.models import Millis
from gateway.poller.poller import Line
from gateway.providers.base import calls
from gateway.providers.registry import provider_class
from gateway.shown import shown
from gateway.sources import Known
from gateway.stores.base import Poll
from gateway.stores.views import RejectedRow
from gateway.web.api.lists import ago
from gateway.web.api.operation import OPERATORS, READERS, Call, Nothing, Operation

JSON_LINES = "application/jsonl"
SAMPLES = 1_000  # more rejected requests than are kept of a source

_encoder = msgspec.json.Encoder()


NEVER_HEARD = Heard(last_at=None, silent_since=None, refused=0, reason=None)


class Kind(StrEnum):
    """How the facts of a source come."""

    CALLED = "called"
    POLLED = "polled"
    BOTH = "both"
    NONE = "none"


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """How the asking of a polled source goes; of its API only the `host` is told.

    `refused` says why it is asked no more until its configuration changes, `problem` what was wrong
    with the last round, `failures` how many failed in a row. `watched` orders are asked for.
    """

    host: str
    watched: int
    asked_at: Millis | None
    answered_at: Millis | None
    next_at: Millis | None
    failures: int
    problem: str | None
    refused: str | None


class SourceDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A source, and how it does.

    `callbacks` is where it calls, a path of the public listener where that has no public URL.
    `heard_at` is when something authentic last came of it; `rejected` counts the requests in its
    name that were refused since then, or since the gateway was started, the last one for
    `rejected_reason`. A source that is not `declared` in the file was made by a call. `keys` are all
    but those that are secret, as the configuration has them; a `reader` is not told them. With a
    `problem` it rests: its keys do not fit this release. Since `paused_at` nothing is taken of it.
    """

    name: str
    provider: str
    shop: str
    enabled: bool
    declared: bool
    problem: str | None
    paused_at: Millis | None
    keys: dict[str, Any] | None
    kind: Kind
    callbacks: str | None
    heard_at: Millis | None
    silent_since: Millis | None
    rejected: int
    rejected_reason: str | None
    asking: Asking | None


class SourceList(msgspec.Struct, frozen=True, kw_only=True):
    """All sources: those of the file first, then the others by age."""

    data: list[SourceDetail]


class RejectedList(msgspec.Struct, frozen=True, kw_only=True):
    """The samples that are kept of rejected requests, newest first."""

    data: list[RejectedRow]


class WatchRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An order to ask a source for."""

    id: str
    order: str | None = None


class WatchedOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order that is asked for from now on.

    Where its source is not asked at all, it is `paused`, or `refused` says why.
    """

    source: str
    id: str
    order: str | None
    new: bool
    refused: str | None
    paused: bool


class Reconciling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is compared, and whether what was missed is made."""

    since: (
        Annotated[str, Meta(description="Only orders that changed since then, such as `7d`.")]
        | None
    ) = None
    emit: Annotated[bool, Meta(description="Make the events that are missing.")] = False


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of how a source does; `watched` counts its orders that are asked for."""

    heard: Heard = NEVER_HEARD
    poll: Poll | None = None
    watched: int = 0


async def list_sources(call: Call[Nothing, None]) -> SourceList:
    """All sources, and how they do."""
    found = list(call.gateway.sources.all.values())
    standings = await _standings(call, [known.name for known in found])
    return SourceList(
        data=[_detail(call, known, at) for known, at in zip(found, standings, strict=True)]
    )


async def get_source(call: Call[Nothing, None]) -> Response:
    """A source, and how it does."""
    known = call.gateway.sources.find(call.path["id"])
    return said(call, known, await standing(call, known.name))


async def standing(call: Call[Any, Any], name: str) -> Standing:
    """How a source of this name does, or did; `Unavailable`, `StartupError`."""
    (found,) = await _standings(call, [name])
    return found


async def _standings(call: Call[Any, Any], names: Sequence[str]) -> list[Standing]:
    async with call.gateway.store.records() as records:
        polls = await records.sources()
    found = []
    for name in names:
        poll, watched = polls.get(name, (None, 0))
        heard = await call.gateway.lookout.of(name)
        found.append(Standing(heard=heard, poll=poll, watched=watched))
    return found


def said(call: Call[Any, Any], known: Known, at: Standing, *, code: int = 200) -> Response:
    """A source as an answer, with the tag that `If-Match` is compared with."""
    return Response(
        msgspec.json.encode(shown(_detail(call, known, at))),
        status_code=code,
        media_type="application/json",
        headers={"etag": etag_of(call, known)},
    )


def etag_of(call: Call[Any, Any], known: Known) -> str:
    """A strong entity tag of its settings; its key keeps it from telling anything of the secrets."""
    packed = msgspec.json.encode((known.name, known.settings, known.keys), enc_hook=_packed)
    key = call.gateway.store.secret_for("tags of sources")
    return f'"{hashlib.blake2b(packed, key=key, digest_size=16).hexdigest()}"'


def _packed(value: object) -> object:
    """What the configuration's own kinds of number and bytes are to an encoder."""
    return int(value) if isinstance(value, int) else bytes(value)  # type: ignore[call-overload]


async def list_rejected(call: Call[Nothing, None]) -> RejectedList:
    """Requests in the name of a source that were refused, as samples, redacted; newest first."""
    name = call.path["id"]
    async with call.gateway.store.records() as records:
        rows = await records.rejected(name, limit=SAMPLES)
    if not rows:
        call.gateway.sources.find(name)
    return RejectedList(data=list(rows))


async def watch_order(call: Call[Nothing, WatchRequest]) -> WatchedOrder:
    """Ask a source for an order from now on."""
    wanted = call.body
    answer = await call.gateway.poller.watch(call.path["id"], wanted.id, wanted.order)
    return msgspec.convert(answer, WatchedOrder)


async def poll_source(call: Call[Nothing, None]) -> Response:
    """Ask a source now for all that is due; told line by line."""
    name = call.path["id"]
    call.gateway.poller.source(name)
    return _told(call.gateway.poller.once(name))


async def reconcile_source(call: Call[Reconciling, None]) -> Response:
    """Compare all that a source says of its orders with what is known; told line by line."""
    name, asked = call.path["id"], call.query
    call.gateway.poller.source(name)
    start = ago(asked.since, call.gateway.clock())
    return _told(call.gateway.poller.reconcile(name, since=start, emit=asked.emit))


def detail_of(known: Known, standing: Standing, *, public_url: str, operator: bool) -> SourceDetail:
    """A source as it is shown; its keys are for an `operator`."""
    source = known.settings or SourceSettings(provider="", enabled=False)
    called = bool(source.secrets) and calls(provider_class(source.provider))
    heard, rests = standing.heard, known.paused_at is not None or not source.enabled
    return SourceDetail(
        name=known.name,
        provider=known.provider,
        shop=source.shop,
        enabled=source.enabled,
        declared=known.declared,
        problem=known.problem,
        paused_at=known.paused_at,
        keys=known.shown if operator else None,
        kind=_kind(called=called, polled=source.poll is not None),
        callbacks=f"{public_url}/hooks/{known.name}" if called else None,
        heard_at=heard.last_at,
        silent_since=heard.silent_since,
        rejected=heard.refused,
        rejected_reason=heard.reason,
        asking=None if source.poll is None else _asking(source.poll, standing, rests=rests),
    )


def _detail(call: Call[Any, Any], known: Known, standing: Standing) -> SourceDetail:
    """What whoever calls is told of a source."""
    url, operator = call.gateway.settings.server.public_url, call.principal.role in OPERATORS
    return detail_of(known, standing, public_url=url, operator=operator)


def _kind(*, called: bool, polled: bool) -> Kind:
    if called and polled:
        return Kind.BOTH
    if called:
        return Kind.CALLED
    return Kind.POLLED if polled else Kind.NONE


def _asking(settings: PollSettings, at: Standing, *, rests: bool) -> Asking:
    poll = at.poll
    going = poll is not None and poll.refused is None and not rests
    return Asking(
        host=parse_target(settings.base_url).host_header.decode(),
        watched=at.watched,
        asked_at=poll.asked_at if poll is not None else None,
        answered_at=poll.answered_at if poll is not None else None,
        next_at=(poll.next_at or None) if poll is not None and going else None,
        failures=poll.failures if poll is not None else 0,
        problem=poll.problem if poll is not None else None,
        refused=poll.refused if poll is not None else None,
    )


def _told(lines: AsyncIterator[Line]) -> Response:
    async def encoded() -> AsyncIterator[bytes]:
        try:
            async for line in lines:
                yield _encoder.encode(shown(line)) + b"\n"
        except NotFound as error:  # removed just now
            yield _encoder.encode({"error": str(error)}) + b"\n"

    return StreamingResponse(encoded(), media_type=JSON_LINES)


SOURCES: Sequence[Operation] = (
    Operation(
        method="GET",
        path="/v1/sources",
        name="listSources",
        roles=READERS,
        act=list_sources,
        answer=SourceList,
    ),
    Operation(
        method="GET",
        path="/v1/sources/{id}",
        name="getSource",
        roles=READERS,
        act=get_source,
        answer=SourceDetail,
        tells=("ETag",),
        codes=("not_found",),
    ),
    Operation(
        method="GET",
        path="/v1/sources/{id}/rejected",
        name="listRejected",
        roles=OPERATORS,
        act=list_rejected,
        answer=RejectedList,
        codes=("not_found",),
    ),
    Operation(
        method="POST",
        path="/v1/sources/{id}/watch",
        name="watchOrder",
        roles=OPERATORS,
        act=watch_order,
        body=WatchRequest,
        answer=WatchedOrder,
        codes=("not_found", "too_large", "unsupported_media_type"),
    ),
    Operation(
        method="POST",
        path="/v1/sources/{id}/poll",
        name="pollSource",
        roles=OPERATORS,
        act=poll_source,
        codes=("not_found",),
        media=JSON_LINES,
    ),
    Operation(
        method="POST",
        path="/v1/sources/{id}/reconcile",
        name="reconcileSource",
        roles=OPERATORS,
        act=reconcile_source,
        query=Reconciling,
        codes=("not_found",),
        media=JSON_LINES,
    ),
)
