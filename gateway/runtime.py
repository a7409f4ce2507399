"""The only place that builds: from Settings to a Gateway of finished parts."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.config.settings import Settings, SourceSettings
from gateway.dispatcher import Dispatcher
from gateway.egress.rules import Rules
from gateway.egress.transport import Transport
from gateway.errors import NotFound
from gateway.events import Writer
from gateway.janitor import Janitor
from gateway.models import Millis, Subscription
from gateway.operations import Operations
from gateway.orders.decide import Orders
from gateway.providers.registry import provider_class
from gateway.receiver import Receiver, Source
from gateway.sender import Sender
from gateway.stores.base import Status
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
    dispatcher: Dispatcher
    janitor: Janitor
    transport: Transport
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
            task = asyncio.create_task(work, name=name)
            task.add_done_callback(self._ended)
            self.running.append(task)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """A part that died must not be missed: without it, the process is of no use."""
        if not task.cancelled() and task.exception() is not None:
            logger.error("the %s met a bug", task.get_name(), exc_info=task.exception())
            self.on_fatal(f"the {task.get_name()} met a bug and ended: restart, and report it")

    async def stop(self, grace: float) -> None:
        """Let attempts in flight end within `grace` seconds, write everything, close the store."""
        self.janitor.stop()
        await self.dispatcher.stop(grace)
        await asyncio.gather(*self.running, return_exceptions=True)
        await self.transport.close()
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


def build(settings: Settings, *, on_fatal: Callable[[str], None]) -> Gateway:
    """Build all parts; nothing is opened or started yet."""
    clock = wall_clock
    writer = Writer(settings.server.public_url)
    store = make_store(settings.store.url, on_fatal=on_fatal)
    orders = Orders(writer)
    transport = Transport(rules=Rules(settings.egress.allow))
    dispatcher = Dispatcher(
        store.queue,
        Sender(transport),
        Operations(writer, clock=clock),
        clock=clock,
        refresh=store.catalog.refresh,
    )
    return Gateway(
        settings=settings,
        clock=clock,
        store=store,
        receiver=Receiver(_sources(settings.sources), store.outbox, orders, clock=clock),
        dispatcher=dispatcher,
        janitor=Janitor(store.outbox, orders, clock=clock),
        transport=transport,
        subscriptions=_subscriptions(settings),
        on_fatal=on_fatal,
    )


def _sources(settings: Mapping[str, SourceSettings]) -> dict[str, Source]:
    """The enabled sources: a disabled one is unknown to its senders."""
    return {
        name: Source(
            name=name,
            provider=provider_class(source.provider)(source.options),
            secrets=source.secrets,
            shop=source.shop,
            tolerance=source.tolerance,
            include=source.include,
        )
        for name, source in settings.items()
        if source.enabled
    }


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
