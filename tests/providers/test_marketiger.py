import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.config.load import load
from gateway.errors import AskFailed, ConfigError
from gateway.models import Line, Money, Track, Watched
from gateway.providers.base import calls, is_polled
from gateway.providers.marketiger import (
    ERRORS,
    LINE_LIMIT,
    STATUSES,
    UNKNOWN,
    Marketiger,
    MarketigerOptions,
    Status,
)
from tests.providers.marketiger_replies import (
    ASKED,
    CREATED,
    KEY,
    NO_PARCEL,
    NUMBER,
    PARCEL,
    STAGES,
    TRACKING,
    UPDATED,
    WATCHED,
    fact,
    found,
    model,
    read,
    reply,
    told,
)

HELD_NOT = ("hold", "", False)
BEGUN = [("created", "created", False), HELD_NOT, ("fulfilment", "created", False)]
LATER = ("created", "created", True)
PAID, IMPLIED = ("payment", "paid", False), ("payment", "paid", True)
PART = ("fulfilment", "created", False)

SAYS: list[tuple[int, list[tuple[str, str, bool]]]] = [
    (0, [LATER, HELD_NOT, ("fulfilment", "cancelled", False)]),
    (1, BEGUN),
    (2, [LATER, ("hold", "on_hold", False), PART]),
    (3, BEGUN),
    (4, BEGUN),
    (5, [LATER, PAID, HELD_NOT, PART]),
    (10, [LATER, IMPLIED, HELD_NOT, ("fulfilment", "shipped", False)]),
    (15, [LATER, ("hold", "production", False), PART]),
    (7, [LATER, PART, ("change", "7", False)]),
    (-1, [LATER, PART, ("change", "-1", False)]),
]


@pytest.mark.parametrize(("code", "facts"), SAYS)
def test_a_code_says_its_facts(code: int, facts: list[tuple[str, str, bool]]) -> None:
    reading = read(status=code)
    assert told(reading) == facts
    assert (reading.event_id, reading.event_type, reading.at) == (NUMBER, str(code), UPDATED)
    assert reading.ignored is None
    for one in reading.facts:
        assert one.at == (CREATED if one.track is Track.CREATED else UPDATED)
        assert (one.order, one.links, one.own) == (NUMBER, (KEY,), None)
        assert one.ids == {"marketiger": (NUMBER,)}
        assert one.key == (KEY if one.track is Track.FULFILMENT else None)
        assert one.soft is (one.state == "cancelled")
        assert one.what == ("status" if one.track is Track.CHANGE else None)
        assert one.reason == (one.state if one.track is Track.HOLD and one.state else None)
        assert (one.amount, one.total, one.customer, one.shipment) == (None, None, None, None)


def test_every_code_is_tested() -> None:
    assert [code for code, _ in SAYS if code in STATUSES] == list(STATUSES)


def test_what_is_asked() -> None:
    provider = Marketiger(MarketigerOptions())
    query = provider.order("a/b c")
    assert (query.method, query.path, query.params) == (
        "GET",
        "Order/GetOrder",
        (("orderId", "a/b c"),),
    )
    assert provider.authorize("tok") == {"Authorization": "Bearer tok"}
    assert provider.more(reply(found())) == ()
    assert provider.page(None) is None
    with pytest.raises(AskFailed, match="lists no orders"):
        provider.read_page(reply(found()))
    assert is_polled(Marketiger)
    assert not calls(Marketiger)


def test_the_shops_own_name_of_the_order() -> None:
    for one in read(watched=Watched(number=NUMBER, order="1001"), status=5).facts:
        assert (one.order, one.links, one.ids) == ("1001", (KEY,), {"marketiger": (NUMBER,)})


@pytest.mark.parametrize(
    ("link", "session"),
    [
        ("https://checkout.stripe.com/pay/cs_test_123", "cs_test_123"),
        ("https://pay.shop.example/c/pay/cs_live_a1B2#fidkdW", "cs_live_a1B2"),
        ("https://checkout.stripe.com/pay/cs_test_" + "a" * 200, "cs_test_" + "a" * 200),
        ("https://checkout.stripe.com/pay/cs_test_" + "a" * 201, None),
        ("https://shop.example/docs_test_1", None),
        ("https://checkout.stripe.com/pay/cs_other_1", None),
        ("https://pay.example/1", None),
        ("", None),
        (7, None),
    ],
)
def test_the_checkout_session_of_the_payment_link(link: object, session: str | None) -> None:
    for one in read(paymentLink=link).facts:
        assert one.links == ((KEY, f"stripe:{session}") if session else (KEY,))
        stripe = {"stripe": (session,)} if session else {}
        assert one.ids == {"marketiger": (NUMBER,)} | stripe


@pytest.mark.parametrize(
    "value", [None, "", "soon", 1_750_000_000, "0001-01-01T00:00:00", "2999-01-01T00:00:00Z"]
)
def test_a_time_that_cannot_be_is_that_of_the_asking(value: object) -> None:
    reading = read(createdDate=value, updated=value, status=5)
    assert {one.at for one in reading.facts} | {reading.at} == {ASKED}


# Tracking.


@pytest.mark.parametrize("code", [code for code, _ in SAYS])
def test_tracking_is_told_with_every_code(code: int) -> None:
    with_tracking, without = read(status=code, trackAndTrace=TRACKING), read(status=code)
    assert told(with_tracking) == told(without)
    assert fact(with_tracking, Track.FULFILMENT).shipment == PARCEL


@pytest.mark.parametrize(
    "nothing",
    [None, NO_PARCEL, {}, [], "1Z", NO_PARCEL | {"shippingMethodId": 7}]
    + [NO_PARCEL | {"trackingNumber": value} for value in ("", "  ", 12, ["1Z"])],
)
def test_an_object_of_nulls_is_no_tracking(nothing: object) -> None:
    reading = read(options=MarketigerOptions(shipped_when="tracking"), trackAndTrace=nothing)
    assert fact(reading, Track.FULFILMENT).shipment is None
    assert told(reading) == BEGUN


SHIPPED = ("fulfilment", "shipped", False)
BY_TRACKING = {
    **{code: [LATER, IMPLIED, HELD_NOT, SHIPPED] for code in (1, 3, 4, 10)},
    0: [LATER, HELD_NOT, ("fulfilment", "cancelled", False)],
    2: [LATER, IMPLIED, ("hold", "on_hold", False), SHIPPED],
    5: [LATER, PAID, HELD_NOT, SHIPPED],
    15: [LATER, IMPLIED, ("hold", "production", False), SHIPPED],
    7: [LATER, IMPLIED, SHIPPED, ("change", "7", False)],
}


@pytest.mark.parametrize("code", BY_TRACKING)
def test_shipped_when_tracking(code: int) -> None:
    by_tracking = MarketigerOptions(shipped_when="tracking")
    assert told(read(options=by_tracking, status=code, trackAndTrace=TRACKING)) == BY_TRACKING[code]
    assert told(read(options=by_tracking, status=code)) == told(read(status=code))


# Lines.


def test_lines_are_told_with_created_only() -> None:
    reading = read(status=5, orderModels=[model(), model(poId="PO-1", modelId=5, quantity=3)])
    assert fact(reading, Track.CREATED).lines == (
        Line(id="4711", sku="9b2e", name="gear.stl", quantity=1, status="0", price="1050"),
        Line(id="PO-1", sku="5", name="gear.stl", quantity=3, status="0", price="1050"),
    )
    assert [one.lines for one in reading.facts[1:]] == [None] * 3


@pytest.mark.parametrize("models", [None, [], {}, [1], [model()] * (LINE_LIMIT + 1)])
def test_strange_lines_are_no_lines(models: object) -> None:
    assert fact(read(orderModels=models), Track.CREATED).lines is None


def test_strange_fields_of_a_line_are_null() -> None:
    odd = {"poId": 1.5, "modelId": [], "modelName": 3, "quantity": True, "price": "10"}
    reading = read(options=MarketigerOptions(price_unit="major"), orderModels=[model(**odd)])
    (line,) = fact(reading, Track.CREATED).lines or ()
    assert line == Line(status=line.status)


def test_a_changed_picture_is_no_change() -> None:
    old = read(status=5, orderModels=[model()])
    assert read(status=5, orderModels=[model(imageUrl="https://images.example/2")]) == old
    assert b"images.example" not in msgspec.json.encode(old)


@pytest.mark.parametrize("code", STATUSES)
def test_line_codes_count_while_the_order_is_in_production(code: int) -> None:
    reading = read(
        options=MarketigerOptions(line_status=STAGES), status=code, orderModels=[model(status=20)]
    )
    printing = code in {2, 5, 15}
    told_before = STATUSES[code].fulfilment
    assert fact(reading, Track.FULFILMENT).state == ("printing" if printing else told_before)
    payments = [one.implied for one in reading.facts if one.track is Track.PAYMENT]
    assert payments == {2: [True], 5: [False], 10: [True], 15: [True]}.get(code, [])


@pytest.mark.parametrize(
    ("codes", "state"),
    [
        ([0], "created"),
        ([20, 0], "printing"),
        ([20, 30], "printing"),
        ([30, 30], "ready"),
        ([30, 0], "printing"),
        ([30, None], "printing"),
        (["30"], "created"),
        ([True, 30.0], "created"),
        ([30] * (LINE_LIMIT + 1), "ready"),
        ([], "created"),
    ],
)
def test_the_first_line_prints_the_last_is_ready(codes: list[object], state: str) -> None:
    options = MarketigerOptions(line_status=STAGES)
    lines = [model(status=code) for code in codes]
    assert fact(read(options=options, status=5, orderModels=lines), Track.FULFILMENT).state == state


def test_line_codes_say_nothing_by_default() -> None:
    assert told(read(status=5, orderModels=[model(status=20)])) == told(read(status=5))


# Money.


@pytest.mark.parametrize(
    ("unit", "currency", "digits", "money"),
    [
        (None, None, "1050", None),
        (None, "EUR", "1050", None),
        ("minor", "eur", "1050", Money(value="10.50", minor=1050, currency="EUR")),
        ("minor", "EUR", "0", Money(value="0.00", minor=0, currency="EUR")),
        ("minor", "JPY", "500", Money(value="500", minor=500, currency="JPY")),
        ("minor", "ISK", "500", Money(value="500", minor=500, currency="ISK")),
        ("minor", "KWD", "5120", Money(value="5.120", minor=5120, currency="KWD")),
        ("minor", "EUR", "1050.5", Money(value="10.505", minor=None, currency="EUR")),
        ("minor", "EUR", "1" * 39, Money(value="1" * 37 + ".11", minor=None, currency="EUR")),
        ("major", None, "10.50", Money(value="10.50")),
        ("major", "EUR", "10.50", Money(value="10.50", minor=1050, currency="EUR")),
        ("major", "EUR", "0.1", Money(value="0.1", minor=10, currency="EUR")),
        (
            "major",
            None,
            "12345678901234567890.120",
            Money(value="12345678901234567890.120"),
        ),
        ("major", "EUR", '"10"', None),
        ("major", "EUR", "1e400", None),
    ],
)
def test_prices_are_the_digits_that_were_sent(
    unit: Any, currency: str | None, digits: str, money: Money | None
) -> None:
    provider = Marketiger(MarketigerOptions(price_unit=unit, currency=currency))
    body = json.dumps(found(orderModels=[model(price="?")])).replace('"?"', digits)
    (line,) = fact(provider.read(WATCHED, [reply(body.encode())]), Track.CREATED).lines or ()
    assert (line.unit_price, line.total) == (money, money)


@pytest.mark.parametrize(
    ("digits", "price"),
    [("1050", "1050"), ("10.500", "10.500"), ("-0.1", "-0.1"), ("null", None), ('"10"', None)],
)
def test_a_price_of_unknown_unit_is_passed_on_as_it_is(digits: str, price: str | None) -> None:
    body = json.dumps(found(orderModels=[model(price="?", status=77)])).replace('"?"', digits)
    reading = Marketiger(MarketigerOptions()).read(WATCHED, [reply(body.encode())])
    (line,) = fact(reading, Track.CREATED).lines or ()
    assert (line.unit_price, line.total, line.price, line.status) == (None, None, price, "77")


@pytest.mark.parametrize("quantity", [0, 2, None, "1"])
def test_a_price_of_several_pieces_is_not_told(quantity: object) -> None:
    reading = read(
        options=MarketigerOptions(price_unit="minor", currency="EUR"),
        orderModels=[model(quantity=quantity)],
    )
    (line,) = fact(reading, Track.CREATED).lines or ()
    assert (line.unit_price, line.total) == (None, None)


@pytest.mark.parametrize(
    ("keys", "key"),
    [
        ({"currency": "EURO"}, "currency"),
        ({"price_unit": "minor"}, "price_unit"),
        ({"line_status": {"20": "shipped"}}, "line_status"),
        ({"line_status": {"Printing": "printing"}}, "line_status"),
        ({"line_status": {"020": "printing"}}, "line_status"),
    ],
)
def test_options_are_checked(keys: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MarketigerOptions(**keys)
    assert caught.value.path == key


# The page for operators.

PAGE = Path(__file__).parents[2] / "docs/providers/marketiger.md"


def cells(heading: str) -> list[list[str]]:
    """The rows of the page's table whose head begins so."""
    _, _, table = PAGE.read_text("utf-8").partition(f"\n| {heading}")
    rows = table.split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def row(code: str, status: Status) -> list[str]:
    soft = ", soft" if status.fulfilment == "cancelled" else ""
    hold = {None: "–", "": "none"}.get(status.hold, f"`{status.hold}`")
    name = "–" if status is UNKNOWN else status.name
    lines = "yes" if status.lines else "no"
    return [code, name, status.payment or "–", hold, status.fulfilment + soft, lines]


def test_the_page_has_the_table() -> None:
    expected = [row(str(code), status) for code, status in STATUSES.items()]
    assert cells("code | ") == [*expected, row(UNKNOWN.name, UNKNOWN)]


def test_the_page_has_the_errors() -> None:
    first = "\n".join(row[0] for row in cells("the log says"))
    assert sorted(re.findall(r"^`([A-Z_]+)`$", first, re.MULTILINE)) == sorted(ERRORS)


def test_the_configuration_of_the_page_loads(tmp_path: Path) -> None:
    (block,) = re.findall(r" *```toml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    for text in (block, re.sub(r"^( *)# ", r"\1", block, flags=re.MULTILINE)):
        (tmp_path / "gateway.toml").write_text(text)
        loaded = load(tmp_path / "gateway.toml", {"TOKEN": "t"}, providers=lambda _: Marketiger)
        source = loaded.sources["tiger"]
        assert source.poll is not None
        assert source.poll.base_url == "https://devapi.marketiger3d.com/v2"
    assert source.options == MarketigerOptions(
        shipped_when="tracking", price_unit="minor", currency="EUR", line_status=STAGES
    )
