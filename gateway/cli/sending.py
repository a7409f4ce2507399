"""Test callbacks: which source they are of, what they say, and what the gateway answers."""

import json
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import msgspec

from gateway.cli.known import made_sources
from gateway.cli.look import draw, say
from gateway.cli.tables import Column, View, clean, maybe, shortened, to_json
from gateway.config.document import read_document
from gateway.config.reader import Place, read_table, suggestion
from gateway.config.settings import ServerSettings, Settings
from gateway.egress.rules import parse_target
from gateway.errors import ConfigError, Conflict, NotFound, StartupError, Unavailable
from gateway.models import Receipt
from gateway.providers.base import Occasion, Provider, Sampling, calls, can_sample
from gateway.providers.registry import provider_class, provider_names
from gateway.runtime import wall_clock

PATIENCE = 30.0  # seconds for an answer; a busy gateway still commits many times within it
TAG_BYTES = 5
ORDER_LENGTH = 200  # characters
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - not bound here

_receipt = msgspec.json.Decoder(Receipt)


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """A source that takes callbacks, and how to play its provider."""

    name: str
    provider: Sampling
    secret: bytes


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent; a file's has no `type` and no `order` that are known here."""

    body: bytes
    type: str | None = None
    order: str | None = None


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What one request was answered; `took` is milliseconds.

    `receipt` is that of an accepted callback, `problem` says why another one was refused.
    """

    source: str
    type: str | None
    order: str | None
    url: str
    status: int
    took: float
    receipt: Receipt | None
    problem: str | None


def types(name: str, config: Path | None, *, store: Callable[[], Settings], as_json: bool) -> None:
    """Print the types that `name`, a source or a provider, can send.

    It needs no secrets, but for the key of the `store` when the source was made at run time.
    """
    make = provider_class(_provider_name(name, config, store))
    _require_calling(make, name if name != make.name else None)
    provider = make(make.Options())
    if not can_sample(provider):
        raise NotFound(_no_samples(make.name))
    found = list(provider.samples(_occasion("1")))
    if as_json:
        say(json.dumps(found, indent=2))
        return
    say("\n".join(map(clean, found)))
    sys.stderr.write(f"`gateway send {clean(name)} TYPE` sends one of these to the gateway.\n")


def choose(settings: Settings, name: str, source: str | None) -> Chosen:
    """The source that is meant, one of the file or of the database.

    Raises `NotFound`, `Conflict`, `StartupError`, `ConfigError` in one sentence.
    """
    if (source or name) not in settings.sources:
        settings = _with_made(settings, source or name)
    chosen = _source_name(settings, name, source)
    found = settings.sources[chosen]
    provider = provider_class(found.provider)(found.options)
    _require_calling(type(provider), chosen)
    if not found.secrets:
        raise ConfigError(
            f"sources.{chosen}.secrets",
            "without one the gateway takes no callbacks of this source;"
            f" `gateway poll {chosen} --once` asks it",
        )
    if not can_sample(provider):
        raise NotFound(_no_samples(found.provider))
    return Chosen(name=chosen, provider=provider, secret=bytes(found.secrets[0]))


def from_sample(chosen: Chosen, event_type: str, order: str | None) -> Message:
    """A new callback of a type, about `order` or a new one; `NotFound`, `StartupError`."""
    occasion = _occasion(order)
    samples = chosen.provider.samples(occasion)
    if event_type not in samples:
        raise NotFound(
            f"{chosen.provider.name} sends no {event_type}, as far as is known here"
            f"{suggestion(event_type, samples)}; `gateway send {chosen.name}` lists the types"
        )
    return Message(body=samples[event_type], type=event_type, order=occasion.order)


def from_file(path: Path) -> Message:
    """The bytes of a file, or of standard input; `StartupError`."""
    try:
        body = sys.stdin.buffer.read() if path == Path("-") else path.read_bytes()
    except OSError as error:
        raise StartupError(f"--body: {path} cannot be read: {error.strerror}") from None
    return Message(body=body)


def address(server: ServerSettings, source: str, url: str | None) -> str:
    """Where to POST: `url`, below which the source's hook is when it names no path; `StartupError`."""
    if url is None:
        if not server.port:
            raise StartupError(
                "--url is required: with server.port = 0 the port is another each time"
            )
        host = EVERYWHERE.get(server.host, server.host)
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{server.port}/hooks/{source}"
    try:
        target = parse_target(url)
    except ValueError as error:
        raise StartupError(f"--url: {str(error).removesuffix('.')}") from None
    return url if target.path != b"/" else f"{url.rstrip('/')}/hooks/{source}"


def send(
    settings: Settings, chosen: Chosen, message: Message, url: str, *, times: int, as_json: bool
) -> int:
    """Send the same callback `times`, one after the other, and show the answers.

    The exit code is 0 when all of them were 2xx. `Unavailable` when no answer came.
    """
    host = host_header(settings.server, url)
    with httpx2.Client(trust_env=False, timeout=PATIENCE) as client:
        sent = [_post(client, chosen, message, url, host) for _ in range(times)]
    if as_json:
        say(to_json(sent))
    else:
        for one in sent:
            draw(_view(one))
            say("")
        _say_next(sent[0])
    return 0 if all(200 <= one.status < 300 for one in sent) else 1


def _post(
    client: httpx2.Client, chosen: Chosen, message: Message, url: str, host: str | None
) -> Sent:
    signed = chosen.provider.sign(message.body, secret=chosen.secret, now=wall_clock())
    headers = {**signed} if host is None else {**signed, "host": host}
    begun = time.perf_counter()
    try:
        answer = client.post(url, content=message.body, headers=headers)
    except httpx2.ConnectError as error:
        raise Unavailable(
            f"no gateway answers at {parse_target(url).origin} ({error}):"
            " start it with `gateway serve`, or name another with --url"
        ) from None
    except httpx2.HTTPError as error:
        why = str(error) or type(error).__name__
        raise Unavailable(f"{parse_target(url).origin} gave no answer ({why})") from None
    took = (time.perf_counter() - begun) * 1000
    receipt = _receipt_of(answer)
    return Sent(
        source=chosen.name,
        type=message.type,
        order=message.order,
        url=url.partition("?")[0],
        status=answer.status_code,
        took=round(took, 1),
        receipt=receipt,
        problem=None if receipt is not None else _problem_of(answer),
    )


def _receipt_of(answer: httpx2.Response) -> Receipt | None:
    if not answer.is_success:
        return None
    try:
        return _receipt.decode(answer.content)
    except msgspec.MsgspecError:
        return None


def _problem_of(answer: httpx2.Response) -> str:
    """What a problem (RFC 9457) says, or that it is none of a gateway's answers."""
    try:
        told = msgspec.json.decode(answer.content, type=dict[str, object])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        told = {}
    detail = told.get("detail")
    return str(detail) if detail else "this is no answer of a gateway: look at --url"


def host_header(server: ServerSettings, url: str) -> str | None:
    """The Host header for a listener that serves certain names only; None for the URL's own."""
    own = parse_target(url).host
    if not server.allowed_hosts or own in server.allowed_hosts:
        return None
    public = urlsplit(server.public_url).netloc
    return public or next((name for name in server.allowed_hosts if "*" not in name), None)


def _occasion(order: str | None) -> Occasion:
    tag = secrets.token_hex(TAG_BYTES)
    if order is not None and not (order.strip() and order.isprintable()):
        raise StartupError("--order: expected an order id of printable characters")
    if order is not None and len(order) > ORDER_LENGTH:
        raise StartupError(f"--order: expected at most {ORDER_LENGTH} characters")
    return Occasion(order=order or f"test-{tag}", tag=tag, at=wall_clock())


def _with_made(settings: Settings, name: str) -> Settings:
    """The settings with the sources that were made; `Conflict` when it is `name` that rests."""
    made = made_sources(settings)
    if name in made and made[name].settings is None:
        raise Conflict(f"source {name} rests: {made[name].problem}")
    able = {one: known.settings for one, known in made.items() if known.settings is not None}
    return msgspec.structs.replace(settings, sources={**settings.sources, **able})


def _provider_name(name: str, config: Path | None, store: Callable[[], Settings]) -> str:
    """The provider of a source of the file or the database, else the name itself."""
    document = {} if config is None else read_document(config)
    declared = read_table(document.get("sources", {}), Place("sources")).get(name)
    if isinstance(declared, Mapping) and isinstance(declared.get("provider"), str):
        return str(declared["provider"])
    if name in provider_names():
        return name
    made = made_sources(store())
    if name not in made:
        raise NotFound(_unknown(name, tuple(made)))
    return made[name].provider


def _source_name(settings: Settings, name: str, source: str | None) -> str:
    if source is None and name in settings.sources:
        return name
    if source is not None:
        if source not in settings.sources:
            raise NotFound(_unknown(source, tuple(settings.sources)))
        if name not in (source, settings.sources[source].provider):
            raise StartupError(f"--source: {source} is no source of {name}")
        return source
    if name not in provider_names():
        raise NotFound(_unknown(name, tuple(settings.sources)))
    able = [one for one, found in settings.sources.items() if found.provider == name]
    _require_calling(provider_class(name), able[0] if able else None)
    if not able:
        raise NotFound(
            f'there is no source of {name}: declare one with provider = "{name}" and its secrets,'
            f" make one with `gateway sources add`, or name the file with --config"
        )
    if len(able) > 1:
        raise StartupError(f"{' and '.join(able)} are sources of {name}: choose one with --source")
    return able[0]


def _unknown(name: str, sources: Sequence[str]) -> str:
    declared = f"; sources: {', '.join(sources)}" if sources else ""
    known = ", ".join(provider_names())
    return f"there is no source or provider {name}{declared}; providers: {known}"


def _require_calling(provider: type[Provider], source: str | None) -> None:
    if not calls(provider):
        asked = f"`gateway poll {source or 'SOURCE'} --once`"
        raise StartupError(f"{provider.name} never calls, the gateway asks it: {asked} does so now")


def _no_samples(provider: str) -> str:
    return (
        f"the provider {provider} offers no samples, so nothing can be signed in its name:"
        " docs/plugins.md says what it needs"
    )


def _view(sent: Sent) -> View:
    receipt = sent.receipt
    parts = [
        *(("type", sent.type or ""), ("order", sent.order or ""), ("to", sent.url)),
        *(("answer", maybe(sent.status)), ("time", f"{sent.took:g} ms")),
        ("problem", shortened(sent.problem or "", 400)),
    ]
    if receipt is not None:
        duplicate = "yes: it was known, nothing new was made" if receipt.duplicate else "no"
        parts += [
            *(("callback", receipt.id), ("verdict", receipt.verdict), ("duplicate", duplicate)),
            ("events", " ".join(receipt.events) or "none"),
        ]
    return View(
        columns=[Column("sent"), Column(f"source {sent.source}", whole=False)],
        rows=[part for part in parts if part[1]],
    )


def _say_next(sent: Sent) -> None:
    if sent.receipt is not None:
        say(f"`gateway explain {sent.receipt.id}` tells all that followed.")
    elif sent.status == 401:
        say(f"`gateway rejected {sent.source}` says why.")
