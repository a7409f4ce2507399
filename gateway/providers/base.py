"""The contract of a provider: bytes, secrets and time in; facts out. No I/O, no state, no clock."""

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import msgspec

from gateway.models import Callback, Duration, Millis, Reading


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of `[sources.NAME]` that only this provider knows, each with its default.

    `gateway.config` fills them in by their annotations: `bool`, `int`, `str`, `float`, `Duration`, `Size`,
    `Literal[...]`, `tuple[str, ...]`, `tuple[Literal[...], ...]`, `dict[str, str]` and `X | None`.
    """


class Provider(Protocol):
    """How one kind of sender talks. Made once per source: `Stripe(options)`."""

    name: ClassVar[str]
    Options: ClassVar[type[Options]]

    def __init__(self, options: Any) -> None:
        """Take an instance of its own `Options`."""
        ...

    def verify(
        self, callback: Callback, *, secrets: Sequence[bytes], tolerance: Duration, now: Millis
    ) -> None:
        """Return when the callback is authentic; raise `Rejected` with the reason in words otherwise."""
        ...

    def normalize(self, callback: Callback) -> Reading:
        """Say what an authentic callback tells; raise `Malformed`, and nothing else, when it cannot be read."""
        ...
