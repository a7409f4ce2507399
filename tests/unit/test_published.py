"""What others publish is read strictly (CloudEvents 1.0.2), and kept as it came."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequest
from gateway.events import parse
from gateway.media import is_json
from gateway.published import BATCHED, STRUCTURED, read

EVENT = {
    "specversion": "1.0",
    "id": "1",
    "source": "/shop",
    "type": "shop.asked",
    "time": "2026-01-15T14:30:00.5+01:00",
    "subject": "a b",
    "extra": 5,
    "flag": True,
    "none": None,
    "data": {"value": 1.10, "text": "Größe"},
}


def text(**changes: Any) -> bytes:
    fields = {name: value for name, value in (EVENT | changes).items() if value != "-"}
    return json.dumps(fields, ensure_ascii=False, indent=1).encode()


def structured(body: bytes) -> Any:
    (event,) = read(STRUCTURED, [], body)
    return event


def test_a_structured_event_is_kept_byte_for_byte() -> None:
    body = text()
    event = structured(body)
    assert (event.id, event.source, event.type, event.subject) == (
        "1",
        "/shop",
        "shop.asked",
        "a b",
    )
    assert event.envelope == body
    assert event.time == 1_768_483_800_500
    assert json.loads(event.data) == EVENT["data"]


def test_a_batch_is_its_members_byte_for_byte() -> None:
    parts = [text(id="1"), text(id="2")]
    events = read(f"{BATCHED}; charset=utf-8", [], b"[" + b" , ".join(parts) + b"]")
    assert [event.envelope for event in events] == parts
    assert read(BATCHED, [], b"[]") == []


def test_a_binary_event_gets_the_envelope_of_the_json_format() -> None:
    headers = [
        ("host", "x"),
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/shop"),
        ("ce-type", "shop.asked"),
        ("ce-subject", "Gr%C3%B6%C3%9fe%20%25"),
    ]
    (event,) = read("application/json", headers, b'{"a": 1}')
    assert event.subject == "Größe %"
    assert json.loads(event.envelope) == {
        "specversion": "1.0",
        "id": "1",
        "source": "/shop",
        "type": "shop.asked",
        "subject": "Größe %",
        "datacontenttype": "application/json",
        "data": {"a": 1},
    }
    assert b'"data":{"a": 1}' in event.envelope  # as it came, blank and all
    (other,) = read("image/png", headers, b"\x89PNG")
    assert json.loads(other.envelope)["data_base64"] == "iVBORw=="
    assert other.data is None
    (none,) = read("", headers, b"")
    assert "data" not in json.loads(none.envelope)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "$: an event is a JSON object"),
        (b"[]", "$: an event is a JSON object"),
        (b"\xff", "$: the body is no UTF-8"),
        (b'{"":"\x80"}', "$: the body is no UTF-8"),
        (text(data="-")[:-2] + b',"data":{"a":"\x80"}}', "$: the body is no UTF-8"),
        (b"{", "$: an event is a JSON object"),
        (text(specversion="-"), "$.specversion"),
        (text(specversion="0.3"), "$.specversion"),
        (text(id="-"), "$.id"),
        (text(id=""), "$.id"),
        (text(id=5), "$.id"),
        (text(source=None), "$.source"),
        (text(type=True), "$.type"),
        (text(subject=""), "$.subject"),
        (text(time="yesterday"), "$.time"),
        (text(time="2026-13-01T00:00:00Z"), "$.time"),
        (text(time="1969-12-31T23:59:59Z"), "$.time"),
        (text(time="9999-12-31T23:59:59.9999999Z"), "$.time"),
        (text(data="-")[:-2] + b',"data":' + b"[" * 9_999 + b"]" * 9_999 + b"}", "too deeply"),
        (text(time="2026-01-15T14:30:00"), "$.time"),
        (text(Extra="1"), "$.Extra"),
        (text(an_other="1"), "$.an_other"),
        (text(extra=1.5), "$.extra"),
        (text(extra=2**31), "$.extra"),
        (text(extra=[1]), "$.extra"),
        (text(extra={"a": 1}), "$.extra"),
        (text(extra="a\x00b"), "$.extra"),
        (text(extra="a\ufdd0b"), "$.extra"),
        (text(data_base64="aaaa"), "exclude each other"),
        (text(data="-", data_base64="a"), "$.data_base64"),
        (text(data="-", data_base64=5), "$.data_base64"),
        (text(datacontenttype="text"), "$.datacontenttype: expected a content-type"),
        (text(datacontenttype=" text/plain"), "$.datacontenttype: expected a content-type"),
        (text(datacontenttype='text/x; charset="ü"'), "$.datacontenttype: expected a content-type"),
        (text(datacontenttype="a/b\u2028"), "$.datacontenttype: expected a content-type"),
        (text(datacontenttype=""), "$.datacontenttype: expected a content-type"),
        (
            text(datacontenttype="application/cloudevents+json"),
            "$.datacontenttype: an event within",
        ),
        (text(datacontenttype="Application/CloudEvents-batch+json"), "an event within an event"),
    ],
)
def test_what_is_wrong_is_named(body: bytes, words: str) -> None:
    with pytest.raises(BadRequest) as told:
        structured(body)
    assert words in str(told.value)


@pytest.mark.parametrize(
    ("content_type", "headers", "body", "words"),
    [
        ("application/json", [], b"{}", "no event"),
        ("application/cloudevents+xml", [], b"", "is not taken"),
        (BATCHED, [], b"{}", "$: a batch"),
        (BATCHED, [], b"[" * 9_999 + b"]" * 9_999, "too deeply"),
        (BATCHED, [], b"[" + b",".join([text()] * 101) + b"]", "100 events at most"),
        (BATCHED, [], b"[" + text() + b",{}]", "$[1].specversion"),
        ("application/json", [("ce-specversion", "1.0"), ("ce-specversion", "1.0")], b"", "twice"),
        ("application/json", [("ce-specversion", "1.0"), ("ce-id", "%ff")], b"", "ce-id: no UTF-8"),
        (
            "application/json",
            [("ce-specversion", "1.0"), ("ce-id", "%00")],
            b"",
            "ce-id: a control",
        ),
        ("application/json", [("ce-datacontenttype", "x")], b"", "Content-Type says it"),
        (
            "application/json",
            [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/"), ("ce-type", "t")],
            b"{",
            "the data are no JSON",
        ),
        (
            "nonsense",
            [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/"), ("ce-type", "t")],
            b"x",
            "content-type: expected a content-type",
        ),
    ],
)
def test_what_is_wrong_in_a_request_is_named(
    content_type: str, headers: list[tuple[str, str]], body: bytes, words: str
) -> None:
    with pytest.raises(BadRequest) as told:
        read(content_type, headers, body)
    assert words in str(told.value)


def test_the_sdk_reads_the_same() -> None:
    body = text(none="-")
    theirs = parse({"content-type": STRUCTURED}, body)
    event = structured(body)
    assert (theirs.get_id(), theirs.get_source()) == (event.id, event.source)
    assert (theirs.get_type(), theirs.get_subject()) == (event.type, event.subject)


@pytest.mark.parametrize(
    ("kind", "json_"),
    [
        ("application/json", True),
        ("text/json; charset=utf-8", True),
        ("application/vnd.shop+json", True),
        ("application/jsonp", False),
        ("image/png", False),
        ("", False),
    ],
)
def test_which_media_types_are_json(kind: str, json_: bool) -> None:
    assert is_json(kind) is json_


@given(st.binary(max_size=200), st.sampled_from([STRUCTURED, BATCHED, "application/json", ""]))
def test_whatever_comes_is_read_or_refused(body: bytes, kind: str) -> None:
    headers = [("ce-specversion", "1.0"), ("ce-id", "%"), ("ce-source", "s"), ("ce-type", "t")]
    with contextlib.suppress(BadRequest):
        read(kind, headers, body)


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=2),
            max_leaves=3,
        ),
        max_size=4,
    )
)
def test_whatever_attributes_come_are_read_or_refused(more: dict[str, Any]) -> None:
    body = json.dumps(EVENT | more).encode()
    try:
        event = structured(body)
    except BadRequest:
        return
    assert event.envelope == body
