import json

import pytest

from gateway.errors import Rejected
from gateway.models import Callback, Millis
from gateway.providers.stripe import Stripe, StripeOptions
from tests.providers.callbacks import SECRET, TOLERANCE, as_bytes, callback, digest

BODY = b'{"id":"evt_1"}'
TIME = 1_492_774_577
GOOD = "799c4ba7bb339f3c8601adfd112f0e477c930a268be1243d341abb8286501c2f"
BAD = "0" * 64
STRIPE = Stripe(StripeOptions())


def verify(
    *headers: bytes | str,
    body: bytes = BODY,
    secrets: tuple[bytes, ...] = (SECRET,),
    now: int = TIME * 1000,
) -> None:
    values = [value.encode() if isinstance(value, str) else value for value in headers]
    sent = callback(body, [(b"stripe-signature", value) for value in values])
    STRIPE.verify(sent, secrets=secrets, tolerance=TOLERANCE, now=Millis(now))


def signed(timestamp: str, body: bytes = BODY, secret: bytes = SECRET) -> str:
    """A header whose signature fits, so that nothing but its timestamp can be refused."""
    return f"t={timestamp},v1={digest(timestamp.encode() + b'.' + body, secret)}"


def test_the_published_vector_is_accepted() -> None:
    verify(f"t={TIME},v1={GOOD}")


@pytest.mark.parametrize(
    "header",
    [
        f"v1={GOOD},t={TIME}",
        f"t={TIME},v1={BAD},v1={GOOD}",
        f"t={TIME},v1={GOOD},v1={BAD}",
        f"t={TIME},v1={GOOD},v0={BAD}",
        f"t={TIME},v0={BAD},v1={GOOD},v2=a=b=c",
        f"t={TIME},v1=,v1={GOOD}",
        f"t={TIME},v1=short,v1={GOOD}",
        ",".join([f"t={TIME}", *[f"v1={BAD}"] * 19, f"v1={GOOD}"]),
    ],
)
def test_other_entries_do_not_disturb_a_right_one(header: str) -> None:
    verify(header)


MALFORMED: list[tuple[str, list[bytes | str], str]] = [
    ("missing", [], "is missing"),
    ("twice", [f"t={TIME},v1={GOOD}"] * 2, "is there 2 times"),
    ("twice, one good", [f"t={TIME},v1={GOOD}", "x"], "is there 2 times"),
    ("three times", ["", "", f"t={TIME},v1={GOOD}"], "is there 3 times"),
    ("empty", [""], "no ="),
    ("blank", [" "], "no ="),
    ("comma", [","], "no ="),
    ("commas", ["," * 4000], "no ="),
    ("equals", ["="], "one t"),
    ("words", ["hello world"], "no ="),
    ("json", ['{"t":1,"v1":"x"}'], "no ="),
    ("bare digest", [GOOD], "no ="),
    ("no time", [f"v1={GOOD}"], "one t"),
    ("no signature", [f"t={TIME}"], "no v1"),
    ("other scheme only", [f"t={TIME},v0={GOOD}"], "no v1"),
    ("later scheme only", [f"t={TIME},v2={GOOD}"], "no v1"),
    ("upper case scheme", [f"t={TIME},V1={GOOD}"], "no v1"),
    ("upper case time", [f"T={TIME},v1={GOOD}"], "one t"),
    ("space before scheme", [f"t={TIME}, v1={GOOD}"], "no v1"),
    ("space before time", [f" t={TIME},v1={GOOD}"], "one t"),
    ("space after time", [f"t={TIME} ,v1={GOOD}"], "one t"),
    ("space in time", [f"t= {TIME},v1={GOOD}"], "one t"),
    ("space after signature", [f"t={TIME},v1={GOOD} "], "no v1 entry matches"),
    ("space before signature", [f"t={TIME},v1= {GOOD}"], "no v1 entry matches"),
    ("trailing comma", [f"t={TIME},v1={GOOD},"], "no ="),
    ("leading comma", [f",t={TIME},v1={GOOD}"], "no ="),
    ("semicolon", [f"t={TIME};v1={GOOD}"], "one t"),
    ("colon", [f"t:{TIME},v1:{GOOD}"], "no ="),
    ("junk element", [f"t={TIME},junk,v1={GOOD}"], "no ="),
    ("two times", [f"t={TIME},t={TIME},v1={GOOD}"], "one t"),
    ("two different times", [f"t=1,t={TIME},v1={GOOD}"], "one t"),
    ("quoted", [f'"t={TIME},v1={GOOD}"'], "one t"),
    ("quoted signature", [f't={TIME},v1="{GOOD}"'], "no v1 entry matches"),
    ("empty signature", [f"t={TIME},v1="], "no v1 entry matches"),
    ("short signature", [f"t={TIME},v1={GOOD[:-1]}"], "no v1 entry matches"),
    ("long signature", [f"t={TIME},v1={GOOD}0"], "no v1 entry matches"),
    ("upper case signature", [f"t={TIME},v1={GOOD.upper()}"], "no v1 entry matches"),
    ("doubled equals", [f"t={TIME},v1=={GOOD}"], "no v1 entry matches"),
    ("0x", [f"t={TIME},v1=0x{GOOD}"], "no v1 entry matches"),
    ("sha256=", [f"t={TIME},v1=sha256={GOOD}"], "no v1 entry matches"),
    ("not hex", [f"t={TIME},v1={'z' * 64}"], "no v1 entry matches"),
    ("wrong", [f"t={TIME},v1={BAD}"], "no v1 entry matches"),
    ("base64", [f"t={TIME},v1=eZxLp7szn4yGAa39ES8O"], "no v1 entry matches"),
    ("newline at the end", [f"t={TIME},v1={GOOD}\n"], "no v1 entry matches"),
    ("newline in the time", [f"t={TIME}\n,v1={GOOD}"], "one t"),
    ("carriage return", [f"t={TIME},v1={GOOD}\r\n"], "no v1 entry matches"),
    ("NUL", [f"t={TIME},v1={GOOD}\0"], "no v1 entry matches"),
    ("NUL in the time", [f"t={TIME}\0,v1={GOOD}"], "one t"),
    ("NUL only", [b"\0"], "no ="),
    ("Latin-1", [f"t={TIME},v1={GOOD},x=é".encode("latin-1")], "not ASCII"),
    ("UTF-8", [f"t={TIME},v1={GOOD},x=é"], "not ASCII"),
    ("not UTF-8", [b"\xff\xfe\xfd"], "not ASCII"),
    ("Arabic-Indic digits", ["t=١٤٩٢٧٧٤٥٧٧,v1=" + GOOD], "not ASCII"),
    ("full-width signature", [f"t={TIME},v1=" + "７" * 64], "not ASCII"),
    ("one megabyte", [f"t={TIME},v1={GOOD},x=" + "a" * 2**20], "more than 4096 bytes"),
    ("just too long", [f"t={TIME},v1={GOOD},x=".ljust(4097, "a")], "more than 4096 bytes"),
    ("21 signatures", [f"t={TIME}" + f",v1={GOOD}" * 21], "more than 20 v1"),
    ("1,000 signatures", [f"t={TIME}" + ",v1=a" * 1000], "more than"),
    ("PrintStudio's form", [f"sha256={GOOD}"], "one t"),
    ("Standard Webhooks' form", ["v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="], "no ="),
]


@pytest.mark.parametrize(
    ("headers", "reason"), [case[1:] for case in MALFORMED], ids=[case[0] for case in MALFORMED]
)
def test_a_malformed_header_is_rejected(headers: list[bytes | str], reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        verify(*headers)


TIMESTAMPS = (
    *("", "nan", "inf", "-inf", "1e9", "1e400", "1.5", f"{TIME}.5", f"{TIME}.0", f"-{TIME}"),
    *(f"+{TIME}", "1_492_774_577", "0x58fa2b71", "-1", "1492774577000", str(2**63), "9" * 4301),
    *("null", "true", "[]", "2017-04-21T11:36:17Z", "t=1492774577", "١٤٩٢٧٧٤٥٧٧"),
)


@pytest.mark.parametrize("timestamp", TIMESTAMPS)
def test_a_timestamp_is_one_to_twelve_digits_even_when_it_is_signed(timestamp: str) -> None:
    with pytest.raises(Rejected, match=r"one t of 1 to 12 digits|not ASCII|more than 4096 bytes"):
        verify(signed(timestamp))


@pytest.mark.parametrize("timestamp", ["0", "1", "9" * 12])
def test_absurd_times_are_out_of_tolerance(timestamp: str) -> None:
    with pytest.raises(Rejected, match="300 s are allowed"):
        verify(signed(timestamp))


@pytest.mark.parametrize("seconds", [-300, -299, 0, 299, 300])
def test_within_the_tolerance_both_ways(seconds: int) -> None:
    verify(f"t={TIME},v1={GOOD}", now=(TIME + seconds) * 1000)


@pytest.mark.parametrize(
    ("seconds", "reason"),
    [
        (301, "the timestamp is 301 s old, 300 s are allowed"),
        (412, "the timestamp is 412 s old, 300 s are allowed"),
        (-301, "the timestamp is 301 s in the future, 300 s are allowed"),
        (-(10**9), "the timestamp is 1000000000 s in the future, 300 s are allowed"),
    ],
)
def test_beyond_the_tolerance_both_ways(seconds: int, reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        verify(f"t={TIME},v1={GOOD}", now=(TIME + seconds) * 1000)
    assert str(caught.value) == reason


def test_any_secret_of_a_rotation_verifies() -> None:
    old, new = b"whsec_old", b"whsec_new"
    for secret in (old, new):
        header = signed(str(TIME), secret=secret)
        verify(header, secrets=(old, new))
        verify(header, secrets=(new, old))
    both = signed(str(TIME), secret=old) + "," + signed(str(TIME), secret=new).split(",")[1]
    for secrets in ((old,), (new,), (b"whsec_other", new)):
        verify(both, secrets=secrets)
    with pytest.raises(Rejected, match="no v1 entry matches any of 2 secrets"):
        verify(signed(str(TIME), secret=b"whsec_third"), secrets=(old, new))


@pytest.mark.parametrize("secrets", [(), (b"",), (b"", b"")])
def test_an_empty_secret_never_verifies(secrets: tuple[bytes, ...]) -> None:
    with pytest.raises(Rejected, match="no secret"):
        verify(signed(str(TIME), secret=b""), secrets=secrets)
    with pytest.raises(Rejected):
        verify(signed(str(TIME), secret=b""), secrets=(*secrets, SECRET))


def test_the_raw_bytes_are_signed_not_their_meaning() -> None:
    body = b'{"id": "evt_1",   "a": "\\u00e9"}'
    header = signed(str(TIME), body)
    verify(header, body=body)
    for other in (as_bytes(json.loads(body)), body + b"\n", body[:-1], b""):
        with pytest.raises(Rejected, match="no v1 entry matches"):
            verify(header, body=other)


@pytest.mark.parametrize("body", [b"", b"\xff\xfe\0", b"[" * 100_000, b"NaN", b"\xef\xbb\xbf{}"])
def test_verification_does_not_read_the_body(body: bytes) -> None:
    verify(signed(str(TIME), body), body=body)


def test_other_headers_are_not_looked_at() -> None:
    headers = [(b"x-stripe-signature", b"x"), (b"stripe-signature-2", b"y"), (b"", b"")]
    sent = Callback(source="s", headers=headers, body=BODY, received_at=Millis(0))
    with pytest.raises(Rejected, match="Stripe-Signature is missing"):
        STRIPE.verify(sent, secrets=(SECRET,), tolerance=TOLERANCE, now=Millis(TIME * 1000))


@pytest.mark.parametrize("secret", [b"whsec_a ", b"\twhsec_a", b"whsec_a\n"])
def test_a_secret_with_a_blank_at_an_end_is_hinted_at(secret: bytes) -> None:
    header = signed(str(TIME), secret=b"whsec_a")
    with pytest.raises(Rejected, match="1 secret; one begins or ends with a blank"):
        verify(header, secrets=(secret,))
    verify(signed(str(TIME), secret=secret), secrets=(secret,))
