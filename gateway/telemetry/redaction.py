"""What may be kept of a request that nobody has proved to be authentic: its shape, not its secrets.

A rejected callback is often a real one whose secret was mistyped here. Kept whole, its signature
and body would be a request that is authentic as soon as the secret is corrected; and its body
holds a customer's data. So both are masked before anything is written.
"""

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

HIDDEN: Final = "***"
CUT: Final = "…"
PARSED: Final = (
    64 << 10
)  # bytes of a body that is read; of a longer one only size and hash are told
DEPTH: Final = 16  # levels of JSON that are shown
MEMBERS: Final = 100  # of one object or list that are shown
NAME_LIMIT: Final = 64  # characters of a header's or a member's name
TEXT_LIMIT: Final = 128  # characters of a value that is shown as it is
NUMBER_LIMIT: Final = 10**9  # from here on a number may be one of a telephone or a card
HEADERS: Final = 100
HEADER_BYTES: Final = 16 << 10  # of the redacted headers, together, as JSON

SECRET_WORDS: Final = ("auth", "cookie", "credential", "key", "pass", "secret", "session", "token")
"""A header whose name has one of these in it shows nothing of its value."""

PLAIN_HEADERS: Final = frozenset(
    {
        *("accept", "accept-encoding", "accept-language", "cache-control", "connection"),
        *("content-length", "content-type", "date", "host", "user-agent"),
    }
)
"""Headers in which a long word without a digit is only a word, as in `application/json`."""

PLAIN_KEYS: Final = frozenset(
    {
        *("api_version", "created", "event", "id", "livemode", "object"),
        *("status", "timestamp", "type"),
    }
)
"""Members of a JSON object whose text or number says what a callback is about, not whom."""

# A digest, a token or a part of one. "=" ends it, so that `v1=` and `sha256=` stay readable.
_RUN = re.compile(r"[A-Za-z0-9+/_.%~-]{16,}=*")
_DIGIT = re.compile(r"[0-9]")
_KEY = re.compile(
    r"(gwk_[a-z2-7]{8})_[0-9A-Za-z]+(?:_[0-9A-Za-z]+)?|([?&]token=)[^&#\s\"']+", re.IGNORECASE
)
_anything: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


class HidingKeys(logging.Filter):
    """Masks API keys in the lines of a server's access log: a stream may have one as `?token=`."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every line through, without what opens anything."""
        if isinstance(record.args, tuple):
            record.args = tuple(_unkeyed(value) for value in record.args)
        return True


def without_keys(text: str) -> str:
    """A text with the secret part of each API key masked, and the whole of each `?token=`."""
    return _KEY.sub(
        lambda found: f"{found[2]}{HIDDEN}" if found[2] else f"{found[1]}_{HIDDEN}", text
    )


def _unkeyed(value: object) -> object:
    return without_keys(value) if isinstance(value, str) else value


def redacted_headers(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """Names and masked values, in their order; at most `HEADERS` of them and `HEADER_BYTES` in all.

    Names are expected in lower case. What was left out is told in a last, nameless pair.
    """
    found: list[tuple[str, str]] = []
    room = HEADER_BYTES
    for raw_name, raw_value in headers[:HEADERS]:
        name = _shortened(raw_name[: 4 * NAME_LIMIT].decode("latin-1"), NAME_LIMIT)
        value = _header(name, raw_value[:HEADER_BYTES].decode("latin-1"))
        room -= len(msgspec.json.encode((name, value)))
        if room < 0:
            break
        found.append((name, value))
    if len(found) < len(headers):
        found.append(("", f"{CUT}({len(headers) - len(found)} more headers)"))
    return found


def redacted_body(body: bytes) -> str:
    """The body's JSON with its texts masked; of any other body its size and SHA-256, as a sentence.

    A body of more than `PARSED` bytes is not read as JSON. Never raises.
    """
    if len(body) <= PARSED:
        try:
            masked = _masked(_anything.decode(body), DEPTH)
            return msgspec.json.encode(masked).decode()
        except (ValueError, RecursionError):  # not JSON, not UTF-8, or nested without end
            pass
    what = "not read as JSON" if len(body) > PARSED else "not JSON"
    return f"{len(body)} bytes, {what}, SHA-256 {hashlib.sha256(body).hexdigest()}"


def _header(name: str, value: str) -> str:
    if any(word in name for word in SECRET_WORDS):
        return HIDDEN
    plain = name in PLAIN_HEADERS

    def mask(found: re.Match[str]) -> str:
        if plain and _DIGIT.search(found[0]) is None:
            return found[0]
        return found[0][:4] + CUT

    return _RUN.sub(mask, value)


def _masked(value: object, depth: int, *, plain: bool = False) -> object:
    """A JSON value without what may be personal or secret; `plain` for the members of `PLAIN_KEYS`."""
    if isinstance(value, str):
        return value if plain and len(value) <= TEXT_LIMIT else _counted(len(value), "character")
    if isinstance(value, dict):
        return _object(value, depth)
    if isinstance(value, list):
        return _list(value, depth)
    if isinstance(value, bool) or value is None:
        return value
    assert isinstance(value, int | float)
    limit = 2**53 if plain else NUMBER_LIMIT
    return value if abs(value) < limit else f"{CUT}(a long number)"


def _object(value: Mapping[str, object], depth: int) -> object:
    if depth == 0:
        return _counted(len(value), "member")
    shown: dict[str, object] = {}
    for name in list(value)[:MEMBERS]:
        plain = name in PLAIN_KEYS
        shown[_shortened(name, NAME_LIMIT)] = _masked(value[name], depth - 1, plain=plain)
    if len(value) > MEMBERS:
        shown[CUT] = _counted(len(value) - MEMBERS, "more member")
    return shown


def _list(value: Sequence[object], depth: int) -> object:
    if depth == 0:
        return _counted(len(value), "entry", "entries")
    shown = [_masked(one, depth - 1) for one in value[:MEMBERS]]
    if len(value) > MEMBERS:
        shown.append(_counted(len(value) - MEMBERS, "more entry", "more entries"))
    return shown


def _counted(number: int, one: str, several: str = "") -> str:
    return f"{CUT}({number} {one if number == 1 else several or one + 's'})"


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + CUT
