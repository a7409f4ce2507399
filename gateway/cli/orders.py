"""`gateway orders`: which there are, and one of them with all that happened to it."""

from typing import Annotated

import typer

from gateway.cli.aim import aimed
from gateway.cli.options import Config, Json, JsonObject, Limit, place_of

# The modules that a command needs are imported inside it: `gateway --help` needs none of them.
# ruff: noqa: PLC0415

app = typer.Typer()


@app.callback(invoke_without_command=True)
@aimed
def orders(
    context: typer.Context,
    *,
    shop: Annotated[str | None, typer.Option(help="Of this shop only.")] = None,
    limit: Limit = 20,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Show the orders that changed last and how they stand, or one with all that happened to it."""
    if context.invoked_subcommand is not None:
        return
    from gateway.cli import timelines

    timelines.orders(place_of(config), shop=shop, limit=limit, as_json=as_json)


@app.command()
@aimed
def show(
    order: Annotated[
        str, typer.Argument(metavar="ID", help="The order, or an id that leads to it.")
    ],
    *,
    shop: Annotated[
        str | None, typer.Option(help="Whose order it is, where several shops have this id.")
    ] = None,
    as_json: JsonObject = False,
    config: Config = None,
) -> None:
    """Show how one order stands, and what each source said of it, with events and deliveries."""
    from gateway.cli import timelines

    timelines.show(place_of(config), order, shop=shop, as_json=as_json)
