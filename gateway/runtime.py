"""The only place that builds: from Settings to a Gateway of finished parts."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from gateway import __version__
from gateway.config.settings import Settings, SourceSettings
from gateway.dispatcher import Dispatcher
from gateway.egress.client import BODY_CAP, ApiClient
from gateway.egress.rules import Rules
from gateway.egress.transport import Transport
from gateway.errors import NotFound
from gateway.events import Writer
from gateway.janitor import Janitor
from gateway.models import Millis, Subscription
from gateway.operations import Operations
from gateway.orders.decide import Orders
from gateway.poller.observation import PolledSource
from gateway.poller.poller import Poller
from gateway.providers.base import calls, is_polled
from gateway.providers.registry import provider_class
from gateway.receiver import Receiver, Source
from gateway.sender import Sender
from gateway.stores.base import Rejections, Status
from gateway.stores.registry import Store, make_store

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
    rejections: Rejections
    dispatcher: Dispatcher
    janitor: Janitor
    poller: Poller
    transport: Transport
    asking: Transport
    subscriptions: Sequence[Subscription]
    on_fatal: Callable[[str], None]
    running: list["asyncio.Task[None]"] = field(default_factory=list)

    async def start(self) -> None:
        """Take over the catalog and begin to deliver."""
        await self.store.start()
        self.store.catalog.on_change(self.dispatcher.update)
        await self.store.catalog.sync(self.subscriptions)
        self.store.attach(self.dispatcher)
        for name, work in (("dispatcher", self.dispatcher.run()), ("janitor", self.janitor.run())):
            self.running.append(asyncio.create_task(work, name=name))
        self.running.extend(self.poller.start())
        for task in self.running:
            task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """A part that died must not be missed: without it, the process is of no use."""
        if not task.cancelled() and task.exception() is not None:
            logger.error("the %s met a bug", task.get_name(), exc_info=task.exception())
            self.on_fatal(f"the {task.get_name()} met a bug and ended: restart, and report it")

    async def stop(self, grace: float) -> None:
        """Let attempts in flight end within `grace` seconds, write everything, close the store."""
        self.janitor.stop()
        await self.poller.stop()
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
        """Make a delivery due now, or a new one of one that has ended; `NotFound`, `Conflict`."""
        digits = delivery.removeprefix("dl_")
        if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
            raise NotFound(f"there is no delivery {delivery}")
        made = await self.store.catalog.replay(int(digits), self.clock())
        return {"delivery": f"dl_{made}", "replays": f"dl_{digits}"}

    async def resume(self, name: str) -> dict[str, object]:
        """Make a paused or gone subscription active again; `NotFound`."""
        return _shown(await self.store.catalog.resume(name))

    async def pause(self, name: str) -> dict[str, object]:
        """Hold a subscription's deliveries; `NotFound`."""
        return _shown(await self.store.catalog.pause(name, "paused by the operator"))

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
    clock = wall_clock
    writer = Writer(settings.server.public_url)
    store = make_store(settings.store.url, on_fatal=on_fatal)
    orders = Orders(writer)
    operations = Operations(writer, clock=clock)
    rules = Rules(settings.egress.allow)
    transport = Transport(rules=rules)
    asking = Transport(rules=rules, body_cap=BODY_CAP)
    dispatcher = Dispatcher(
        store.queue,
        Sender(transport),
        operations,
        clock=clock,
        refresh=store.catalog.refresh,
    )
    return Gateway(
        settings=settings,
        clock=clock,
        store=store,
        receiver=Receiver(_sources(settings.sources), store.outbox, orders, clock=clock),
        rejections=store.rejections,
        dispatcher=dispatcher,
        janitor=Janitor(store.outbox, orders, clock=clock),
        poller=Poller(
            [
                (_polled(name, source), _client(source, asking, clock))
                for name, source in settings.sources.items()
                if source.enabled and source.poll is not None
            ],
            polls=store.polls,
            outbox=store.outbox,
            orders=orders,
            operations=operations,
            clock=clock,
        ),
        transport=transport,
        asking=asking,
        subscriptions=_subscriptions(settings),
        on_fatal=on_fatal,
    )


def _sources(settings: Mapping[str, SourceSettings]) -> dict[str, Source]:
    """The enabled sources that call: others are unknown to senders."""
    found = {}
    for name, source in settings.items():
        provider = provider_class(source.provider)(source.options)
        if source.enabled and source.secrets and calls(provider):
            found[name] = Source(
                name=name,
                provider=provider,
                secrets=source.secrets,
                shop=source.shop,
                tolerance=source.tolerance,
                include=source.include,
                rejection_status=source.rejection_status,
                interval=Millis(source.poll.interval) if source.poll is not None else None,
            )
    return found


def _polled(name: str, source: SourceSettings) -> PolledSource:
    """A source that is asked; its fingerprint is another whenever its replies may mean something else."""
    provider = provider_class(source.provider)(source.options)
    assert is_polled(provider)
    assert source.poll is not None
    account = (source.provider, source.poll.base_url, source.shop)
    meaning = (__version__, source.options, bytes(source.poll.token), *account)
    return PolledSource(
        name=name,
        provider=provider,
        shop=source.shop,
        include=source.include,
        interval=Millis(source.poll.interval),
        requests_per_minute=source.poll.requests_per_minute,
        fingerprint=_digest(meaning),
        account=_digest(account),
    )


def _digest(values: object) -> bytes:
    return hashlib.blake2b(msgspec.msgpack.encode(values, enc_hook=int), digest_size=16).digest()


def _client(source: SourceSettings, transport: Transport, clock: Callable[[], Millis]) -> ApiClient:
    provider = provider_class(source.provider)(source.options)
    assert is_polled(provider)
    assert source.poll is not None
    headers = provider.authorize(source.poll.token.decode())
    return ApiClient(transport, base_url=source.poll.base_url, headers=headers, clock=clock)


def _subscriptions(settings: Settings) -> list[Subscription]:
    """The declared subscriptions; the catalog gives them their ids."""
    return [
        Subscription(
            id=0,
            name=name,
            url=declared.url,
            types=declared.types,
            sources=declared.sources,
            shops=declared.shops,
            profile=declared.profile,
            mode=declared.mode,
            secrets=declared.secrets,
            timeout=Millis(declared.timeout),
            slots=declared.slots,
            rate=declared.rate,
            schedule=tuple(Millis(delay) for delay in declared.schedule),
            enabled=declared.enabled,
        )
        for name, declared in settings.subscriptions.items()
    ]


def _shown(status: Status) -> dict[str, object]:
    return {
        "subscription": status.subscription.name,
        "state": status.state,
        "reason": status.reason,
    }
