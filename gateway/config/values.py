"""Single values as a person writes them: times, sizes, rates, names, patterns; and what is allowed."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Annotated, Any, NewType

import msgspec

from gateway.egress.rules import parse_proxy, parse_target
from gateway.events import LATEST, rfc3339
from gateway.models import Duration, Millis, Size

Rate = NewType("Rate", float)  # deliveries a second; in the configuration "20/s", "100/m", "none"
Filters = NewType("Filters", tuple[Mapping[str, Any], ...])  # in their plain form
Start = NewType("Start", int)  # milliseconds since 1970; in the configuration a time, "beginning"

DAY = 86_400_000
YEAR = 365 * DAY
GIB = 1 << 30
UNITS = {"d": DAY, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
SIZE_UNITS = {"GiB": GIB, "MiB": 1 << 20, "KiB": 1 << 10, "B": 1}
PER_SECOND = {"s": 1, "m": 60}

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
SHOP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
TYPE = re.compile(r"\*|[a-z0-9_-]+(\.[a-z0-9_-]+)*(\.\*)?")
TIME = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PORT = re.compile(r":[0-9]+/?$")
OWN_RULES = frozenset({410, 415, 429})  # of the statuses from 400 to 499
LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
HOST = re.compile(rf"{LABEL}(\.{LABEL})*")

NAME_RULE = "1 to 63 of a-z, 0-9 and -, beginning with a letter or digit"
A_DURATION = 'a time such as "500ms", "30s", "5m", "2h" or "30d", at most "365d"'
A_SIZE = 'a size such as "64KiB" or "1MiB", at most "1GiB"'
A_START = '"now", "beginning", or a time with its offset, such as "2025-03-01T00:00:00Z"'
A_RATE = 'a rate such as "20/s" or "100/m", or "none"'


class Secret(bytes):
    """The bytes of a secret; shown as `***` wherever a value is shown."""

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__


class Allowed(msgspec.Struct, frozen=True):
    """Stands in an `Annotated` type: what is allowed, in words, and the check.

    `check` takes the typed value and returns it, changed where there is one way to write it;
    it raises `ValueError`, whose text is not shown.
    """

    expected: str
    check: Callable[[Any], object]


def parse_duration(text: str) -> Duration:
    """`"5m"` as milliseconds; `ValueError` for anything but one whole number and one unit."""
    amount, unit = _amount(text, "ms|s|m|h|d")
    milliseconds = amount * UNITS[unit]
    if milliseconds > YEAR:
        raise ValueError(text)
    return Duration(milliseconds)


def parse_size(text: str) -> Size:
    """`"1MiB"` as bytes; `ValueError` for anything but one whole number and one unit."""
    amount, unit = _amount(text, "B|KiB|MiB|GiB")
    size = amount * SIZE_UNITS[unit]
    if size > GIB:
        raise ValueError(text)
    return Size(size)


def parse_rate(text: str) -> Rate | None:
    """`"20/s"` as deliveries a second, `"none"` as None; `ValueError` for zero and the rest."""
    if text == "none":
        return None
    amount, unit = _amount(text, "/s|/m")
    if not 1 <= amount <= 1_000_000:
        raise ValueError(text)
    return Rate(amount / PER_SECOND[unit.removeprefix("/")])


def parse_start(text: str) -> Start | None:
    """`"now"` as None, `"beginning"` as 0, a time of RFC 3339 as milliseconds; else `ValueError`."""
    if text in {"now", "beginning"}:
        return None if text == "now" else Start(0)
    if TIME.fullmatch(text) is None:
        raise ValueError(text)
    return start_of(datetime.fromisoformat(text.upper()))


def start_of(moment: datetime) -> Start:
    """A moment as milliseconds; `ValueError` before 1970 and for a time that has no offset."""
    if moment.tzinfo is None:
        raise ValueError
    milliseconds = (moment - EPOCH) // timedelta(milliseconds=1)
    return Start(within(0, LATEST)(milliseconds))


def show_start(value: int | None) -> str:
    """The text that `parse_start` reads back."""
    if not value:
        return "now" if value is None else "beginning"
    return rfc3339(Millis(value))


def _amount(text: str, units: str) -> tuple[int, str]:
    found = re.fullmatch(rf"([0-9]{{1,12}})({units})", text)
    if found is None:
        raise ValueError(text)
    return int(found[1]), found[2]


def show_duration(value: int) -> str:
    """The shortest text that `parse_duration` reads back."""
    return _shortest(value, UNITS, zero="0s")


def show_size(value: int) -> str:
    """The shortest text that `parse_size` reads back."""
    return _shortest(value, SIZE_UNITS, zero="0B")


def _shortest(value: int, units: dict[str, int], *, zero: str) -> str:
    for unit, factor in units.items():
        if value and value % factor == 0:
            return f"{value // factor}{unit}"
    return zero


def show_rate(value: float | None) -> str:
    """The text that `parse_rate` reads back."""
    if value is None:
        return "none"
    return f"{int(value)}/s" if value.is_integer() else f"{round(value * 60)}/m"


def within(low: int, high: int) -> Callable[[int], int]:
    """A check that holds a number between both ends, which are allowed."""

    def check(value: int) -> int:
        if not low <= value <= high:
            raise ValueError(value)
        return value

    return check


def at_most(count: int) -> Callable[[tuple[object, ...]], object]:
    """A check that holds the length of a list."""

    def check(values: tuple[object, ...]) -> object:
        if len(values) > count:
            raise ValueError(len(values))
        return values

    return check


def like(pattern: re.Pattern[str]) -> Callable[[str], str]:
    """A check that the whole text has this form."""

    def check(text: str) -> str:
        if pattern.fullmatch(text) is None:
            raise ValueError(text)
        return text

    return check


def check_some(values: tuple[object, ...]) -> tuple[object, ...]:
    """A list that is not empty."""
    if not values:
        raise ValueError(values)
    return values


def check_host(text: str) -> str:
    """An address or a host name, without port; IPv6 without brackets."""
    if ":" in text or re.fullmatch(r"[0-9.]+", text):
        ip_address(text)
    return text if ":" in text else like(HOST)(text)


def check_host_pattern(text: str) -> str:
    """A host name, also as `*.example.com`."""
    check_host(text.removeprefix("*."))
    return text


def check_proxy(text: str) -> str:
    """Empty, or the address of a forward proxy with its port; one `/` at the end is taken off."""
    if not text:
        return text
    parse_proxy(text)
    if PORT.search(text) is None:
        raise ValueError(text)
    return text.removesuffix("/")


def check_final(status: int) -> int:
    """A 4xx that has no rule of its own (design 7)."""
    if status in OWN_RULES:
        raise ValueError(status)
    return within(400, 499)(status)


def check_public_url(text: str) -> str:
    """Empty, or scheme and host; one `/` at the end is taken off."""
    if not text:
        return text
    if parse_target(text).path != b"/":
        raise ValueError
    return text.removesuffix("/")


Port = Annotated[int, Allowed("a whole number from 0 to 65535", within(0, 65_535))]
Slots = Annotated[int, Allowed("a whole number from 1 to 1000", within(1, 1000))]
Time = Annotated[Duration, Allowed(f"{A_DURATION}, and not zero", within(1, YEAR))]
Interval = Annotated[
    Duration, Allowed('a time from "1s" to "1d", such as "60s"', within(1_000, DAY))
]
RequestsPerMinute = Annotated[int, Allowed("a whole number from 1 to 10000", within(1, 10_000))]
ClientError = Annotated[int, Allowed("a status from 400 to 499", within(400, 499))]
FinalStatus = Annotated[
    int,
    Allowed(
        "a status from 400 to 499, but not 410, 415 or 429, which have rules of their own",
        check_final,
    ),
]
BatchSize = Annotated[int, Allowed("a whole number from 1 to 1000", within(1, 1000))]
BatchWait = Annotated[
    Duration, Allowed('a time from "10ms" to "1m", such as "1s"', within(10, 60_000))
]
Kept = Annotated[Duration, Allowed('a time from "1d" to "365d", such as "30d"', within(DAY, YEAR))]
KeptAttempts = Annotated[
    Duration, Allowed('a time from "1h" to "365d", such as "30d"', within(3_600_000, YEAR))
]
Silence = Annotated[
    Duration, Allowed('a time from "1m" to "365d", such as "12h"', within(60_000, YEAR))
]
Proxy = Annotated[str, Allowed('"http://HOST:PORT", or "" for none', check_proxy)]
Length = Annotated[Size, Allowed(f"{A_SIZE}, and not zero", within(1, GIB))]
Host = Annotated[str, Allowed('an address or a host name, such as "127.0.0.1"', check_host)]
HostPattern = Annotated[
    str, Allowed('a host name without port, such as "hooks.example.com"', check_host_pattern)
]
Shop = Annotated[
    str, Allowed("1 to 63 letters, digits and . _ -, beginning with a letter or digit", like(SHOP))
]
Name = Annotated[str, Allowed(NAME_RULE, like(NAME))]
Type = Annotated[
    str, Allowed('an event type such as "order.paid", "order.*" or "*", in lower case', like(TYPE))
]
Types = Annotated[
    tuple[Type, ...], Allowed('a list of at least one event type, such as ["order.*"]', check_some)
]
Schedule = Annotated[tuple[Duration, ...], Allowed("a list of at most 30 times", at_most(30))]
