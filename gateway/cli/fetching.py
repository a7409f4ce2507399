"""`gateway subscriptions fetch`: the events of a subscription with `pull`, as its consumer gets them."""

import json
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from gateway.cli.answers import understood
from gateway.cli.control import ask, subscription_path
from gateway.cli.look import say
from gateway.cli.options import Place
from gateway.cli.remote import PAGE, PATIENCE, Answer
from gateway.cli.tables import clean, counted
from gateway.config.settings import Settings
from gateway.errors import Unavailable
from gateway.stores.registry import database_path
from gateway.web.api.pulling import Acknowledged, Pulled, PulledEvent


def fetch(place: Place, name: str, *, limit: int, wait: int, ack: bool, as_json: bool) -> None:
    """Print at most `limit` events, oldest first, those first that were never acknowledged.

    Where there is nothing, `wait` seconds are given to it. With `ack` each page is acknowledged when
    it stands in the output: what could not be printed comes again. Raises `Unavailable` when no
    gateway runs, and what the gateway raises.
    """
    path, cursor, printed, done = subscription_path(name), None, 0, False
    taken = Acknowledged(acknowledged=0, left=0)
    while printed < limit and not done:
        page = _page(place, path, cursor, min(limit - printed, PAGE), 0 if printed else wait)
        for event in page.data:
            say(_as_json(event) if as_json else _line(event))
        sys.stdout.flush()
        if ack and page.data:
            last = _acknowledge(place, path, page.cursor)
            taken = Acknowledged(
                acknowledged=taken.acknowledged + last.acknowledged, left=last.left
            )
        printed += len(page.data)
        cursor, done = page.cursor, page.done or not page.data
    if not as_json:
        say(_summary(printed, taken if ack else None, more=not done))


def _page(place: Place, path: str, cursor: str | None, limit: int, wait: int) -> Pulled:
    query = {"limit": limit, "wait": wait} | ({} if cursor is None else {"cursor": cursor})
    found = _asked(place, f"{path}/events?{urlencode(query)}", method="GET", wait=wait)
    return understood(place, found, Pulled)


def _acknowledge(place: Place, path: str, cursor: str | None) -> Acknowledged:
    return understood(place, _asked(place, f"{path}/ack", {"cursor": cursor}), Acknowledged)


def _asked(
    place: Place, path: str, body: object = None, *, method: str = "POST", wait: int = 0
) -> Answer:
    """What the gateway that runs answers, within `wait` seconds and its usual time."""
    answer = ask(place, path, body, method=method, patience=PATIENCE + wait)
    if answer is None:
        assert isinstance(place, Settings)  # another one's API answers, or raises
        raise Unavailable(
            f"no gateway runs on {database_path(place.store.url)}, and only one that runs gives"
            " events out: start it with `gateway serve`, or name another one with --config or --url"
        )
    return answer


def _summary(printed: int, taken: Acknowledged | None, *, more: bool) -> str:
    if not printed:
        return "There is nothing to fetch."
    if taken is not None:
        were = "was" if taken.acknowledged == 1 else "were"
        return f"{counted(taken.acknowledged, 'event')} {were} acknowledged, {taken.left} left."
    rest = f" There are more than these {printed}: --limit shows them." if more else ""
    return f"Nothing is acknowledged: --ack does it, else they come again.{rest}"


def _line(found: PulledEvent) -> str:
    event = found.event
    parts = (
        _local(event.get("time")),
        f"{event.get('type', ''):<18}",
        f"{_order(event) or '':<12}",
    )
    return clean("  ".join((*parts, found.id)))


def _as_json(found: PulledEvent) -> str:
    event = found.event
    told = {"time": event.get("time"), "type": event.get("type"), "order": _order(event)}
    # All of it ASCII, so that it may be printed to a terminal too.
    return json.dumps(told | {"id": found.id, "cursor": found.cursor, "event": event})


def _order(event: Mapping[str, Any]) -> str | None:
    """The order that it is about, with flat data too, else its subject."""
    data = event.get("data")
    named = data.get("order") if isinstance(data, dict) else event.get("data__order")
    order = named if isinstance(named, str) and named else event.get("subject")
    return None if order is None else str(order)


def _local(time: object) -> str:
    """A time of an event in the zone of this machine; what is none as it is."""
    try:
        return (
            datetime.fromisoformat(str(time or "").upper()).astimezone().isoformat(" ", "seconds")
        )
    except (ValueError, OverflowError):
        return str(time or "")
