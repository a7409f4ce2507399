"""What publishes events: the gateway that runs, or another one, or the store itself."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlencode

import httpx2
import msgspec

from gateway.cli.aim import Remote
from gateway.cli.control import LATER, owning, socket_client
from gateway.cli.following import name_of
from gateway.cli.look import draw, require_store, say
from gateway.cli.options import Place
from gateway.cli.remote import PATIENCE, check, client_of, judged, reason_of, unreached
from gateway.cli.tables import Column, View, counted, to_json
from gateway.config.settings import Settings
from gateway.config.values import SHOP
from gateway.errors import BadRequest, GatewayError, TooLarge, Unavailable
from gateway.published import BATCHED, STRUCTURED, Published, read
from gateway.stores.registry import make_records
from gateway.web.api.publishing import PublishedEvent, published

BLANKS = b" \t\r\n"  # of JSON

_answers = msgspec.json.Decoder(PublishedEvent | list[PublishedEvent])


def publish(
    place: Place,
    body: bytes,
    *,
    shop: str | None,
    whole: Callable[[], Settings],
    as_json: bool,
) -> None:
    """Publish what is in `body`, a list as a batch, and print what became of each event.

    When no gateway runs, `whole` gives the settings with the subscriptions. Raises `BadRequest` and
    `Unprocessable` with the path of what is wrong, before anything is stored.
    """
    require_store(place)
    kind = BATCHED if body.lstrip(BLANKS).startswith(b"[") else STRUCTURED
    told, live = _asked(place, kind, body, shop), True
    if told is None:
        told, live = _here(whole(), kind, body, shop), False
    if as_json:
        say(to_json({"events": told, "live": live}))
        return
    if told:
        draw(published_view(told))
    new = sum(not one.duplicate for one in told)
    say(f"{counted(new, 'event')} published{'' if live else LATER}.")


def published_view(told: Sequence[PublishedEvent]) -> View:
    """What became of each event, in their order."""
    return View(
        columns=[
            *(Column("event"), Column("state"), Column("duplicate")),
            Column("for", whole=False),
        ],
        rows=[
            (
                *(one.id or "none", one.state, "yes" if one.duplicate else "no"),
                ", ".join(one.subscriptions) or "nobody",
            )
            for one in told
        ],
    )


def _asked(
    place: Place, kind: str, body: bytes, shop: str | None
) -> Sequence[PublishedEvent] | None:
    """What the gateway that runs answers, or another one; None when nothing listens at the socket."""
    query = {} if shop is None else {"shop": shop}
    path = f"/v1/events?{urlencode(query, errors='surrogateescape')}".rstrip("?")
    try:
        with _client(place) as client:
            if client is None:
                return None  # one that runs and cannot be reached has the lock, which refuses
            response = client.post(path, content=body, headers={"content-type": kind})
    except httpx2.HTTPError as error:
        if isinstance(place, Remote) and isinstance(error, httpx2.ConnectError):
            raise Unavailable(unreached(place, error)) from None
        raise Unavailable(
            f"{name_of(place)} gave no answer ({reason_of(error)}): publish it again, what was"
            " taken counts once"
        ) from None
    if not isinstance(place, Settings):
        check(place, response)
    if not response.is_success:
        judged(response)
    return _told(place, response.content)


def _told(place: Place, content: bytes) -> Sequence[PublishedEvent]:
    try:
        found = _answers.decode(content)
    except msgspec.MsgspecError:
        raise GatewayError(
            f"{name_of(place)} answered what this version does not understand: compare its version"
            " with that of `gateway version`"
        ) from None
    return found if isinstance(found, list) else [found]


@contextmanager
def _client(place: Place) -> Iterator[httpx2.Client | None]:
    """A client of the gateway; None when nothing listens at the socket."""
    if isinstance(place, Settings):
        with socket_client(place, patience=PATIENCE) as client:
            yield client
        return
    with client_of(place) as afar:
        afar.base_url, afar.timeout = httpx2.URL(place.url), httpx2.Timeout(PATIENCE)
        yield afar


def _here(settings: Settings, kind: str, body: bytes, shop: str | None) -> Sequence[PublishedEvent]:
    """Publish to the store, as its owner; `StartupError` when it has one, or is not ours."""
    limit = settings.server.body_limit
    if len(body) > limit:
        raise TooLarge(f"the body is over {limit} bytes")
    if shop is not None and SHOP.fullmatch(shop) is None:
        raise BadRequest("shop: not a name of a shop")
    return asyncio.run(_directly(settings, read(kind, [], body), shop))


async def _directly(
    settings: Settings, events: Sequence[Published], shop: str | None
) -> Sequence[PublishedEvent]:
    async with make_records(settings.store.url):
        pass  # a missing or foreign file is refused before a lock is made beside it
    async with owning(settings) as gateway:
        return await published(gateway, events, shop)
