"""The contract of the sources that no configuration declares, and of what callbacks are read by."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from gateway.models import Millis


class MadeSource(msgspec.Struct, frozen=True, kw_only=True):
    """A source that was made at run time; `keys` is the JSON object that it was made of, secrets too."""

    name: str
    keys: bytes
    made_at: Millis

    def __repr__(self) -> str:
        return f"MadeSource(name={self.name!r})"


class SourceMapping(msgspec.Struct, frozen=True, kw_only=True):
    """What turns a source's callbacks and replies into facts `since` then: a provider, with options.

    `version` names the package that brings it too, as in `webhook-gateway 1.0`; `options` are the provider's own
    keys of the source, as JSON.
    """

    source: str
    provider: str
    version: str
    options: bytes
    since: Millis


class Sources(Protocol):
    """What is kept of sources that the configuration does not know, and of how all are read."""

    async def all(self) -> Sequence[MadeSource]:
        """Those that were made, oldest first; `SealError` when one cannot be opened."""
        ...

    async def put(self, name: str, keys: bytes, now: Millis) -> None:
        """Make one, which is not paused, or give it other keys. `Conflict` when there are too many."""
        ...

    async def remove(self, name: str) -> None:
        """Forget one, and that it was paused; what came of it stays."""
        ...

    async def paused(self) -> Mapping[str, Millis]:
        """The names of those that are paused, whoever declares them, and since when."""
        ...

    async def pause(self, name: str, now: Millis) -> Millis:
        """Note that one is paused; since when it is, which may be before `now`."""
        ...

    async def resume(self, name: str) -> None:
        """Note that one is not paused."""
        ...

    async def read_by(self, mappings: Sequence[SourceMapping]) -> None:
        """Note what each source is read by, where that is another than the last one of it."""
        ...
