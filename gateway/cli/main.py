"""The command line: one border where every error becomes one sentence and an exit code."""

import io
import json
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from gateway import __version__
from gateway.cli import (
    deliveries,
    doctor,
    keys,
    lanes,
    linking,
    listen,
    master,
    orders,
    publishing,
    replaying,
    send,
    sourcing,
    subscriptions,
    types,
)
from gateway.cli.aim import aimed
from gateway.cli.options import (
    Config,
    Json,
    JsonLines,
    JsonObject,
    Limit,
    OfType,
    Source,
    fixed_of,
    place_of,
    settings_of,
    sources_of,
)
from gateway.config.describe import describe, plain
from gateway.errors import ConfigError, GatewayError, StartupError
from gateway.telemetry.logs import configure

# The modules that a command needs are imported inside it: `gateway --help` needs none of them.
# ruff: noqa: PLC0415

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)

app.add_typer(sourcing.app, name="sources")
app.add_typer(subscriptions.app, name="subscriptions")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(lanes.app, name="lanes")
app.add_typer(linking.app, name="unlinked")
app.add_typer(orders.app, name="orders")
app.add_typer(keys.app, name="keys")
app.add_typer(master.app, name="secrets")
app.command(name="replay")(replaying.replay)
app.command(name="send")(send.send)
app.command(name="listen")(listen.listen)
app.command(name="doctor")(doctor.doctor)
app.command(name="publish")(publishing.publish)
app.command(name="types")(types.types)
quarantine = typer.Typer()
app.add_typer(quarantine, name="quarantine")
printstudio = typer.Typer(no_args_is_help=True)
app.add_typer(printstudio, name="printstudio")


@app.command()
def serve(
    config: Config = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    log_json: Annotated[bool, typer.Option("--log-json", help="Log lines as JSON.")] = False,
) -> None:
    """Run the gateway."""
    from gateway.cli.serve import serve as run

    if log_level.lower() not in {"debug", "info", "warning", "error"}:
        raise StartupError(
            f"--log-level: expected debug, info, warning or error, got {log_level!r}"
        )
    configure(log_level, json=log_json)
    raise typer.Exit(run(settings_of(config), config=config, say=typer.echo))


@app.command()
def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the folder with its database for a look.")
    ] = False,
) -> None:
    """See it work: a gateway of its own is called, asks a provider, and delivers to two receivers."""
    from gateway.cli.demo import demo as play

    raise typer.Exit(play(keep=keep))


@app.command()
def check(as_json: JsonObject = False, config: Config = None) -> None:
    """Validate a configuration and show what it comes to; secrets stay hidden."""
    settings = settings_of(config)
    if as_json:
        from gateway.cli import look
        from gateway.cli.tables import to_json

        file = None if config is None else str(config)
        values = {key: plain(value) for key, value in describe(settings)}
        told = {"file": file, "warnings": settings.warnings, "settings": values}
        look.say(to_json(told))
        return
    for key, value in describe(settings):
        typer.echo(f"{key} = {value}")
    counted = f"sources: {len(settings.sources)}, subscriptions: {len(settings.subscriptions)}"
    file = f"{config} is good" if config is not None else "Without a configuration all is default"
    typer.echo(f"{file}; {counted}.", err=True)


@app.command()
@aimed
def events(
    order: Annotated[str | None, typer.Option(help="Of this order id only.")] = None,
    event_type: OfType = None,
    limit: Limit = 20,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Show the newest events, and whom they were for."""
    from gateway.cli import look

    look.events(place_of(config), order=order, event_type=event_type, limit=limit, as_json=as_json)


@quarantine.callback(invoke_without_command=True)
@aimed
def quarantine_list(
    context: typer.Context, limit: Limit = 20, as_json: Json = False, config: Config = None
) -> None:
    """Show authentic callbacks that could not be read, and why; look at one, or read them again."""
    if context.invoked_subcommand is not None:
        return
    from gateway.cli import look

    look.quarantine(place_of(config), limit=limit, as_json=as_json)


@quarantine.command()
@aimed
def show(
    callback: Annotated[str, typer.Argument(metavar="ID", help="The callback, as in cb_5.")],
    as_json: JsonObject = False,
    config: Config = None,
) -> None:
    """Show one callback, what became of it, and its body."""
    from gateway.cli import quarantine as work

    work.show(place_of(config), callback, as_json=as_json)


@quarantine.command()
@aimed
def retry(
    callback: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="One callback; without it all of them.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it would make.")
    ] = False,
    as_json: JsonObject = False,
    config: Config = None,
) -> None:
    """Read callbacks once more, after a new release or another configuration."""
    from gateway.cli import quarantine as work

    place, whole = place_of(config), lambda: settings_of(config)
    work.retry(place, callback, whole=whole, dry_run=dry_run, as_json=as_json)


@app.command()
@aimed
def rejected(
    source: Source,
    limit: Limit = 20,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Show requests that were refused because nothing proved whose they are, and why."""
    from gateway.cli import look

    def names() -> list[str]:
        from gateway.cli.known import made_sources

        return [source] if source in made_sources(fixed_of(config)) else sources_of(config)

    look.rejected(place_of(config), source, known=names, limit=limit, as_json=as_json)


@app.command()
@aimed
def explain(
    name: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="The id of an order, event, delivery or callback, or a provider's own.",
        ),
    ],
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Tell all that happened: callbacks, events, deliveries with every attempt, and why not."""
    from gateway.cli import look

    look.explain(place_of(config), name, as_json=as_json)


@app.command()
@aimed
def watch(
    source: Source,
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="The provider's order number.")],
    order: Annotated[str | None, typer.Option(help="The shop's own order number.")] = None,
    as_json: JsonObject = False,
    config: Config = None,
) -> None:
    """Ask a source for an order from now on."""
    from gateway.cli import look, polling

    place, whole = place_of(config), lambda: settings_of(config)
    look.tell(polling.watch(place, source, number, order, whole=whole), as_json=as_json)


@app.command()
@aimed
def poll(
    source: Source,
    once: Annotated[bool, typer.Option("--once", help="One round now.")] = False,
    as_json: JsonLines = False,
    config: Config = None,
) -> None:
    """Ask a source now for all that is due, and show what follows."""
    from gateway.cli import polling

    if not once:
        raise StartupError(
            "`gateway serve` polls all the time: with --once, one round is done now and shown"
        )
    place, whole = place_of(config), lambda: settings_of(config)
    raise typer.Exit(polling.poll(place, source, whole=whole, as_json=as_json))


@app.command()
@aimed
def reconcile(
    source: Source,
    since: Annotated[
        str | None, typer.Option(help="Only orders that changed since then, as in 7d.")
    ] = None,
    emit: Annotated[bool, typer.Option("--emit", help="Make the events that are missing.")] = False,
    as_json: JsonLines = False,
    config: Config = None,
) -> None:
    """Compare all that a source says of its orders with what the gateway knows."""
    from gateway.cli import polling

    place, whole = place_of(config), lambda: settings_of(config)
    code = polling.reconcile(place, source, since, whole=whole, emit=emit, as_json=as_json)
    raise typer.Exit(code)


@printstudio.callback()
def printstudio_group() -> None:
    """What can be done at a PrintStudio shop."""


@printstudio.command()
def register(
    source: Source,
    url: Annotated[
        str | None, typer.Option(help="What the shop shall call; else server.public_url tells.")
    ] = None,
    secret_file: Annotated[
        Path | None, typer.Option(help="Where the secret is put; else SOURCE.secret.")
    ] = None,
    as_json: JsonObject = False,
    config: Config = None,
) -> None:
    """Have the shop call this gateway, and sign with a new secret."""
    from gateway.cli import look, registering

    settings = settings_of(config)
    told = registering.register(settings, source, config=config, url=url, secret_file=secret_file)
    look.tell(told, as_json=as_json)


@app.command()
def secret(as_json: JsonObject = False) -> None:
    """Print a new subscription secret; its bytes are printable text, for tools that need that."""
    from gateway.signing import generate_secret

    made = generate_secret()
    typer.echo(json.dumps({"secret": made}) if as_json else made)


def _version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Receives what print providers and Stripe say about orders; delivers it as signed CloudEvents."""


@app.command()
def version(as_json: JsonObject = False) -> None:
    """Print the version."""
    typer.echo(json.dumps({"version": __version__}) if as_json else __version__)


def main() -> None:
    """Run a command; errors end it with one sentence: 2 for a wrong start, 1 for the rest."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Paths and names of others are printed, whatever encoding the terminal has.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except (ConfigError, StartupError) as error:
        _complain(str(error))
        sys.exit(2)
    except GatewayError as error:
        _complain(str(error))
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - the border: a damaged file, or a bug
        _complain(_unexpected(error))
        sys.exit(1)


def _unexpected(error: Exception) -> str:
    """The last place of the traceback, for whoever is told of it; no more of it is shown."""
    odd = any("\ud800" <= letter <= "\udfff" for argument in sys.argv for letter in argument)
    if odd and isinstance(error, UnicodeEncodeError):
        return "something on the command line is no text: write it in UTF-8"
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}, line {place.lineno}"
    return f"unexpected {type(error).__name__}: {error} ({where})"


def _complain(sentence: str) -> None:
    """Write one line to standard error, whatever names the sentence quotes."""
    from gateway.cli.tables import clean

    sys.stderr.write(f"gateway: {clean(sentence)}\n")
