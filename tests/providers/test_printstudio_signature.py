import json

import pytest

from gateway.errors import Rejected
from gateway.models import Millis
from gateway.providers.printstudio import PrintStudio, PrintStudioOptions
from tests.providers.callbacks import SECRET, TOLERANCE, as_bytes, callback, digest

BODY = b'{"id":"evt-1","event":"order.paid","data":{"orderId":"ord-1"}}'
GOOD = digest(BODY)
BAD = "0" * 64
PRINTSTUDIO = PrintStudio(PrintStudioOptions())


def verify(
    *headers: bytes | str,
    body: bytes = BODY,
    secrets: tuple[bytes, ...] = (SECRET,),
    now: int = 0,
) -> None:
    values = [value.encode() if isinstance(value, str) else value for value in headers]
    sent = callback(body, [(b"x-printstudio-signature", value) for value in values])
    PRINTSTUDIO.verify(sent, secrets=secrets, tolerance=TOLERANCE, now=Millis(now))


def test_a_known_vector_is_accepted() -> None:
    """The vector that Sendcloud publishes for the same scheme."""
    vector = "1eed4b3d41f4653ac64fd56f1bf1cbfd349e4482cbc11dff7134bd93e5da4b0a"
    for header in (f"sha256={vector}", vector):
        verify(header, body=b'{"key": "value"}', secrets=(b"secretkey",))


@pytest.mark.parametrize("header", [f"sha256={GOOD}", GOOD, GOOD.upper(), f"sha256={GOOD.upper()}"])
def test_hex_of_either_case_with_or_without_the_prefix(header: str) -> None:
    verify(header)


MALFORMED: list[tuple[str, list[bytes | str], str]] = [
    ("missing", [], "is missing"),
    ("twice", [GOOD, GOOD], "is there 2 times"),
    ("twice, one good", [GOOD, ""], "is there 2 times"),
    ("three times", ["", "", GOOD], "is there 3 times"),
    ("empty", [""], "64 hex"),
    ("blank", [" "], "64 hex"),
    ("prefix only", ["sha256="], "64 hex"),
    ("prefix without equals", [f"sha256{GOOD}"], "64 hex"),
    ("prefix twice", [f"sha256=sha256={GOOD}"], "64 hex"),
    ("equals twice", [f"sha256=={GOOD}"], "64 hex"),
    ("equals only", [f"={GOOD}"], "64 hex"),
    ("upper case prefix", [f"SHA256={GOOD}"], "64 hex"),
    ("other hash", [f"sha512={GOOD}"], "64 hex"),
    ("older hash", [f"sha1={GOOD[:40]}"], "64 hex"),
    ("dashed prefix", [f"sha-256={GOOD}"], "64 hex"),
    ("EasyPost's prefix", [f"hmac-sha256-hex={GOOD}"], "64 hex"),
    ("colon", [f"sha256:{GOOD}"], "64 hex"),
    ("space after prefix", [f"sha256= {GOOD}"], "64 hex"),
    ("space before equals", [f"sha256 ={GOOD}"], "64 hex"),
    ("leading space", [f" sha256={GOOD}"], "64 hex"),
    ("trailing space", [f"sha256={GOOD} "], "64 hex"),
    ("leading tab", [f"\t{GOOD}"], "64 hex"),
    ("inner space", [f"{GOOD[:32]} {GOOD[32:]}"], "64 hex"),
    ("newline", [f"sha256={GOOD}\n"], "64 hex"),
    ("carriage return", [f"sha256={GOOD}\r\n"], "64 hex"),
    ("folded", [f"sha256=\r\n {GOOD}"], "64 hex"),
    ("NUL", [f"sha256={GOOD}\0"], "64 hex"),
    ("NUL before", [f"\0{GOOD}"], "64 hex"),
    ("NUL only", [b"\0"], "64 hex"),
    ("63 digits", [GOOD[:-1]], "64 hex"),
    ("65 digits", [GOOD + "0"], "64 hex"),
    ("62 digits", [GOOD[:-2]], "64 hex"),
    ("128 digits", [GOOD + GOOD], "64 hex"),
    ("0x", ["0x" + GOOD], "64 hex"),
    ("0x of the same length", ["0x" + GOOD[2:]], "64 hex"),
    ("underscores", ["_".join([GOOD[:32], GOOD[33:]])], "64 hex"),
    ("not hex", ["g" * 64], "64 hex"),
    ("one letter too far", [GOOD[:-1] + "g"], "64 hex"),
    ("base64", ["b0M5Bxw6oQpS1O2nJ1Yp0k1cQ1n1zS0m2W0z3o4v5w6="], "64 hex"),
    ("quoted", [f'"{GOOD}"'], "64 hex"),
    ("quoted after prefix", [f'sha256="{GOOD}"'], "64 hex"),
    ("list", [f"sha256={GOOD},sha256={GOOD}"], "64 hex"),
    ("list of bare", [f"{GOOD},{GOOD}"], "64 hex"),
    ("trailing comma", [f"{GOOD},"], "64 hex"),
    ("semicolon", [f"sha256={GOOD};"], "64 hex"),
    ("1,000 signatures", [",".join([GOOD] * 1000)], "more than 4096 bytes"),
    ("one megabyte", ["a" * 2**20], "more than 4096 bytes"),
    ("padded to a megabyte", [f"sha256={GOOD}" + " " * 2**20], "more than 4096 bytes"),
    ("just too long", ["a" * 4097], "more than 4096 bytes"),
    ("4096 digits", ["a" * 4096], "64 hex"),
    ("Stripe's form", [f"t=1492774577,v1={GOOD}"], "64 hex"),
    ("Standard Webhooks' form", ["v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="], "64 hex"),
    ("token", ["Bearer " + GOOD], "64 hex"),
    ("null", ["null"], "64 hex"),
    ("json", ['{"sha256":"' + GOOD + '"}'], "64 hex"),
    ("nan", ["nan"], "64 hex"),
    ("Latin-1", [GOOD.encode() + b"\xe9"], "not ASCII"),
    ("UTF-8", [GOOD + "é"], "not ASCII"),
    ("not UTF-8", [b"\xff" * 64], "not ASCII"),
    ("Arabic-Indic digits", ["٠" * 64], "not ASCII"),
    ("full-width digits", ["０" * 64], "not ASCII"),
    ("byte order mark", [b"\xef\xbb\xbf" + GOOD.encode()], "not ASCII"),
    ("wrong", [BAD], "matches none of 1 secret$"),
    ("wrong with prefix", [f"sha256={BAD}"], "matches none"),
    ("backwards", [GOOD[::-1]], "matches none"),
    ("of another body", [digest(BODY + b" ")], "matches none"),
    ("of another secret", [digest(BODY, b"other")], "matches none"),
    ("of no secret", [digest(BODY, b"")], "matches none"),
]


@pytest.mark.parametrize(
    ("headers", "reason"), [case[1:] for case in MALFORMED], ids=[case[0] for case in MALFORMED]
)
def test_a_malformed_header_is_rejected(headers: list[bytes | str], reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        verify(*headers)


def test_any_secret_of_a_rotation_verifies() -> None:
    old, new = b"old", b"new"
    for secret in (old, new):
        verify(digest(BODY, secret), secrets=(old, new))
        verify(digest(BODY, secret), secrets=(new, old))
    with pytest.raises(Rejected, match="matches none of 2 secrets"):
        verify(digest(BODY, b"third"), secrets=(old, new))


@pytest.mark.parametrize("secrets", [(), (b"",), (b"", b"")])
def test_an_empty_secret_never_verifies(secrets: tuple[bytes, ...]) -> None:
    with pytest.raises(Rejected, match="no secret"):
        verify(digest(BODY, b""), secrets=secrets)
    with pytest.raises(Rejected):
        verify(digest(BODY, b""), secrets=(*secrets, SECRET))


def test_the_scheme_signs_no_time() -> None:
    for now in (0, 10**15):
        verify(GOOD, now=now)


def test_the_raw_bytes_are_signed_not_their_meaning() -> None:
    for other in (as_bytes(json.loads(BODY)), BODY + b"\n", BODY[:-1], b""):
        with pytest.raises(Rejected, match="matches none"):
            verify(GOOD, body=other)


@pytest.mark.parametrize("body", [b"", b"\xff\xfe\0", b"[" * 100_000, b"NaN", b"\xef\xbb\xbf{}"])
def test_verification_does_not_read_the_body(body: bytes) -> None:
    verify(digest(body), body=body)
