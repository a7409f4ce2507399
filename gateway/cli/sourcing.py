"""`gateway sources`: show and pause them; make, change and remove those that no file declares."""

from typing import Annotated

import typer

from gateway.cli.aim import aimed
from gateway.cli.options import Config, Json, JsonObject, Source, place_of

# The modules that a command needs are imported inside it: `gateway --help` needs none of them.
# ruff: noqa: PLC0415

app = typer.Typer()
MadeSource = Annotated[
    str, typer.Argument(metavar="NAME", help="One that was made, as `gateway sources` shows it.")
]
SECRETS = "in secrets and token, ${NAME} and ${file:PATH} are filled in here"


@app.callback(invoke_without_command=True)
@aimed
def sources_list(context: typer.Context, as_json: Json = False, config: Config = None) -> None:
    """Show the sources and how they do; pause one; make one without the file, change or remove it."""
    if context.invoked_subcommand is not None:
        return
    from gateway.cli import sources

    sources.sources(place_of(config), config, as_json=as_json)


@app.command()
@aimed
def show(name: Source, as_json: JsonObject = False, config: Config = None) -> None:
    """Show all keys of a source but its secrets, and how it does."""
    from gateway.cli import sources

    sources.show(place_of(config), config, name, as_json=as_json)


@app.command()
@aimed
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A new name.")],
    pairs: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUE...",
            help=f"As in the configuration: provider=stripe 'secrets=${{WHSEC}}'; {SECRETS}.",
        ),
    ],
    as_json: JsonObject = False,
    config: Config = None,
) -> None:
    """Make a source that the configuration does not declare, and listen to it from now on."""
    from gateway.cli import look, making

    look.tell(making.add(place_of(config), name, pairs, config=config), as_json=as_json)


@app.command(name="set")
@aimed
def change(
    name: MadeSource,
    pairs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE...]", help=f"As `gateway sources add` takes them; {SECRETS}."
        ),
    ] = None,
    defaults: Annotated[
        list[str] | None,
        typer.Option(
            "--default", metavar="KEY", help="Give this key its default again; repeat for more."
        ),
    ] = None,
    as_json: JsonObject = False,
    config: Config = None,
) -> None:
    """Change keys of a source that the configuration does not declare."""
    from gateway.cli import look, making

    told = making.change(place_of(config), name, pairs or (), defaults or (), config=config)
    look.tell(told, as_json=as_json)


@app.command()
@aimed
def remove(name: MadeSource, as_json: JsonObject = False, config: Config = None) -> None:
    """Remove a source that the configuration does not declare; what came of it stays."""
    from gateway.cli import look, making

    look.tell(making.remove(place_of(config), name, config=config), as_json=as_json)


@app.command()
@aimed
def pause(name: Source, as_json: JsonObject = False, config: Config = None) -> None:
    """Take nothing of a source until it is resumed: whoever calls is told to try again later."""
    from gateway.cli import look, making

    look.tell(making.pause(place_of(config), name, config=config), as_json=as_json)


@app.command()
@aimed
def resume(name: Source, as_json: JsonObject = False, config: Config = None) -> None:
    """Receive a source's callbacks again, and ask its API again."""
    from gateway.cli import look, making

    look.tell(making.resume(place_of(config), name, config=config), as_json=as_json)
