"""`gateway publish`: CloudEvents of one's own, from a file or from standard input."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.aim import aimed
from gateway.cli.options import Config, JsonObject, place_of, settings_of
from gateway.errors import StartupError

# The modules that a command needs are imported inside it: `gateway --help` needs none of them.
# ruff: noqa: PLC0415

INPUT = Path("-")


@aimed
def publish(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="One CloudEvent in JSON, or a list of them; - or nothing is standard input.",
        ),
    ] = None,
    *,
    shop: Annotated[
        str | None, typer.Option(help="Whose they are; order events say that themselves.")
    ] = None,
    as_json: JsonObject = False,
    config: Config = None,
) -> None:
    """Publish a CloudEvent, or a list of them; one that was published before counts once."""
    from gateway.cli import published

    place = place_of(config)
    if file is None and sys.stdin.isatty():
        raise StartupError("name a FILE with a CloudEvent; - reads it from this terminal")
    body = _read(file or INPUT)
    published.publish(place, body, shop=shop, whole=lambda: settings_of(config), as_json=as_json)


def _read(file: Path) -> bytes:
    """The bytes of a file, or of standard input; `StartupError`."""
    try:
        return sys.stdin.buffer.read() if file == INPUT else file.read_bytes()
    except OSError as error:
        raise StartupError(f"{file} cannot be read: {error.strerror}") from None
    except ValueError:
        raise StartupError("the name of the file has a zero byte in it") from None
