"""Own headers: which are refused at configuration, and what becomes of `Basic USER:PASSWORD`."""

from base64 import b64decode
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.egress.headers import TOTAL, check_header, check_headers, check_value, header_value

CANARY = b"canary-7f3a"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", b"Bearer abc.def-ghi"),
        ("X-Api-Key", b"k"),
        ("X-Empty", b""),
        ("x-inner", b"a b\tc"),
        ("User-Agent", b"my shop/1.0"),
        ("Cookie", b'a="b"; c=d'),
        ("Cache-Control", b"no-store"),
        ("!#$%&'*+-.^_`|~9z", b"every character that a token may have"),
        ("connection-id", b"no prefix of a refused one"),
        ("cent", b"1"),
        ("hosting", b"1"),
        ("X-Long", b"y" * (TOTAL - len("X-Long: \r\n"))),
    ],
)
def test_headers_that_are_taken(name: str, value: bytes) -> None:
    check_header(name, value)


@pytest.mark.parametrize("case", [str.lower, str.upper, str.title])
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *(
            (name, "belongs to one connection")
            for name in (
                *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"),
                *("proxy-authorization", "proxy-connection", "proxy-anything"),
            )
        ),
        *((f"content-{name}", "body") for name in ("length", "type", "encoding", "digest")),
        *((name, "how the gateway sends") for name in ("accept-encoding", "expect")),
        ("host", "comes from the URL"),
        ("date", "the same for every delivery"),
        *(
            (f"webhook-{name}", "gateway's own")
            for name in ("id", "timestamp", "signature", "request-origin", "x")
        ),
        *((f"ce-{name}", "event's own") for name in ("id", "type", "x")),
    ],
)
def test_headers_that_are_not_the_operators_to_set(
    name: str, reason: str, case: Callable[[str], str]
) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        check_header(case(name), CANARY)
    _is_one_sentence(caught.value)


@pytest.mark.parametrize(
    "name",
    ["", " ", "a b", "a:", "a\r\nb", "a\n", "a\x00", "ä", "x" * 200 + " ", "(a)", "[a]", "@"],
)
def test_names_that_are_no_token(name: str) -> None:
    with pytest.raises(ValueError, match="not a header name") as caught:
        check_header(name, CANARY)
    _is_one_sentence(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        *(b" a", b"a ", b"\ta", b"a\t", b" ", b"\t"),
        *(b"a\r\nX: y", b"a\n", b"\na", b"a\rb", b"a\x00b", b"\x7f", b"\x1b[1m"),
        *("é".encode(), "é".encode("latin-1"), b"\xff", b"a" * 15_000 + b"\x80"),
    ],
)
def test_values_that_no_header_can_hold(value: bytes) -> None:
    for check in (check_header, check_value):
        with pytest.raises(ValueError, match="printable ASCII") as caught:
            check("X-Key", CANARY + value if value[:1] not in b" \t\n" else value + CANARY)
        _is_one_sentence(caught.value)


@given(st.text(max_size=20), st.binary(max_size=40))
def test_what_is_taken_stays_one_line(name: str, value: bytes) -> None:
    try:
        check_header(name, value)
    except UnicodeError:
        raise
    except ValueError:
        return
    wire = b"%b: %b" % (name.encode("ascii"), value)
    assert not set(wire) & {0, 10, 13}
    assert value.strip(b" \t") == value


def test_no_name_stands_there_twice() -> None:
    check_headers([("A", b"1"), ("B", b"1")])
    check_headers([])
    with pytest.raises(ValueError, match="'x-KEY' stands there twice"):
        check_headers([("X-Key", b"1"), ("x-KEY", CANARY)])
    with pytest.raises(ValueError, match="cannot be set"):
        check_headers([("X-Key", b"1"), ("Host", b"a")])


def test_all_together_have_a_limit() -> None:
    half = (TOTAL - 2 * len("A: \r\n")) // 2
    check_headers([("A", b"y" * half), ("B", b"y" * half)])
    with pytest.raises(ValueError, match="longer than 16 KiB together"):
        check_headers([("A", b"y" * half), ("B", b"y" * (half + 1))])
    with pytest.raises(ValueError, match="'A' is longer than 16 KiB"):
        check_header("A", b"y" * TOTAL)


CREDENTIALS = st.characters(
    codec="utf-8", exclude_characters="\x7f", min_codepoint=32
)  # RFC 7617 2


@pytest.mark.parametrize("secret", ["shop:two\r\nlines", "shop:\x00", "sh\x7fop:secret"])
def test_credentials_with_a_control_character_are_refused(secret: str) -> None:
    """They would be sent as base64, and never be those that the consumer knows."""
    with pytest.raises(ValueError, match="printable ASCII on one line"):
        check_header("Authorization", header_value("Authorization", f"Basic {secret}"))


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("Authorization", "Basic shop:secret", b"Basic c2hvcDpzZWNyZXQ="),
        ("authorization", "basic shop:", b"basic c2hvcDo="),
        ("Authorization", "Basic :x", b"Basic Ong="),
        ("Authorization", "Basic a:b:c", b"Basic YTpiOmM="),
        ("Authorization", "Basic shop:zoë", b"Basic c2hvcDp6b8Or"),
        ("Authorization", "Basic c2hvcDpzZWNyZXQ=", b"Basic c2hvcDpzZWNyZXQ="),
        ("Authorization", "Bearer a:b", b"Bearer a:b"),
        ("Authorization", "Basic", b"Basic"),
        ("Authorization", "Basic a:b\r\nX: y", b"Basic a:b\r\nX: y"),
        ("Authorization", "Basic a\x00:b", b"Basic a\x00:b"),
        ("X-Authorization", "Basic shop:secret", b"Basic shop:secret"),
        ("X-Key", "é", "é".encode()),
        ("X-Key", "\udcff", b"\xff"),
    ],
)
def test_basic_credentials_get_their_base64_and_all_else_stays(
    name: str, text: str, value: bytes
) -> None:
    assert header_value(name, text) == value


@given(
    st.text(CREDENTIALS, max_size=20).filter(lambda user: ":" not in user),
    st.text(CREDENTIALS, max_size=20),
)
def test_basic_credentials_come_back_whole(user: str, password: str) -> None:
    value = header_value("Authorization", f"Basic {user}:{password}")
    check_header("Authorization", value)
    assert b64decode(value.removeprefix(b"Basic ")).decode() == f"{user}:{password}"


def _is_one_sentence(error: ValueError) -> None:
    text = str(error)
    assert text.endswith(".")
    assert text.isprintable()
    assert len(text) < 250
    assert CANARY.decode() not in text  # values are secrets
