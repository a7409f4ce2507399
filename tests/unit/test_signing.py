"""Standard Webhooks: published vectors, the independent library, and every malformed input."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from gateway.signing import (
    VerificationError,
    generate_secret,
    parse_secret,
    sign,
    verify,
)

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
BODY = b'{"hello":"w\xc3\xb6rld"}'
AT = 1_768_487_400

VECTORS = [  # svix/svix-webhooks src/worker.rs, standard-webhooks libraries/rust/src/lib.rs
    (
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1_614_265_330,
        b'{"test": 2432232314}',
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ),
    (
        "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
        1_649_367_553,
        b'{"email":"test@example.com","username":"test_user"}',
        "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
    ),
]


def headers(**changes: str) -> dict[str, str]:
    signature = sign([parse_secret(SECRET)], "evt_1", AT, BODY).decode()
    found = {"webhook-id": "evt_1", "webhook-timestamp": str(AT), "webhook-signature": signature}
    return found | {name.replace("_", "-"): value for name, value in changes.items()}


@pytest.mark.parametrize(("secret", "message", "at", "body", "signature"), VECTORS)
def test_published_vectors(secret: str, message: str, at: int, body: bytes, signature: str) -> None:
    assert sign([parse_secret(secret)], message, at, body).decode() == signature
    fields = {
        "webhook-id": message,
        "webhook-timestamp": str(at),
        "webhook-signature": signature,
    }
    verify(body, fields, secret, now=at)


def test_the_independent_library_verifies(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    now = int(time.time())
    keys = [parse_secret(generate_secret()), parse_secret(SECRET)]
    signature = sign(keys, "evt_1", now, BODY).decode()
    fields = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(now),
        "webhook-signature": signature,
    }
    assert len(signature.split()) == 2
    Webhook(SECRET).verify(BODY, fields)
    verify(BODY, fields, [generate_secret(), SECRET], now=now)


def test_generated_secrets_are_printable_text_too() -> None:
    secrets = {generate_secret() for _ in range(50)}
    assert len(secrets) == 50
    for secret in secrets:
        key = parse_secret(secret)
        assert len(key) == 32
        assert key.decode("ascii").isalnum()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "begins with whsec_"),
        ("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", "begins with whsec_"),
        ("whsec_", "24 to 64 bytes"),
        ("whsec_" + base64.b64encode(b"x" * 23).decode(), "this one has 23"),
        ("whsec_" + base64.b64encode(b"x" * 65).decode(), "this one has 65"),
        ("whsec_a", "not base64"),
        ("whsec_ä", "not base64"),
        ("whsec_" + "A" * 31 + "!", "not base64"),
    ],
)
def test_bad_secrets(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        parse_secret(text)
    assert not text[6:] or text not in str(caught.value)


@pytest.mark.parametrize(
    ("offset", "good"), [(300, True), (-300, True), (301, False), (-301, False)]
)
def test_tolerance_to_the_second(offset: int, good: bool) -> None:
    if good:
        verify(BODY, headers(), SECRET, now=AT + offset)
    else:
        with pytest.raises(VerificationError, match="301 s off"):
            verify(BODY, headers(), SECRET, now=AT + offset)


GOOD = headers()["webhook-signature"]


@pytest.mark.parametrize(
    "changes",
    [
        {"webhook_id": ""},
        {"webhook_id": "evt_2"},
        {"webhook_id": "évt"},
        {"webhook_id": "evt_1 "},
        {"webhook_timestamp": ""},
        {"webhook_timestamp": "x"},
        {"webhook_timestamp": "1e9"},
        {"webhook_timestamp": "-1"},
        {"webhook_timestamp": f"{AT}.5"},
        {"webhook_timestamp": f" {AT}"},
        {"webhook_timestamp": f"{AT}_0"},
        {"webhook_timestamp": "١٧٦٨٤٨٧٤٠٠"},
        {"webhook_timestamp": "9" * 5000},
        {"webhook_timestamp": "nan"},
        {"webhook_timestamp": "inf"},
        {"webhook_timestamp": str(AT + 1)},
        {"webhook_signature": ""},
        {"webhook_signature": ","},
        {"webhook_signature": "v1"},
        {"webhook_signature": "v1,"},
        {"webhook_signature": "v1,é"},
        {"webhook_signature": "v1,\udc80"},
        {"webhook_signature": "no-comma-at-all"},
        {"webhook_signature": GOOD.replace("v1,", "v2,")},
        {"webhook_signature": GOOD.replace("v1,", "v1a,")},
        {"webhook_signature": GOOD.replace("v1,", "V1,")},
        {"webhook_signature": GOOD.rstrip("=")},
        {"webhook_signature": GOOD + "="},
        {"webhook_signature": GOOD.lower()},
        {"webhook_signature": "v1," + "A" * 1_000_000},
        {"webhook_signature": " ".join(["v1,AAAA"] * 1000) + " " + GOOD},
    ],
)
def test_malformed_deliveries_raise_the_one_error(changes: dict[str, str]) -> None:
    with pytest.raises(VerificationError):
        verify(BODY, headers(**changes), SECRET, now=AT)


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_missing_headers(missing: str) -> None:
    fields = headers()
    del fields[missing]
    with pytest.raises(VerificationError):
        verify(BODY, fields, SECRET, now=AT)


def test_another_body_or_secret() -> None:
    for body, secret in ((BODY + b" ", SECRET), (BODY, generate_secret())):
        with pytest.raises(VerificationError, match="no v1 entry matches any of 1 secrets"):
            verify(body, headers(), secret, now=AT)
    for secrets in ([], [""], ["whsec_x"]):
        with pytest.raises(VerificationError):
            verify(BODY, headers(), secrets, now=AT)


def test_junk_beside_the_right_entry_and_any_header_case() -> None:
    fields = {name.title(): value for name, value in headers().items()}
    fields["Webhook-Signature"] = f"junk v1a,x v1,wrong  {GOOD}"
    verify(BODY, fields, SECRET, now=AT)


@given(body=st.binary(), values=st.lists(st.text(), min_size=3, max_size=3))
def test_nothing_else_is_ever_raised(body: bytes, values: list[Any]) -> None:
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    with pytest.raises(VerificationError):
        verify(body, dict(zip(names, values, strict=True)), SECRET, now=AT)
