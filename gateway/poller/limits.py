"""How fast a source may be asked: its budget, and the pauses that its API asks for."""

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

from gateway.models import Millis
from gateway.retries import retry_after

MINUTE = 60.0
LONGEST_PAUSE = Millis(24 * 3_600_000)  # an API that asks for more is asked once a day all the same
EPOCH_FROM = 10_000_000
"""A reset beyond it is a time in seconds since 1970, not a number of seconds."""

_FIELD = re.compile(r"\b([rt])=([0-9]{1,12})\b")


class Budget:
    """At most so many requests in any minute; `clock` and `sleep` count in seconds."""

    def __init__(
        self,
        per_minute: int,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock, self.sleep = clock, sleep
        self._sent: deque[float] = deque(maxlen=per_minute)
        self._size = per_minute

    async def take(self) -> None:
        """Wait until another request may be sent."""
        while (
            len(self._sent) == self._size and (wait := self._sent[0] + MINUTE - self._clock()) > 0
        ):
            await self.sleep(wait)
        self._sent.append(self._clock())


def pause_of(status: int, headers: Mapping[str, str], now: Millis) -> Millis | None:
    """How long the API wants to be left alone, from its reply; None when it says nothing of it.

    `Retry-After` (RFC 9110 10.2.3) in seconds or as a date; `X-RateLimit-Remaining: 0` with
    `X-RateLimit-Reset` in seconds, or as a time; `X-RateLimit: "default";r=0;t=30` in the form of
    the IETF's draft (draft-ietf-httpapi-ratelimit-headers).
    """
    waits: list[Millis | None] = []
    if status in {429, 503} and "retry-after" in headers:
        waits.append(retry_after(headers["retry-after"].encode("latin-1", "replace"), now / 1000))
    if headers.get("x-ratelimit-remaining", "").strip() == "0":
        waits.append(_reset(headers.get("x-ratelimit-reset", ""), now))
    for name in ("ratelimit", "x-ratelimit"):
        for quota in headers.get(name, "").split(","):
            fields = dict(_FIELD.findall(quota))
            if fields.get("r") == "0" and "t" in fields:
                waits.append(Millis(int(fields["t"]) * 1000))
    known = [wait for wait in waits if wait is not None]
    return min(max(known), LONGEST_PAUSE) if known else None


def _reset(text: str, now: Millis) -> Millis | None:
    text = text.strip()
    if not (text.isascii() and text.isdigit()) or len(text) > 13:
        return None
    number = int(text)
    if number > EPOCH_FROM:
        number = number if number > EPOCH_FROM * 1000 else number * 1000  # milliseconds, seconds
        return Millis(max(number - now, 0))
    return Millis(number * 1000)


def until(moment: Millis) -> str:
    """A time for a log line, as in `2026-11-21 14:03:20 UTC`."""
    return datetime.fromtimestamp(moment / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
