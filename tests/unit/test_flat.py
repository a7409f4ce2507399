"""`flat = true`: the data of an event over keys of one level; nothing is lost, nothing meets."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from gateway.catalogue import MEANINGS, example
from gateway.config.settings import Settings
from gateway.config.subscription import read_subscription, subscription_of
from gateway.errors import ConfigError
from gateway.events import Writer
from gateway.flat import MOST_BYTES, flatten
from gateway.models import Mode

KEYS = st.text(st.sampled_from('_%a0 "\\ü\n5F'), max_size=5)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)
TABLE: list[tuple[str, str]] = [
    (
        '{"total":{"value":"49.26","minor":4926}}',
        '"data__total__value":"49.26","data__total__minor":4926',
    ),
    ('{"lines":[{"sku":"A"},{"sku":"B"}]}', '"data__lines__0__sku":"A","data__lines__1__sku":"B"'),
    ('{"a":[[1,[2]],3]}', '"data__a__0__0":1,"data__a__0__1__0":2,"data__a__1":3'),
    (
        '{"a":[],"b":{},"c":null,"d":""}',
        '"data__a":null,"data__b":null,"data__c":null,"data__d":""',
    ),
    ('{"a":true,"b":false,"c":0}', '"data__a":true,"data__b":false,"data__c":0'),
    ('{"z":1,"a":2,"m":3}', '"data__z":1,"data__a":2,"data__m":3'),
    ('{"unit_price":1,"a_b":{"c_d":2}}', '"data__unit_price":1,"data__a_b__c_d":2'),
    ('{"a__b":1,"a":{"b":2}}', '"data__a%5F%5Fb":1,"data__a__b":2'),
    ('{"a_":{"b":1},"a":{"_b":2}}', '"data__a%5F__b":1,"data__a__%5Fb":2'),
    ('{"_":1,"___":2,"":3}', '"data__%5F":1,"data__%5F%5F%5F":2,"data__":3'),
    ('{"5%":1,"%5F":2}', '"data__5%25":1,"data__%255F":2'),
    ('{"":{"":{"":1}}}', '"data______":1'),
    ('{"0":1,"a":[2]}', '"data__0":1,"data__a__0":2'),
    ('{"ü \\"\\n":"ü\\u0001"}', '"data__ü \\"\\n":"ü\\u0001"'),
    (
        '{ "a" : 1.10, "b":1e400,"c":-0,"d":12345678901234567890123 }',
        '"data__a":1.10,"data__b":1e400,"data__c":-0,"data__d":12345678901234567890123',
    ),
    ("{}", '"data":null'),
    ("[]", '"data":null'),
    ("[7]", '"data__0":7'),
    ('"text"', '"data":"text"'),
    ("null", '"data":null'),
]


def event(data: str) -> bytes:
    return b'{"specversion":"1.0","id":"evt_1","orderseq":3,"gatewaytest":true,"data":%b}' % (
        data.encode()
    )


def leaves(value: Any, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Path and value of all that is neither an object nor a list, as a reader would count them."""
    members = value.items() if isinstance(value, dict) else enumerate(value)
    for key, member in members:
        if isinstance(member, dict | list) and member:
            yield from leaves(member, *path, str(key))
        else:
            yield (*path, str(key)), None if member in ([], {}) else member


def pairs(text: bytes) -> list[tuple[str, Any]]:
    """The members as they stand, repeated keys too."""
    found: list[tuple[str, Any]] = json.loads(text, object_pairs_hook=list)
    return found


@pytest.mark.parametrize(("data", "flat"), TABLE)
def test_table(data: str, flat: str) -> None:
    attributes = '{"specversion":"1.0","id":"evt_1","orderseq":3,"gatewaytest":true'
    assert flatten(event(data)).decode() == f"{attributes},{flat}}}"


@given(st.dictionaries(KEYS, JSON, max_size=4))
def test_no_leaf_is_lost_and_no_two_share_a_key(data: dict[str, Any]) -> None:
    whole = {"id": "evt_1", "type": "t", "data": data, "behind": 1}
    found = pairs(flatten(json.dumps(whole).encode()))
    assert len({key for key, _ in found}) == len(found)
    paths = [(tuple(map(unquote, key.split("__"))), value) for key, value in found]
    assert paths == list(leaves(whole))


@pytest.mark.parametrize("kind", MEANINGS)
def test_what_every_event_becomes(kind: str) -> None:
    body = example(kind).body
    flat = flatten(body)
    found = json.loads(flat)
    attributes = {key: value for key, value in json.loads(body).items() if key != "data"}
    assert {key: found[key] for key in attributes} == attributes
    rest = found.keys() - attributes.keys()
    assert rest
    assert all(key.startswith("data__") for key in rest)
    assert "%" not in "".join(rest)  # keys of our own need no escape
    assert not any(isinstance(value, dict | list) for value in found.values())
    # Design 7: what JavaScript writes again is what was sent.
    assert json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode() == flat


def test_data_that_a_provider_sent_keep_their_digits() -> None:
    made = Writer("").other_event(
        Raw(b'{ "price" : 1.10 }'),
        event_type="printstudio.job.failed",
        occurrence=("1",),
        subject=None,
        shop="default",
        source="shop",
        at=example("order.paid").time,
        recorded=example("order.paid").time,
    )
    assert flatten(made.body).endswith(b',"data__price":1.10}')


def test_what_would_get_too_long_is_refused_before_it_is_there() -> None:
    """A hundred kilobytes of key before each of many values: gigabytes, if all of it were made."""
    with pytest.raises(ValueError, match="longer than 8 MiB"):
        flatten(event(json.dumps({"k" * 100_000: [1] * 300_000})))
    almost = MOST_BYTES - 200
    assert len(flatten(event(json.dumps({"a": "x" * almost})))) > almost


def test_what_nests_too_deep_is_refused() -> None:
    with pytest.raises(ValueError, match="nest too deep"):
        flatten(event("[" * 100_000 + "]" * 100_000))
    assert b'"data' + b"__0" * 64 + b'":1' in flatten(event("[" * 64 + "1" + "]" * 64))


def settled(**keys: object) -> Any:
    given_keys = {"url": "https://example.com/in", **keys}
    found = read_subscription("sub", given_keys, Settings())
    return subscription_of("sub", found, Settings(), declared=False)


def test_it_is_off_unless_asked_for() -> None:
    assert settled().flat is False
    assert settled(flat="false", mode="batch").flat is False


@pytest.mark.parametrize("mode", [Mode.JSON, Mode.STRUCTURED])
def test_it_goes_with_whole_events(mode: Mode) -> None:
    made = settled(flat="true", mode=str(mode))
    assert (made.flat, made.mode) == (True, mode)
    assert settled(flat=True, url="https://hooks.zapier.com/hooks/catch/1/a").mode is Mode.JSON


@pytest.mark.parametrize("mode", [Mode.BINARY, Mode.BATCH])
def test_it_is_refused_where_there_is_no_whole_event(mode: Mode) -> None:
    with pytest.raises(ConfigError) as caught:
        settled(flat=True, mode=str(mode))
    assert caught.value.path == "subscriptions.sub.flat"
    assert f'does not go with mode = "{mode}": choose "json" or "structured"' in str(caught.value)
