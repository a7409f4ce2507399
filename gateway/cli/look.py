"""The commands that only look, and print tables or JSON.

They open the database's file `query_only`, whether or not the gateway runs.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from gateway.cli import stories, tables
from gateway.config.settings import Settings
from gateway.errors import StartupError
from gateway.stores.base import Records, Story
from gateway.stores.registry import database_path, make_records

T = TypeVar("T")
R = TypeVar("R", bound=msgspec.Struct)


def events(
    settings: Settings, *, order: str | None, event_type: str | None, limit: int, as_json: bool
) -> None:
    """Print the newest events, newest first."""
    rows = _read(
        settings,
        lambda records: records.events(order=order, event_type=event_type, limit=limit + 1),
    )
    _list(rows, limit, tables.events_view, nothing="There are no such events.", as_json=as_json)


def deliveries(
    settings: Settings, *, subscription: str | None, state: str | None, limit: int, as_json: bool
) -> None:
    """Print the newest deliveries, newest first."""
    rows = _read(
        settings,
        lambda records: records.deliveries(subscription=subscription, state=state, limit=limit + 1),
    )
    nothing = "There are no such deliveries."
    _list(rows, limit, tables.deliveries_view, nothing=nothing, as_json=as_json)


def unlinked(settings: Settings, *, limit: int, as_json: bool) -> None:
    """Print the facts that wait for their order, oldest first."""
    rows = _read(settings, lambda records: records.unlinked(limit=limit + 1))
    nothing = "No fact waits for its order."
    _list(rows, limit, tables.unlinked_view, nothing=nothing, as_json=as_json)


def quarantine(settings: Settings, *, limit: int, as_json: bool) -> None:
    """Print the callbacks in quarantine, newest first."""
    rows = _read(settings, lambda records: records.quarantined(limit=limit + 1))
    nothing = "The quarantine is empty."
    _list(rows, limit, tables.quarantine_view, nothing=nothing, as_json=as_json)
    if rows and not as_json:
        _say(f"`gateway quarantine --body {rows[0].id}` prints what it sent.")


def subscriptions(settings: Settings, *, as_json: bool) -> None:
    """Print all subscriptions, by name."""
    rows = _read(settings, lambda records: records.subscriptions())
    nothing = "There are no subscriptions: the configuration declares them."
    _list(rows, len(rows), tables.subscriptions_view, nothing=nothing, as_json=as_json)


def body(settings: Settings, callback: str) -> None:
    """Print the body of any callback: its very bytes, but to a terminal spelled out; `NotFound`."""
    found = _read(settings, lambda records: records.body(callback))
    if sys.stdout.isatty():
        lines = found.decode("utf-8", "backslashreplace").splitlines()
        _say("\n".join(tables.clean(line) for line in lines))
        return
    sys.stdout.buffer.write(found)
    sys.stdout.buffer.flush()


def explain(settings: Settings, name: str, *, as_json: bool) -> None:
    """Print the stories of what `name` leads to; `NotFound`."""
    stories = _read(settings, lambda records: records.explain(name))
    _say(tables.to_json(stories) if as_json else "\n\n\n".join(map(_told, stories)))


def require_file(path: Path) -> None:
    """Refuse a database that is there, but is nothing that can be read; `StartupError`.

    One that is not there yet is refused by the store, with better advice.
    """
    try:
        if not path.exists():
            return
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise StartupError(
            f"{path} cannot be read ({error.strerror}): name another file in store.url"
        ) from None
    if empty:
        raise StartupError(
            f"{path} is empty: `gateway serve` fills it, or name another file in store.url"
        )


def _read(settings: Settings, query: Callable[[Records], Awaitable[T]]) -> T:
    async def run() -> T:
        async with make_records(settings.store.url) as records:
            return await query(records)

    require_file(database_path(settings.store.url))
    return asyncio.run(run())


def _list(
    rows: Sequence[R],
    limit: int,
    view: Callable[[Sequence[R]], tables.View],
    *,
    nothing: str,
    as_json: bool,
) -> None:
    """Print rows, of which one more than `limit` was asked for."""
    shown = rows[:limit]
    if as_json:
        _say(tables.to_json(shown))
    elif not shown:
        _say(nothing)
    else:
        _say(tables.drawn(view(shown), width=_width()))
        if len(rows) > limit:
            _say(f"There are more than these {limit}: --limit shows them.")


def _told(story: Story) -> str:
    heading = story.found_as + (f" of shop {story.shop}" if story.shop else "")
    if story.order is not None and story.order not in story.found_as:
        heading += f", about order {story.order}"
    parts = [tables.clean(heading)]
    parts += [tables.drawn(view, width=_width()) for view in stories.story_views(story)]
    parts.append(tables.clean(stories.newest(story)))
    return "\n\n".join(parts)


def _width() -> int | None:
    """The width of the terminal; None when there is none."""
    if not sys.stdout.isatty():
        return None
    return os.get_terminal_size(sys.stdout.fileno()).columns or 80


def _say(text: str) -> None:
    """Print text; what the encoding of standard output lacks is spelled out too."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
