"""`gateway types`: the catalogue of events, which needs no gateway and no configuration."""

from typing import Annotated, Any

import typer

from gateway.cli.options import known_types

# The modules that a command needs are imported inside it: `gateway --help` needs none of them.
# ruff: noqa: PLC0415


def types(
    event_type: Annotated[
        str | None,
        typer.Argument(metavar="[TYPE]", help="As in order.paid.", autocompletion=known_types),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON list; with TYPE, one JSON object.")
    ] = False,
) -> None:
    """Show the types of events that there are, or one of them with an example."""
    if event_type is None:
        _all(as_json=as_json)
    else:
        _one(event_type, as_json=as_json)


def _all(*, as_json: bool) -> None:
    from gateway.catalogue import MEANINGS
    from gateway.cli.look import draw, say
    from gateway.cli.tables import Column, View, to_json

    if as_json:
        say(to_json([_told(name) for name in MEANINGS]))
        return
    columns = [Column("type"), Column("description", whole=False)]
    draw(View(columns=columns, rows=[(name, text) for name, text in MEANINGS.items()]))
    say("`gateway types TYPE` shows its schema and an example.")


def _one(name: str, *, as_json: bool) -> None:
    """Print one type, with an example as it is sent in the mode `structured`; `NotFound`."""
    import json

    from gateway.catalogue import MEANINGS, WHEN, example
    from gateway.cli.look import draw, say
    from gateway.cli.tables import Column, View, to_json
    from gateway.config.reader import suggestion
    from gateway.errors import NotFound

    if name not in MEANINGS:
        near = suggestion(name, MEANINGS)
        raise NotFound(f"there is no event type {name}{near}: `gateway types` lists them")
    told = _told(name)
    event = json.loads(example(name).body)
    if as_json:
        say(to_json({**told, "example": event}))
        return
    parts = [
        ("description", told["description"]),
        ("comes", WHEN[name]),
        ("schema", told["schema"]),
    ]
    draw(View(columns=[Column("type"), Column(name, whole=False)], rows=parts))
    say(f"\n{json.dumps(event, indent=2)}")


def _told(name: str) -> dict[str, Any]:
    """As the API lists it; the path of its schema is that at any gateway's public listener."""
    from gateway.catalogue import MEANINGS
    from gateway.events import SCHEMA_VERSION

    path = f"/schemas/{SCHEMA_VERSION}/{name}.json"
    return {"type": name, "description": MEANINGS[name], "schema": path}
