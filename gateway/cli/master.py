"""`gateway secrets`: what seals the secrets in the database."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.options import Config, JsonObject, store_of

# The modules that a command needs are imported inside it: `gateway --help` needs none of them.
# ruff: noqa: PLC0415

VARIABLE = "GATEWAY_MASTER_KEY"

app = typer.Typer(no_args_is_help=True)


@app.callback()
def secrets() -> None:
    """What seals the secrets in the database."""


@app.command()
def rotate_master(
    to: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help=f"Where the key is put that {VARIABLE} shall hold; one that is there is taken.",
        ),
    ] = None,
    as_json: JsonObject = False,
    config: Config = None,
) -> None:
    """Seal all secrets in the database with a new master key; no gateway may be running on it."""
    from gateway.cli.look import require_file, say
    from gateway.cli.tables import to_json
    from gateway.errors import StartupError
    from gateway.stores.registry import database_path, renew_master_key

    settings = store_of(config)
    database = database_path(settings.store.url)
    if not database.exists():
        raise StartupError(f"{database.absolute()} is not there yet, so nothing is sealed")
    require_file(database)
    if to is None and settings.master_key is not None:
        raise StartupError(
            f"the master key is in {VARIABLE}: name a file for the new one with --to, and set"
            " the variable to it afterwards"
        )
    done = renew_master_key(settings.store.url, key=settings.master_key, to=to)
    if as_json:
        left = None if done.left is None else str(done.left)
        say(to_json({"secrets": done.secrets, "key_file": str(done.path), "left": left}))
        return
    typer.echo(f"{done.secrets} secrets in {database} are sealed with the key in {done.path}.")
    if to is not None:
        typer.echo(f"Set {VARIABLE} to it before the gateway starts: without it nothing opens.")
    if done.left is not None:
        typer.echo(f"{done.left} opens nothing but older copies of the database: take it away.")
