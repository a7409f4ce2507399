"""Every event type has an example: real, valid, the same each time, and shown as it is delivered."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cloudevents.core.formats.json import JSONFormat

from gateway import reference
from gateway.catalogue import MEANINGS, TEST, WHEN, example, in_mode, marked, schema_of
from gateway.events import Envelope, parse
from gateway.flat import flatten
from gateway.glossary import FIELDS
from gateway.models import Delivery, Event, Millis, Mode, Subscription
from gateway.operations import TYPES
from gateway.sender import request_of

ROOT = Path(__file__).parents[2]
NOW = Millis(1_790_000_000_123)


def every_type() -> "pytest.MarkDecorator":
    return pytest.mark.parametrize("kind", [str(kind) for kind in MEANINGS])


def body_of(event: Event) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(event.body)
    return found


def texts(attributes: Mapping[str, object]) -> dict[str, str]:
    """As headers have them: an integer is its digits, true is `true`."""
    shown = {name: str(value) for name, value in attributes.items()}
    return shown | {TEST: "true"} if attributes.get(TEST) in {True, "true"} else shown


@every_type()
def test_an_example_fits_its_schema(kind: str) -> None:
    envelope = body_of(example(kind))
    jsonschema.validate(envelope["data"], schema_of(kind))
    assert envelope["type"] == example(kind).type == kind
    assert re.fullmatch("evt_[0-9a-f]{40}", envelope["id"])


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("marking", [False, True])
@every_type()
def test_the_sdk_reads_it_back_in_each_mode(kind: str, mode: Mode, marking: bool) -> None:
    event = example(kind)
    if marking:
        event = marked(event, now=NOW, nonce="n")
    headers, body = in_mode(event, mode)
    if mode is Mode.BATCH:
        (member,) = json.loads(body)
        read = JSONFormat().read(None, json.dumps(member))
    else:
        read = parse(headers, body)
    expected = body_of(event)
    assert read.get_data() == expected.pop("data")
    (structured, whole) = in_mode(event, Mode.STRUCTURED)
    assert texts(read.get_attributes()) == texts(parse(structured, whole).get_attributes())
    assert read.get_attributes().keys() == expected.keys()


@pytest.mark.parametrize("mode", list(Mode))
def test_in_mode_shows_what_is_sent(mode: Mode) -> None:
    event = example("order.paid")
    delivery = Delivery(
        id=1,
        subscription=1,
        event_id="evt_1",
        event_type=event.type,
        body=b"[" + event.body + b"]" if mode is Mode.BATCH else event.body,
        attempts=0,
        number=0,
        first_at=None,
        claim=1,
    )
    made = Subscription(id=1, name="a", url="http://127.0.0.1/", mode=mode, secrets=(b"k" * 24,))
    request = request_of(made, delivery, 1.0)
    headers, body = in_mode(event, mode)
    assert body == request.body
    for name, value in headers.items():
        assert f"\r\n{name}: {value}\r\n".lower() in f"\r\n{request.head.decode()}".lower()
    assert headers["content-type"]
    assert len(headers) == (len(body_of(event)) - 1 if mode is Mode.BINARY else 1)


@pytest.mark.parametrize("mode", [Mode.JSON, Mode.STRUCTURED])
def test_in_mode_shows_a_flat_event(mode: Mode) -> None:
    event = example("order.paid")
    headers, body = in_mode(event, mode, flat=True)
    assert (headers, body) == (in_mode(event, mode)[0], flatten(event.body))


def test_an_example_is_the_same_each_time() -> None:
    """Wherever it runs: this is the id of the first order's first event, by design 6.4."""
    assert example("order.created").id == "evt_48c01ac806b59c3b5ea80836c425dcb79a08b8a3"
    assert example("order.created", public_url="").id == example("order.created").id
    assert len({example(kind).id for kind in MEANINGS}) == len(MEANINGS)


def test_an_example_has_the_addresses_of_its_gateway() -> None:
    envelope = body_of(example("order.paid", public_url="https://hooks.shop.example"))
    assert envelope["source"] == "https://hooks.shop.example/sources/stripe-live"
    assert envelope["dataschema"] == "https://hooks.shop.example/schemas/v1/order.paid.json"
    assert "dataschema" not in body_of(example("order.paid", public_url=""))


def test_there_is_no_example_of_an_unknown_type() -> None:
    with pytest.raises(KeyError):
        example("order.eaten")


def test_examples_tell_one_story() -> None:
    seqs = {kind: example(kind).seq for kind in MEANINGS if example(kind).order == "1001"}
    assert seqs["order.created"] == 1
    assert sorted(seqs.values(), key=lambda seq: seq or 0) == list(range(1, len(seqs) + 1))
    exhausted = body_of(example("gateway.delivery.exhausted"))["data"]
    assert exhausted["event"] == example(exhausted["type"]).id


def test_examples_hold_no_personal_data() -> None:
    for kind in MEANINGS:
        envelope = body_of(example(kind))
        assert not {"customer", "original"} & envelope["data"].keys()
        assert "@" not in json.dumps(envelope)
        hosts = set(re.findall(r"https?://([^/\"]+)", json.dumps(envelope)))
        assert all(host.endswith(".example.com") for host in hosts)


@every_type()
def test_a_marked_event_is_the_same_but_new(kind: str) -> None:
    event = example(kind)
    test = marked(event, now=NOW, nonce="a")
    before, after = body_of(event), body_of(test)
    assert after.pop(TEST) is True
    changed = {"id", "time", "recordedtime"}
    assert {name for name in before if before[name] != after[name]} == changed
    assert before.keys() == after.keys()
    assert (after["id"], after["time"]) == (test.id, "2026-09-21T14:13:20.123Z")
    assert after["recordedtime"] == after["time"]
    assert re.fullmatch("evt_[0-9a-f]{40}", test.id)
    assert (test.time, test.recorded, test.type) == (NOW, NOW, event.type)
    assert test.id != event.id
    assert test.id != marked(event, now=NOW, nonce="b").id
    assert list(json.loads(test.body))[-2:] == [TEST, "data"]
    assert TEST not in body_of(event)


def test_the_mark_is_a_boolean_in_headers_too() -> None:
    """CloudEvents 1.0.2, 3.1: a Boolean is the text `true`."""
    event = marked(example("order.paid"), now=NOW, nonce="a")
    headers, _ = in_mode(event, Mode.BINARY)
    assert headers[f"ce-{TEST}"] == "true"
    assert headers["ce-orderseq"] == "3"


def test_every_field_is_explained_and_nothing_else() -> None:
    found: dict[str, set[str]] = {}
    for kind in MEANINGS:
        for name, part in schema_of(kind)["$defs"].items():
            found.setdefault(name, set()).update(part["properties"])
            assert all(field["description"] for field in part["properties"].values())
    assert found == {name: set(fields) for name, fields in FIELDS.items()}


def test_every_type_says_when_it_comes() -> None:
    assert set(WHEN) == set(MEANINGS)


def test_the_page_of_events_is_up_to_date() -> None:
    """Run .ci/schemas after a change of what the events say."""
    assert (ROOT / "docs/events.md").read_text("utf-8") == reference.page()


def test_the_page_names_every_attribute() -> None:
    assert set(reference.ATTRIBUTES) == {*Envelope.__struct_fields__, TEST}


def test_the_page_has_every_example_and_links_that_lead_somewhere() -> None:
    text = reference.page()
    blocks = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    assert blocks == [body_of(example(kind)) for kind in sorted(MEANINGS, key=TYPES.__contains__)]
    nested = re.findall(r"^ .*[{[].*$", text, re.MULTILINE)  # a text alone may be longer
    assert max(map(len, nested)) <= reference.WIDTH
    anchors = {
        re.sub(r"[^a-z0-9_ -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]*)\)", text)) <= anchors
