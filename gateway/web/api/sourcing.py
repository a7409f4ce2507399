"""The calls that make, change and remove sources which no configuration declares, and pause any."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from starlette.responses import Response

from gateway.errors import BadRequest, NotFound, PreconditionFailed
from gateway.sources import Known
from gateway.web.api.lists import fits
from gateway.web.api.operation import OPERATORS, Call, Nothing, Operation
from gateway.web.api.sources import SourceDetail, etag_of, said, standing

Texts = list[str] | str
Whole = int | str
Truth = bool | str

Keys = dict[str, Any]


class SourceKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of a source as in the configuration, each also as text; its provider has more of them.

    `name` and `provider` are needed for a new one. In a change, null gives a key its default again.
    """

    name: str | UnsetType = UNSET
    provider: str | UnsetType = UNSET
    secrets: Texts | UnsetType | None = UNSET
    shop: str | UnsetType | None = UNSET
    enabled: Truth | UnsetType | None = UNSET
    tolerance: str | UnsetType | None = UNSET
    include: Texts | UnsetType | None = UNSET
    rejection_status: Whole | UnsetType | None = UNSET
    silent_after: str | UnsetType | None = UNSET
    base_url: str | UnsetType | None = UNSET
    token: str | UnsetType | None = UNSET
    interval: str | UnsetType | None = UNSET
    requests_per_minute: Whole | UnsetType | None = UNSET


async def create(call: Call[Nothing, Keys]) -> Response:
    """Make a source: callbacks are received, or its API is asked, from now on."""
    keys = dict(call.body)
    name = keys.pop("name", None)
    if not isinstance(name, str):
        raise BadRequest("name: is required, 1 to 63 of a-z, 0-9 and -")
    at = await standing(call, name)  # before: what is made is said, whatever fails then
    return said(call, await call.gateway.sources.create(name, keys), at, code=201)


async def change(call: Call[Nothing, Keys]) -> Response:
    """Change some keys of a source; with `If-Match` only if nobody else has meanwhile."""
    if "name" in call.body:
        raise BadRequest("name: cannot be changed: make another source, and remove this one")
    expected = call.request.headers.get("if-match")

    def check(before: Known) -> None:
        if expected is not None and not fits(expected, etag_of(call, before)):
            raise PreconditionFailed("it was changed since you read it: read it again")

    name = call.path["id"]
    at = await standing(call, name)
    return said(call, await call.gateway.sources.change(name, call.body, check), at)


async def remove(call: Call[Nothing, None]) -> Response:
    """Remove a source: nothing comes of it any more. What came of it stays."""
    with suppress(NotFound):  # then what was to be is so
        await call.gateway.sources.remove(call.path["id"])
    return Response(status_code=204)


async def pause(call: Call[Nothing, None]) -> Response:
    """Take nothing of a source until it is resumed: whoever calls is to try again later."""
    name = call.path["id"]
    at = await standing(call, name)
    return said(call, await call.gateway.sources.pause(name), at)


async def resume(call: Call[Nothing, None]) -> Response:
    """Receive a source's callbacks again, and ask its API again."""
    name = call.path["id"]
    at = await standing(call, name)
    return said(call, await call.gateway.sources.resume(name), at)


SENT = ("too_large", "unsupported_media_type")  # what every call with a body may answer

SOURCING: Sequence[Operation] = (
    Operation(
        method="POST",
        path="/v1/sources",
        name="createSource",
        roles=OPERATORS,
        act=create,
        body=SourceKeys,
        loose=True,
        answer=SourceDetail,
        status=201,
        tells=("ETag",),
        codes=("conflict", *SENT),
    ),
    Operation(
        method="PATCH",
        path="/v1/sources/{id}",
        name="changeSource",
        roles=OPERATORS,
        act=change,
        body=SourceKeys,
        loose=True,
        answer=SourceDetail,
        headers=("If-Match",),
        tells=("ETag",),
        codes=("not_found", "conflict", "precondition_failed", *SENT),
    ),
    Operation(
        method="DELETE",
        path="/v1/sources/{id}",
        name="removeSource",
        roles=OPERATORS,
        act=remove,
        answer=None,
        status=204,
        codes=("conflict",),
    ),
    Operation(
        method="POST",
        path="/v1/sources/{id}/pause",
        name="pauseSource",
        roles=OPERATORS,
        act=pause,
        answer=SourceDetail,
        tells=("ETag",),
        codes=("not_found",),
    ),
    Operation(
        method="POST",
        path="/v1/sources/{id}/resume",
        name="resumeSource",
        roles=OPERATORS,
        act=resume,
        answer=SourceDetail,
        tells=("ETag",),
        codes=("not_found",),
    ),
)
