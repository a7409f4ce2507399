"""The settings: every key of the configuration, its type and its default, as frozen values.

`reader` reads a table of the file by these annotations; `config.example.toml` says the same to a
person, and a test holds both together. Nothing below `runtime` may import this module.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

import msgspec

from gateway.config.values import (
    DAY,
    Allowed,
    BatchSize,
    BatchWait,
    ClientError,
    Filters,
    FinalStatus,
    Host,
    HostPattern,
    Interval,
    Kept,
    KeptAttempts,
    Length,
    Name,
    Port,
    Proxy,
    Rate,
    RequestsPerMinute,
    Schedule,
    Secret,
    Shop,
    Silence,
    Slots,
    Start,
    Time,
    Types,
    check_public_url,
)
from gateway.models import Duration, Mode, OnExhausted, Ordering, Size
from gateway.providers.base import Options

PublicUrl = Annotated[
    str,
    Allowed('"http://HOST" or "https://HOST", with a port but no path, or ""', check_public_url),
]
ProfileName = Literal["service", "n8n", "zapier"]


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What a kind of consumer can take; the keys of a subscription that it sets (design 7)."""

    mode: Mode
    slots: int
    rate: Rate | None
    timeout: Duration


PROFILES: Mapping[ProfileName, Profile] = MappingProxyType(
    {
        "service": Profile(mode=Mode.STRUCTURED, slots=32, rate=None, timeout=Duration(15_000)),
        "n8n": Profile(mode=Mode.JSON, slots=5, rate=None, timeout=Duration(30_000)),
        "zapier": Profile(mode=Mode.JSON, slots=5, rate=Rate(20.0), timeout=Duration(30_000)),
    }
)


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The public listener."""

    host: Host = "127.0.0.1"
    port: Port = 8080
    public_url: PublicUrl = ""
    body_limit: Length = Size(1 << 20)
    stop_grace: Duration = Duration(20_000)
    allowed_hosts: tuple[HostPattern, ...] = ()


class AdminSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The listener of the operator."""

    host: Host = "127.0.0.1"
    port: Port = 8081


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything is kept."""

    url: str = "sqlite:///gateway.db"


class EgressSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The way out; `allow` are exceptions to the rule that it leads to public addresses only."""

    allow: tuple[str, ...] = ()
    proxy: Proxy = ""


class RetentionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How long what is finished is kept, by age; orders stay, so that an old one is never new."""

    callbacks: Kept = Duration(30 * DAY)
    events: Kept = Duration(90 * DAY)
    attempts: KeptAttempts = Duration(30 * DAY)
    orders: Literal["forever"] = "forever"


class PollSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a provider's API is asked; `requests_per_minute` holds for all requests of the source."""

    base_url: str
    token: Secret
    interval: Interval = Duration(60_000)
    requests_per_minute: RequestsPerMinute = 60


class SourceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One account of a provider; `options` has the keys that only its provider knows.

    Without `secrets` it takes no callbacks, without `poll` it is not asked. `silent_after` is how
    long a time without a callback is told as a fault; None never is.
    """

    provider: str
    secrets: tuple[Secret, ...] = ()
    shop: Shop = "default"
    enabled: bool = True
    tolerance: Time = Duration(300_000)
    include: tuple[Literal["customer", "original"], ...] = ()
    rejection_status: ClientError = 401
    silent_after: Silence | None = None
    poll: PollSettings | None = None
    options: Options = Options()


class SubscriptionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who wants which events where; `secrets` are key bytes, `rate` deliveries a second.

    With `pull` there is no `url`: its consumer fetches its events, and signs, slots and the like count
    for nothing. `headers` are values as they are sent. `start`, whose key is `from`, is the event time in
    milliseconds from which on a new subscription gets history: None is now, 0 the beginning.
    """

    url: str
    secrets: tuple[Secret, ...]
    pull: bool = False
    types: Types = ("order.*",)
    sources: tuple[Name, ...] = ()
    shops: tuple[Shop, ...] = ()
    filters: Filters = Filters(())
    profile: ProfileName = "service"
    mode: Mode = PROFILES["service"].mode
    flat: bool = False
    timeout: Time = PROFILES["service"].timeout
    slots: Slots = PROFILES["service"].slots
    rate: Rate | None = PROFILES["service"].rate
    schedule: Schedule = (
        Duration(5_000),
        Duration(300_000),
        Duration(1_800_000),
        Duration(7_200_000),
        Duration(18_000_000),
        Duration(36_000_000),
        Duration(50_400_000),
        Duration(72_000_000),
        Duration(86_400_000),
    )
    headers: dict[str, Secret] = msgspec.field(default_factory=dict)
    handshake: bool = False
    ordering: Ordering = Ordering.NONE
    on_exhausted: OnExhausted = OnExhausted.PARK
    final_status: tuple[FinalStatus, ...] = ()
    batch_size: BatchSize = 100
    batch_wait: BatchWait = Duration(1_000)
    start: Start | None = msgspec.field(default=None, name="from")
    enabled: bool = True


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration; `warnings` are sentences for the operator, not errors.

    `master_key` is the text of `GATEWAY_MASTER_KEY`, the one value that no file has a key for.
    """

    server: ServerSettings = ServerSettings()
    admin: AdminSettings = AdminSettings()
    store: StoreSettings = StoreSettings()
    egress: EgressSettings = EgressSettings()
    retention: RetentionSettings = RetentionSettings()
    sources: Mapping[str, SourceSettings] = {}
    subscriptions: Mapping[str, SubscriptionSettings] = {}
    warnings: tuple[str, ...] = ()
    master_key: Secret | None = None


NO_SECTION = {"warnings", "master_key"}  # what of `Settings` is no section of the file
