"""`gateway subscriptions`: show them, add and remove them, rotate secrets, hold them, let them go."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.options import Config, Json, Subscription, fixed_of, store_of, subscriptions_of

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
def subscriptions_list(
    context: typer.Context, as_json: Json = False, config: Config = None
) -> None:
    """Show the subscriptions and how they stand; add one, hold one, or let it go again."""
    if context.invoked_subcommand is not None:
        return
    from gateway.cli import look

    look.subscriptions(store_of(config), as_json=as_json)


@app.command()
def show(name: Subscription, as_json: Json = False, config: Config = None) -> None:
    """Show all settings of a subscription but its secrets, and how it stands."""
    from gateway.cli import subscribing

    subscribing.show(store_of(config), name, as_json=as_json)


@app.command()
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
    config: Config = None,
) -> None:
    """Add a subscription that the configuration does not declare; its secret is made here."""
    from gateway.cli import subscribing

    settings = fixed_of(config)
    typer.echo(subscribing.add(settings, name, pairs, config=config, to=secret_file))


@app.command()
def rotate(
    name: Subscription,
    overlap: Annotated[
        str, typer.Option(help="How long the secrets of now sign as well, as in 24h.")
    ] = "24h",
    secret_file: SecretFile = None,
    config: Config = None,
) -> None:
    """Sign with a new secret; for one of the configuration, two entries there do it."""
    from gateway.cli import subscribing

    settings = store_of(config)
    typer.echo(subscribing.rotate(settings, name, overlap, config=config, to=secret_file))


@app.command()
def remove(name: Subscription, config: Config = None) -> None:
    """Remove a subscription that was added by command, and end what waits for it."""
    from gateway.cli import subscribing

    typer.echo(subscribing.remove(store_of(config), name, declared=subscriptions_of(config)))


@app.command()
def resume(name: Subscription, config: Config = None) -> None:
    """Make a paused or gone subscription active again."""
    from gateway.cli import control

    typer.echo(control.resume(store_of(config), name))


@app.command()
def pause(name: Subscription, config: Config = None) -> None:
    """Keep a subscription's deliveries until it is resumed."""
    from gateway.cli import control

    typer.echo(control.pause(store_of(config), name))
