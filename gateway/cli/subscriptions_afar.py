"""Subscriptions of a gateway elsewhere, as its API shows them."""

import json
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from gateway.cli.aim import Remote
from gateway.cli.look import draw, read_afar, say
from gateway.cli.tables import Column, View, ahead, filled, local, to_json
from gateway.models import Millis
from gateway.shown import shown
from gateway.web.api.subscriptions import ShownSubscription

NONE = "There are no subscriptions that this key may see."
TIMES = {
    "expires_at": "is removed at",
    "last_success": "last success",
    "failing_since": "failing since",
    "broken_until": "breaker open until",
}


def subscriptions(remote: Remote, *, as_json: bool) -> None:
    """Print all that the key may see, by name."""
    found = read_afar(remote, lambda records: records.shown_subscriptions())
    rows = sorted(found, key=lambda row: row.name)
    if as_json:
        say(to_json(rows))
    elif not rows:
        say(NONE)
    else:
        draw(filled(_view(rows)))


def show(remote: Remote, path: str, *, as_json: bool) -> None:
    """Print everything of one that the API shows; `path` is where it has it. `NotFound`."""
    found = read_afar(remote, lambda records: records.shown_subscription(path))
    if as_json:
        say(to_json([found]))
        return
    lines = [line for line in _lines(found) if line[1]]
    draw(View(columns=[Column("subscription"), Column(found.name, whole=False)], rows=lines))


def _view(rows: Sequence[ShownSubscription]) -> View:
    columns = ("subscription", "state", "host", "last success", "waits until", "failing since")
    more = ("breaker open until", "handshake")
    return View(
        columns=[*(Column(title) for title in (*columns, *more)), Column("reason", whole=False)],
        rows=[
            (
                *(row.name, _state(row), "(pull)" if row.pull else urlsplit(row.url).netloc),
                "never" if row.last_success is None else local(row.last_success),
                ahead(row.hold_until),
                *map(_time, (row.failing_since, row.broken_until)),
                *(row.consent or "", row.reason or ""),
            )
            for row in rows
        ],
    )


def _state(row: ShownSubscription) -> str:
    return row.state if row.enabled else "disabled"


def _time(at: Millis | None) -> str:
    return "" if at is None else local(at)


def _lines(found: ShownSubscription) -> Iterator[tuple[str, str]]:
    yield "state", _state(found)
    for name, value in shown(found).items():
        if name == "hold_until":
            yield "waits until", ahead(found.hold_until)
        elif name in TIMES:
            yield TIMES[name], _time(getattr(found, name))
        elif name not in {"name", "state"}:
            yield name, _text(value)


def _text(value: object) -> str:
    """A value as the configuration would have it."""
    match value:
        case None:
            return ""
        case str():
            return value
        case list() if all(isinstance(one, str | int) for one in value):
            return ", ".join(map(str, value))
        case _:
            return json.dumps(value)
