"""The contract of a provider: bytes, secrets and time in; facts out. No I/O, no state, no clock.

A provider calls (`Calling`), is asked (`Polled`), or both.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeGuard, overload

import msgspec

from gateway.models import (
    Callback,
    Duration,
    Millis,
    Page,
    Query,
    Reading,
    Reply,
    Watched,
)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of `[sources.NAME]` that only this provider knows, each with its default.

    `gateway.config` fills them in by their annotations: `bool`, `int`, `str`, `float`, `Duration`, `Size`,
    `Literal[...]`, `tuple[str, ...]`, `tuple[Literal[...], ...]`, `dict[str, str]` and `X | None`.
    What a key may not be, `__post_init__` says with `ConfigError(key, sentence)`.
    """


class Provider(Protocol):
    """How one kind of sender talks. Made once per source: `Stripe(options)`."""

    name: ClassVar[str]
    Options: ClassVar[type[Options]]

    def __init__(self, options: Any) -> None:
        """Take an instance of its own `Options`."""
        ...


class Calling(Provider, Protocol):
    """A provider that sends callbacks."""

    def verify(
        self, callback: Callback, *, secrets: Sequence[bytes], tolerance: Duration, now: Millis
    ) -> None:
        """Return when the callback is authentic; raise `Rejected` with the reason in words otherwise."""
        ...

    def normalize(self, callback: Callback) -> Reading:
        """Say what an authentic callback tells; raise `Malformed`, and nothing else, when it cannot be read."""
        ...


class Occasion(msgspec.Struct, frozen=True, kw_only=True):
    """What test callbacks tell of: an order of the shop, and what was paid for it and refunded.

    `tag` is letters and digits that no other occasion has: the ids of the callbacks are made
    with it, so that none is taken for a repeat. `minor` and `refunded` are cents.
    """

    order: str
    tag: str
    at: Millis
    minor: int = 4926
    refunded: int = 1200
    tracking: str = "1Z999AA10123456784"


class Sampling(Calling, Protocol):
    """A provider that calls, and for `gateway send` can be played as well. Both methods are optional."""

    def samples(self, occasion: Occasion) -> Mapping[str, bytes]:
        """A body of each type that it sends, by the type's name, in test mode where it has one.

        `normalize` reads that type in it, and an event id that has the occasion's tag. The same
        occasion gives the same bytes.
        """
        ...

    def sign(self, body: bytes, *, secret: bytes, now: Millis) -> Mapping[str, str]:
        """All headers with which it would send this body now, such that `verify` returns."""
        ...


class Polled(Provider, Protocol):
    """A provider whose API is asked; it says what to ask, and reads the replies.

    The poller sends a `Query` to the source's `base_url` with the headers of `authorize`, and
    sees to time, budget, redirects and size. `read`, `more` and `read_page` raise `AskFailed` or
    one of its kinds for an answer that says no, `Malformed` for one that cannot be read, and
    nothing else.
    """

    base_url: ClassVar[str]  # the default; "" where every customer has another

    def authorize(self, token: str) -> Mapping[str, str]:
        """The headers that prove who asks."""
        ...

    def order(self, number: str) -> Query:
        """How to ask for one order, by its number at the provider."""
        ...

    def more(self, reply: Reply) -> Sequence[Query]:
        """What else must be asked before the order can be read: its shipments, where they stand apart."""
        ...

    def read(self, watched: Watched, replies: Sequence[Reply]) -> Reading:
        """What the replies say about one order: the one to `order` first, then those to `more`.

        `event_id` is the provider's number of the order, `event_type` its status as text; a fact
        without a time of the provider's has the reply's.
        """
        ...

    def page(self, cursor: str | None) -> Query | None:
        """How to ask for a page of the list, None for the first; None as answer: there is no list."""
        ...

    def read_page(self, reply: Reply, cursor: str | None = None) -> Page:
        """The orders of the page that `cursor` led to, and where the next one is."""
        ...


@overload
def calls(provider: Provider) -> TypeGuard[Calling]: ...
@overload
def calls(provider: type[Provider]) -> TypeGuard[type[Calling]]: ...
def calls(provider: Provider | type[Provider]) -> bool:
    """Whether this provider sends callbacks."""
    return hasattr(provider, "verify")


@overload
def is_polled(provider: Provider) -> TypeGuard[Polled]: ...
@overload
def is_polled(provider: type[Provider]) -> TypeGuard[type[Polled]]: ...
def is_polled(provider: Provider | type[Provider]) -> bool:
    """Whether this provider has an API to ask."""
    return hasattr(provider, "authorize")


@overload
def can_sample(provider: Provider) -> TypeGuard[Sampling]: ...
@overload
def can_sample(provider: type[Provider]) -> TypeGuard[type[Sampling]]: ...
def can_sample(provider: Provider | type[Provider]) -> bool:
    """Whether this provider makes signed test callbacks."""
    return calls(provider) and hasattr(provider, "samples") and hasattr(provider, "sign")
