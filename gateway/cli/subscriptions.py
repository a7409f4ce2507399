"""`gateway subscriptions`: show them, add and remove them, rotate secrets, hold them, let them go."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import subscriptions_more, testing
from gateway.cli.aim import aimed, remote
from gateway.cli.options import (
    Config,
    Json,
    JsonObject,
    Subscription,
    fixed_of,
    place_of,
    subscriptions_of,
)

# The modules that a command needs are imported inside it: `gateway --help` needs none of them.
# ruff: noqa: PLC0415

app = typer.Typer()
SecretFile = Annotated[
    Path | None,
    typer.Option(
        help="Where the secret is put; else it is shown on a terminal, or put into NAME.secret."
    ),
]


@app.callback(invoke_without_command=True)
@aimed
def subscriptions_list(
    context: typer.Context, as_json: Json = False, config: Config = None
) -> None:
    """Show the subscriptions and how they stand; add one, hold one, or let it go again."""
    if context.invoked_subcommand is not None:
        return
    from gateway.cli import look

    look.subscriptions(place_of(config), as_json=as_json)


@app.command()
@aimed
def show(name: Subscription, as_json: Json = False, config: Config = None) -> None:
    """Show all settings of a subscription but its secrets, and how it stands."""
    from gateway.cli import subscribing

    subscribing.show(place_of(config), name, as_json=as_json)


@app.command()
@aimed
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A new name.")],
    pairs: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUE...",
            help="As in the configuration: url=https://example.com/in types=order.paid,order.shipped",
        ),
    ],
    secret_file: SecretFile = None,
    as_json: JsonObject = False,
    config: Config = None,
) -> None:
    """Add a subscription that the configuration does not declare; its secret is made here."""
    from gateway.cli import look, subscribing

    place = remote() or fixed_of(config)
    told = subscribing.add(place, name, pairs, config=config, to=secret_file, as_json=as_json)
    look.tell(told, as_json=as_json)


@app.command()
@aimed
def rotate(
    name: Subscription,
    overlap: Annotated[
        str, typer.Option(help="How long the secrets of now sign as well, as in 24h.")
    ] = "24h",
    secret_file: SecretFile = None,
    as_json: JsonObject = False,
    config: Config = None,
) -> None:
    """Sign with a new secret; for one of the configuration, two entries there do it."""
    from gateway.cli import look, subscribing

    place = place_of(config)
    told = subscribing.rotate(place, name, overlap, config=config, to=secret_file, as_json=as_json)
    look.tell(told, as_json=as_json)


@app.command()
@aimed
def remove(name: Subscription, as_json: JsonObject = False, config: Config = None) -> None:
    """Remove a subscription that was added by command, and end what waits for it."""
    from gateway.cli import look, subscribing

    told = subscribing.remove(place_of(config), name, declared=lambda: subscriptions_of(config))
    look.tell(told, as_json=as_json)


@app.command()
@aimed
def resume(name: Subscription, as_json: JsonObject = False, config: Config = None) -> None:
    """Make a paused or gone subscription active again."""
    from gateway.cli import control, look

    look.tell(control.resume(place_of(config), name), as_json=as_json)


@app.command()
@aimed
def pause(name: Subscription, as_json: JsonObject = False, config: Config = None) -> None:
    """Keep a subscription's deliveries until it is resumed."""
    from gateway.cli import control, look

    look.tell(control.pause(place_of(config), name), as_json=as_json)


app.command(name="test")(testing.endpoint)
app.command(name="test-filter")(testing.filters)
app.command(name="set")(subscriptions_more.change)
app.command()(subscriptions_more.stats)
app.command()(subscriptions_more.fetch)
