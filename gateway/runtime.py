"""The only place that builds: from Settings to a Gateway of finished parts."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from gateway.config.made import make_subscription
from gateway.config.settings import Settings
from gateway.config.subscription import subscription_of
from gateway.dispatcher import Dispatcher
from gateway.egress.client import BODY_CAP
from gateway.egress.rules import Rules, parse_proxy, parse_target
from gateway.egress.transport import Transport
from gateway.errors import NotFound
from gateway.events import Writer
from gateway.handshakes import Handshakes
from gateway.janitor import Janitor, Retention
from gateway.keyring import Keyring
from gateway.linker import Linker
from gateway.lookout import Lookout
from gateway.models import Millis, Subscription
from gateway.operations import Operations
from gateway.orders.decide import Orders
from gateway.poller.poller import Poller
from gateway.publisher import Publisher
from gateway.receiver import Receiver
from gateway.replayer import Replayer
from gateway.sender import Sender
from gateway.signing import generate_secret
from gateway.sources import Sources
from gateway.stores.base import BY_HAND, Rejections, Status
from gateway.stores.registry import Store, make_store
from gateway.subscribing import Rotations
from gateway.tester import Tester

logger = logging.getLogger("gateway.runtime")


def wall_clock() -> Millis:
    """Now, in milliseconds since 1970 UTC."""
    return Millis(time.time_ns() // 1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """All parts of one process; open the store, then `start` and `stop` once each."""

    settings: Settings
    clock: Callable[[], Millis]
    store: Store
    receiver: Receiver
    linker: Linker
    publisher: Publisher
    rejections: Rejections
    dispatcher: Dispatcher
    replayer: Replayer
    handshakes: Handshakes
    tester: Tester
    rotations: Rotations
    keyring: Keyring
    lookout: Lookout
    janitor: Janitor
    poller: Poller
    sources: Sources
    transport: Transport
    asking: Transport
    subscriptions: Sequence[Subscription]
    on_fatal: Callable[[str], None]
    running: set["asyncio.Task[None]"] = field(default_factory=set)

    async def start(self) -> None:
        """Take over the catalog and begin to deliver."""
        await self.store.start()
        self.store.catalog.on_change(self.dispatcher.update)
        self.store.catalog.on_change(self.replayer.update)
        self.store.catalog.on_change(self.handshakes.update)
        self.store.catalog.on_change(self.rotations.update)
        await self.keyring.refresh()
        await self.sources.load()
        # Without a public URL there is no name to ask in, and what was agreed to stays.
        url = self.settings.server.public_url
        origin = parse_target(url).host if url else None
        await self.store.catalog.sync(self.subscriptions, origin=origin)
        await self.store.catalog.expire(self.clock())  # before anything is signed
        self.store.attach(self.dispatcher)
        for name, work in (
            ("dispatcher", self.dispatcher.run()),
            ("replayer", self.replayer.run()),
            ("handshakes", self.handshakes.run()),
            ("rotations", self.rotations.run()),
            ("keyring", self.keyring.run()),
            ("janitor", self.janitor.run()),
        ):
            self._watch_over(asyncio.create_task(work, name=name))
        self.poller.start(self._watch_over)

    def _watch_over(self, task: "asyncio.Task[None]") -> None:
        self.running.add(task)
        task.add_done_callback(self.running.discard)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """A part that died must not be missed: without it, the process is of no use."""
        if not task.cancelled() and task.exception() is not None:
            logger.error("the %s met a bug", task.get_name(), exc_info=task.exception())
            self.on_fatal(f"the {task.get_name()} met a bug and ended: restart, and report it")

    def end_waiting(self) -> None:
        """End streams and requests that wait for news, so that no server has to wait for them."""
        self.store.news.close()

    async def stop(self, grace: float) -> None:
        """Let attempts in flight end within `grace` seconds, write everything, close the store."""
        self.end_waiting()
        self.janitor.stop()
        self.rotations.stop()
        self.keyring.stop()
        self.replayer.stop()
        await self.poller.stop()
        await self.handshakes.stop()
        await self.dispatcher.stop(grace)
        await asyncio.gather(*self.running, return_exceptions=True)
        await self.transport.close()
        await self.asking.close()
        await self.rejections.close()
        await self.store.close()

    async def heartbeat(self) -> None:
        """Write one row durably; `Unavailable` when that fails."""
        await self.store.catalog.heartbeat(self.clock())

    async def replay(self, delivery: str) -> dict[str, object]:
        """Send a delivery again, as itself or as a new one; `NotFound`, `Conflict`."""
        digits = delivery.removeprefix("dl_")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
            raise NotFound(f"there is no delivery {delivery}")
        again = await self.store.replays.again(int(digits), self.clock())
        behind = None if again.behind is None else f"dl_{again.behind}"
        return {"delivery": f"dl_{again.made}", "replays": f"dl_{again.delivery}"} | {
            "batch": again.batch,
            "behind": behind,
            "held": again.held,
        }

    async def resume(self, key: str | int) -> dict[str, object]:
        """Make a paused or gone subscription active again, its breaker closed; `NotFound`.

        `key` is its name, or its id.
        """
        status = await self.store.catalog.resume(key)
        self.dispatcher.revive(status)
        return _shown(status) | {"enabled": status.subscription.enabled}

    async def pause(self, key: str | int, *, who: str = "the operator") -> dict[str, object]:
        """Hold a subscription's deliveries; `NotFound`, `Conflict`."""
        return _shown(await self.store.catalog.pause(key, f"{BY_HAND}{who}"))

    async def subscribe(self, name: str, keys: Mapping[str, object]) -> dict[str, object]:
        """Add a subscription that no file declares, and say its secret, if it has one; `ConfigError`, `Conflict`."""
        now, secret, given = self.clock(), generate_secret(), dict(keys)
        description = str(given.pop("description", ""))
        subscription = make_subscription(name, given, self.settings, now, description=description)
        status = await self.store.catalog.create(subscription, secret, now)
        return _shown(status) | {"secret": None if subscription.pull else secret}

    async def unsubscribe(
        self, name: str, *, declared: Collection[str] | None = None
    ) -> dict[str, object]:
        """Remove such a subscription and end its deliveries; `NotFound`, `Conflict`.

        `declared` are the names in the file, for a gateway that was built without them.
        """
        await self.store.catalog.remove(name, self.clock(), declared=declared)
        return {"subscription": name, "state": "removed"}

    async def rotate(self, name: str, overlap: Millis) -> dict[str, object]:
        """Sign with a new secret, which is said, and with the others too for `overlap`.

        Raises `NotFound`, and `Conflict` for one whose secrets stand in the file.
        """
        secret, now = generate_secret(), self.clock()
        status = await self.store.catalog.rotate(name, secret, now, overlap=overlap)
        return _shown(status) | {"secret": secret, "until": now + overlap}

    async def retry_callback(self, callback: str, *, dry_run: bool) -> dict[str, object]:
        """Read a quarantined callback once more; what follows. `NotFound`, `Conflict`."""
        rehearsal = await self.receiver.retry(callback, dry_run=dry_run)
        return {"callback": callback, "dry_run": dry_run} | {
            "verdict": rehearsal.verdict,
            "reason": rehearsal.reason,
            "events": [msgspec.structs.asdict(made) for made in rehearsal.made],
        }


def build(settings: Settings, *, on_fatal: Callable[[str], None]) -> Gateway:
    """Build all parts; nothing is opened or started yet."""
    clock, public_url = wall_clock, settings.server.public_url
    writer = Writer(public_url)
    store = make_store(settings.store.url, on_fatal=on_fatal, key=settings.master_key)
    orders = Orders(writer)
    operations = Operations(writer, clock=clock)
    lookout = Lookout(store.upkeep, operations, clock=clock)
    rules = Rules(settings.egress.allow)
    proxy = parse_proxy(settings.egress.proxy) if settings.egress.proxy else None
    transport = Transport(rules=rules, proxy=proxy)
    asking = Transport(rules=rules, proxy=proxy, body_cap=BODY_CAP)
    dispatcher = Dispatcher(
        store.queue,
        Sender(transport),
        operations,
        clock=clock,
        refresh=store.catalog.refresh,
    )
    receiver = Receiver(store.outbox, orders, lookout, clock=clock)
    poller = _poller(store, orders, operations, lookout, clock)
    return Gateway(
        settings=settings,
        clock=clock,
        store=store,
        receiver=receiver,
        linker=Linker(store.outbox, orders, clock=clock),
        publisher=Publisher(store.outbox, orders, clock=clock, random=secrets.token_bytes),
        rejections=store.rejections,
        dispatcher=dispatcher,
        replayer=Replayer(store.replays, clock=clock, refresh=store.catalog.refresh),
        handshakes=Handshakes(store.catalog, transport, public_url=public_url, clock=clock),
        tester=Tester(transport, public_url=public_url, clock=clock, random=secrets.token_bytes),
        rotations=Rotations(store.catalog, clock=clock),
        keyring=Keyring(store.keys, random=secrets.token_bytes),
        lookout=lookout,
        janitor=Janitor(
            store.outbox,
            orders,
            store.upkeep,
            lookout,
            retention=_retention(settings),
            clock=clock,
        ),
        poller=poller,
        sources=Sources(
            settings,
            store.sources,
            transport=asking,
            receiver=receiver,
            lookout=lookout,
            poller=poller,
            clock=clock,
        ),
        transport=transport,
        asking=asking,
        subscriptions=_subscriptions(settings),
        on_fatal=on_fatal,
    )


def _poller(
    store: Store,
    orders: Orders,
    operations: Operations,
    lookout: Lookout,
    clock: Callable[[], Millis],
) -> Poller:
    """A poller that `Sources` tells whom to ask."""
    return Poller(
        polls=store.polls,
        outbox=store.outbox,
        orders=orders,
        operations=operations,
        heard=lookout.heard,
        clock=clock,
    )


def _retention(settings: Settings) -> Retention:
    kept = settings.retention
    return Retention(
        callbacks=Millis(kept.callbacks),
        events=Millis(kept.events),
        attempts=Millis(kept.attempts),
    )


def _subscriptions(settings: Settings) -> list[Subscription]:
    """The declared subscriptions; the catalog gives them their ids."""
    return [
        subscription_of(name, wanted, settings, declared=True)
        for name, wanted in settings.subscriptions.items()
    ]


def _shown(status: Status) -> dict[str, object]:
    return {
        "subscription": status.subscription.name,
        "state": status.state,
        "reason": status.reason,
    }
