import time
from decimal import Decimal

import msgspec
import pytest

from gateway.errors import Malformed, Rejected
from gateway.models import Money
from gateway.providers.reading import (
    contact,
    currency_code,
    decimal_money,
    from_iso,
    from_seconds,
    hashed_id,
    is_id,
    is_signed,
    literal_number,
    minor_units,
    passed_on,
    readable_id,
    text,
)


@pytest.mark.parametrize(
    ("amount", "currency", "value", "minor"),
    [
        (4926, "EUR", "49.26", 4926),
        (5, "eur", "0.05", 5),
        (0, "USD", "0.00", 0),
        (500, "JPY", "500", 500),
        (5120, "KWD", "5.120", 5120),
        (500, "ISK", "5", 5),
        (500, "UGX", "5", 5),
        (0, "ISK", "0", 0),
        (550, "ISK", "5.50", None),
        (500, "MGA", "500.00", 50000),
        (500, "HUF", "5.00", 500),
        (2**63 - 1, "EUR", "92233720368547758.07", 2**63 - 1),
        (2**63 - 1, "MGA", "9223372036854775807", None),
        (-150, "EUR", "-1.50", -150),
    ],
)
def test_stripe_amounts_become_major_and_minor_units(
    amount: int, currency: str, value: str, minor: int | None
) -> None:
    assert minor_units(amount, currency) == Money(
        value=value, minor=minor, currency=currency.upper()
    )


@pytest.mark.parametrize(
    ("literal", "currency", "value", "minor"),
    [
        ("49.26", None, "49.26", None),
        ("49.26", "EUR", "49.26", 4926),
        ("49.5", "EUR", "49.5", 4950),
        ("49.999", "EUR", "49.999", None),
        ("49.260", "EUR", "49.260", 4926),
        ("500", "JPY", "500", 500),
        ("500.0", "JPY", "500.0", 500),
        ("5.12", "KWD", "5.12", 5120),
        ("1e2", "EUR", "100", 10000),
        ("-0", "EUR", "0", 0),
        ("-1.50", "EUR", "-1.50", -150),
        ("0.1234567890123456789012345678901", "EUR", "0.1234567890123456789012345678901", None),
        ("123456789012345678901234567890", "EUR", "123456789012345678901234567890", None),
    ],
)
def test_decimal_amounts_keep_their_digits(
    literal: str, currency: str | None, value: str, minor: int | None
) -> None:
    assert decimal_money(Decimal(literal), currency) == Money(
        value=value, minor=minor, currency=currency
    )


@pytest.mark.parametrize(
    "literal",
    [
        *("", "null", "true", '"49.26"', "[1]", "{}", " 1", "1e31", "1e-31", "1e999", "1e99999"),
        *("1e400", "NaN", "Infinity", "9" * 41, "0." + "1" * 41, "+1", "0x10", "1_000", "١"),
    ],
)
def test_absurd_numbers_are_none(literal: str) -> None:
    assert literal_number(msgspec.Raw(literal.encode())) is None


@pytest.mark.parametrize("literal", ["0", "-1.5", "9" * 40, "1e30", "1E-30", "1e+2"])
def test_numbers_within_the_limits_are_exact(literal: str) -> None:
    assert literal_number(msgspec.Raw(literal.encode())) == Decimal(literal)


@pytest.mark.parametrize(
    ("moment", "millis"),
    [
        ("2024-01-15T14:30:00Z", 1705329000000),
        ("2024-01-15T14:30:00.250Z", 1705329000250),
        ("2024-01-15T14:30:00.123456789Z", 1705329000123),
        ("2024-01-15T15:30:00+01:00", 1705329000000),
        ("2024-01-15 14:30", 1705329000000),
        ("2024-01-15t14:30:00z", 1705329000000),
        ("1970-01-01T00:00:00Z", 0),
        ("9999-12-31T23:59:59Z", 253402300799000),
        ("1969-12-31T23:59:59Z", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("9999-12-31T23:59:59-23:59", None),
        ("2024-02-30T00:00:00Z", None),
        ("2024-01-15", None),
        ("2024-01-15T14:30:00Z\n", None),
        ("٢٠٢٤-01-15T14:30:00Z", None),
        ("yesterday", None),
        ("", None),
        (1705329000, None),
        (None, None),
    ],
)
def test_iso_times_become_milliseconds(
    moment: object, millis: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert from_iso(moment) == millis
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("value", [None, True, 1.5, "1", -1, 253_402_300_800, 2**64, [], {}])
def test_a_time_in_seconds_is_a_whole_number(value: object) -> None:
    with pytest.raises(Malformed) as caught:
        from_seconds(value, "$.created")
    assert caught.value.path == "$.created"


@pytest.mark.parametrize("value", ["a", "x" * 255, "Büro 7/1", "#1001", " "])
def test_ids_may_be_any_visible_text(value: str) -> None:
    assert is_id(value)


@pytest.mark.parametrize(
    "value", ["", "x" * 256, "a\x00b", "a\nb", "a\x7f", "a\x85", "\ud800", 7, None, True, ["a"]]
)
def test_ids_are_short_and_free_of_control_characters(value: object) -> None:
    assert not is_id(value)


@pytest.mark.parametrize("value", ["", "a\x00b", "\ud800", "x" * 2001, 7, True, ["a"], None])
def test_optional_text_is_none_when_it_is_no_text(value: object) -> None:
    assert text(value) is None


@pytest.mark.parametrize("value", ["EURO", "", "E1R", "ÄÖÜ", "eu\n", 3, None])
def test_currencies_are_three_letters(value: object) -> None:
    assert currency_code(value) is None


def test_a_contact_keeps_only_text() -> None:
    address = {"city": "Ghent", "line2": None, "n": 5, "": "x"}
    assert contact(email="a@b.example", name=5, phone=None, address=address) == {
        "email": "a@b.example",
        "name": None,
        "phone": None,
        "address": {"city": "Ghent"},
    }
    assert contact(email=None, name="", phone=0, address=[]) is None


def test_json_that_is_passed_on_keeps_its_bytes() -> None:
    raw = msgspec.Raw(b'{ "n": 12345678901234567890.123, "d": ' + b"[" * 60 + b"]" * 60 + b"}")
    assert bytes(passed_on(raw, path="$.data")) == bytes(raw)


@pytest.mark.parametrize("nesting", [65, 500, 100_000])
def test_json_that_is_passed_on_is_not_deep(nesting: int) -> None:
    with pytest.raises(Malformed):
        passed_on(msgspec.Raw(b"[" * nesting + b"1" + b"]" * nesting), path="$.data")


@pytest.mark.parametrize("body", [b'{"n": 1e400}', b'{"n": ' + b"9" * 5000 + b"}", b'"\xff"'])
def test_json_that_is_passed_on_is_readable_for_everyone(body: bytes) -> None:
    with pytest.raises(Malformed):
        passed_on(msgspec.Raw(body), path="$.data")


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"id": "evt_1", "type": 5}', "evt_1"),
        (b'{"id": "evt_1", "id": "evt_2"}', "evt_2"),
        (b'{"id": "a\\u0000"}', None),
        (b'{"id": 5}', None),
        (b'{"id": "evt_1"', None),
        (b"[]", None),
        (b"", None),
    ],
)
def test_the_id_of_a_malformed_body_is_read_where_it_can_be(body: bytes, found: str | None) -> None:
    assert readable_id(body) == found


def test_equal_bytes_have_the_same_hashed_id() -> None:
    assert hashed_id(b"a") == hashed_id(b"a") != hashed_id(b"b")
    assert is_id(hashed_id(b"a"))


@pytest.mark.parametrize("secrets", [[], [b""], [b"", b""]])
def test_without_a_secret_nothing_is_signed(secrets: list[bytes]) -> None:
    """`hmac` takes an empty key, so a source whose secret was emptied would let everybody in."""
    empty = b"b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad"
    with pytest.raises(Rejected, match="no secret"):
        is_signed(b"", [empty], secrets)
