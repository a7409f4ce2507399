"""The settings: every key of the configuration, its type and its default, as frozen values.

`reader` reads a table of the file by these annotations; `config.example.toml` says the same to a
person, and a test holds both together. Nothing below `runtime` may import this module.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

import msgspec

from gateway.config.values import (
    Allowed,
    ClientError,
    Host,
    HostPattern,
    Interval,
    Length,
    Name,
    Port,
    Rate,
    RequestsPerMinute,
    Schedule,
    Secret,
    Shop,
    Slots,
    Time,
    Types,
    check_public_url,
)
from gateway.models import Duration, Mode, Size
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
    """Exceptions to the rule that deliveries go to public addresses only; checked texts."""

    allow: tuple[str, ...] = ()


class PollSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a provider's API is asked; `requests_per_minute` holds for all requests of the source."""

    base_url: str
    token: Secret
    interval: Interval = Duration(60_000)
    requests_per_minute: RequestsPerMinute = 60


class SourceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One account of a provider; `options` has the keys that only its provider knows.

    Without `secrets` it takes no callbacks, without `poll` it is not asked.
    """

    provider: str
    secrets: tuple[Secret, ...] = ()
    shop: Shop = "default"
    enabled: bool = True
    tolerance: Time = Duration(300_000)
    include: tuple[Literal["customer", "original"], ...] = ()
    rejection_status: ClientError = 401
    poll: PollSettings | None = None
    options: Options = Options()


class SubscriptionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who wants which events where; `secrets` are key bytes, `rate` deliveries a second."""

    url: str
    secrets: tuple[Secret, ...]
    types: Types = ("order.*",)
    sources: tuple[Name, ...] = ()
    shops: tuple[Shop, ...] = ()
    profile: ProfileName = "service"
    mode: Mode = PROFILES["service"].mode
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
    enabled: bool = True


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration; `warnings` are sentences for the operator, not errors."""

    server: ServerSettings = ServerSettings()
    admin: AdminSettings = AdminSettings()
    store: StoreSettings = StoreSettings()
    egress: EgressSettings = EgressSettings()
    sources: Mapping[str, SourceSettings] = {}
    subscriptions: Mapping[str, SubscriptionSettings] = {}
    warnings: tuple[str, ...] = ()
