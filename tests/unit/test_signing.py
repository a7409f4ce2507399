"""Standard Webhooks: published vectors, the independent library, and every malformed input."""

import base64
import doctest
import subprocess
import sys
import time
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook
from starlette.datastructures import Headers

from gateway import signing
from gateway.signing import (
    NAMES,
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


def test_the_independent_library_verifies() -> None:
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
HUGE = "A" * 1_000_000

MALFORMED = {  # one header each is replaced; the facts are those of parsers that were caught out
    "webhook-id": [
        "",
        " ",
        "evt_2",
        "evt_1 ",
        " evt_1",
        "EVT_1",
        "évt",
        "evt_1\x00",
        "evt_1\n",
        "evt_1\udc80",
        "\ufeffevt_1",
        "evt.1",
        f"evt_1.{AT}",
        "evt_1,evt_1",
        HUGE,
    ],
    "webhook-timestamp": [
        "",
        " ",
        "x",
        "nan",
        "inf",
        "-inf",
        "1e9",
        "1e400",
        "0x69690000",
        "-1",
        "-0",
        "0",
        str(2**31),
        str(2**63),
        str(2**64),
        "9" * 5_000,
        HUGE,
        f"{AT}.5",
        f"{AT}.",
        f"+{AT}",
        f"-{AT}",
        f"0{AT}",
        f" {AT}",
        f"{AT} ",
        f"{AT}\x00",
        f"{AT}\n",
        f"{AT}_0",
        f"{AT},{AT}",
        f"{AT}000",
        "1_768_487_400",
        "١٧٦٨٤٨٧٤٠٠",
        "１７６８４８７４００",
        "17684874²⁰",
        "2026-01-15T14:30:00Z",
        str(AT + 1),
    ],
    "webhook-signature": [
        "",
        " ",
        ",",
        ",,,",
        "v1",
        "v1,",
        "v1,,",
        "v1 " + GOOD[3:],
        GOOD[3:],
        "v1;" + GOOD[3:],
        "v1=" + GOOD[3:],
        "v1, " + GOOD[3:],
        "v1,é",
        "v1,\x00",
        "v1,\udc80",
        "v1,!!!!",
        "no-comma-at-all",
        GOOD.replace("v1,", "v2,"),
        GOOD.replace("v1,", "v1a,"),
        GOOD.replace("v1,", "V1,"),
        GOOD.replace("v1,", "v01,"),
        GOOD.replace("v1,", "1,"),
        GOOD.rstrip("="),
        GOOD + "=",
        GOOD + "\x00",
        GOOD + "\n",
        GOOD + ",",
        GOOD[:-2] + "!=",
        GOOD.lower(),
        GOOD.replace(",", "，"),
        GOOD.replace(" ", ",") + "," + GOOD,
        base64.b64encode(base64.b64decode(GOOD[3:])[:16]).decode(),
        "v1," + base64.b64decode(GOOD[3:]).hex(),
        "v1," + HUGE,
        " " * 1_000_000,
        "," * 1_000_000,
        " ".join(["v1,AAAA"] * 1_000) + " " + GOOD,
        " ".join([GOOD] * 1_000),
    ],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in MALFORMED.items() for value in values],
    ids=lambda text: ascii(text)[:40],
)
def test_malformed_deliveries_raise_the_one_error(name: str, value: str) -> None:
    fields = headers() | {name: value}
    with pytest.raises(VerificationError):
        verify(BODY, fields, SECRET, now=AT)
    with pytest.raises(VerificationError):
        verify(BODY, asgi(fields), SECRET, now=AT)


def asgi(fields: dict[str, str]) -> list[tuple[bytes, bytes]]:
    """The same headers in the form of ASGI: pairs of bytes."""
    return [(n.encode(), v.encode("utf-8", "surrogatepass")) for n, v in fields.items()]


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


def test_the_id_is_returned_whatever_form_the_headers_have() -> None:
    message = Message()
    for name, value in headers().items():
        message[name.title()] = value
    forms: list[Any] = [
        headers(),
        asgi(headers()),
        message,
        Headers(headers()),
        iter(asgi(headers())),
    ]
    for form in forms:
        assert verify(BODY, form, SECRET, now=AT) == "evt_1"
    for body in (bytearray(BODY), memoryview(BODY)):
        assert verify(body, headers(), SECRET, now=AT) == "evt_1"  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("second", ["", "the same", "another"])
def test_a_header_that_came_twice_is_refused(name: str, second: str) -> None:
    value = headers()[name] if second == "the same" else second
    twice: list[Any] = [
        [*asgi(headers()), (name.encode(), value.encode())],
        [(name.title().encode(), value.encode()), *asgi(headers())],
        {name.upper(): value} | headers(),
        Headers(raw=[*asgi(headers()), (name.encode(), value.encode())]),
    ]
    for fields in twice:
        with pytest.raises(VerificationError, match=f"{name} came twice"):
            verify(BODY, fields, SECRET, now=AT)


@pytest.mark.parametrize("body", [BODY.decode(), None, 7, [BODY], {"hello": "wörld"}])
def test_a_body_that_is_no_longer_bytes_is_refused(body: Any) -> None:
    with pytest.raises(VerificationError, match="before any decoding"):
        verify(body, headers(), SECRET, now=AT)


@pytest.mark.parametrize("value", [None, 7, ["evt_1"], 1.5])
def test_a_header_that_is_no_text_is_refused(value: Any) -> None:
    for name in NAMES:
        fields: Any = headers() | {name: value}
        with pytest.raises(VerificationError):
            verify(BODY, fields, SECRET, now=AT)


@pytest.mark.parametrize(
    "fields", [None, 5, "text", b"bytes", [(b"a",)], [(b"a", b"b", b"c")], [5], {"a", "b"}]
)
def test_headers_of_no_form_at_all_are_refused(fields: Any) -> None:
    with pytest.raises(VerificationError, match="no pairs of name and value"):
        verify(BODY, fields, SECRET, now=AT)


@pytest.mark.parametrize("secrets", [None, (), [], [None], [SECRET, None], SECRET.encode(), [5]])
def test_secrets_that_are_no_text_are_refused(secrets: Any) -> None:
    with pytest.raises(VerificationError, match="secret"):
        verify(BODY, headers(), secrets, now=AT)


def test_no_clock_that_has_lost_its_way_lets_an_old_delivery_in() -> None:
    for now in (float("nan"), float("inf"), float("-inf"), 0.0):
        with pytest.raises(VerificationError, match="s off"):
            verify(BODY, headers(), SECRET, now=now)


def test_now_is_the_clocks_unless_given() -> None:
    now = int(time.time())
    signature = sign([parse_secret(SECRET)], "evt_1", now, BODY).decode()
    fields = headers(webhook_timestamp=str(now), webhook_signature=signature)
    assert verify(BODY, fields, SECRET) == "evt_1"
    with pytest.raises(VerificationError, match="s off"):
        verify(BODY, headers(), SECRET)


def test_a_border_drawn_elsewhere_is_no_other_delivery() -> None:
    """`a.1.2.x` may be id `a`, time 1 and body `2.x`, or id `a.1`, time 2 and body `x`."""
    signature = sign([parse_secret(SECRET)], "evt_1", AT, b"%d.{}" % (AT + 9)).decode()
    fields = {"webhook-id": f"evt_1.{AT}", "webhook-timestamp": str(AT + 9)}
    with pytest.raises(VerificationError, match="webhook-id"):
        verify(b"{}", fields | {"webhook-signature": signature}, SECRET, now=AT)


def test_the_example_in_the_docs_is_true() -> None:
    assert doctest.testmod(signing).attempted > 3
    assert doctest.testmod(signing).failed == 0


ALONE = """
import sys
class Guard:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        allowed = name in {"gateway", "gateway.signing", "gateway.inbox"}
        if not allowed and top not in sys.stdlib_module_names:
            raise AssertionError(f"{name} was imported")
sys.meta_path.insert(0, Guard())
import gateway.signing, gateway.inbox
print(sorted(name for name in sys.modules if name.startswith("gateway")))
"""


def test_consumers_import_nothing_else() -> None:
    run = subprocess.run(
        [sys.executable, "-c", ALONE],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert run.stderr == ""
    assert run.stdout == "['gateway', 'gateway.inbox', 'gateway.signing']\n"


values = st.one_of(
    st.text(),
    st.binary(),
    st.none(),
    st.integers().map(str),
    st.sampled_from([*MALFORMED["webhook-timestamp"][:12], GOOD, str(AT), "evt_1"]),
)


@given(body=st.binary() | st.text(), fields=st.dictionaries(st.sampled_from(NAMES), values))
def test_nothing_else_is_ever_raised(body: Any, fields: Any) -> None:
    with pytest.raises(VerificationError):
        verify(body, fields, SECRET, now=AT)


@given(
    pairs=st.lists(st.tuples(st.sampled_from(NAMES).map(str.encode) | st.binary(), st.binary())),
    beside=st.booleans(),
)
def test_nothing_else_is_ever_raised_for_pairs_of_bytes(
    pairs: list[tuple[bytes, bytes]], beside: bool
) -> None:
    """With the right headers among them it may pass, when no name is there twice."""
    fields = [*pairs, *asgi(headers())] if beside else pairs
    names = [name.decode("latin-1").lower() for name, _ in fields]
    if beside and all(names.count(name) == 1 for name in NAMES):
        assert verify(BODY, fields, SECRET, now=AT) == "evt_1"
        return
    with pytest.raises(VerificationError):
        verify(BODY, fields, SECRET, now=AT)
