"""`gateway keys`: make API keys, show them without their secrets, and revoke them."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.aim import aimed
from gateway.cli.options import Config, Json, JsonObject, place_of
from gateway.keys import MAY, Role

# The modules that a command needs are imported inside it: `gateway --help` needs none of them.
# ruff: noqa: PLC0415

app = typer.Typer(no_args_is_help=True)


@app.callback()
def keys() -> None:
    """API keys: what may be done with the API, and by whom."""


@app.command()
@aimed
def create(
    *,
    role: Annotated[
        Role, typer.Option(help="; ".join(f"{role}: {may}" for role, may in MAY.items()) + ".")
    ],
    name: Annotated[str | None, typer.Option(help="A label, to know it by.")] = None,
    expires: Annotated[
        str | None, typer.Option(help="When it ends by itself, as in 90d; else never.")
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(help="Where the key is put; else it is shown on a terminal, or ROLE.secret."),
    ] = None,
    as_json: JsonObject = False,
    config: Config = None,
) -> None:
    """Make a key; it is shown this once."""
    from gateway.cli import keykeeping, look

    told = keykeeping.create(
        place_of(config), role, name=name, expires=expires, config=config, to=to, as_json=as_json
    )
    look.tell(told, as_json=as_json)


@app.command(name="list")
@aimed
def list_keys(as_json: Json = False, config: Config = None) -> None:
    """Show all keys, newest first: roles, when they were last used, and how they stand."""
    from gateway.cli import keykeeping

    keykeeping.show(place_of(config), as_json=as_json)


@app.command()
@aimed
def revoke(
    key: Annotated[
        str, typer.Argument(metavar="ID", help="The key, as `gateway keys list` shows it.")
    ],
    as_json: JsonObject = False,
    config: Config = None,
) -> None:
    """End a key at once, and for good."""
    from gateway.cli import keykeeping, look

    look.tell(keykeeping.revoke(place_of(config), key), as_json=as_json)
