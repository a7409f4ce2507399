"""3YOURMIND (API v2.0): asked with `Authorization: Token`; what its statuses mean is configured.

Formats: https://demo.3yourmind.com/apidocs/ (paged lists, `fullNumber`, `dateCreated`,
`lastModified`), https://3yourmind.atlassian.net/wiki/x/d4Ardw (`additionalInformation.reference`,
money as decimal text) and the vendor's SDK https://github.com/3YOURMIND/push-to-3yourmind
(paths, `page`, `totalPrice.inclusiveTax`). The values of an order's status are not known
publicly, nor are most of its fields: all but the id and the status may be missing.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Final, Literal
from urllib.parse import quote

import msgspec

from gateway.errors import ConfigError, Malformed, TokenRefused
from gateway.models import (
    Fact,
    Line,
    Listed,
    Millis,
    Money,
    Page,
    Query,
    Reading,
    Reply,
    Track,
    Watched,
)
from gateway.providers import base
from gateway.providers.pointer import check_pointer, pointer
from gateway.providers.reading import (
    contact,
    count,
    currency_code,
    decimal_money,
    decoded,
    from_iso,
    is_id,
    literal_number,
    text,
)
from gateway.providers.replies import body_of, error_body, quoted


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What a state word says of an order; `later`: that it was created some time before."""

    fulfilment: str = "created"
    paid: bool = False  # said outright: no other state is known to be reached only after payment
    held: bool = False
    refunded: bool = False
    later: bool = True


ROWS: Final[Mapping[str, Row]] = {
    "created": Row(later=False),
    "paid": Row(paid=True),
    "processing": Row(fulfilment="processing"),
    "printing": Row(fulfilment="printing"),
    "post_processing": Row(fulfilment="post_processing"),
    "ready": Row(fulfilment="ready"),
    "shipped": Row(fulfilment="shipped"),
    "on_hold": Row(held=True),
    "cancelled": Row(fulfilment="cancelled"),
    "refunded": Row(refunded=True),
}
"""The state words that `status_map` leads to."""

UNMAPPED: Final = Row(later=False)
"""A status that is not in `status_map`; it is told as `order.updated`."""

EMPTY_MAP: Final = (
    "status_map is empty: every status is told as order.updated only, and no order is ever known "
    "to be shipped or cancelled; docs/providers/threeyourmind.md says how to fill it"
)
ENDLESS_MAP: Final = (
    "status_map has no status for shipped or cancelled: the gateway asks for every order for ever"
)
USER_PATH: Final = "user-panel/orders/{id}/"
TOTALS: Final = ("totalPrice", "total", "price")  # the first that holds an amount counts
LINE_LIMIT: Final = 1_000  # as for PrintStudio
# What Django REST framework says of a token that it does not take, by its set-up with 401 or 403.
TOKEN_WORDS: Final = ("Invalid token", "Authentication credentials", "User inactive")
_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/{}-]+")


class ThreeYourMindOptions(base.Options, frozen=True, kw_only=True):
    """The keys of a 3YOURMIND source: where an order stands, and what its statuses mean."""

    panel: Literal["user", "service"] = "user"
    service_id: str | None = None  # stands for {service_id} in order_path
    order_path: str | None = None  # below base_url; None: USER_PATH, the one path that is known
    status_path: str = "/status"  # a JSON pointer into the order
    # The provider's status -> a key of ROWS.
    status_map: dict[str, str] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check_path(self.template())
        _check_status_path(self.status_path)
        for raw, word in self.status_map.items():
            if word not in ROWS:
                known = ", ".join(ROWS)
                raise ConfigError("status_map", f'"{raw}" leads to "{word}", not to one of {known}')

    def template(self) -> str:
        """The path of an order, with `{id}`; `ConfigError` when none is given and none is known."""
        if self.order_path is not None:
            return self.order_path
        if self.panel == "user":
            return USER_PATH
        raise ConfigError("order_path", 'is required with panel = "service": no path is known')

    def _check_path(self, path: str) -> None:
        if path.count("{id}") != 1:
            raise ConfigError("order_path", 'must contain "{id}" once, as in "orders/{id}/"')
        if path.startswith("/") or not _PATH.fullmatch(path):
            raise ConfigError("order_path", "must be a path below base_url, without / before it")
        if set("{}") & set(path.replace("{id}", "").replace("{service_id}", "")):
            raise ConfigError("order_path", "may contain {id} and {service_id}, no other braces")
        if "{service_id}" in path and not self.service_id:
            raise ConfigError("service_id", "is required: order_path contains {service_id}")
        if "{service_id}" not in path and self.service_id is not None:
            raise ConfigError("service_id", "is not used: order_path contains no {service_id}")


def _check_status_path(path: str) -> None:
    try:
        check_pointer(path)
    except ValueError as error:
        raise ConfigError("status_path", str(error)) from None
    if not path:
        raise ConfigError("status_path", 'must lead to a value in the order, such as "/status"')


class _List(msgspec.Struct, frozen=True, rename="camel"):
    results: list[msgspec.Raw]
    current_page: Any = None
    total_pages: Any = None


def _digits(literal: str) -> str:
    """The `float_hook`: a fraction stays the text that was sent."""
    return literal


_LIST = msgspec.json.Decoder(_List, float_hook=_digits)
_ORDER = msgspec.json.Decoder(dict[str, Any], float_hook=_digits)


class ThreeYourMind:
    """One account at one tenant of 3YOURMIND."""

    name: ClassVar[str] = "threeyourmind"
    Options: ClassVar[type[base.Options]] = ThreeYourMindOptions
    base_url: ClassVar[str] = ""

    def __init__(self, options: ThreeYourMindOptions) -> None:
        service = quote(options.service_id or "", safe="")
        self._path = options.template().replace("{service_id}", service)
        self._status_path = options.status_path
        self._states = dict(options.status_map)
        self._knows_holds = "on_hold" in self._states.values()

    def warnings(self) -> Sequence[str]:
        """What of the configuration works, but tells less than its owner may expect."""
        if not self._states:
            return (EMPTY_MAP,)
        if not {"shipped", "cancelled"} & set(self._states.values()):
            return (ENDLESS_MAP,)
        return ()

    def authorize(self, token: str) -> Mapping[str, str]:
        """`Authorization: Token <token>`."""
        return {"Authorization": f"Token {token}"}

    def order(self, number: str) -> Query:
        """GET of one order, by its id in the API (not the number that the panel shows)."""
        return Query(path=self._path.replace("{id}", quote(number, safe="")))

    def more(self, reply: Reply) -> Sequence[Query]:  # noqa: ARG002 - the contract's
        """Nothing: one reply says all that is known to be told."""
        return ()

    def page(self, cursor: str | None) -> Query | None:
        """The list above the orders; None when `order_path` does not end with `{id}`."""
        above, found, _ = self._path.removesuffix("/").rpartition("{id}")
        if not found or not self._path.endswith(("{id}", "{id}/")):
            return None
        return Query(path=above, params=(("page", cursor),) if cursor else ())

    def read_page(
        self,
        reply: Reply,
        cursor: str | None = None,  # noqa: ARG002 - the contract's
    ) -> Page:
        """Read `{currentPage, totalPages, results}`; an entry with a status is a whole order."""
        listed = decoded(_LIST, _body(reply))
        current, total = count(listed.current_page), count(listed.total_pages)
        orders = [self._entry(raw, f"$.results[{i}]") for i, raw in enumerate(listed.results)]
        if current is None or total is None or current >= total:
            return Page(orders=orders)
        return Page(orders=orders, cursor=str(current + 1))

    def _entry(self, raw: msgspec.Raw, path: str) -> Listed:
        order = decoded(_ORDER, raw, path=path)
        number = _number(order, f"{path}.id")
        whole = _word(pointer(order, self._status_path)) is not None
        return Listed(number=number, body=bytes(raw) if whole else None)

    def read(self, watched: Watched, replies: Sequence[Reply]) -> Reading:
        """What the reply says of the order; its id must be the one that was asked for."""
        reply = replies[0]
        order = decoded(_ORDER, _body(reply))
        number = _number(order, "$.id")
        if number != watched.number:
            raise Malformed("is not the order that was asked for", path="$.id")
        status = _word(pointer(order, self._status_path))
        if status is None:
            fields = quoted(" ".join(order))
            raise Malformed(
                f"no text or number stands here, is status_path right? The order has: {fields}",
                path=self._status_path,
            )
        said = _names(order, number, watched.order)
        created_at = _not_after(reply.at, order.get("dateCreated"))
        at = _not_after(reply.at, order.get("lastModified"))
        row = ROWS.get(self._states.get(status, ""))
        facts = (
            _created(order, row or UNMAPPED, said, at=created_at),
            *self._facts(status, row, said | {"at": at}),
        )
        return Reading(event_id=number, event_type=status, at=at, facts=facts)

    def _facts(self, status: str, row: Row | None, said: dict[str, Any]) -> Iterator[Fact]:
        """All facts but the first; without a row the status is told as it is."""
        known = row or UNMAPPED
        if known.paid:
            yield Fact(track=Track.PAYMENT, state="paid", **said)
        if row is not None and self._knows_holds:
            reason = status if row.held else None
            yield Fact(track=Track.HOLD, state=reason or "", reason=reason, **said)
        yield Fact(track=Track.FULFILMENT, state=known.fulfilment, key=said["links"][0], **said)
        if row is None:
            yield Fact(track=Track.CHANGE, what="status", state=status, **said)
        if known.refunded:
            yield Fact(track=Track.REFUND, state="succeeded", **said)


def _names(order: dict[str, Any], number: str, given: str | None) -> dict[str, Any]:
    """Which order it is: the name that was given, the shop's reference, or the provider's own."""
    full = _word(order.get("fullNumber"))
    reference = _word(pointer(order, "/additionalInformation/reference"))
    return {
        "order": given or reference or full or number,
        "links": (f"{ThreeYourMind.name}:{number}",),
        "ids": {ThreeYourMind.name: tuple(dict.fromkeys(id_ for id_ in (number, full) if id_))},
    }


def _created(order: dict[str, Any], row: Row, said: dict[str, Any], *, at: Millis) -> Fact:
    return Fact(
        track=Track.CREATED,
        at=at,
        state="created",
        implied=row.later,
        total=_total(order),
        lines=_lines(order),
        customer=_customer(order),
        **said,
    )


def _body(reply: Reply) -> bytes:
    """The JSON object of a 2xx reply; raises `AskFailed` and its kinds."""
    if reply.status == 403:
        detail = (error_body(reply) or {}).get("detail")
        if isinstance(detail, str) and detail.startswith(TOKEN_WORDS):
            raise TokenRefused(f"it answered 403 ({quoted(detail)}): the token is not taken")
    return body_of(reply)


def _word(value: object) -> str | None:
    """A text, or a number as its digits; None for everything else."""
    found = str(value) if type(value) is int else value
    return found if is_id(found) else None


def _number(order: dict[str, Any], path: str) -> str:
    found = _word(order.get("id"))
    if found is None:
        raise Malformed("must be a number, or text of 1 to 255 characters", path=path)
    return found


def _not_after(latest: Millis, value: object) -> Millis:
    """The provider's time, which is never later than when it was asked."""
    found = from_iso(value)
    return latest if found is None else min(found, latest)


def _total(order: dict[str, Any]) -> Money | None:
    found = (_money(order.get(name), order.get("currency")) for name in TOTALS)
    return next((money for money in found if money is not None), None)


def _money(value: object, currency: object) -> Money | None:
    """`"12.34"`, or `{"inclusiveTax": "12.34", "currency": "EUR"}`; numbers count as their digits."""
    if isinstance(value, dict):
        currency = value.get("currency", currency)
        value = value.get("inclusiveTax")
    amount = _decimal(value)
    return None if amount is None else decimal_money(amount, currency_code(currency))


def _decimal(value: object) -> Decimal | None:
    word = _word(value)
    return None if word is None else literal_number(msgspec.Raw(word.encode()))


def _lines(order: dict[str, Any]) -> tuple[Line, ...] | None:
    items = order.get("lines")
    if not isinstance(items, list) or len(items) > LINE_LIMIT:
        return None
    found = tuple(
        Line(
            id=_word(item.get("id")),
            name=text(item.get("name")),
            quantity=count(item.get("quantity")),
            total=_money(item.get("totalPrice"), order.get("currency")),
        )
        for item in items
        if isinstance(item, dict)
    )
    return found or None


def _customer(order: dict[str, Any]) -> dict[str, object] | None:
    customer = order.get("customer")
    known = customer if isinstance(customer, dict) else {}
    return contact(
        email=known.get("email"),
        name=known.get("name"),
        phone=known.get("phone"),
        address=order.get("shippingAddress"),
    )
