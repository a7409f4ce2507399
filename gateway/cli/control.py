"""The commands that change something.

They go through the control socket of the gateway that runs; when none does, they take the lock
and work on the store itself. With `--url` they go through the API of another gateway.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import quote

import httpx2
import msgspec

from gateway.cli.look import Told, require_store
from gateway.cli.options import Place
from gateway.cli.remote import (
    PATIENCE,
    Answer,
    Line,
    ask_remote,
    follow_remote,
    judged,
    reason_of,
)
from gateway.cli.serve import socket_path
from gateway.config.settings import Settings
from gateway.config.values import NAME
from gateway.errors import NotFound, Unavailable
from gateway.runtime import Gateway, build
from gateway.stores.registry import make_records
from gateway.web.server import unix_address

LATER = "; nothing is sent before `gateway serve` runs"

Act = Callable[[Gateway], Awaitable[dict[str, object]]]


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What was answered; `live` says that a running gateway did it."""

    answer: Answer
    live: bool

    def told(self, text: str) -> Told:
        """The same in words, and for a script."""
        return Told(text, {**self.answer, "live": self.live})


def resume(place: Place, name: str) -> Told:
    """Make a paused or gone subscription active; what was done. `NotFound`."""
    done = on_subscription(place, name, "resume", lambda gateway: gateway.resume(name))
    if not done.answer["enabled"]:
        return done.told(
            f"Subscription {name} is resumed, but disabled: nothing is sent to it before the"
            " configuration enables it."
        )
    later = "" if done.live else LATER
    return done.told(f"Subscription {name} is active: what waits for it is due{later}.")


def pause(place: Place, name: str) -> Told:
    """Hold a subscription's deliveries; what was done. `NotFound`."""
    done = on_subscription(place, name, "pause", lambda gateway: gateway.pause(name))
    return done.told(
        f"Subscription {name} is paused: its deliveries are kept until"
        f" `gateway subscriptions resume {name}`."
    )


def on_subscription(place: Place, name: str, verb: str, act: Act, *, body: object = None) -> Done:
    """Do something to a subscription; `NotFound` for what cannot be a name."""
    return act_on(place, f"{subscription_path(name)}/{verb}", act, body=body)


def subscription_path(name: str) -> str:
    """Where the API has a subscription; `NotFound` for what cannot be a name."""
    if NAME.fullmatch(name) is None:
        raise NotFound(f"there is no subscription {name}")
    return f"/v1/subscriptions/{quote(name, safe='')}"


def act_on(
    place: Place,
    path: str,
    act: Act,
    *,
    body: object = None,
    method: str = "POST",
    whole: Callable[[], Settings] | None = None,
    patience: float = PATIENCE,
) -> Done:
    """Ask the running gateway to; without one, do it here.

    `body` is sent as JSON, `patience` is seconds. `whole` gives the settings with the sources,
    where `act` needs them.
    """
    require_store(place)
    answer = ask(place, path, body, method=method, patience=patience)
    if answer is not None or not isinstance(place, Settings):
        return Done(answer=answer or {}, live=True)
    settings = whole() if whole else place
    return Done(answer=asyncio.run(_directly(settings, act, sources=bool(whole))), live=False)


def ask(
    place: Place,
    path: str,
    body: object = None,
    *,
    method: str = "POST",
    patience: float = PATIENCE,
) -> Answer | None:
    """The answer of the running gateway; None when nothing listens at its socket.

    A gateway that runs and cannot be reached is not overlooked: the lock that follows refuses.
    """
    if not isinstance(place, Settings):
        return ask_remote(place, path, body, method=method, patience=patience)
    with socket_client(place, patience=patience) as client:
        if client is None:
            return None
        try:
            response = client.request(method, path, json=body)
        except httpx2.TransportError as error:
            raise Unavailable(
                f"the running gateway gave no answer ({reason_of(error)}):"
                " look whether it was done, then try again"
            ) from None
    return judged(response)


def follow(place: Place, path: str, tell: Callable[[Line], None]) -> bool:
    """Hand each line of the running gateway's answer to `tell`; False when nothing listens.

    There may be minutes between two lines. When the gateway ends meanwhile, the last line is
    `{"error": sentence}`.
    """
    if not isinstance(place, Settings):
        follow_remote(place, path, tell)
        return True
    with socket_client(place, patience=None) as client:
        if client is None:
            return False
        try:
            with client.stream("POST", path) as response:
                if not response.is_success:
                    response.read()
                    judged(response)
                for line in response.iter_lines():
                    tell(msgspec.json.decode(line, type=dict[str, Any]))
        except httpx2.TransportError as error:
            tell({"error": f"the running gateway gave no more answers ({reason_of(error)})"})
        return True


@contextmanager
def socket_client(settings: Settings, *, patience: float | None) -> Iterator[httpx2.Client | None]:
    """A client of the running gateway; None when nothing listens. `patience` is seconds."""
    with unix_address(socket_path(settings)) as address:
        if not _listens(address):
            yield None
            return
        # Without the environment: its proxies are not meant for a socket of one's own.
        transport = httpx2.HTTPTransport(uds=address, verify=False, trust_env=False)
        with httpx2.Client(
            base_url="http://gateway", transport=transport, trust_env=False, timeout=patience
        ) as client:
            yield client


def _listens(address: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PATIENCE)
        try:
            probe.connect(address)
        except OSError:
            return False
        return True


async def _directly(settings: Settings, act: Act, *, sources: bool) -> Answer:
    """Do it on the store, as its owner; `StartupError` when it has one, or is not ours."""
    async with make_records(settings.store.url):
        pass  # a missing or foreign file is refused before a lock is made beside it
    async with owning(settings, sources=sources) as gateway:
        return await act(gateway)


@asynccontextmanager
async def owning(settings: Settings, *, sources: bool = False) -> AsyncIterator[Gateway]:
    """A gateway that owns its store and delivers nothing; what it makes waits for `gateway serve`.

    With subscriptions in `settings`, events are routed to them. `sources` are taken up where
    `settings` has all that the file says of them.
    """
    # A store that fails tells the caller so; there is nobody else to be told.
    gateway = build(settings, on_fatal=lambda _: None)
    gateway.store.open()
    try:
        await gateway.store.start()
        if gateway.subscriptions:
            await gateway.store.catalog.sync(gateway.subscriptions)
        if sources:
            await gateway.sources.load()
        yield gateway
    finally:
        await gateway.poller.stop()
        await gateway.asking.close()
        await gateway.store.close()
