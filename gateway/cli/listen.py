"""`gateway listen`: follows real events, and sends them to whoever develops a consumer."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import typer

from gateway.cli.aim import aimed
from gateway.cli.options import Config, known_sources, known_types, place_of
from gateway.errors import StartupError

# The modules that a command needs are imported inside it: `gateway --help` needs none of them.
# ruff: noqa: PLC0415


class ForwardMode(StrEnum):
    """The modes in which one event can be sent."""

    STRUCTURED = "structured"
    JSON = "json"
    BINARY = "binary"


@aimed
def listen(
    *,
    forward: Annotated[
        str | None,
        typer.Option(metavar="URL", help="POST each event there, signed as a delivery is."),
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option(
            help="Of these types only, as in order.paid or gateway.*; order.* unless given.",
            autocompletion=known_types,
        ),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(help="Of these sources only.", autocompletion=known_sources),
    ] = None,
    shop: Annotated[list[str] | None, typer.Option(help="Of these shops only.")] = None,
    start: Annotated[
        str, typer.Option("--from", help="now, beginning, or a time in RFC 3339.")
    ] = "now",
    mode: Annotated[
        ForwardMode | None,
        typer.Option(help="How to forward; else as a subscription to this URL would."),
    ] = None,
    flat: Annotated[
        bool, typer.Option("--flat", help="Forward the data spread over keys of one level.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object an event.")] = False,
    config: Config = None,
) -> None:
    """Follow events as they happen, and forward them to a URL of yours; no delivery is touched."""
    from gateway.cli import forwarding, listening
    from gateway.models import Mode

    query = _query(types or [], source or [], shop or [], start)
    if forward is None and (mode is not None or flat):
        raise StartupError(f"--{'flat' if flat else 'mode'} says how to forward: add --forward URL")
    place, to = place_of(config), None
    if forward is not None:
        wanted = None if mode is None else Mode(mode.value)
        to = forwarding.endpoint(forward, mode=wanted, flat=flat)
    for sentence in listening.unknown_types(query.get("types", "*").split(",")):
        typer.echo(f"gateway: warning: {sentence}", err=True)
    listening.listen(place, query, to=to, as_json=as_json)


def _query(types: list[str], sources: list[str], shops: list[str], start: str) -> Mapping[str, str]:
    """That of the stream, whose lists have commas; `ConfigError` for what it would not take."""
    from gateway.config.reader import Given, Place, read
    from gateway.config.subscription import KINDS

    given = {"types": ",".join(types), "sources": ",".join(sources), "shops": ",".join(shops)}
    query = {name: text for name, text in given.items() if text} | {"from": start}
    options = {"sources": "source", "shops": "shop"}
    for name, text in query.items():
        read(KINDS[name], Given(text), Place(f"--{options.get(name, name)}"))
    return query
