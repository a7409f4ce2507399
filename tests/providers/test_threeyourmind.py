"""3YOURMIND: every state word, every rule of reading, every way to be refused."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import (
    AskFailed,
    Denied,
    Malformed,
    Missing,
    Throttled,
    TokenRefused,
)
from gateway.models import Fact, Millis, Reading, Reply, Track, Watched
from gateway.providers.pointer import STATES
from gateway.providers.threeyourmind import (
    ROWS,
    UNMAPPED,
    Row,
    ThreeYourMind,
    ThreeYourMindOptions,
)
from tests.unit.order_shop import Shop, data

PAGE = Path(__file__).parents[2] / "docs/providers/threeyourmind.md"
CREATED, ASKED = Millis(1_760_000_000_000), Millis(1_760_000_600_000)
MODIFIED = Millis(1_760_000_300_000)
MAP = {f"is {word}": word for word in ROWS}


def provider(**options: Any) -> ThreeYourMind:
    return ThreeYourMind(ThreeYourMindOptions(**{"status_map": MAP} | options))


def order(**more: Any) -> dict[str, Any]:
    return {
        "id": 501,
        "fullNumber": "100001-3D-Project-O2",
        "status": "is created",
        "dateCreated": "2025-10-09T08:53:20Z",
        "lastModified": "2025-10-09T10:58:20+02:00",
        "currency": "EUR",
        "totalPrice": {"inclusiveTax": "49.20"},
        "additionalInformation": {"reference": "1001"},
    } | more


def reply(body: object, status: int = 200, **headers: str) -> Reply:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status=status, headers=headers, body=sent, at=ASKED)


def read(body: object, given: str | None = None, number: str = "501", **options: Any) -> Reading:
    return provider(**options).read(Watched(number=number, order=given), [reply(body)])


def first(body: object, **more: Any) -> Fact:
    return read(body, **more).facts[0]


def told(reading: Reading) -> list[tuple[str, str]]:
    return [(str(fact.track), fact.state) for fact in reading.facts]


# The table.

UNHELD = ("hold", "")
EXPECTED = {
    "created": [("created", "created"), UNHELD, ("fulfilment", "created")],
    "paid": [("created", "created"), ("payment", "paid"), UNHELD, ("fulfilment", "created")],
    "processing": [("created", "created"), UNHELD, ("fulfilment", "processing")],
    "printing": [("created", "created"), UNHELD, ("fulfilment", "printing")],
    "post_processing": [("created", "created"), UNHELD, ("fulfilment", "post_processing")],
    "ready": [("created", "created"), UNHELD, ("fulfilment", "ready")],
    "shipped": [("created", "created"), UNHELD, ("fulfilment", "shipped")],
    "on_hold": [("created", "created"), ("hold", "is on_hold"), ("fulfilment", "created")],
    "cancelled": [("created", "created"), UNHELD, ("fulfilment", "cancelled")],
    "refunded": [
        *[("created", "created"), UNHELD, ("fulfilment", "created"), ("refund", "succeeded")]
    ],
}


@pytest.mark.parametrize("word", ROWS)
def test_every_state_word(word: str) -> None:
    reading = read(order(status=f"is {word}"))
    assert told(reading) == EXPECTED[word]
    assert (reading.event_id, reading.event_type, reading.at) == ("501", f"is {word}", MODIFIED)
    assert [fact.at for fact in reading.facts] == [CREATED] + [MODIFIED] * (len(reading.facts) - 1)
    assert reading.facts[0].implied is (word != "created")
    assert not any(fact.implied for fact in reading.facts[1:])
    assert {fact.key for fact in reading.facts} == {None, "threeyourmind:501"}
    for fact in reading.facts:
        assert (fact.order, fact.links) == ("1001", ("threeyourmind:501",))
        assert fact.ids == {"threeyourmind": ("501", "100001-3D-Project-O2")}
        held = fact.track is Track.HOLD and word == "on_hold"
        assert fact.reason == ("is on_hold" if held else None)


def test_the_state_words_are_all_that_a_map_may_name() -> None:
    assert set(ROWS) == STATES == set(EXPECTED)


def test_a_status_without_a_word_is_a_change() -> None:
    reading = read(order(status="quality check"))
    assert told(reading) == [
        ("created", "created"), ("fulfilment", "created"), ("change", "quality check")
    ]  # fmt: skip
    assert reading.facts[-1].what == "status"
    assert not reading.facts[0].implied


def test_holds_are_told_by_those_who_know_them() -> None:
    found = told(read(order(status="x"), status_map={"x": "printing"}))
    assert found == [("created", "created"), ("fulfilment", "printing")]


def test_docs_have_the_table() -> None:
    rows = re.findall(
        r"^\| (`\w+`|not in the map) \| (\w+) \| (.*?) \| (.*?) \| (.*?) \| (.*?) \| .* \|$",
        PAGE.read_text("utf-8"),
        re.MULTILINE,
    )

    def shown(word: str, row: Row) -> tuple[str, ...]:
        hold = "reason: the status" if row.held else "none" if word in ROWS else "says nothing"
        return (
            f"`{word}`" if word in ROWS else word,
            row.fulfilment,
            "says it" if row.paid else "no",
            hold,
            "yes" if row.refunded else "no",
            "yes" if row.later else "no",
        )

    expected = [shown(word, row) for word, row in ROWS.items()]
    assert rows == [*expected, shown("not in the map", UNMAPPED)]


def test_docs_have_a_configuration_that_loads() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    sources = [source for block in blocks for source in tomllib.loads(block)["sources"].values()]
    assert len(sources) == 1
    for source in sources:
        assert source["provider"] == ThreeYourMind.name
        assert source["token"] == "${TOKEN}"
        assert source["base_url"].startswith("https://")
        own = {key: source[key] for key in ThreeYourMindOptions.__struct_fields__ if key in source}
        assert ThreeYourMind(ThreeYourMindOptions(**own)).warnings() == ()


# What is read.


@pytest.mark.parametrize(
    ("more", "given", "expected"),
    [
        ({}, "shop-7", "shop-7"),
        ({}, None, "1001"),
        ({"additionalInformation": {"reference": 1001}}, None, "1001"),
        ({"additionalInformation": {"reference": ""}}, None, "100001-3D-Project-O2"),
        ({"additionalInformation": {"reference": None}}, None, "100001-3D-Project-O2"),
        ({"additionalInformation": "1001"}, None, "100001-3D-Project-O2"),
        ({"additionalInformation": None, "fullNumber": None}, None, "501"),
        ({"additionalInformation": None, "fullNumber": "a\x01b"}, None, "501"),
    ],
)
def test_which_order_it_is(more: dict[str, Any], given: str | None, expected: str) -> None:
    assert {fact.order for fact in read(order(**more), given).facts} == {expected}


def test_an_id_may_be_text() -> None:
    fact = first(order(id="a-1", fullNumber=None), number="a-1")
    assert (fact.links, fact.ids) == (("threeyourmind:a-1",), {"threeyourmind": ("a-1",)})


@pytest.mark.parametrize(
    ("path", "more", "raw"),
    [
        ("/status", {"status": "is ready"}, "is ready"),
        ("/status", {"status": 30}, "30"),
        ("/status/name", {"status": {"name": "is ready"}}, "is ready"),
        ("/history/0/to", {"history": [{"to": "is ready"}]}, "is ready"),
        ("/a~1b", {"a/b": "x"}, "x"),
    ],
)
def test_where_the_status_stands(path: str, more: dict[str, Any], raw: str) -> None:
    assert read(order(**more), status_path=path).event_type == raw


def test_numbers_are_mapped_by_their_digits() -> None:
    body = json.dumps(order()).replace('"is created"', "30").encode()
    assert told(read(body, status_map={"30": "shipped"}))[-1] == ("fulfilment", "shipped")
    body = body.replace(b"30", b"3.50")
    assert read(body).event_type == "3.50"


@pytest.mark.parametrize(
    ("name", "literal", "value", "minor", "currency"),
    [
        ("totalPrice", '{"inclusiveTax": "12.34"}', "12.34", 1234, "EUR"),
        ("totalPrice", '{"inclusiveTax": "12.340", "currency": "jpy"}', "12.340", None, "JPY"),
        ("totalPrice", '{"inclusiveTax": 12.30, "currency": null}', "12.30", None, None),
        ("totalPrice", '"12.30"', "12.30", 1230, "EUR"),
        ("total", "12.30", "12.30", 1230, "EUR"),
        ("price", "12", "12", 1200, "EUR"),
        ("total", '"0.100000000000000005551115"', None, None, "EUR"),
        ("total", "90071992547409.93", "90071992547409.93", 9007199254740993, "EUR"),
    ],
)
def test_money_keeps_its_digits(
    name: str, literal: str, value: str | None, minor: int | None, currency: str | None
) -> None:
    body = order()
    del body["totalPrice"]
    raw = json.dumps(body)[:-1] + f', "{name}": {literal}}}'
    total = first(raw.encode()).total
    assert total is not None
    assert total.value == (value if value is not None else literal.strip('"'))
    assert (total.minor, total.currency) == (minor, currency)


def test_the_price_with_tax_comes_first() -> None:
    total = first(order(total="1.00", price="2.00")).total
    assert total is not None
    assert total.value == "49.20"


@pytest.mark.parametrize("literal", ["12,34", "EUR 5", "", "1e99", "9" * 50, None, True, [], {}])
def test_strange_money_is_none(literal: object) -> None:
    assert first(order(totalPrice=literal)).total is None
    assert first(order(totalPrice={"inclusiveTax": literal})).total is None


def test_lines_and_customer_are_told_with_the_order() -> None:
    lines = [{"id": 7, "name": "a.stl", "quantity": 2, "totalPrice": "4.10"}, {"id": True}, 3]
    customer = {"id": 9, "name": "Ada", "email": "ada@shop.example", "phone": ["0"]}
    reading = read(order(lines=lines, customer=customer, shippingAddress={"city": "Bonn"}))
    found = reading.facts[0].lines
    assert found is not None
    assert [(line.id, line.name, line.quantity) for line in found] == [
        ("7", "a.stl", 2), (None, None, None)
    ]  # fmt: skip
    assert found[0].total is not None
    assert found[0].total.minor == 410
    assert reading.facts[0].customer == {
        "email": "ada@shop.example",
        "name": "Ada",
        "phone": None,
        "address": {"city": "Bonn"},
    }
    assert all(fact.customer is None and fact.lines is None for fact in reading.facts[1:])


@pytest.mark.parametrize("lines", [None, "x", {}, [], [1], [{}] * 1_001])
def test_strange_lines_are_none(lines: object) -> None:
    assert first(order(lines=lines)).lines is None


@pytest.mark.parametrize("strange", [None, 7, "yesterday", "2025-13-01T00:00:00Z", [], "9999"])
def test_times_fall_back_to_when_it_was_asked(strange: object) -> None:
    reading = read(order(dateCreated=strange, lastModified=strange))
    assert {fact.at for fact in reading.facts} == {ASKED} == {reading.at}


def test_no_time_lies_in_the_future() -> None:
    reading = read(order(dateCreated="2031-01-01T00:00:00Z", lastModified="2031-01-01T00:00:00Z"))
    assert {fact.at for fact in reading.facts} == {ASKED} == {reading.at}


# What cannot be read, and what is refused.


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"id": 502}, r"\$\.id: is not the order that was asked for"),
        ({"id": None}, r"\$\.id: must be a number, or text"),
        ({"id": True}, r"\$\.id: must be"),
        ({"id": ""}, r"\$\.id: must be"),
        ({"status": None}, "/status: .*is status_path right.* The order has: id fullNumber status"),
        ({"status": {"name": "new"}}, "/status: no text or number stands here"),
        ({"status": True}, "/status: "),
        ({"status": "x" * 256}, "/status: "),
    ],
)
def test_malformed(more: dict[str, Any], words: str) -> None:
    with pytest.raises(Malformed, match=words):
        read(order(**more))


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (401, {"detail": "Invalid token."}, TokenRefused, r"401 Unauthorized \(Invalid token\.\)"),
        (403, {"detail": "Invalid token."}, TokenRefused, "the token is not taken"),
        (403, {"detail": "Authentication credentials were not provided."}, TokenRefused, "403"),
        (403, {"detail": "You do not have permission."}, Denied, "may not read this"),
        (403, {"detail": 7}, Denied, "403"),
        (403, b"<html>", Denied, "403"),
        (404, {"detail": "Not found."}, Missing, "Not found"),
        (404, b"<h1>Not Found</h1>", AskFailed, "is base_url right"),
        (429, {"detail": "Request was throttled."}, Throttled, "was throttled"),
        (500, b"", AskFailed, "500"),
        (302, b"", AskFailed, "is base_url right"),
        (200, b"<html>Log in</html>", AskFailed, "no JSON object"),
        (200, b"[]", AskFailed, "no JSON object"),
        (200, b'{"id": 501, "sta', AskFailed, "no JSON object"),
    ],
)
def test_refusals(status: int, body: object, kind: type[AskFailed], words: str) -> None:
    for call in (
        lambda answer: provider().read(Watched(number="501"), [answer]),
        provider().read_page,
    ):
        with pytest.raises(AskFailed, match=words) as caught:
            call(reply(body, status))
        assert type(caught.value) is kind


# What becomes of it.


def test_polls_become_events_once() -> None:
    shop = Shop()
    seen = ("is created", "is paid", "cutting", "is on_hold", "is printing", "cutting")
    for minute, status in enumerate(seen):
        for _ in range(2):
            changed = f"2025-10-09T08:{30 + minute}:00Z"
            shop.tell(*read(order(status=status, lastModified=changed)).facts)
    assert shop.types() == ["created", "paid", "updated", "on_hold", "updated", "printing"]
    assert [data(event)["state"]["hold"] for event in shop.events][3:] == ["is on_hold", None, None]
    shop.tell(*read(order(status="is shipped")).facts)
    assert shop.types()[6:] == ["shipped"]
    shop.tell(*read(order(status="is refunded")).facts)
    assert shop.types()[7:] == ["refunded"]


def test_a_name_that_is_learnt_later_finds_the_same_order() -> None:
    shop = Shop()
    shop.tell(*read(order(additionalInformation=None)).facts)
    shop.tell(*read(order(status="is ready")).facts)
    assert {event.order for event in shop.events} == {"100001-3D-Project-O2"}
    assert shop.types().count("ready") == 1


def test_a_status_without_a_word_begins_an_order() -> None:
    shop = Shop()
    shop.tell(*read(order(status="cutting"), status_map={}).facts)
    assert shop.types() == ["created", "updated"]
    assert data(shop.events[1])["change"]["value"] == "cutting"
