"""What is kept of a request that may be a real one: never what would make it usable."""

import hashlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.redaction import (
    CUT,
    HEADER_BYTES,
    HEADERS,
    PARSED,
    redacted_body,
    redacted_headers,
)

HEX = "5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd"
BASE64 = "K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="
RUN = re.compile(r"[A-Za-z0-9+/_-]{16,}")

VALUES = [
    ("stripe-signature", f"t=1492774577,v1={HEX}", "t=1492774577,v1=5257…"),
    ("stripe-signature", f"t=1492774577,v1={HEX},v0=abc", "t=1492774577,v1=5257…,v0=abc"),
    ("stripe-signature", "t=1492774577", "t=1492774577"),
    ("x-printstudio-signature", f"sha256={HEX}", "sha256=5257…"),
    ("x-printstudio-signature", HEX, "5257…"),
    ("webhook-signature", f"v1,{BASE64} v1,{BASE64}", "v1,K5oZ… v1,K5oZ…"),
    ("x-shopify-hmac-sha256", BASE64, "K5oZ…"),
    ("x-request-id", "7c9e6679-7425-40de-944b-e07fc1f90ae7", "7c9e…"),
    ("x-anything", "abcdefghijklmnop", "abcd…"),
    ("x-anything", "abcdefghijklmno", "abcdefghijklmno"),
    ("x-percent", "abc%2Bdef%2Fghi%3D", "abc%…"),
    ("x-jwt", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.sig", "eyJh…"),
    *(
        (name, "short", "***")
        for name in ("authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key")
    ),
    ("x-auth", "short", "***"),
    ("x-shop-token", "short", "***"),
    ("client-secret-hash", "short", "***"),
    ("idempotency-key", "short", "***"),
    ("x-password", "short", "***"),
    ("content-type", "application/json; charset=utf-8", "application/json; charset=utf-8"),
    ("content-type", "application/x-www-form-urlencoded", "application/x-www-form-urlencoded"),
    ("content-type", f"a/b; c={HEX}", "a/b; c=5257…"),
    ("user-agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)", None),
    ("host", "hooks.example.com", "hooks.example.com"),
    ("x-forwarded-for", "203.0.113.195", "203.0.113.195"),
    ("x-empty", "", ""),
]


@pytest.mark.parametrize(("name", "value", "shown"), VALUES)
def test_header_values(name: str, value: str, shown: str | None) -> None:
    expected = value if shown is None else shown
    assert redacted_headers([(name.encode(), value.encode())]) == [(name, expected)]


def test_headers_keep_their_order_and_bytes_that_are_no_text() -> None:
    assert redacted_headers([(b"b", b"1"), (b"a", b"\xff\x00"), (b"b", b"2")]) == [
        ("b", "1"),
        ("a", "ÿ\x00"),
        ("b", "2"),
    ]


@pytest.mark.parametrize(
    "headers",
    [
        [(b"a", b"- " * 30_000)],
        [(b"n" * 60_000, b"")] * 3,
        [(b"a", b"\x01" * 100)] * 1_000,
        [(b'"', b'"\xff' * 100)] * 90,
    ],
)
def test_headers_have_a_limit(headers: list[tuple[bytes, bytes]]) -> None:
    found = redacted_headers(headers)
    assert len(json.dumps(found, ensure_ascii=False).encode()) < HEADER_BYTES + 3 * HEADERS + 100
    if len(found) <= len(headers) and found[-1][0] == "":
        assert found[-1][1] == f"…({len(headers) - len(found) + 1} more headers)"


BODIES: list[tuple[object, object]] = [
    ({"id": "evt_1", "name": "Jane"}, {"id": "evt_1", "name": "…(4 characters)"}),
    ({"email": "é"}, {"email": "…(1 character)"}),
    ({"type": "a", "event": "b", "object": "c"}, {"type": "a", "event": "b", "object": "c"}),
    ({"status": "paid", "livemode": False}, {"status": "paid", "livemode": False}),
    ({"created": 1_768_487_400, "timestamp": "2026-01-15"}, None),
    ({"api_version": "2025-01-01", "timestamp": 1_768_487_400_123}, None),
    ({"amount": 4926, "total": 49.26, "paid": True, "note": None}, None),
    ({"phone": 491711234567}, {"phone": "…(a long number)"}),
    ({"card": -4242424242424242}, {"card": "…(a long number)"}),
    ({"data": {"id": "pi_1", "x": ["y", 1]}}, {"data": {"id": "pi_1", "x": ["…(1 character)", 1]}}),
    ({"id": {"secret": "abc"}}, {"id": {"secret": "…(3 characters)"}}),
    ({"id": ["a-name"]}, {"id": ["…(6 characters)"]}),
    ({"id": "x" * 129}, {"id": "…(129 characters)"}),
    ({"k" * 200: 1}, {"k" * 63 + "…": 1}),
    (["a", {}, []], ["…(1 character)", {}, []]),
    ("only text", "…(9 characters)"),
    (list(range(101)), [*range(100), "…(1 more entry)"]),
    (7, 7),
    (None, None),
]


@pytest.mark.parametrize(("body", "shown"), BODIES)
def test_bodies(body: object, shown: object) -> None:
    redacted = json.loads(redacted_body(json.dumps(body, ensure_ascii=False).encode()))
    assert redacted == (body if shown is None else shown)


def test_an_object_of_many_members_is_cut() -> None:
    shown = json.loads(redacted_body(json.dumps({str(n): n for n in range(250)}).encode()))
    assert len(shown) == 101
    assert shown[CUT] == "…(150 more members)"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"a=1&name=Jane",
        b"\xff\xfe",
        b'{"a": 1',
        b'{"a": NaN}',
        b'"\xed\xa0\x80"',
        b'"\\ud800x"',
        b"[" * 60_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b"9" * 60_000,
        b"1e999",
    ],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_no_json_is_told_by_its_size_and_hash(body: bytes) -> None:
    digest = hashlib.sha256(body).hexdigest()
    assert redacted_body(body) == f"{len(body)} bytes, not JSON, SHA-256 {digest}"


def test_a_large_body_is_not_read() -> None:
    body = json.dumps({"id": "x" * PARSED}).encode()
    digest = hashlib.sha256(body).hexdigest()
    assert redacted_body(body) == f"{len(body)} bytes, not read as JSON, SHA-256 {digest}"


def test_deep_json_is_cut_at_a_depth() -> None:
    shown = redacted_body(b"[" * 500 + b"]" * 500)
    assert len(shown) < 100
    assert "…(1 entry)" in shown


@given(st.binary(max_size=300))
def test_nothing_escapes(body: bytes) -> None:
    redacted_body(body)
    redacted_headers([(body[:20], body[20:])])


texts = st.text("ABXYZ@é", min_size=4, max_size=40)


@given(st.dictionaries(st.sampled_from(["name", "email", "data"]), texts, min_size=1))
def test_no_text_of_an_unlisted_member_is_shown(members: dict[str, str]) -> None:
    shown = redacted_body(json.dumps(members).encode())
    assert all(text not in shown for text in members.values())


@given(
    st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=20),
    st.text("abcXYZ019+/_-,=. ", min_size=0, max_size=200),
)
def test_no_long_run_is_shown(name: str, value: str) -> None:
    ((_, shown),) = redacted_headers([(f"x-{name}".encode(), value.encode())])
    assert RUN.search(shown) is None
