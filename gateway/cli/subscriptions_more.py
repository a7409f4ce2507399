"""`gateway subscriptions set`, `stats` and `fetch`: change one, sum one up, take its events."""

from typing import Annotated

import typer

from gateway.cli.aim import aimed, remote
from gateway.cli.options import Config, JsonObject, Limit, Subscription, fixed_of, place_of

# The modules that a command needs are imported inside it: `gateway --help` needs none of them.
# ruff: noqa: PLC0415


@aimed
def change(
    name: Subscription,
    pairs: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUE...", help="As `gateway subscriptions add` takes them: rate=5/s"
        ),
    ],
    as_json: JsonObject = False,
    config: Config = None,
) -> None:
    """Change keys of a subscription that the configuration does not declare."""
    from gateway.cli import look, setting

    told = setting.change(remote() or fixed_of(config), name, pairs, config=config)
    look.tell(told, as_json=as_json)


@aimed
def stats(
    name: Subscription,
    since: Annotated[
        str, typer.Option(help="How far to look back for what has ended, as in 24h or 7d.")
    ] = "24h",
    as_json: JsonObject = False,
    config: Config = None,
) -> None:
    """Show what waits for a subscription, and how its attempts went."""
    from gateway.cli import counting

    counting.stats(place_of(config), name, since, as_json=as_json)


@aimed
def fetch(
    name: Subscription,
    *,
    limit: Limit = 50,
    wait: Annotated[
        int, typer.Option(min=0, max=60, help="Seconds to wait where there is nothing.")
    ] = 0,
    ack: Annotated[
        bool, typer.Option("--ack", help="Acknowledge them when they are printed.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object an event.")] = False,
    config: Config = None,
) -> None:
    """Take the events of a subscription with pull, oldest first; with --ack they do not come again."""
    from gateway.cli import fetching

    fetching.fetch(place_of(config), name, limit=limit, wait=wait, ack=ack, as_json=as_json)
