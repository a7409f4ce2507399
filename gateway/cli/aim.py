"""Which gateway a command is about: that of the configuration, or with `--url` one elsewhere."""

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
import typer

from gateway.config.values import Secret
from gateway.errors import StartupError
from gateway.keys import parse_key

URL, KEY = "GATEWAY_URL", "GATEWAY_KEY"
META = "gateway.aim"  # under which a group leaves what it was given for its commands

OPTIONS: Mapping[str, Any] = {
    "remote_url": Annotated[
        str | None,
        typer.Option(
            "--url",
            help=f"Another gateway, by its admin listener: nothing here is read. {URL} does it too.",
        ),
    ],
    "remote_key": Annotated[
        str | None,
        typer.Option("--key", help=f"The API key for --url; others see it here, but not in {KEY}."),
    ],
    "remote_key_file": Annotated[
        Path | None, typer.Option("--key-file", help="The file that holds the API key.")
    ],
}
"""What `aimed` adds to a command, by the names of its parameters."""


class Remote(msgspec.Struct, frozen=True):
    """A gateway elsewhere: the URL before `/v1`, without a slash at its end, and the key for it."""

    url: str
    key: Secret


class Aim(msgspec.Struct, frozen=True):
    """What a command was given to find its gateway; `here` when it was given a configuration."""

    url: str | None = None
    key: str | None = None
    key_file: Path | None = None
    here: bool = False


_aim: ContextVar[Aim | None] = ContextVar("aim", default=None)


def aimed(command: Callable[..., None]) -> Callable[..., None]:
    """The command with `--url`, `--key` and `--key-file`: within it, `remote` tells what they say.

    A command of a group has what its group was given, too.
    """
    signature = inspect.signature(command)

    @wraps(command)
    def run(**given: Any) -> None:
        context: typer.Context = given["context"]
        if "context" not in signature.parameters:
            del given["context"]
        url, key, file = (given.pop(name) for name in OPTIONS)
        outer: Aim = context.meta.get(META, Aim())
        context.meta[META] = aim = Aim(
            url=url or outer.url,
            key=key if key or file else outer.key,
            key_file=file if key or file else outer.key_file,
            here=_is_given(context, "config") or outer.here,
        )
        with _set(aim):
            command(**given)

    kind = inspect.Parameter.KEYWORD_ONLY
    added = [
        inspect.Parameter(name, kind, default=None, annotation=annotation)
        for name, annotation in OPTIONS.items()
    ]
    own = list(signature.parameters.values())
    if "context" not in signature.parameters:
        own.append(inspect.Parameter("context", kind, annotation=typer.Context))
    run.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
    return run


def remote(environ: Mapping[str, str] = os.environ) -> Remote | None:
    """The gateway elsewhere that the command is about; None for that of the configuration.

    Raises `StartupError` for options that do not fit together, or that would give the key away.
    """
    aim = _aim.get() or Aim()
    url = aim.url or (None if aim.here else environ.get(URL) or None)
    if url is None:
        if aim.key is not None or aim.key_file is not None:
            raise StartupError("--key opens another gateway: say which one with --url")
        return None
    return Remote(url=_checked(url), key=Secret(_key(aim, environ).encode()))


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


@contextmanager
def _set(aim: Aim) -> Iterator[None]:
    token = _aim.set(aim)
    try:
        yield
    finally:
        _aim.reset(token)


def _key(aim: Aim, environ: Mapping[str, str]) -> str:
    """The key that was given; it is never part of a sentence."""
    if aim.key is not None and aim.key_file is not None:
        raise StartupError("--key and --key-file are two ways to say the same: leave one out")
    if aim.key_file is not None:
        where, text = f"--key-file: {aim.key_file}", _read(aim.key_file)
    elif aim.key is not None:
        where, text = "--key", aim.key
    else:
        where, text = KEY, environ.get(KEY, "")
    if not text.strip():
        raise StartupError(
            f"--url needs a key: --key-file FILE, or {KEY} in the environment;"
            " `gateway keys create --role operator` makes one where that gateway runs"
        )
    if parse_key(text.strip()) is None:
        raise StartupError(
            f"{where} is no API key: one is gwk_ and 60 characters more, in one line"
        )
    return text.strip()


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except OSError as error:
        raise StartupError(f"--key-file: {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise StartupError(f"--key-file: {file} is no text") from None


def _checked(url: str) -> str:
    from gateway.egress.rules import parse_target  # noqa: PLC0415 - for few commands

    try:
        target = parse_target(url)
    except ValueError as error:
        raise StartupError(f"--url: {str(error).removesuffix('.')}") from None
    if urlsplit(url).query:
        raise StartupError("--url: leave the query out: it is the gateway's own address")
    if not target.tls and not _is_loopback(target.host):
        raise StartupError(
            f"--url: over http:// everybody on the way to {target.host} could read the key:"
            " use https://, or a tunnel to this machine such as `ssh -L`"
        )
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
