"""What a published order has to be beyond its schema, so that it can be kept, added up and sent.

The limits are those of the normalizers: what a provider says of an order keeps to them too.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from gateway.errors import Unprocessable
from gateway.events import OrderData

INT64 = 2**63 - 1
LONGEST = 2_000  # characters of a text
MOST = 1_000  # entries of a list
DIGITS = 40  # of an amount

SHOP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")  # as in the configuration
_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,255}")
_WORDS = re.compile(r"[^\x00-\x1f\x7f-\x9f]*")
_AMOUNT = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_MONEY = {"value", "minor", "currency"}
_DECIMALS = range(5)  # of any currency's minor unit


def check(data: OrderData, path: str) -> None:
    """Raise `Unprocessable` for the first name in it that is none; `path` leads to the data."""
    if SHOP.fullmatch(data.shop) is None:
        raise Unprocessable(f"{path}.shop: expected 1 to 63 letters, digits and . _ -")
    for where, name in _names(data):
        if name is not None:
            check_name(name, f"{path}.{where}")
    if _WORDS.fullmatch(data.change.value or "") is None:
        raise Unprocessable(f"{path}.change.value: expected no control character")
    if ":" in data.cause.provider:
        raise Unprocessable(f"{path}.cause.provider: the name of a provider has no colon")
    for place, part in enumerate(data.parts):
        if ":" in part.provider:
            raise Unprocessable(f"{path}.parts[{place}].provider: it has no colon")


def check_name(name: str, path: str) -> None:
    """Raise `Unprocessable` for what cannot be an id."""
    if _NAME.fullmatch(name) is None:
        raise Unprocessable(
            f"{path}: expected 1 to 255 characters, none of them a control character"
        )


def _names(data: OrderData) -> Iterator[tuple[str, str | None]]:
    """All that is looked up, or tells one thing from another; with where it stands."""
    yield "order", data.order
    yield "change.id", data.change.id
    yield "change.what", data.change.what
    yield "cause.provider", data.cause.provider
    for system, ids in data.ids.items():
        yield "ids", system
        yield from ((f"ids.{system}[{place}]", one) for place, one in enumerate(ids))
    for place, part in enumerate(data.parts):
        yield f"parts[{place}].provider", part.provider
        yield f"parts[{place}].id", part.id
    for place, payment in enumerate(data.payment.payments):
        yield f"payment.payments[{place}].id", payment.id


def check_values(value: Any, path: str) -> None:
    """Raise `Unprocessable` for the first value that is too long, too large, or no amount.

    `value` has passed the schema, so it is nested no deeper than that.
    """
    if isinstance(value, str) and (len(value) > LONGEST or "\x00" in value):
        raise Unprocessable(f"{path}: expected {LONGEST} characters at most, and no NUL")
    if isinstance(value, int) and abs(value) > INT64:
        raise Unprocessable(f"{path}: expected an integer of 64 bits")
    if isinstance(value, dict | list) and len(value) > MOST:
        raise Unprocessable(f"{path}: expected {MOST} entries at most")
    if isinstance(value, list):
        for place, one in enumerate(value):
            check_values(one, f"{path}[{place}]")
    if isinstance(value, dict):
        if value.keys() == _MONEY:
            _check_money(value, path)
        for name, one in value.items():
            check_values(one, f"{path}.{name[:100]}")


def _check_money(money: dict[str, Any], path: str) -> None:
    """An amount of which two readers would make different sums is none."""
    value, minor = money["value"], money["minor"]
    if value is not None and (_AMOUNT.fullmatch(value) is None or len(value) > DIGITS):
        raise Unprocessable(f"{path}.value: expected {DIGITS} digits at most")
    if minor is None:
        return
    if value is None or money["currency"] is None:
        raise Unprocessable(f"{path}.minor: expected null without a value and a currency")
    if all(Decimal(value).scaleb(places) != minor for places in _DECIMALS):
        raise Unprocessable(f"{path}.minor: expected the value in minor units")
