"""The sources of the moment: those that the file declares, and those that were made at run time.

The file wins: one that it declares under the name of one that was made hides that one.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from gateway import __version__
from gateway.config.reader import Place
from gateway.config.settings import Settings, SourceSettings
from gateway.config.source import keys_of_source, options_of, read_source
from gateway.egress.client import ApiClient
from gateway.egress.transport import Transport
from gateway.errors import BadRequest, ConfigError, Conflict, NotFound
from gateway.lookout import Lookout
from gateway.models import Millis
from gateway.poller.observation import PolledSource
from gateway.poller.poller import Poller
from gateway.providers.base import calls, is_polled
from gateway.providers.registry import provider_class, provider_version
from gateway.receiver import Receiver, Source
from gateway.stores.sourcing import SourceMapping
from gateway.stores.sourcing import Sources as Kept

logger = logging.getLogger("gateway.sources")

Keys = dict[str, Any]
"""As the configuration has them, as JSON."""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A source: its settings, or the `problem` for which it has none, in words.

    `keys` are all that it was made of, secrets too; None for one that the file declares.
    """

    name: str
    settings: SourceSettings | None
    keys: Keys | None = None
    problem: str | None = None

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
        """Its keys without those that are secret."""
        return {} if self.settings is None else keys_of_source(self.settings)


class Sources:
    """Makes, changes and removes sources while the gateway runs; of `settings`, `sources` and `egress` count."""

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
            raise NotFound(f"there is no source {name}: known are {', '.join(self._all) or 'none'}")
        return found

    async def load(self) -> None:
        """Take up those that were made before; one that cannot be read is told, and left alone."""
        for made in await self._kept.all():
            if made.name in self._settings.sources:
                logger.warning(
                    "source %s stands in the configuration: the one of that name that was made"
                    " at run time rests until it is taken out there",
                    made.name,
                )
                continue
            known = self._read(made.name, msgspec.json.decode(made.keys, type=Keys))
            if known.problem is not None:
                logger.warning("source %s rests: %s", made.name, known.problem)
            self._all[made.name] = known
        await self._take_up()

    async def create(self, name: str, keys: Keys) -> Known:
        """Make a source, and listen to it from now on; `ConfigError` names the key, `Conflict`."""
        async with self._lock:
            if name in self._all:
                whose = "the configuration declares" if self._all[name].declared else "there is"
                raise Conflict(f"name: {whose} a source {name} already: choose another name")
            return await self._put(name, keys)

    async def change(self, name: str, keys: Keys, check: Callable[[Known], None]) -> Known:
        """Give some keys other values, or with None their defaults again. `NotFound`, `ConfigError`.

        `Conflict` for one that the file declares; `check` may refuse what is there.
        """
        async with self._lock:
            before = self._made(name)
            check(before)
            after = {**(before.keys or {}), **keys}
            return await self._put(
                name, {key: value for key, value in after.items() if value is not None}
            )

    async def remove(self, name: str) -> None:
        """Listen to it no more, and forget its keys. `NotFound`; `Conflict` for one of the file."""
        async with self._lock:
            self._made(name)
            await self._kept.remove(name)
            del self._all[name]
            await self._take_up()

    def _made(self, name: str) -> Known:
        found = self.find(name)
        if found.declared:
            raise Conflict(
                f"source {name} is the configuration's: change it there, and restart the gateway"
            )
        return found

    async def _put(self, name: str, keys: Keys) -> Known:
        settings = read_source(name, keys, self._settings, place=Place(""))
        try:
            packed = msgspec.json.encode(keys)
        except UnicodeEncodeError:
            raise BadRequest("a text is not Unicode") from None
        await self._kept.put(name, packed, self._clock())
        known = self._all[name] = Known(name=name, settings=settings, keys=keys)
        await self._take_up()
        return known

    def _read(self, name: str, keys: Keys) -> Known:
        try:
            settings = read_source(name, keys, self._settings)
        except ConfigError as error:
            return Known(name=name, settings=None, keys=keys, problem=str(error))
        return Known(name=name, settings=settings, keys=keys)

    async def _take_up(self) -> None:
        """Let all parts work with the sources as they are now."""
        settings = {
            name: known.settings for name, known in self._all.items() if known.settings is not None
        }
        await self._kept.read_by(
            [mapping_of(name, source) for name, source in settings.items() if source.enabled],
            self._clock(),
        )
        self._receiver.update(calling(settings))
        self._lookout.update(silent_after(settings))
        await self._poller.update(polled(settings), self._client)

    def _client(self, name: str) -> ApiClient:
        settings = self._all[name].settings
        assert settings is not None
        return client_of(settings, self._transport, self._clock)


def calling(settings: Mapping[str, SourceSettings]) -> dict[str, Source]:
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


def silent_after(settings: Mapping[str, SourceSettings]) -> dict[str, Millis]:
    """The sources whose silence is told, and after which time."""
    return {
        name: Millis(source.silent_after)
        for name, source in settings.items()
        if source.enabled and source.silent_after is not None
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
    provider = provider_class(source.provider)(source.options)
    assert is_polled(provider)
    assert source.poll is not None
    headers = provider.authorize(source.poll.token.decode())
    return ApiClient(transport, base_url=source.poll.base_url, headers=headers, clock=clock)


def mapping_of(name: str, source: SourceSettings) -> SourceMapping:
    """What turns what comes from a source into facts."""
    return SourceMapping(
        source=name,
        provider=source.provider,
        version=provider_version(source.provider),
        options=msgspec.json.encode(options_of(source), order="deterministic"),
    )
