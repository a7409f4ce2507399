"""`gateway subscriptions`: show them, hold them, let them go."""

import typer

from gateway.cli.options import Config, Json, Subscription, store_of

# The modules that a command needs are imported inside it: `gateway --help` needs none of them.
# ruff: noqa: PLC0415

app = typer.Typer()


@app.callback(invoke_without_command=True)
def subscriptions_list(
    context: typer.Context, as_json: Json = False, config: Config = None
) -> None:
    """Show the subscriptions and how they stand; hold one, or let it go again."""
    if context.invoked_subcommand is not None:
        return
    from gateway.cli import look

    look.subscriptions(store_of(config), as_json=as_json)


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
