"""The contract of what is kept so that a request which is sent again acts once."""

from typing import Protocol

import msgspec

from gateway.models import Millis

KEPT = Millis(86_400_000)  # for so long an answer is given again
MOST = 10_000  # answers that are kept of one principal; its oldest go
BUDGET = 64 << 20  # bytes that these may have together, as they are stored


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request that may be sent again, and whose it is: an API key's id, or '' for the owner.

    `key` is the digest of the name that the sender gave it, `request` of all that it says.
    """

    principal: str
    key: bytes
    request: bytes


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the request with this digest was answered; without a `body`, that was too long to keep."""

    request: bytes
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes | None


class Running(msgspec.Struct, frozen=True):
    """The request with this digest is being answered."""

    request: bytes


class Answers(Protocol):
    """What the API needs; principal and key name an answer, and nobody meets another's."""

    async def begin(self, asked: Asked, now: Millis) -> Answer | Running | None:
        """What is known under this key; None: nothing, so act, and call `end` whatever comes of it.

        Raises `Unavailable`.
        """
        ...

    async def keep(self, asked: Asked, answer: Answer, now: Millis) -> None:
        """Keep the answer for `KEPT`, durably, before `end`; `Unavailable`."""
        ...

    def end(self, asked: Asked) -> None:
        """Say that nobody answers it any more."""
        ...
