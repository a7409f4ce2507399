"""What an answer to `OPTIONS` means, as a table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.consent import Reply, Word, asked_for, asked_rate, granted_rate, judge, question
from gateway.models import Subscription

ORIGIN = "gateway.example.com"
ASKING = Subscription(id=1, name="a", url="https://consumer.example/hook?x=1", origin=ORIGIN)


def judged(
    origin: str | None = None,
    rate: str | None = None,
    *,
    status: int = 200,
    asked: int | None = None,
    others: dict[str, str] | None = None,
) -> Reply:
    headers = {f"webhook-allowed-{k}": v for k, v in (("origin", origin), ("rate", rate)) if v}
    raw = {k.encode(): v.encode("latin-1") for k, v in (headers | (others or {})).items()}
    return judge(status, raw, origin=ORIGIN, asked=asked)


@pytest.mark.parametrize(
    "origin",
    ["*", " * ", ORIGIN, "Gateway.EXAMPLE.com", f" {ORIGIN}\t", f"{ORIGIN}."],
)
@pytest.mark.parametrize("status", [200, 204, 301, 404, 405, 500, 503])
def test_the_header_consents_whatever_the_status(origin: str, status: int) -> None:
    assert judged(origin, "100", status=status) == Reply(word=Word.GRANTED, rate=100)


@pytest.mark.parametrize(
    "origin",
    [
        "gateway.example.com.evil.example",
        "gateway.example.comx",
        "gateway.example.co",
        "xgateway.example.com",
        "evil.gateway.example.com",
        "example.com",
        ".example.com",
        "*.example.com",
        "gateway.example.*",
        "gateway.example.com..",
        "gateway.example.com:443",
        "https://gateway.example.com",
        "gateway.example.com gateway.example.com",
        "gateway.example.com, other.example",
        "other.example, gateway.example.com",
        "gateway.example.com, gateway.example.com",
        "*, *",
        "**",
        '"*"',
        " ",
        "null",
        "gateway\u00a0.example.com",
    ],
)
def test_another_origin_or_a_list_is_a_denial(origin: str) -> None:
    reply = judged(origin, "100")
    assert (reply.word, reply.rate) == (Word.DENIED, None)
    assert ORIGIN in reply.reason


@given(st.binary(max_size=60))
def test_only_the_name_itself_or_an_asterisk_consents(value: bytes) -> None:
    reply = judge(200, {b"webhook-allowed-origin": value}, origin=ORIGIN, asked=None)
    same = value.strip(b" \t").lower() in {b"*", ORIGIN.encode(), ORIGIN.encode() + b"."}
    assert (reply.word is Word.GRANTED) == same


@pytest.mark.parametrize("cut", range(1, len(ORIGIN)))
def test_no_part_of_the_name_is_enough(cut: int) -> None:
    assert judged(ORIGIN[:cut]).word is Word.DENIED
    assert judged(ORIGIN[cut:]).word is Word.DENIED


def test_a_rate_without_an_origin_is_no_consent() -> None:
    assert judged(None, "*").word is Word.DENIED


@pytest.mark.parametrize("status", [200, 204, 301, 307, 400, 401, 403, 404, 405, 410, 415, 501])
def test_an_answer_without_the_headers_knows_no_handshake(status: int) -> None:
    reply = judged(status=status, others={"allow": "POST", "webhook-id": "x"})
    assert reply.word is Word.UNSUPPORTED
    assert str(status) in reply.reason


def test_a_redirect_is_shown_and_not_followed() -> None:
    reply = judged(status=302, others={"location": "https://elsewhere.example/"})
    assert reply.word is Word.UNSUPPORTED
    assert "'https://elsewhere.example/', which is not followed" in reply.reason


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_an_endpoint_that_cannot_answer_now_is_asked_later(status: int) -> None:
    assert judged(status=status) == Reply(
        word=Word.LATER, reason=f"it answered {status} when it was asked"
    )


@pytest.mark.parametrize(
    ("rate", "asked", "granted"),
    [
        ("1", None, 1),
        ("120", 60, 120),
        (" 30 ", 60, 30),
        ("0060", 60, 60),
        ("*", 60, None),
        ("*", None, None),
        (None, 60, 60),  # it must say a rate when one was asked for: the asked one is kept
        (None, None, None),
        ("9" * 15, 1, 10**15 - 1),
    ],
)
def test_rates(rate: str | None, asked: int | None, granted: int | None) -> None:
    assert judged("*", rate, asked=asked) == Reply(word=Word.GRANTED, rate=granted)
    assert granted_rate(rate.encode() if rate else None, asked) == granted


@pytest.mark.parametrize(
    "rate",
    ["0", "000", "-1", "+1", "1.5", "1e3", "60/min", "60, 60", "**", "*, 60", "1 0", "x", " ",
     "9" * 16, "9" * 5000, "\u00b2", "\u0663".encode().decode("latin-1")],
)  # fmt: skip
def test_a_malformed_rate_grants_nothing(rate: str) -> None:
    reply = judged("*", rate, asked=60)
    assert (reply.word, reply.rate) == (Word.DENIED, None)
    assert "WebHook-Allowed-Rate" in reply.reason
    assert len(reply.reason) < 500
    with pytest.raises(ValueError, match="is no rate"):
        granted_rate(rate.encode("latin-1"), None)


def test_an_empty_header_is_no_consent() -> None:
    assert judge(200, {b"webhook-allowed-origin": b""}, origin=ORIGIN, asked=None).word is (
        Word.DENIED
    )


def test_what_a_stranger_says_is_shown_safely_and_shortly() -> None:
    reply = judged("\x1b[31m" + "x" * 5000)
    assert "\x1b" not in reply.reason
    assert len(reply.reason) < 300


@pytest.mark.parametrize(
    ("rate", "asked"),
    [(None, None), (20.0, 1200), (1.0, 60), (0.5, 30), (0.99, 59), (0.001, 1), (1 / 60, 1)],
)
def test_the_rate_is_asked_for_by_the_minute(rate: float | None, asked: int | None) -> None:
    assert asked_rate(Subscription(id=1, name="a", url="", rate=rate)) == asked


def test_the_question() -> None:
    assert question(ASKING, None) == b"WebHook-Request-Origin: gateway.example.com\r\n"
    limited = Subscription(id=1, name="a", url="", origin=ORIGIN, rate=2.0)
    assert question(limited, "https://gateway.example.com/handshakes/s") == (
        b"WebHook-Request-Origin: gateway.example.com\r\n"
        b"WebHook-Request-Rate: 120\r\n"
        b"WebHook-Request-Callback: https://gateway.example.com/handshakes/s\r\n"
    )


def test_a_consent_holds_for_one_origin_and_one_url() -> None:
    def of(url: str, origin: str | None) -> str | None:
        return asked_for(Subscription(id=1, name="a", url=url, origin=origin))

    assert of(ASKING.url, None) is None
    assert of(ASKING.url, ORIGIN) == asked_for(ASKING)
    assert len({of(url, name) for url in ("u", "v") for name in ("a", "b")}) == 4
