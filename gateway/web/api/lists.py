"""What all lists of the API have in common: pages with a cursor, and times that bound them."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from gateway.config.values import parse_start
from gateway.errors import BadRequest
from gateway.models import Millis
from gateway.stores.views import Page
from gateway.web.api.operation import Call

Limit = Annotated[int, Meta(ge=1, le=200, description="How many at most.")]
Cursor = Annotated[str, Meta(max_length=500, description="The `cursor` of the page before.")]
Time = Annotated[str, Meta(description="An RFC 3339 time such as 2026-01-15T14:30:00Z.")]


class Listed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameters of every list."""

    limit: Limit = 50
    cursor: Cursor | None = None


def time_of(name: str, text: str | None) -> Millis | None:
    """An RFC 3339 time as milliseconds; None for None. `BadRequest` names the parameter."""
    if text is None:
        return None
    try:
        at = parse_start(text)
    except ValueError:
        at = None
    if at is None or text in {"now", "beginning"}:
        raise BadRequest(f"{name}: expected an RFC 3339 time such as 2026-01-15T14:30:00Z")
    return Millis(at)


def ends(call: Call[Any, Any], name: str, page: Page[Any]) -> dict[str, Any]:
    """The fields of an answer that holds one page of the list `name`."""
    cursor = None if page.following is None else call.cursors.make(name, page.following)
    return {"data": list(page.rows), "cursor": cursor, "done": page.following is None}
