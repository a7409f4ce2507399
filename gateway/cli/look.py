"""The commands that only look, and print tables or JSON.

They open the database's file `query_only`, whether or not the gateway runs. With `--url` they ask
the API of another gateway.
"""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from gateway.cli import stories, tables
from gateway.cli.aim import Remote
from gateway.cli.options import Place
from gateway.config.settings import Settings
from gateway.errors import NotFound, StartupError
from gateway.models import Millis
from gateway.stores.registry import database_path, make_records
from gateway.stores.views import (
    Records,
    Story,
)

if TYPE_CHECKING:
    from gateway.cli.remote import RemoteRecords

T = TypeVar("T")
R = TypeVar("R", bound=msgspec.Struct)


class Told(msgspec.Struct, frozen=True):
    """What a command did: in words for a person, and as an object for a script."""

    text: str
    answer: Mapping[str, Any]


def tell(told: Told, *, as_json: bool) -> None:
    """Print what was done."""
    say(tables.to_json(told.answer) if as_json else told.text)


def events(
    place: Place, *, order: str | None, event_type: str | None, limit: int, as_json: bool
) -> None:
    """Print the newest events, newest first."""
    rows = read(
        place,
        lambda records: records.events(order=order, event_type=event_type, limit=limit + 1),
    )
    _list(rows, limit, tables.events_view, nothing="There are no such events.", as_json=as_json)


def deliveries(
    place: Place, *, subscription: str | None, state: str | None, limit: int, as_json: bool
) -> None:
    """Print the newest deliveries, newest first."""
    rows = read(
        place,
        lambda records: records.deliveries(subscription=subscription, state=state, limit=limit + 1),
    )
    nothing = "There are no such deliveries."
    _list(rows, limit, tables.deliveries_view, nothing=nothing, as_json=as_json)


def unlinked(place: Place, *, limit: int, as_json: bool) -> None:
    """Print the facts that wait for their order, oldest first."""
    rows = read(place, lambda records: records.unlinked(limit=limit + 1))
    nothing = "No fact waits for its order."
    _list(rows, limit, tables.unlinked_view, nothing=nothing, as_json=as_json)


def quarantine(place: Place, *, limit: int, as_json: bool) -> None:
    """Print the callbacks in quarantine, newest first."""
    rows = read(place, lambda records: records.quarantined(limit=limit + 1))
    nothing = "The quarantine is empty."
    _list(rows, limit, tables.quarantine_view, nothing=nothing, as_json=as_json)
    if rows and not as_json:
        say(f"`gateway quarantine show {rows[0].id}` prints what it sent.")
        say("`gateway quarantine retry --dry-run` says what reading them once more would make.")


def subscriptions(place: Place, *, as_json: bool) -> None:
    """Print all subscriptions, by name."""
    if not isinstance(place, Settings):
        from gateway.cli import subscriptions_afar  # noqa: PLC0415 - it needs this module

        subscriptions_afar.subscriptions(place, as_json=as_json)
        return
    rows = read_here(place, lambda records: records.subscriptions())
    nothing = "There are no subscriptions: the configuration declares them."
    _list(rows, len(rows), tables.subscriptions_view, nothing=nothing, as_json=as_json)


def rejected(
    place: Place,
    source: str,
    *,
    known: Callable[[], Sequence[str]],
    limit: int,
    as_json: bool,
) -> None:
    """Print the rejected requests that are kept of a source, newest first.

    `known` gives the names of the configuration; `NotFound` for another one of which nothing is
    kept.
    """
    rows = read(place, lambda records: records.rejected(source, limit=limit + 1))
    if not rows and isinstance(place, Settings) and source not in (names := known()):
        told = f"it declares {', '.join(names)}" if names else "it declares none"
        raise NotFound(f"the configuration has no source {source}: {told}")
    if as_json:
        say(tables.to_json(rows[:limit]))
    elif not rows:
        say(f"No rejected requests of source {source} are kept.")
    else:
        views = [tables.drawn(tables.rejected_view(row), width=_width()) for row in rows[:limit]]
        say("\n\n".join(views))
        _say_more(rows, limit)


def body(sent: bytes) -> None:
    """Print the body of a callback: its very bytes, but to a terminal spelled out."""
    if sys.stdout.isatty():
        lines = sent.decode("utf-8", "backslashreplace").splitlines()
        say("\n".join(tables.clean(line) for line in lines))
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(sent)
    sys.stdout.buffer.flush()


def explain(place: Place, name: str, *, as_json: bool) -> None:
    """Print the stories of what `name` leads to; `NotFound`."""
    stories = read(place, lambda records: records.explain(name))
    say(tables.to_json(stories) if as_json else "\n\n\n".join(map(_told, stories)))


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


def require_store(place: Place) -> None:
    """See `require_file`; a gateway elsewhere has its own."""
    if isinstance(place, Settings):
        require_file(database_path(place.store.url))


def read(place: Place, query: Callable[["Records | RemoteRecords"], Awaitable[T]]) -> T:
    """The answer to one query; `StartupError` when there is no database of ours."""
    return read_here(place, query) if isinstance(place, Settings) else read_afar(place, query)


def read_afar(remote: Remote, query: Callable[["RemoteRecords"], Awaitable[T]]) -> T:
    """The same of a gateway elsewhere; `GatewayError`, as it answers."""
    from gateway.cli.remote import RemoteRecords, client_of  # noqa: PLC0415 - for few commands

    with client_of(remote) as client:
        records = RemoteRecords(remote, client)

        async def run() -> T:
            return await query(records)

        return asyncio.run(run())


def read_here(settings: Settings, query: Callable[[Records], Awaitable[T]]) -> T:
    """The same of this store, for what no other gateway is asked."""

    async def run() -> T:
        async with make_records(settings.store.url, key=settings.master_key) as records:
            return await query(records)

    require_store(settings)
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
        say(tables.to_json(shown))
    elif not shown:
        say(nothing)
    else:
        draw(view(shown))
        _say_more(rows, limit)


def _say_more(rows: Sequence[object], limit: int) -> None:
    if len(rows) > limit:
        say(f"There are more than these {limit}: --limit shows them.")


def draw(view: tables.View) -> None:
    """Print a table, as wide as the terminal has room for."""
    say(tables.drawn(view, width=_width()))


def _told(story: Story) -> str:
    parts = [tables.clean(stories.heading(story))]
    parts += [tables.drawn(view, width=_width()) for view in stories.story_views(story)]
    parts.append(tables.clean(stories.newest(story, Millis(int(time.time() * 1000)))))
    return "\n\n".join(parts)


def _width() -> int | None:
    """The width of the terminal; None when there is none."""
    if not sys.stdout.isatty():
        return None
    return os.get_terminal_size(sys.stdout.fileno()).columns or 80


def say(text: str) -> None:
    """Print text; what the encoding of standard output lacks is spelled out too."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
