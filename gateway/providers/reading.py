"""How normalizers read a stranger's bytes safely: signatures, JSON, text, times, money.

Whatever the bytes are, nothing but `Malformed` (reading) and `Rejected` (signatures) comes out
of here. A name that is given twice in a JSON object counts with its last value.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, TypeGuard, TypeVar

import msgspec

from gateway.errors import Malformed, Rejected
from gateway.models import Callback, Millis, Money

T = TypeVar("T")

HEADER_LIMIT: Final = 4096  # bytes; a real signature header has some hundred
NESTING_LIMIT: Final = 64  # of JSON that is passed on: far below what any consumer's parser stands
LAST_SECOND: Final = 253_402_300_799  # the end of the year 9999, the last that RFC 3339 can write
INT64: Final = 2**63 - 1
DIGITS: Final = 40
EXPONENT: Final = 30


def _decimals(*, none: str, three: str) -> Mapping[str, int]:
    return dict.fromkeys(none.split(), 0) | dict.fromkeys(three.split(), 3)


# ISO 4217: how many decimals a currency has where it is not 2.
ISO_EXPONENTS: Final = _decimals(
    none="BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    three="BHD IQD JOD KWD LYD OMR TND",
)
# https://docs.stripe.com/currencies: how many decimals Stripe's integers have where it is not 2.
# ISK and UGX have none in ISO 4217, but Stripe sends them with two (5 ISK are 500).
STRIPE_EXPONENTS: Final = _decimals(
    none="BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF",
    three="BHD JOD KWD OMR TND",
)

_ID = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,255}")
_TEXT = re.compile(r"[^\x00\ud800-\udfff]{1,2000}")
_CURRENCY = re.compile(r"[A-Za-z]{3}")
_NUMBER = re.compile(rb"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}.{0,24}", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# Signatures.


def only_header(callback: Callback, name: str) -> str:
    """The header's one ASCII value of up to 4 KiB; raises `Rejected` with the reason otherwise."""
    wanted = name.lower().encode()
    found = [value for key, value in callback.headers if key == wanted]
    if not found:
        raise Rejected(f"the header {name} is missing")
    if len(found) > 1:
        raise Rejected(f"the header {name} is there {len(found)} times")
    if len(found[0]) > HEADER_LIMIT:
        raise Rejected(f"the header {name} has more than {HEADER_LIMIT} bytes")
    if not found[0].isascii():
        raise Rejected(f"the header {name} is not ASCII")
    return found[0].decode()


def is_signed(message: bytes, given: Sequence[bytes], secrets: Sequence[bytes]) -> bool:
    """Whether a given lower-case hex digest is the message's HMAC-SHA256 under one of the secrets.

    Every digest is compared with every secret's, in constant time and without an early exit.
    An empty secret proves nothing, so it is as good as none: `Rejected` when no other is left.
    """
    keys = [secret for secret in secrets if secret]
    if not keys:
        raise Rejected("the source has no secret to check the signature with")
    match = False
    for key in keys:
        expected = hmac.digest(key, message, "sha256").hex().encode()
        for digest in given:
            match |= hmac.compare_digest(expected, digest)
    return match


def counted_secrets(secrets: Sequence[bytes]) -> str:
    """How many secrets did not match, and what is odd about them, for the reason of a `Rejected`."""
    counted = f"{len(secrets)} secret{'s' * (len(secrets) != 1)}"
    if any(secret != secret.strip() for secret in secrets):
        counted += "; one begins or ends with a blank, was that meant?"
    return counted


# JSON.


def no_float(_text: str) -> None:
    """The `float_hook` of decoders whose untyped fields are no floats: 1e400 is null, no error."""


class _Named(msgspec.Struct, frozen=True):
    id: Any = None


_NAMED = msgspec.json.Decoder(_Named, float_hook=no_float)
_ANYTHING: msgspec.json.Decoder[Any] = msgspec.json.Decoder()


def decoded(decoder: msgspec.json.Decoder[T], data: bytes | msgspec.Raw, *, path: str = "$") -> T:
    """Decode JSON; raises `Malformed` with the path of what is wrong, below the given one."""
    if not data:
        raise Malformed("is missing", path=path)
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        message, _, where = str(error).partition(" - at `$")
        raise Malformed(message, path=path + where.rstrip("`")) from error


def check_unicode(body: bytes) -> None:
    """Raise `Malformed` when the body is not UTF-8; decoders do not look at what they skip."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"the body is not UTF-8: {error.reason} at byte {error.start}") from error


def readable_id(body: bytes) -> str | None:
    """The body's `id`, as far as one can be read: what a quarantined callback is known by."""
    try:
        value = decoded(_NAMED, body).id
    except Malformed:
        return None
    return value if is_id(value) else None


def hashed_id(body: bytes) -> str:
    """An event id for providers that send none: equal bytes are the same event."""
    return "sha256:" + hashlib.sha256(body).hexdigest()


def passed_on(raw: msgspec.Raw, *, path: str) -> msgspec.Raw:
    """The same JSON, copied; raises `Malformed` when some consumer's parser would not take it."""
    level: list[Any] = [decoded(_ANYTHING, raw, path=path)]
    for _ in range(NESTING_LIMIT + 1):
        if not level:
            return raw.copy()
        level = [below for value in level for below in _children(value)]
    raise Malformed(f"nested deeper than {NESTING_LIMIT} levels", path=path)


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


# Text.


def is_id(value: object) -> TypeGuard[str]:
    """Whether this is a text of 1 to 255 characters without control characters."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def required_id(value: object, path: str) -> str:
    """The value when `is_id` holds for it; raises `Malformed` with the path otherwise."""
    if is_id(value):
        return value
    if not isinstance(value, str):
        raise Malformed("must be a string", path=path)
    raise Malformed("must have 1 to 255 characters, none of them a control character", path=path)


def text(value: object) -> str | None:
    """An optional text of up to 2,000 characters without NUL; None for everything else."""
    return value if isinstance(value, str) and _TEXT.fullmatch(value) else None


def count(value: object) -> int | None:
    """An optional whole number from 0 that 64 bits hold; None for everything else, booleans too."""
    return value if type(value) is int and 0 <= value <= INT64 else None


def contact(
    *, email: object, name: object, phone: object, address: object
) -> dict[str, object] | None:
    """Personal data as `{"email", "name", "phone", "address"}`; None when nothing is known.

    What is not known is null; the address keeps the provider's names for its parts.
    """
    where = (
        {key: value for key, value in address.items() if text(key) and text(value)}
        if isinstance(address, dict)
        else {}
    )
    found: dict[str, object] = {
        "email": text(email),
        "name": text(name),
        "phone": text(phone),
        "address": where or None,
    }
    return found if any(found.values()) else None


# Times.


def from_seconds(value: object, path: str) -> Millis:
    """Whole seconds since 1970, up to the year 9999, in milliseconds; raises `Malformed`."""
    seconds = count(value)
    if seconds is None or seconds > LAST_SECOND:
        raise Malformed("must be a time in whole seconds since 1970", path=path)
    return Millis(seconds * 1000)


def from_iso(value: object) -> Millis | None:
    """An ISO 8601 date and time, UTC when it has no offset, in milliseconds; None if unreadable."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return None
    try:
        moment = datetime.fromisoformat(value.upper())
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    millis = (moment - _EPOCH) // timedelta(milliseconds=1)
    return Millis(millis) if 0 <= millis <= LAST_SECOND * 1000 else None


# Money.


def currency_code(value: object) -> str | None:
    """Three ASCII letters in upper case; None for everything else."""
    return value.upper() if isinstance(value, str) and _CURRENCY.fullmatch(value) else None


def minor_units(amount: int, currency: str) -> Money:
    """An amount as Stripe sends it: an integer whose unit hangs on the currency.

    `minor` counts ISO 4217 minor units, whatever Stripe's unit is: Stripe's ISK 500 has `minor` 5,
    and MGA 500 has 50000. An amount that ISO 4217 cannot count (ISK 550) keeps its value only.
    """
    code = currency.upper()
    unit = STRIPE_EXPONENTS.get(code, 2)
    if unit == ISO_EXPONENTS.get(code, 2):
        return Money(value=_point(amount, unit), minor=amount, currency=code)
    money = decimal_money(Decimal(_point(amount, unit)), code)
    if money.minor is None:
        return money
    value = _point(money.minor, ISO_EXPONENTS.get(code, 2))
    return Money(value=value, minor=money.minor, currency=code)


def _point(amount: int, places: int) -> str:
    if not places:
        return str(amount)
    whole, rest = divmod(abs(amount), 10**places)
    return f"{'-' if amount < 0 else ''}{whole}.{rest:0{places}d}"


def decimal_money(value: Decimal, currency: str | None) -> Money:
    """An amount in major units, with the digits as sent; `minor` only with a currency and if whole."""
    shown = format(value or abs(value), "f")
    if currency is None:
        return Money(value=shown)
    code = currency.upper()
    sign, digits, exponent = value.as_tuple()
    shift = int(exponent) + ISO_EXPONENTS.get(code, 2)
    number = int("".join(map(str, digits))) * (-1 if sign else 1)
    minor, rest = (number * 10**shift, 0) if shift >= 0 else divmod(number, 10**-shift)
    known = rest == 0 and abs(minor) <= INT64
    return Money(value=shown, minor=minor if known else None, currency=code)


def literal_number(raw: msgspec.Raw) -> Decimal | None:
    """A JSON number, exactly; None for other types, over 40 digits or powers of ten beyond 30."""
    data = bytes(raw)
    if len(data) > DIGITS + 8 or not _NUMBER.fullmatch(data):
        return None
    value = Decimal(data.decode())
    _, digits, exponent = value.as_tuple()
    if len(digits) > DIGITS or abs(int(exponent)) > EXPONENT:
        return None
    return value
