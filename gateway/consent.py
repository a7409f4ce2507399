"""What an endpoint says when it is asked whether it wants our deliveries (CloudEvents webhooks, section 4).

Pure: the headers of a request that asks, and what the headers of an answer mean. Source of the
format: https://github.com/cloudevents/spec/blob/main/cloudevents/http-webhook.md#4-abuse-protection
"""

import re
from collections.abc import Mapping
from enum import StrEnum

import msgspec

from gateway.models import Subscription

ALLOWED_ORIGIN = b"webhook-allowed-origin"
ALLOWED_RATE = b"webhook-allowed-rate"
ANY = b"*"
BLANKS = b" \t"  # that may surround a value (RFC 9110 5.6.3)
SHOWN = 80  # bytes of a stranger's header that a reason repeats

_RATE = re.compile(rb"[0-9]{1,15}")
_BUSY = frozenset({408, 425, 429})


class Word(StrEnum):
    """What an answer comes to; `LATER` is no word on the matter, and is asked for again soon."""

    GRANTED = "granted"
    DENIED = "denied"
    UNSUPPORTED = "unsupported"
    LATER = "later"


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, read; `rate` is deliveries a minute, None without a limit, `reason` for the operator."""

    word: Word
    rate: int | None = None
    reason: str = ""


def asked_for(subscription: Subscription) -> str | None:
    """What a consent holds for: this origin and this exact URL; None when none is needed."""
    origin = subscription.origin
    return None if origin is None else f"{origin} {subscription.url}"


def asked_rate(subscription: Subscription) -> int | None:
    """The deliveries a minute that are asked for; None when the subscription has no rate."""
    return None if subscription.rate is None else max(1, int(subscription.rate * 60))


def question(subscription: Subscription, callback: str | None) -> bytes:
    """The header lines that ask for consent; `callback` is the URL by which it may come later."""
    assert subscription.origin is not None
    lines = [b"WebHook-Request-Origin: %b\r\n" % subscription.origin.encode("ascii")]
    rate = asked_rate(subscription)
    if rate is not None:
        lines.append(b"WebHook-Request-Rate: %d\r\n" % rate)
    if callback is not None:
        lines.append(b"WebHook-Request-Callback: %b\r\n" % callback.encode("ascii"))
    return b"".join(lines)


def judge(status: int, headers: Mapping[bytes, bytes], *, origin: str, asked: int | None) -> Reply:
    """Read an answer to `OPTIONS`; header names are lower case, several values joined by a comma.

    Only the two headers consent or deny, whatever the status. The status just tells an endpoint
    that does not know the handshake from one that cannot answer now.
    """
    name, rate = headers.get(ALLOWED_ORIGIN), headers.get(ALLOWED_RATE)
    if name is None and rate is None:
        return _silent(status, headers)
    if name is None:
        return _denied("it allowed a rate, but no origin")
    if name.strip(BLANKS) != ANY and _same_name(name) != _same_name(origin.encode("ascii")):
        return _denied(f"it allows {_shown(name)}, which is not {origin}")
    try:
        return Reply(word=Word.GRANTED, rate=granted_rate(rate, asked))
    except ValueError as error:
        return _denied(str(error))


def granted_rate(value: bytes | None, asked: int | None) -> int | None:
    """The rate of a consent: deliveries a minute, None for no limit; ValueError for anything else.

    Without a value it is the one that was asked for. In a callback the header may be left out; in
    an answer it must stand when a rate was asked for, but an endpoint that consents and forgets it
    surely did not mean less than what it was told.
    """
    if value is None:
        return asked
    text = value.strip(BLANKS)
    if text == ANY:
        return None
    if _RATE.fullmatch(text) is None or int(text) == 0:
        raise ValueError(f"its WebHook-Allowed-Rate {_shown(value)} is no rate")
    return int(text)


def _silent(status: int, headers: Mapping[bytes, bytes]) -> Reply:
    """Neither header stands there."""
    if status in _BUSY or (status >= 500 and status != 501):
        return Reply(word=Word.LATER, reason=f"it answered {status} when it was asked")
    where = ""
    if 300 <= status < 400:
        where = f" to {_shown(headers.get(b'location', b''))}, which is not followed"
    reason = f"it answered {status}{where}, without a word on WebHook-Allowed-Origin"
    return Reply(word=Word.UNSUPPORTED, reason=reason)


def _denied(reason: str) -> Reply:
    return Reply(word=Word.DENIED, reason=reason)


def _same_name(name: bytes) -> bytes:
    """A DNS name as it is compared: as a whole, without case and final dot (RFC 1034 3.1)."""
    return name.strip(BLANKS).lower().removesuffix(b".")


def _shown(value: bytes) -> str:
    more = "..." if len(value) > SHOWN else ""
    return repr(value[:SHOWN].decode("latin-1")) + more
