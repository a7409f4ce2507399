"""`gateway subscriptions test` and `test-filter`: try an endpoint, and try filters on an event."""

from typing import Annotated

import typer

from gateway.cli.aim import aimed
from gateway.cli.options import Config, JsonObject, OfType, Subscription, place_of, settings_of

# The modules that a command needs are imported inside it: `gateway --help` needs none of them.
# ruff: noqa: PLC0415

Event = Annotated[str, typer.Argument(metavar="EVENT", help="As `gateway events` shows it.")]


@aimed
def endpoint(
    name: Subscription,
    event_type: OfType = None,
    as_json: JsonObject = False,
    config: Config = None,
) -> None:
    """Send a test event, signed as a real one, and show how the endpoint takes it."""
    from gateway.cli import trying

    raise typer.Exit(
        trying.endpoint(
            place_of(config), name, event_type, as_json=as_json, whole=lambda: settings_of(config)
        )
    )


@aimed
def filters(
    name: Subscription, event: Event, as_json: JsonObject = False, config: Config = None
) -> None:
    """Show what each term of a subscription's filters says of an event."""
    from gateway.cli import trying

    trying.filters(place_of(config), name, event, as_json=as_json)
