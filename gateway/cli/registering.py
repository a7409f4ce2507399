"""`gateway printstudio register`: asks a shop for callbacks, signed with a secret made here."""

import asyncio
import json
import secrets
import shlex
from pathlib import Path
from typing import Protocol, TypeGuard

from gateway.cli.known import with_made
from gateway.cli.look import Told
from gateway.cli.secret_files import new_secret_file
from gateway.cli.tables import clean
from gateway.config.settings import PollSettings, Settings, SourceSettings
from gateway.egress.client import BODY_CAP, ApiClient
from gateway.egress.rules import Rules, parse_proxy, parse_target
from gateway.egress.transport import Transport
from gateway.errors import (
    AskFailed,
    ConfigError,
    Malformed,
    NotFound,
    StartupError,
    Unreached,
    some_of,
)
from gateway.models import Query, Reply
from gateway.providers.base import Polled, Provider, is_polled
from gateway.providers.registry import provider_class
from gateway.runtime import wall_clock

PROVIDER = "printstudio"
SECRET_BYTES = 32


class _Refused(Exception):
    """The shop said no: nothing was registered."""


class Registering(Polled, Protocol):
    """A polled provider whose API takes the address that it shall call."""

    def registration(self, *, url: str, secret: str) -> Query:
        """How to ask for callbacks to `url`, signed with `secret`."""
        ...

    def read_registration(self, reply: Reply) -> str:
        """The id of the new endpoint, empty when it is not told; raises `AskFailed` and `Malformed`."""
        ...


def register(
    settings: Settings, name: str, *, config: Path | None, url: str | None, secret_file: Path | None
) -> Told:
    """Register `url` at the shop; what was done, and what is left to do.

    The secret is in a file of mode 0600 before the shop hears of it, and nowhere else. When the
    shop says no the file is taken away again: `AskFailed`.
    """
    made = name not in settings.sources
    source, poll, provider = _shop(with_made(settings) if made else settings, name)
    url = _address(settings, name, url)
    folder = config.parent if config is not None else Path()
    path = secret_file or folder / f"{name}.secret"
    secret = secrets.token_urlsafe(SECRET_BYTES)
    with new_secret_file(path) as put:
        put(secret)
    try:
        query = provider.registration(url=url, secret=secret)
        reply = asyncio.run(_ask(settings, poll, provider, query))
        endpoint = _read(provider, reply)
    except (_Refused, Unreached) as error:
        path.unlink(missing_ok=True)
        raise AskFailed(f"source {name} was not registered: {error}") from None
    except (AskFailed, Malformed) as error:
        # It may have been: then the secret in the file is the one that the shop signs with.
        raise AskFailed(
            f"nobody knows whether source {name} was registered: {error}. Look at the shop's list of"
            f" endpoints: if {url} is there, its secret is in {path}; if not, remove that file"
        ) from None
    named = f" as {endpoint}" if endpoint else ""
    inside = path.parent.resolve() == folder.resolve()
    entry = json.dumps(f"${{file:{path.name if inside else path.resolve()}}}", ensure_ascii=False)
    text = "\n".join(
        [
            clean(
                f"The shop calls {url} from now on{named}. The secret that it signs with is in {path}."
            ),
            _left_to_do_made(source, name, path) if made else _left_to_do(source, name, entry),
        ]
    )
    said = {"source": name, "url": url, "endpoint": endpoint or None, "secret_file": str(path)}
    return Told(text, said)


def _read(provider: Registering, reply: Reply) -> str:
    """The endpoint's id; `_Refused` for a clear no, `AskFailed` for what may have been a yes."""
    try:
        return provider.read_registration(reply)
    except (AskFailed, Malformed) as error:
        if 300 <= reply.status < 500:
            raise _Refused(str(error)) from None
        raise


def _left_to_do(source: SourceSettings, name: str, entry: str) -> str:
    if source.secrets:
        return (
            "An endpoint that was registered before still stands at the shop: delete it there.\n"
            f"Add {entry} to the secrets of [sources.{name}], and restart the gateway."
        )
    return f"Put this line below [sources.{name}], and restart the gateway:\nsecrets = [{entry}]"


def _left_to_do_made(source: SourceSettings, name: str, path: Path) -> str:
    """The same of a source that was made at run time, where a command puts the secret in."""
    if source.secrets:
        old = "An endpoint that was registered before still stands at the shop: delete it there.\n"
    else:
        old = ""
    pair = f"secrets=[{json.dumps(f'${{file:{path}}}', ensure_ascii=False)}]"
    return f"{old}`gateway sources set {name} {shlex.quote(pair)}` takes what it signs."


def _shop(settings: Settings, name: str) -> tuple[SourceSettings, PollSettings, Registering]:
    shops = {one: made for one, made in settings.sources.items() if made.provider == PROVIDER}
    if name not in shops:
        raise NotFound(f"there is no PrintStudio source {name}; known are {some_of(shops)}")
    source = shops[name]
    provider = provider_class(source.provider)(source.options)
    if source.poll is None:
        raise ConfigError(f"sources.{name}.base_url", "is required to register, and token with it")
    assert _can_register(provider)
    return source, source.poll, provider


def _can_register(provider: Provider) -> TypeGuard[Registering]:
    return is_polled(provider) and hasattr(provider, "registration")


def _address(settings: Settings, name: str, url: str | None) -> str:
    """The URL that the shop shall call."""
    if url is None and not settings.server.public_url:
        raise StartupError(
            "--url is required, as server.public_url is not set:"
            f" how the shop reaches this gateway, with /hooks/{name} at its end"
        )
    url = url if url is not None else f"{settings.server.public_url}/hooks/{name}"
    try:
        parse_target(url)
    except ValueError as error:
        raise StartupError(f"--url: {str(error).removesuffix('.')}") from None
    if not url.endswith(f"/hooks/{name}"):
        raise StartupError(f"--url: expected a URL that ends in /hooks/{name}, got {url}")
    return url


async def _ask(
    settings: Settings, poll: PollSettings, provider: Registering, query: Query
) -> Reply:
    proxy = parse_proxy(settings.egress.proxy) if settings.egress.proxy else None
    rules = Rules(settings.egress.allow)
    transport = Transport(rules=rules, proxy=proxy, body_cap=BODY_CAP)
    headers = provider.authorize(poll.token.decode())
    client = ApiClient(transport, base_url=poll.base_url, headers=headers, clock=wall_clock)
    try:
        return await client.ask(query)
    finally:
        await client.close()
        await transport.close()
