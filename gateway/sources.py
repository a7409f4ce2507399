"""The sources of the moment: those that the file declares, and those that were made at run time.

The file wins: one that it declares under the name of one that was made hides that one.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any, TypeVar

import msgspec

from gateway import __version__
from gateway.config.reader import Place
from gateway.config.settings import Settings, SourceSettings
from gateway.config.source import HIDDEN, keys_of_source, options_of, read_source
from gateway.egress.client import ApiClient
from gateway.egress.rules import parse_target
from gateway.egress.transport import Transport
from gateway.errors import (
    BadRequest,
    ConfigError,
    Conflict,
    NotFound,
    Unavailable,
    some_of,
)
from gateway.lookout import Lookout
from gateway.models import Millis
from gateway.poller.observation import PolledSource
from gateway.poller.poller import Poller
from gateway.providers.base import calls, is_polled
from gateway.providers.registry import provider_class, provider_version
from gateway.receiver import Receiver, Source
from gateway.stores.sourcing import MadeSource, SourceMapping
from gateway.stores.sourcing import Sources as Kept

T = TypeVar("T")

logger = logging.getLogger("gateway.sources")

Keys = dict[str, Any]
"""As the configuration has them, as JSON."""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A source: its settings, or the `problem` for which it has none, in words.

    `paused_at` is since when it is paused. `keys` are all that it was made of, secrets too; None for
    one that the file declares.
    """

    name: str
    settings: SourceSettings | None
    keys: Keys | None = None
    problem: str | None = None
    paused_at: Millis | None = None

    def __repr__(self) -> str:
        return f"Known(name={self.name!r})"

    @property
    def declared(self) -> bool:
        """Whether it stands in the file."""
        return self.keys is None

    @property
    def provider(self) -> str:
        """The name of its provider; of one that cannot be read, what stands there."""
        if self.settings is not None:
            return self.settings.provider
        return str((self.keys or {}).get("provider", ""))

    @property
    def shown(self) -> Keys:
        """Its keys without those that are secret; of one that cannot be read, as they were given."""
        if self.settings is not None:
            return keys_of_source(self.settings)
        return {key: value for key, value in (self.keys or {}).items() if key not in HIDDEN}


class Sources:
    """Makes, changes and removes sources while the gateway runs; of `settings`, `sources` and `egress` count.

    A change is stored first and then taken up by all parts in one go, which nothing can fail: so
    what is stored, what is told and what is done are the same.
    """

    def __init__(
        self,
        settings: Settings,
        kept: Kept,
        *,
        transport: Transport,
        receiver: Receiver,
        lookout: Lookout,
        poller: Poller,
        clock: Callable[[], Millis],
    ) -> None:
        self._settings, self._kept, self._transport = settings, kept, transport
        self._receiver, self._lookout, self._poller = receiver, lookout, poller
        self._clock = clock
        self._lock = asyncio.Lock()  # one change at a time, so that all parts know the last one
        self._changes: set[asyncio.Task[Any]] = set()
        self._unnoted: list[SourceMapping] = []
        self._all: dict[str, Known] = {
            name: Known(name=name, settings=source) for name, source in settings.sources.items()
        }

    @property
    def all(self) -> Mapping[str, Known]:
        """All sources by their names: those of the file first, then the others by age."""
        return self._all

    def find(self, name: str) -> Known:
        """One source; `NotFound`."""
        found = self._all.get(name)
        if found is None:
            raise NotFound(f"there is no source {name}: known are {some_of(self._all)}")
        return found

    async def load(self) -> None:
        """Take up those that were made before, and who is paused.

        One that cannot be read is told, and left alone.
        """
        for made in await self._kept.all():
            if made.name in self._settings.sources:
                logger.warning(
                    "source %s stands in the configuration: the one of that name that was made"
                    " at run time rests until it is taken out there",
                    made.name,
                )
                continue
            known = opened(made, self._settings)
            if known.problem is not None:
                logger.warning("source %s rests: %s", made.name, known.problem)
            self._all[made.name] = known
        for name, since in (await self._kept.paused()).items():
            if name in self._all:
                self._set_paused(self._all[name], since)
                logger.warning("source %s is paused until `gateway sources resume %s`", name, name)
        await self._take_up(self._all, begun=())

    async def create(self, name: str, keys: Keys) -> Known:
        """Make a source, and listen to it from now on; `ConfigError` names the key, `Conflict`."""
        return await self._whole(self._create(name, keys))

    async def change(self, name: str, keys: Keys, check: Callable[[Known], None]) -> Known:
        """Give some keys other values, or with None their defaults again. `NotFound`, `ConfigError`.

        `Conflict` for one that the file declares; `check` may refuse what is there.
        """
        return await self._whole(self._change(name, keys, check))

    async def remove(self, name: str) -> None:
        """Listen to it no more, and forget its keys. `NotFound`; `Conflict` for one of the file."""
        await self._whole(self._remove(name))

    async def pause(self, name: str) -> Known:
        """Take nothing of a source, and do not ask it, until it is resumed; `NotFound`.

        Whoever calls is to try again later; what a person asks of it by hand is done.
        """
        return await self._whole(self._pause(name))

    async def resume(self, name: str) -> Known:
        """Listen to a source again, and ask it; at once, unless its API fails. `NotFound`."""
        return await self._whole(self._resume(name))

    async def _whole(self, change: Coroutine[Any, Any, T]) -> T:
        """A change that has begun is made everywhere, even when whoever asked for it goes away."""
        task = asyncio.create_task(change)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)

    async def _create(self, name: str, keys: Keys) -> Known:
        async with self._lock:
            if name in self._all:
                whose = "the configuration declares" if self._all[name].declared else "there is"
                raise Conflict(f"name: {whose} a source {name} already: choose another name")
            return await self._put(name, keys)

    async def _change(self, name: str, keys: Keys, check: Callable[[Known], None]) -> Known:
        async with self._lock:
            made = self._made(name)
            check(made)
            before = made.keys or {}
            # What it has may always be taken away; else null is for keys that there are.
            gone = {key for key, value in keys.items() if value is None and key in before}
            after = {key: value for key, value in {**before, **keys}.items() if key not in gone}
            return await self._put(name, after, before=None if "token" in keys else made)

    async def _remove(self, name: str) -> None:
        async with self._lock:
            self._made(name)
            await self._kept.remove(name)
            del self._all[name]
            self._lookout.forget(name)
            await self._take_up((), begun=())

    async def _pause(self, name: str) -> Known:
        async with self._lock:
            known = self.find(name)
            known = self._set_paused(known, await self._kept.pause(name, self._clock()))
            await self._take_up((), begun=())
            return known

    async def _resume(self, name: str) -> Known:
        async with self._lock:
            known = self.find(name)
            if known.paused_at is not None:
                await self._kept.resume(name)
                known = self._set_paused(known, None)
                await self._take_up((), begun=[name])
            return known

    def _set_paused(self, known: Known, since: Millis | None) -> Known:
        self._all[known.name] = changed = msgspec.structs.replace(known, paused_at=since)
        return changed

    def _made(self, name: str) -> Known:
        found = self.find(name)
        if found.declared:
            raise Conflict(
                f"source {name} is the configuration's: change it there, and restart the gateway"
            )
        return found

    async def _put(self, name: str, keys: Keys, *, before: Known | None = None) -> Known:
        """Store and take up; the token of `before` may not go to another host."""
        settings = _read(name, keys, self._settings, place=Place(""))
        if before is not None:
            _check_host(before, settings)
        keys = {key: value for key, value in keys.items() if value is not None}
        try:
            packed = msgspec.json.encode(keys)
        except UnicodeEncodeError:
            raise BadRequest("a text is not Unicode") from None
        await self._kept.put(name, packed, self._clock())
        paused_at = self._all[name].paused_at if name in self._all else None
        known = Known(name=name, settings=settings, keys=keys, paused_at=paused_at)
        self._all[name] = known
        await self._take_up([name], begun=[name])
        return known

    async def _take_up(self, changed: Collection[str], *, begun: Collection[str]) -> None:
        """Let all parts work with the sources as they are now.

        `changed` are those that may be read otherwise, `begun` those that may be heard as of now.
        """
        settings = {
            name: known.settings for name, known in self._all.items() if known.settings is not None
        }
        now = self._clock()  # all that is read before was read by what was there before
        paused = {name for name, known in self._all.items() if known.paused_at is not None}
        self._receiver.update(calling(settings, paused=paused))
        self._lookout.update(silent_after(settings, paused=paused), begun=begun)
        self._unnoted += [
            mapping_of(name, settings[name], now)
            for name in changed
            if name in settings and settings[name].enabled
        ]
        await self._poller.update(polled(settings), self._client, paused=paused)
        await self._note()

    async def _note(self) -> None:
        """Write what the sources are read by; what is not taken now is written with the next change."""
        try:
            await self._kept.read_by(self._unnoted)
        except Unavailable as error:
            logger.warning("what sources are read by was not kept yet: %s", error)
        else:
            self._unnoted = []

    def _client(self, name: str) -> ApiClient:
        settings = self._all[name].settings
        assert settings is not None
        return client_of(settings, self._transport, self._clock)


def opened(made: MadeSource, settings: Settings) -> Known:
    """A source that was made, as far as it can be read; of `settings`, `egress` counts."""
    keys = msgspec.json.decode(made.keys, type=Keys)
    try:
        found = _read(made.name, keys, settings)
    except ConfigError as error:
        return Known(name=made.name, settings=None, keys=keys, problem=str(error))
    return Known(name=made.name, settings=found, keys=keys)


def _read(
    name: str, keys: Keys, settings: Settings, *, place: Place | None = None
) -> SourceSettings:
    """The settings of a source that all parts can work with; `ConfigError`."""
    try:
        found = read_source(name, keys, settings, place=place)
        _try(name, found)
    except ConfigError:
        raise
    except Exception as error:
        # Whatever it is, the other sources must go on; and nothing may fail behind the store.
        logger.exception("provider %r met a bug", keys.get("provider"))
        at = Place("sources").key(name) if place is None else place
        raise at.key("provider").error(f"it met a bug: {error!r}") from error
    return found


def _check_host(before: Known, after: SourceSettings) -> None:
    """Refuse to send a token to whom it was not given for; `ConfigError`.

    Whoever may change a source may not read its token, and could have it sent to a host of their own.
    """
    if after.poll is None or not (before.keys or {}).get("token"):
        return
    known = before.settings.poll if before.settings is not None else None
    url = known.base_url if known is not None else str((before.keys or {}).get("base_url", ""))
    try:
        same = parse_target(url).origin == parse_target(after.poll.base_url).origin
    except ValueError:
        same = False
    if not same:
        raise ConfigError("token", "give it again with another base_url, for it is sent there")


def _try(name: str, source: SourceSettings) -> None:
    """Build all that there is of a source once, to see what its provider says to it."""
    calling({name: source})
    polled({name: source})
    mapping_of(name, source, Millis(0))
    if source.poll is not None:
        headers_of(source)


def calling(
    settings: Mapping[str, SourceSettings], *, paused: Collection[str] = ()
) -> dict[str, Source]:
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
                paused=name in paused,
            )
    return found


def silent_after(
    settings: Mapping[str, SourceSettings], *, paused: Collection[str] = ()
) -> dict[str, Millis]:
    """The sources whose silence is told, and after which time."""
    return {
        name: Millis(source.silent_after)
        for name, source in settings.items()
        if source.enabled and source.silent_after is not None and name not in paused
    }


def polled(settings: Mapping[str, SourceSettings]) -> list[PolledSource]:
    """The enabled sources that are asked."""
    return [
        _polled(name, source)
        for name, source in settings.items()
        if source.enabled and source.poll is not None
    ]


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


def client_of(
    source: SourceSettings, transport: Transport, clock: Callable[[], Millis]
) -> ApiClient:
    """What asks the API of a source that is polled."""
    assert source.poll is not None
    headers = headers_of(source)
    return ApiClient(transport, base_url=source.poll.base_url, headers=headers, clock=clock)


def headers_of(source: SourceSettings) -> Mapping[str, str]:
    """What proves to the API of a source that is polled who asks."""
    provider = provider_class(source.provider)(source.options)
    assert is_polled(provider)
    assert source.poll is not None
    return provider.authorize(source.poll.token.decode())


def mapping_of(name: str, source: SourceSettings, since: Millis) -> SourceMapping:
    """What turns what comes from a source into facts."""
    return SourceMapping(
        source=name,
        provider=source.provider,
        version=provider_version(source.provider),
        options=msgspec.json.encode(options_of(source), order="deterministic"),
        since=since,
    )
