"""What all lists of the API have in common: pages with a cursor, and times that bound them."""

from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta

from gateway.config.values import A_DURATION, parse_duration, parse_start
from gateway.errors import BadRequest
from gateway.models import Millis
from gateway.stores.views import Page
from gateway.web.api.operation import Call

R = TypeVar("R")

Limit = Annotated[int, Meta(ge=1, le=200, description="How many at most.")]
Cursor = Annotated[str, Meta(max_length=500, description="The `cursor` of the page before.")]
Time = Annotated[str, Meta(description="An RFC 3339 time such as 2026-01-15T14:30:00Z.")]
Since = Annotated[str, Meta(description="Then or later, such as 2026-01-15T14:30:00Z (RFC 3339).")]
Until = Annotated[str, Meta(description="Before then, such as 2026-01-15T14:30:00Z (RFC 3339).")]


class Listed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameters of every list."""

    limit: Limit = 50
    cursor: Cursor | None = None


class Listing(msgspec.Struct, Generic[R], frozen=True, kw_only=True):
    """One page of a list; with `done` there is no more."""

    data: list[R]
    cursor: str | None
    done: bool


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


def ago(text: str | None, now: Millis) -> Millis | None:
    """The time that lies a duration such as `7d` before `now`; None for None. `BadRequest`."""
    if text is None:
        return None
    try:
        return Millis(max(now - parse_duration(text), 0))
    except ValueError:
        raise BadRequest(f"since: expected {A_DURATION}") from None


def ends(call: Call[Any, Any], name: str, page: Page[Any]) -> dict[str, Any]:
    """The fields of a `Listing` that holds one page of the list `name`."""
    cursor = None if page.following is None else call.cursors.make(name, page.following)
    return {"data": list(page.rows), "cursor": cursor, "done": page.following is None}


def fits(expected: str, tag: str) -> bool:
    """Whether an `If-Match` has this tag, compared strongly, or is `*` (RFC 9110, 13.1.1)."""
    listed = [one.strip() for one in expected.split(",")]
    return "*" in listed or tag in listed
