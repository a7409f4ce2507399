"""Whatever is sent, reading ends in a `Reading` or in `Malformed`, and verifying in `Rejected`.

Whatever is answered, reading ends in a `Reading`, `Malformed` or `AskFailed` and its kinds.
"""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import AskFailed, Malformed, Rejected
from gateway.models import Millis, Reading, Reply, Watched
from gateway.providers.base import Calling, Polled, calls, is_polled
from gateway.providers.printstudio import ORDER_EVENTS, PrintStudio, PrintStudioOptions
from gateway.providers.reading import is_id
from gateway.providers.registry import provider_class
from gateway.providers.stripe import EVENTS, Kind, Stripe, StripeOptions
from tests.providers.callbacks import (
    SECRET,
    TOLERANCE,
    as_bytes,
    callback,
    charge,
    dispute,
    envelope,
    intent,
    refund,
    session,
    stripe_event,
)
from tests.providers.test_contract import OURS, POLLED

pytestmark = pytest.mark.slow

PROVIDERS: dict[str, Calling] = {
    "stripe": Stripe(
        StripeOptions(cancel_from=("checkout.session.expired", "payment_intent.canceled"))
    ),
    "stripe-live": Stripe(
        StripeOptions(livemode=False, unnamed_session="wait", trust_client_reference=True)
    ),
    "printstudio": PrintStudio(PrintStudioOptions(currency="EUR")),
}
HEADERS = {"stripe": b"stripe-signature", "printstudio": b"x-printstudio-signature"}

THINGS = {
    Kind.SESSION: session(customer_details={"email": "a@b.example", "address": {"city": "Bonn"}}),
    Kind.INTENT: intent(charges={"data": [{"id": "ch_0"}]}, last_payment_error={"code": "x"}),
    Kind.CHARGE: charge(),
    Kind.REFUND: refund(),
    Kind.DISPUTE: dispute(),
}
ORDER = {
    "orderId": "ord-1",
    "jobId": "job-1",
    "trackingNumber": "1Z",
    "total": 49.26,
    "currency": "EUR",
    "customer": {"name": "Ada"},
    "lineItems": [{"id": "li-1", "quantity": 1, "unitPrice": 49.26, "total": 49.26}],
}
VALID: list[Any] = [
    *(stripe_event(kind, THINGS[row.kind]) for kind, row in EVENTS.items()),
    *(envelope(event, ORDER) for event in (*ORDER_EVENTS, "job.failed", "inventory.low")),
]

NASTY = [
    *("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1e100000", "-0", "9" * 4300, "9" * 4301),
    *("9" * 100_000, "0." + "1" * 5000, "18446744073709551616", "-9223372036854775809", "1E+30"),
    *(r'"\u0000"', r'"\ud800"', r'"\udc00"', r'"\ud800\ud800"', r'"\q"', '"\0"', '"', "01", "1."),
    *("[" * 100_000, "[" * 900 + "]" * 900, '{"a":' * 900 + "1" + "}" * 900, '{"id":1,"id":"x"}'),
    *(
        "",
        "nul",
        "[1,]",
        '{"a":1,}',
        "// x",
        "'x'",
        '"' + "x" * 100_000 + '"',
        '"' + "é" * 300 + '"',
    ),
]
WHOLE = [
    *(text.encode() for text in NASTY),
    *("{}".encode(code) for code in ("utf-8-sig", "utf-16", "utf-16-le", "utf-32")),
    *(b"\xff", b'{"id":"\xff"}', b'{"id":"\xed\xa0\x80"}', b"null", b"[]", b"{}", b'{"id":1}{}'),
    *(b"\0", b"webhook_id=1", b"<xml/>", b"{" * 100_000, b'{"data":' + b"[" * 100_000),
    b"{" + b",".join(b'"k%d":1' % number for number in range(100_000)) + b"}",
    b'{"' + b"k" * 1_000_000 + b'":1}',
]


def read(name: str, body: bytes) -> Reading | None:
    """Read, and hold what was read against what all stages behind may rely on."""
    try:
        reading = PROVIDERS[name].normalize(callback(body))
    except Malformed as error:
        malformed = error
    else:
        check(reading)
        return reading
    assert malformed.event_id is None or is_id(malformed.event_id)
    assert malformed.path.startswith("$")
    str(malformed).encode()
    return None


def check(reading: Reading) -> None:
    assert is_id(reading.event_id)
    assert is_id(reading.event_type)
    assert bool(reading.facts) is (reading.ignored is None)
    json.loads(msgspec.json.encode(reading))
    for fact in reading.facts:
        assert 0 <= fact.at < 253_402_300_800_000
        named = [fact.order, fact.own, fact.key, fact.group, fact.subject, fact.type, *fact.links]
        assert all(name is None or is_id(name.split(":", 1)[-1]) for name in named)
        assert fact.order or fact.own or fact.type


@pytest.mark.parametrize("name", PROVIDERS)
def test_hostile_bodies_are_malformed(name: str) -> None:
    for body in WHOLE:
        assert read(name, body) is None, body[:40]


@pytest.mark.parametrize("junk", [b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"])
def test_a_body_is_utf8_even_where_nobody_reads_it(junk: bytes) -> None:
    for name, event in (("stripe", VALID[0]), ("printstudio", VALID[-1])):
        body = as_bytes(event | {"unread": "?"})
        assert read(name, body)
        assert read(name, body.replace(b'"?"', b'"' + junk + b'"')) is None


@pytest.mark.parametrize("name", PROVIDERS)
@given(body=st.binary(max_size=400))
@settings(deadline=None, max_examples=150)
def test_any_bytes_are_read_or_malformed(name: str, body: bytes) -> None:
    read(name, body)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    pairs: Any = ()
    if isinstance(value, dict):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    for key, below in pairs:
        yield from places(below, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], by: str) -> bytes:
    """The JSON of the value, with the subtree at the path replaced by this text."""
    if not path:
        return by.encode()
    tree = json.loads(json.dumps(value))
    node = tree
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = "\x01"
    return as_bytes(tree).replace(b'"\\u0001"', by.encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below),
    max_leaves=6,
).map(json.dumps)


@pytest.mark.parametrize("name", PROVIDERS)
@given(data=st.data())
@settings(deadline=None, max_examples=300)
def test_any_subtree_may_be_anything(name: str, data: st.DataObject) -> None:
    event = data.draw(st.sampled_from(VALID))
    path = data.draw(st.sampled_from(list(places(event))))
    read(name, replaced(event, path, data.draw(JSON | st.sampled_from(NASTY))))


@pytest.mark.parametrize("name", PROVIDERS)
def test_every_subtree_may_be_hostile(name: str) -> None:
    for event in VALID:
        for path in places(event):
            for nasty in ("[" * 2000, r'"\u0000"', r'"\ud800"', "1e400", "9" * 5000, '""', "{}"):
                read(name, replaced(event, path, nasty))


@pytest.mark.parametrize("name", HEADERS)
@given(header=st.binary(max_size=200) | st.text(alphabet="tv10=, \tsha256abcdef").map(str.encode))
@settings(deadline=None, max_examples=200)
def test_any_header_is_rejected(name: str, header: bytes) -> None:
    sent = callback(b"{}", [(HEADERS[name], header)])
    with pytest.raises(Rejected):
        PROVIDERS[name].verify(sent, secrets=(SECRET, b"other"), tolerance=TOLERANCE, now=Millis(0))


# Answers.


def asked(name: str, which: int) -> Polled:
    """A polled provider under one of the options that its contract is tested with."""
    provider = provider_class(name)
    assert is_polled(provider)
    return provider(POLLED[name].options[which])


def ask(provider: Polled, number: str, replies: list[Reply]) -> None:
    """Read one order, and hold what was read against what all stages behind may rely on."""
    first = replies[0]
    try:
        provider.more(first)
        reading = provider.read(Watched(number=number), replies)
    except (Malformed, AskFailed) as error:
        str(error).encode()
        return
    check(reading)
    assert 200 <= first.status < 300
    assert reading.event_id == number
    assert all(fact.at <= first.at for fact in reading.facts)


def turn(provider: Polled, reply: Reply) -> None:
    """Read one page, and all that it lists."""
    try:
        page = provider.read_page(reply, None)
    except (Malformed, AskFailed) as error:
        str(error).encode()
        return
    assert 200 <= reply.status < 300
    for entry in page.orders:
        assert is_id(entry.number)
        if entry.body is not None:
            ask(provider, entry.number, [msgspec.structs.replace(reply, body=entry.body)])


def test_no_provider_is_left_out() -> None:
    ours = {name: provider_class(name) for name in OURS}
    assert {provider.name for provider in PROVIDERS.values()} == {
        name for name, provider in ours.items() if calls(provider)
    }
    assert set(POLLED) == {name for name, provider in ours.items() if is_polled(provider)}


@pytest.mark.parametrize("name", POLLED)
@given(
    body=st.binary(max_size=400) | st.sampled_from(WHOLE),
    status=st.integers(100, 999) | st.just(200),
    which=st.integers(0, 1),
)
@settings(deadline=None, max_examples=150)
def test_any_answer_is_read_or_refused(name: str, body: bytes, status: int, which: int) -> None:
    provider, sample = asked(name, which), POLLED[name].replies[0]
    answer = Reply(status=status, headers={}, body=body, at=sample.replies[0].at)
    ask(provider, sample.number, [answer, *sample.replies[1:]])
    turn(provider, answer)


@pytest.mark.parametrize("name", POLLED)
@given(data=st.data(), which=st.integers(0, 1))
@settings(deadline=None, max_examples=300)
def test_any_subtree_of_an_answer_may_be_anything(
    name: str, data: st.DataObject, which: int
) -> None:
    def changed(reply: Reply) -> Reply:
        tree = json.loads(reply.body)
        path = data.draw(st.sampled_from(list(places(tree))))
        by = data.draw(JSON | st.sampled_from(NASTY))
        status = data.draw(st.sampled_from([200, 200, 200, 206, 301, 400, 404, 500]))
        return msgspec.structs.replace(reply, body=replaced(tree, path, by), status=status)

    provider, case = asked(name, which), POLLED[name]
    sample = data.draw(st.sampled_from(case.replies))
    ask(provider, sample.number, [changed(reply) for reply in sample.replies])
    if case.pages:
        turn(provider, changed(data.draw(st.sampled_from(case.pages)).reply))
