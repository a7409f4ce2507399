"""CloudEvents 1.0.2 in HTTP deliveries, rule by rule; `docs/standards.md` lists them."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from gateway.events import binary, escape, parse
from tests.pipeline.world import SECRET, Consumer, Delivered, World, shop_event
from tests.standards.stage import HOSTILE, MODES, all_modes, by_path, play, telling

NAME = re.compile(r"[a-z0-9]{1,20}")
# What CloudEvents forbids in a String: controls, lone surrogates, and code points of no character.
FORBIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(
        f"{chr(plane * 0x10000 + 0xFFFE)}{chr(plane * 0x10000 + 0xFFFF)}" for plane in range(17)
    )
    + "]"
)
KIB_64 = 64 * 1024
BATCH_TYPE = "application/cloudevents-batch+json; charset=utf-8"


def attributes_of(delivered: Delivered) -> dict[str, Any]:
    """The context attributes as they stand on the wire, without a library in between."""
    if "ce-id" in delivered.headers:
        headers = delivered.headers.items()
        found = {name[3:]: unquote(text) for name, text in headers if name.startswith("ce-")}
        return found | {"datacontenttype": delivered.headers["content-type"]}
    envelope = json.loads(delivered.body)
    only = envelope[0] if isinstance(envelope, list) else envelope
    return {name: value for name, value in only.items() if name != "data"}


def test_ce_1_required_attributes_are_there_in_every_mode(tmp_path: Path) -> None:
    seen = by_path(play(tmp_path, all_modes(), telling()))
    assert len(seen) == 4
    found = [attributes_of(delivered) for delivered in seen.values()]
    for attributes in found:
        assert attributes["specversion"] == "1.0"
        assert all(attributes[name] for name in ("id", "source", "type"))
    assert len({(one["source"], one["id"], one["type"]) for one in found}) == 1


def test_ce_1_source_and_id_name_one_event_and_a_repeat_keeps_them(tmp_path: Path) -> None:
    def prepare(consumer: Consumer) -> None:
        answers = iter([500, 500, 500])
        consumer.answer = lambda _: (next(answers, 200), {}, b"")

    events = [
        shop_event(1),
        shop_event(1),
        shop_event(2, "order.paid"),
        shop_event(3, order="ord-2"),
        shop_event(4, "order.shipped", order="ord-2"),
    ]
    keys = {"schedule": ["50ms", "50ms", "50ms"]}
    seen = play(tmp_path, {"good": keys}, telling(*events), prepare=prepare)
    facts = {(d.event["type"], d.event["subject"]): set[tuple[str, str]]() for d in seen}
    for delivered in seen:
        event = delivered.event
        facts[event["type"], event["subject"]].add((event["source"], event["id"]))
    assert len(seen) == 7
    assert len(facts) == 4
    assert all(len(names) == 1 for names in facts.values())
    assert len(set.union(*facts.values())) == 4


@pytest.mark.parametrize("order", [HOSTILE, "\ufffe\ufdd0\U0001ffff", "x" * 255])
def test_ce_2_names_and_texts_are_those_of_the_type_system(tmp_path: Path, order: str) -> None:
    for delivered in play(tmp_path, all_modes(), telling(shop_event(1, order=order))):
        attributes = attributes_of(delivered)
        assert len(attributes) >= 10
        for name, value in attributes.items():
            assert NAME.fullmatch(name)
            if isinstance(value, int):
                assert -(2**31) <= value < 2**31
            else:
                assert isinstance(value, str)
                assert value
                assert FORBIDDEN.search(value) is None
        assert unquote(attributes["subject"]) == order


@given(st.text(st.characters(codec="utf-8")))
def test_ce_2_any_text_becomes_an_attribute_that_can_be_read_back(text: str) -> None:
    escaped = escape(text)
    assert FORBIDDEN.search(escaped) is None
    assert escaped.isascii()
    assert unquote(escaped) == text


def padded(size: int) -> dict[str, Any]:
    """A callback that makes an event of about this size, because the event holds its bytes."""
    return shop_event(1, filler="x" * size)


@pytest.mark.parametrize("size", [KIB_64, 500_000])
def test_ce_3_events_of_64_kib_and_more_are_delivered(tmp_path: Path, size: int) -> None:
    seen = by_path(play(tmp_path, all_modes(), telling(padded(size))))
    assert set(seen) == set(MODES)
    for delivered in seen.values():
        assert len(delivered.body) > size
        Webhook(SECRET).verify(delivered.body, delivered.headers)


def test_ce_3_an_event_of_exactly_64_kib_on_the_wire_is_delivered(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()

    def wire(delivered: Delivered) -> int:
        return len("\r\n".join(delivered.lines)) + 4 + len(delivered.body)

    (first,) = play(tmp_path / "first", {"good": {}}, telling(padded(KIB_64)))
    exact = 2 * KIB_64 - wire(first)
    (second,) = play(tmp_path / "second", {"good": {}}, telling(padded(exact)))
    # The consumer's port and the content length may have another digit.
    assert KIB_64 - 2 <= wire(second) <= KIB_64 + 2


def test_ce_4_binary_mode_has_the_data_alone_in_its_body(tmp_path: Path) -> None:
    subscriptions = {"binary": {"mode": "binary"}, "structured": {}}
    seen = by_path(play(tmp_path, subscriptions, telling()))
    delivered, envelope = seen["binary"], seen["structured"].event
    assert delivered.headers["content-type"] == envelope.pop("datacontenttype")
    assert "ce-datacontenttype" not in delivered.headers
    assert "ce-data" not in delivered.headers
    assert json.loads(delivered.body) == envelope.pop("data")
    found = {name[3:] for name in delivered.headers if name.startswith("ce-")}
    assert found == set(envelope)
    assert delivered.body in seen["structured"].body
    event = parse(delivered.headers, delivered.body)
    assert event.get_data() == json.loads(delivered.body)
    assert event.get_datacontenttype() == "application/json"
    names = [line.partition(":")[0].lower() for line in delivered.lines]
    assert len(names) == len(set(names))


def test_ce_5_header_values_on_the_wire_are_percent_encoded(tmp_path: Path) -> None:
    (delivered,) = play(tmp_path, {"binary": {"mode": "binary"}}, telling())
    # The attribute itself is ASCII with its own escapes (`%C3%BC`); the header escapes their `%`.
    subject = escape(HOSTILE)
    expected = quote(subject, safe="!#$&'()*+,-./:;<=>?@[\\]^_`{|}~")
    assert delivered.headers["ce-subject"] == expected
    assert "%25C2%25BA" in expected
    for name, value in delivered.headers.items():
        if name.startswith("ce-"):
            assert re.fullmatch(r"(?:[!#$&-~]|%[0-9A-F]{2})+", value)
    assert parse(delivered.headers, delivered.body).get_subject() == subject


def headers_of(**attributes: Any) -> dict[str, str]:
    """The headers of an event in binary mode that has these attributes."""
    envelope = {
        "specversion": "1.0",
        "id": "evt_1",
        "source": "/sources/shop",
        "type": "order.created",
        "datacontenttype": "application/json",
        "data": {},
    }
    headers, _ = binary(json.dumps(envelope | attributes).encode())
    return dict(headers)


@given(
    subject=st.text(st.characters(codec="utf-8"), min_size=1),
    extension=st.text(st.characters(codec="utf-8"), min_size=1),
)
def test_ce_5_every_text_comes_back_through_the_sdk(subject: str, extension: str) -> None:
    headers = headers_of(subject=subject, partitionkey=extension)
    for name in ("ce-subject", "ce-partitionkey"):
        assert re.fullmatch(r"(?:[!#$&-~]|%[0-9A-F]{2})+", headers[name])
    event = parse(headers, b"{}")
    assert event.get_subject() == subject
    assert event.get_extension("partitionkey") == extension
    # A sender may write the hex digits small, and a receiver has to read that.
    small = {
        name: re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), value)
        for name, value in headers.items()
    }
    assert parse(small, b"{}").get_subject() == subject


@pytest.mark.parametrize(
    ("value", "header"),
    [
        ("a b", "a%20b"),
        ('"quoted"', "%22quoted%22"),
        ("50%", "50%25"),
        ("%41", "%2541"),
        ("%2541", "%252541"),
        ("Euro € 😀", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
        ("a\r\nwebhook-id: x", "a%0D%0Awebhook-id:%20x"),
        ("\x00\x7f", "%00%7F"),
        ("!#$&'()*+,-./:;<=>?@[\\]^_`{|}~", "!#$&'()*+,-./:;<=>?@[\\]^_`{|}~"),
    ],
)
def test_ce_5_what_is_encoded_and_that_it_is_decoded_once(value: str, header: str) -> None:
    headers = headers_of(subject=value)
    assert headers["ce-subject"] == header
    assert parse(headers, b"{}").get_subject() == value


def test_ce_6_structured_mode_is_one_json_object_of_its_type(tmp_path: Path) -> None:
    (delivered,) = play(tmp_path, {"good": {}}, telling())
    assert delivered.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert not [name for name in delivered.headers if name.startswith("ce-")]
    event = parse(delivered.headers, delivered.body)
    envelope = delivered.event
    assert event.get_id() == envelope["id"] == delivered.id
    assert event.get_data() == envelope["data"]
    assert set(event.get_attributes()) == set(envelope) - {"data"}


def test_ce_7_batches_go_to_those_who_asked_for_them_only(tmp_path: Path) -> None:
    subscriptions = all_modes() | {"many": {"mode": "batch", "batch_size": 3, "batch_wait": "10s"}}
    events = [shop_event(number, order=f"ord-{number}") for number in range(3)]
    seen = play(tmp_path, subscriptions, telling(*events))
    asked = {d.path for d in seen if "batch" in d.headers["content-type"]}
    assert asked == {"/batch", "/many"}
    (many,) = (delivered for delivered in seen if delivered.path == "/many")
    assert many.headers["content-type"] == BATCH_TYPE
    assert many.id.startswith("bat_")
    Webhook(SECRET).verify(many.body, many.headers)
    batch = json.loads(many.body)
    assert [event["subject"] for event in batch] == ["ord-0", "ord-1", "ord-2"]
    single = {d.event["id"]: d.body for d in seen if d.path == "/structured"}
    for event in batch:
        raw = single[event["id"]]
        assert raw in many.body
        read = parse({"content-type": "application/cloudevents+json"}, raw)
        assert read.get_data() == event["data"]


def test_ce_7_a_batch_is_frozen_over_its_retries(tmp_path: Path) -> None:
    def prepare(consumer: Consumer) -> None:
        answers = iter([500])
        consumer.answer = lambda _: (next(answers, 200), {}, b"")

    async def story(world: World) -> None:
        await telling_first(world)
        await telling(*(shop_event(n, order=f"ord-{n}") for n in (3, 4)))(world)

    async def telling_first(world: World) -> None:
        for number in (1, 2):
            await world.shop(shop_event(number, order=f"ord-{number}"))
        await world.delivered(1)

    keys = {"mode": "batch", "batch_size": 2, "batch_wait": "10s", "schedule": ["300ms"]}
    seen = play(tmp_path, {"good": keys}, story, prepare=prepare)
    assert len(seen) == 3
    first, *others = seen
    (again,) = (delivered for delivered in others if delivered.id == first.id)
    (other,) = (delivered for delivered in others if delivered.id != first.id)
    assert again.body == first.body
    assert len(json.loads(other.body)) == len(json.loads(first.body)) == 2


def test_ce_8_the_content_type_tells_the_mode(tmp_path: Path) -> None:
    """`json` is for tools that read no CloudEvents: there it must not look like one."""
    seen = by_path(play(tmp_path, all_modes(), telling()))
    types = {mode: delivered.headers["content-type"] for mode, delivered in seen.items()}
    assert types == {
        "structured": "application/cloudevents+json; charset=utf-8",
        "binary": "application/json",
        "json": "application/json",
        "batch": BATCH_TYPE,
    }
    ce = {mode for mode, delivered in seen.items() if "ce-id" in delivered.headers}
    assert ce == {"binary"}


def test_ce_9_data_is_a_json_value_and_nothing_is_null(tmp_path: Path) -> None:
    seen = by_path(play(tmp_path, all_modes(), telling()))
    for mode in ("structured", "json", "batch"):
        envelope = json.loads(seen[mode].body)
        event = envelope[0] if mode == "batch" else envelope
        assert isinstance(event["data"], dict)
        assert "data_base64" not in event
        assert event["datacontenttype"] == "application/json"
        assert None not in event.values()
