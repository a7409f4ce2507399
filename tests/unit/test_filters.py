"""Filters: what every dialect lets through, what is said when not, and what is refused."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.filters.opened import LONGEST_NUMBER, Opened
from gateway.filters.reading import (
    DEEPEST,
    DIALECTS,
    LONGEST_NAME,
    LONGEST_POINTER,
    MOST_TERMS,
    FilterError,
    read_filters,
)
from gateway.filters.terms import (
    LONGEST_TEXT,
    OPERATORS,
    Failed,
    check,
    explain,
    passes,
)
from gateway.models import Subscription

DATA: dict[str, Any] = {
    "shop": "berlin",
    "total": {"value": "49.26", "minor": 4926, "currency": "EUR"},
    "weight": Decimal("0.1"),
    "livemode": True,
    "shipment": None,
    "lines": [{"sku": "A-1", "quantity": 2}, {"sku": "B-2", "quantity": 10}],
    "a/b": {"~": {"": "odd"}},
    "empty": "",
    "big": 2**80,
    "when": "2026-03-01T12:00:00Z",
}
BODY = (
    b'{"specversion":"1.0","id":"evt_1","source":"https://h.example/sources/shop",'
    b'"type":"order.paid","subject":"B-1001","partitionkey":"berlin/B-1001","orderseq":2,"flag":true,'
    b'"data":' + msgspec.json.Encoder(decimal_format="number").encode(DATA) + b"}"
)
EVENT = Opened.of(BODY)
ATTRIBUTES = EVENT.attributes


def data(pointer: str, **comparisons: object) -> dict[str, object]:
    return {"data": {pointer: comparisons}}


YES: list[dict[str, Any]] = [
    {"exact": {"type": "order.paid"}},
    {"exact": {"type": "order.paid", "subject": "B-1001"}},
    {"exact": {"orderseq": "2"}},  # CloudEvents 3.1: the canonical text of an integer
    {"exact": {"flag": "true"}},
    {"prefix": {"type": "order.", "subject": "B-"}},
    {"prefix": {"type": "order.paid"}},
    {"suffix": {"source": "/sources/shop"}},
    {"all": [{"exact": {"type": "order.paid"}}, {"prefix": {"subject": "B"}}]},
    {"any": [{"exact": {"type": "order.x"}}, {"prefix": {"subject": "B"}}]},
    {"not": {"exact": {"type": "order.shipped"}}},
    {"not": {"exact": {"color": "red"}}},
    {"not": {"not": {"exact": {"type": "order.paid"}}}},
    data("/shop", eq="berlin"),
    data("/shop", ne="paris"),
    data("/shop", prefix="ber", suffix="lin"),
    data("/shop", **{"in": ["paris", "berlin"]}),
    data("/total/value", eq=49.26),
    data("/total/value", eq="49.26"),
    data("/total/value", ge=49.26, le=49.26),
    data("/total/value", gt=9, lt=100),
    data("/total/value", gt="9", lt="100"),
    data("/total/value", **{"in": [1, 49.26]}),
    data("/total/minor", eq=4926),
    data("/total/minor", eq="4926"),
    data("/total/minor", eq=4926.0),
    data("/weight", eq=0.1),
    data("/weight", eq="0.1"),
    data("/weight", lt="0.10000000000000000001"),
    data("/livemode", eq=True),
    data("/livemode", ne=1),
    data("/lines/1/sku", eq="B-2"),
    data("/lines/1/quantity", gt=9),
    data("/a~1b/~0/", eq="odd"),
    data("/empty", eq=""),
    data("/empty", exists=True),
    data("/big", gt=2**62),
    data("/big", eq=str(2**80)),
    data("/when", ge="2026-03-01", lt="2026-04-01"),
    data("", exists=True),
    data("/lines", exists=True, ne="x"),
    data("/shipment", exists=False),
    data("/shipment", ne="x"),
    data("/nothing/at/all", exists=False, ne="x"),
    data("/lines/2", exists=False),
    data("/lines/01", exists=False),
    data("/lines/-", exists=False),
    data("/shop/0", exists=False),
    {"not": data("/nothing", eq="x")},
    {"data": {"/shop": {"eq": "berlin"}, "/total/currency": {"in": ["EUR", "USD"]}}},
]
NO: list[tuple[dict[str, Any], str, str]] = [
    (
        {"exact": {"source": "stripe"}},
        "exact.source",
        '{} is "https://h.example/sources/shop", not "stripe"',
    ),
    ({"exact": {"type": "Order.paid"}}, "exact.type", '{} is "order.paid", not "Order.paid"'),
    ({"exact": {"color": "red"}}, "exact.color", '{} is absent, not "red"'),
    ({"exact": {"id": "evt_1", "type": "x"}}, "exact.type", '{} is "order.paid", not "x"'),
    ({"prefix": {"type": "paid"}}, "prefix.type", '{} is "order.paid", not beginning with "paid"'),
    ({"prefix": {"color": "r"}}, "prefix.color", '{} is absent, not beginning with "r"'),
    ({"suffix": {"type": "order"}}, "suffix.type", '{} is "order.paid", not ending with "order"'),
    (
        {"all": [{"exact": {"type": "order.paid"}}, {"exact": {"subject": "x"}}]},
        "all[1].exact.subject",
        '{} is "B-1001", not "x"',
    ),
    (
        {"any": [{"exact": {"type": "a"}}, {"exact": {"type": "b"}}]},
        "any",
        'none of {} holds: filters[0].any[0].exact.type is "order.paid", not "a"',
    ),
    ({"not": {"exact": {"type": "order.paid"}}}, "not", "{}.exact holds, and must not"),
    ({"not": {"not": {"exact": {"type": "x"}}}}, "not", "{}.not holds, and must not"),
    (data("/shop", eq="paris"), 'data."/shop".eq', '{} is "berlin", not "paris"'),
    (data("/shop", eq=1), 'data."/shop".eq', '{} is "berlin", not 1'),
    (data("/shop", gt=1), 'data."/shop".gt', '{} is "berlin", not more than 1'),
    (data("/shop", ne="berlin"), 'data."/shop".ne', '{} is "berlin", not something else'),
    (data("/total", eq="x"), 'data."/total".eq', '{} is an object, not "x"'),
    (
        data("/lines", prefix="x"),
        'data."/lines".prefix',
        '{} is a list of 2, not beginning with "x"',
    ),
    (
        data("/total/value", ge=50),
        'data."/total/value".ge',
        '{} is "49.26", not at least 50',
    ),
    (
        data("/total/value", eq="49.260"),
        'data."/total/value".eq',
        '{} is "49.26", not "49.260"',
    ),
    (data("/total/minor", lt=4926), 'data."/total/minor".lt', "{} is 4926, not less than 4926"),
    (data("/total/minor", le="9"), 'data."/total/minor".le', '{} is 4926, not at most "9"'),
    (
        data("/weight", eq=0.10000000000000002),
        'data."/weight".eq',
        "{} is 0.1, not 0.10000000000000002",
    ),
    (data("/livemode", eq=1), 'data."/livemode".eq', "{} is true, not 1"),
    (data("/livemode", eq="true"), 'data."/livemode".eq', '{} is true, not "true"'),
    (data("/livemode", gt=0), 'data."/livemode".gt', "{} is true, not more than 0"),
    (
        data("/lines/0/quantity", **{"in": [1, "3", 4, 5, 6, 7]}),
        'data."/lines/0/quantity".in',
        '{} is 2, not one of 1, "3", 4, 5, 6, ...',
    ),
    (data("/shipment", exists=True), 'data."/shipment".exists', "{} is absent, not present"),
    (data("/shop", exists=False), 'data."/shop".exists', '{} is "berlin", not absent'),
    (data("/nothing", eq=1), 'data."/nothing".eq', "{} is absent, not 1"),
    (data("/when", gt=1), 'data."/when".gt', '{} is "2026-03-01T12:00:00Z", not more than 1'),
    (data("/big", eq=1), 'data."/big".eq', f"{{}} is {2**80}, not 1"),
]


@pytest.mark.parametrize("plain", YES, ids=json.dumps)
def test_it_lets_through(plain: dict[str, Any]) -> None:
    assert explain(read_filters([plain]), EVENT) is None
    assert not passes(read_filters([{"not": plain}]), EVENT)


@pytest.mark.parametrize(("plain", "path", "reason"), NO, ids=lambda one: json.dumps(one)[:60])
def test_it_says_which_term_does_not_hold(plain: dict[str, Any], path: str, reason: str) -> None:
    at = f"filters[0].{path}"
    filters = read_filters([plain])
    assert explain(filters, EVENT) == Failed(at, reason.format(at))
    assert not passes(filters, EVENT)
    assert check(filters, ATTRIBUTES, DATA) == explain(filters, EVENT)


def test_every_dialect_and_operator_is_in_the_table() -> None:
    text = json.dumps([YES, [plain for plain, _, _ in NO]])
    assert [word for word in (*DIALECTS, *OPERATORS) if f'"{word}": ' not in text] == []


def test_every_filter_must_hold_and_none_lets_everything_through() -> None:
    assert check(read_filters([]), {}, None) is None
    filters = read_filters([{"prefix": {"type": "order."}}, {"exact": {"subject": "x"}}])
    assert explain(filters, EVENT) == Failed(
        "filters[1].exact.subject", 'filters[1].exact.subject is "B-1001", not "x"'
    )


@pytest.mark.parametrize(
    ("literal", "to", "holds"),
    [
        ("0.1", 0.1, True),
        ("0.10", "0.1", True),
        ("1e2", 100, True),
        ("0.30000000000000004", 0.3, False),
        ("9007199254740993", 9007199254740992, False),
        ("9007199254740993.0", 9007199254740993, True),
        ("1e400", 1, False),
        ("1e99999999999999999999999", 1, False),  # beyond what Decimal holds
        ("-0.0", 0, True),
        ('"-0"', 0, True),
        ('"1e2"', 100, False),  # as text, only what money looks like
        ('" 1"', 1, False),
        ('"\u0661"', 1, False),
        (f'"{"0" * LONGEST_NUMBER}"', 0, True),
        (f'"{"0" * LONGEST_NUMBER}0"', 0, False),
        ("9" * 5000, 1, False),
    ],
)
def test_numbers_are_exact(literal: str, to: object, holds: bool) -> None:
    event = Opened.of(f'{{"id":"evt_1","data":{{"n":{literal}}}}}'.encode())
    assert passes(read_filters([data("/n", eq=to)]), event) is holds
    assert passes(read_filters([{"exact": {"id": "evt_1"}}]), event)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"type":',
        b'{"type":"\xff"}',
        b'{"data":' + b"[" * 100_000,
        b'{"type":"a","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"type":"a","data_base64":"aGk="}',
        b'{"type":"a","data":null}',
    ],
    ids=lambda body: body[:25],
)
def test_what_cannot_be_read_is_not_there(body: bytes) -> None:
    event = Opened.of(body)
    assert passes(read_filters([data("", exists=False), data("/x", exists=False)]), event)
    assert not passes(read_filters([{"prefix": {"database64": "a"}}]), event)


def test_data_that_are_nested_too_deeply_are_not_there() -> None:
    """On a deeper stack than the envelope was read on, there is less room for them."""
    assert Opened({}, msgspec.Raw(b"[" * 100_000 + b"]" * 100_000)).data is None


A_FILTER = {"exact": {"type": "a"}}


def nested(depth: int) -> dict[str, Any]:
    return A_FILTER if depth == 1 else {"not": nested(depth - 1)}


@pytest.mark.parametrize(
    ("plain", "path", "says"),
    [
        ("x", "filters", "a list of filters"),
        ({}, "filters", "a list of filters"),
        (None, "filters", "a list of filters"),
        (
            ["x"],
            "filters[0]",
            'expected a filter, such as { exact = { type = "order.paid" } }, got "x"',
        ),
        (
            [{}],
            "filters[0]",
            "exactly one of exact, prefix, suffix, all, any, not, data, got 0 keys",
        ),
        ([A_FILTER | {"prefix": {"type": "a"}}], "filters[0]", "got 2 keys"),
        ([A_FILTER, {"sql": "type = 'a'"}], "filters[1]", 'data, got "sql"'),
        ([{1: {}}], "filters[0]", "data, got 1"),
        ([{"exact": {}}], "filters[0].exact", "at least one of attributes"),
        ([{"exact": "type"}], "filters[0].exact", "at least one of attributes"),
        ([{"exact": {"": "a"}}], "filters[0].exact", "the name of an attribute"),
        ([{"exact": {"Type": "a"}}], "filters[0].exact", 'a-z and 0-9, got "Type"'),
        ([{"exact": {"a" * 65: "a"}}], "filters[0].exact", "the name of an attribute"),
        ([{"exact": {"type\n": "a"}}], "filters[0].exact", "the name of an attribute"),
        ([{"exact": {"data": "a"}}], "filters[0].exact.data", "the dialect data looks into it"),
        ([{"prefix": {"type": ""}}], "filters[0].prefix.type", "1 to 1024 characters, got nothing"),
        ([{"suffix": {"type": 1}}], "filters[0].suffix.type", "1 to 1024 characters, got 1"),
        ([{"exact": {"type": "a" * 1025}}], "filters[0].exact.type", "1 to 1024 characters"),
        ([{"any": []}], "filters[0].any", "at least one filter"),
        ([{"all": A_FILTER}], "filters[0].all", "a list of at least one filter"),
        ([{"any": [A_FILTER, {"exact": 1}]}], "filters[0].any[1].exact", "attributes"),
        ([{"not": [A_FILTER]}], "filters[0].not", "expected a filter"),
        ([{"not": {"nor": 1}}], "filters[0].not", 'got "nor"'),
        ([nested(DEEPEST + 1)], "filters[0]" + ".not" * DEEPEST, "at most 8 deep"),
        ([{"data": {}}], "filters[0].data", "at least one of JSON pointers"),
        ([data("shop", eq="a")], "filters[0].data", 'a JSON pointer, empty or beginning with "/"'),
        ([data("/a~2", eq="a")], "filters[0].data", "a JSON pointer"),
        ([data("/" + "a" * 512, eq="a")], "filters[0].data", "of at most 512 characters"),
        ([{"data": {"/a": {}}}], 'filters[0].data."/a"', "comparisons (eq, ne, lt"),
        ([{"data": {"/a": "b"}}], 'filters[0].data."/a"', "comparisons (eq, ne, lt"),
        ([data("/a", like="b")], 'filters[0].data."/a"', 'got "like"'),
        ([data("/a", eq=None)], 'filters[0].data."/a".eq', "exists says whether"),
        ([data("/a", eq=[1])], 'filters[0].data."/a".eq', "got a list of 1"),
        ([data("/a", eq=2**63)], 'filters[0].data."/a".eq', "write a longer one as text"),
        ([data("/a", eq=float("nan"))], 'filters[0].data."/a".eq', "a number"),
        ([data("/a", lt=float("inf"))], 'filters[0].data."/a".lt', "a number"),
        ([data("/a", lt=True)], 'filters[0].data."/a".lt', "got true"),
        ([data("/a", **{"in": []})], 'filters[0].data."/a".in', "a list of at least one value"),
        ([data("/a", **{"in": "ab"})], 'filters[0].data."/a".in', "a list of at least one value"),
        ([data("/a", **{"in": [[1]]})], 'filters[0].data."/a".in', "a list of at least one value"),
        ([data("/a", prefix="")], 'filters[0].data."/a".prefix', "text of 1 to 1024"),
        ([data("/a", exists=1)], 'filters[0].data."/a".exists', "true or false, got 1"),
        ([A_FILTER] * (MOST_TERMS + 1), f"filters[{MOST_TERMS}].exact.type", "more than 100 terms"),
        (
            [data("/a", **{"in": list(range(101))})],
            'filters[0].data."/a".in',
            "more than 100 terms",
        ),
    ],
    ids=lambda one: json.dumps(one)[:50],
)
def test_what_is_wrong_is_named(plain: object, path: str, says: str) -> None:
    with pytest.raises(FilterError) as refused:
        read_filters(plain)
    assert refused.value.path == path
    assert says in refused.value.sentence
    assert str(refused.value) == f"{path}: {refused.value.sentence}"
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


def test_what_is_just_allowed() -> None:
    read_filters([nested(DEEPEST)])
    read_filters([A_FILTER] * MOST_TERMS)
    read_filters([{"exact": {"a" * LONGEST_NAME: "a" * LONGEST_TEXT}}])
    read_filters([data("/" + "a" * (LONGEST_POINTER - 1), **{"in": list(range(MOST_TERMS))})])
    read_filters(({"all": ({"exact": {"type": "a"}},)},))


def test_the_plain_form_survives_being_stored() -> None:
    plain = (*YES, *(one for one, _, _ in NO))
    wanted = Subscription(id=1, name="a", url="", filters=plain)
    for codec in (msgspec.msgpack, msgspec.json):
        again = codec.decode(codec.encode(wanted), type=Subscription)
        assert again == wanted
        halves = [again.filters[:45], again.filters[45:]]
        expected = [plain[:45], plain[45:]]
        assert [read_filters(half) for half in halves] == [read_filters(half) for half in expected]


def test_reasons_stay_short_and_on_one_line() -> None:
    event = {"type": "\x1b[31m\n" + "x" * 5000}
    failed = check(read_filters([{"exact": {"type": "y" * 1000}}]), event, None)
    assert failed is not None
    assert failed.reason.isprintable()
    assert len(failed.reason) < 200


WORDS = st.sampled_from(["a", "b", "ab", "", "1", "1.0", "-2.50", "x" * 40])
SCALARS = WORDS | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.1, 1.0, -2.5])
NAMES = st.sampled_from(["type", "source", "orderseq", "color"])
POINTERS = st.sampled_from(["", "/a", "/a/b", "/a/0", "/b/1/a", "/~0", "/~1"])
TEXTS = WORDS.filter(bool)
ORDERED = TEXTS | st.integers(-3, 3) | st.sampled_from([0.1, -2.5])
COMPARISONS = st.fixed_dictionaries(
    {},
    optional={
        "eq": SCALARS,
        "ne": SCALARS,
        "lt": ORDERED,
        "le": ORDERED,
        "gt": ORDERED,
        "ge": ORDERED,
        "in": st.lists(SCALARS, min_size=1, max_size=3),
        "prefix": TEXTS,
        "suffix": TEXTS,
        "exists": st.booleans(),
    },
).filter(bool)
LEAVES = st.one_of(
    *(
        st.dictionaries(NAMES, TEXTS, min_size=1, max_size=2).map(lambda pairs, d=one: {d: pairs})  # type: ignore[misc]
        for one in ("exact", "prefix", "suffix")
    ),
    st.dictionaries(POINTERS, COMPARISONS, min_size=1, max_size=2).map(lambda one: {"data": one}),
)
PLAIN = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda some: {"all": some})
        | st.lists(inner, min_size=1, max_size=3).map(lambda some: {"any": some})
        | inner.map(lambda one: {"not": one})
    ),
    max_leaves=5,
)
JSON = st.recursive(
    st.none() | SCALARS | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "~", "/", ""]), inner, max_size=3)
    ),
    max_leaves=8,
)
EVENTS = st.dictionaries(NAMES, SCALARS | st.none(), max_size=4)


def says(plain: Any, attributes: Mapping[str, object], body: object) -> bool:
    """What `check` says; it must agree with `passes`."""
    filters = read_filters([plain])
    failed = check(filters, attributes, body)
    assert (failed is None) is passes(filters, Opened(attributes, body))
    if failed is not None:
        assert failed.path.startswith("filters[0].")
        assert failed.path in failed.reason
        assert failed.reason.isprintable()
    return failed is None


def shallow(plain: Any, deepest: int = DEEPEST - 3) -> bool:
    """Whether there is room for what a test puts around it."""
    if deepest == 0:
        return False
    ((dialect, inner),) = plain.items()
    parts = {"all": inner, "any": inner, "not": [inner]}.get(dialect, [])
    return all(shallow(part, deepest - 1) for part in parts)


@given(PLAIN.filter(shallow), PLAIN.filter(shallow), EVENTS, JSON)
def test_it_is_logic(one: Any, two: Any, attributes: dict[str, Any], body: Any) -> None:
    first, second = says(one, attributes, body), says(two, attributes, body)

    def also(plain: Any) -> bool:
        return says(plain, attributes, body)

    assert also({"not": one}) is not first
    assert also({"not": {"not": one}}) is first
    assert also({"all": [one, two]}) is (first and second)
    assert also({"any": [one, two]}) is (first or second)
    assert also({"not": {"all": [one, two]}}) is also({"any": [{"not": one}, {"not": two}]})
    assert also({"not": {"any": [one, two]}}) is also({"all": [{"not": one}, {"not": two}]})
    whole = read_filters([one, two])
    assert passes(whole, Opened(attributes, body)) is (first and second)


@given(SCALARS, JSON)
def test_ne_is_not_eq_and_in_is_any_eq(to: Any, body: Any) -> None:
    event: dict[str, Any] = {}
    assert says(data("/a", ne=to), event, body) is not says(data("/a", eq=to), event, body)
    assert says(data("/a", **{"in": [to]}), event, body) is says(data("/a", eq=to), event, body)


@given(ORDERED, JSON)
def test_an_order_is_one(to: Any, body: Any) -> None:
    less, more = (says(data("/a", **{one: to}), {}, body) for one in ("lt", "gt"))
    at_most, at_least = (says(data("/a", **{one: to}), {}, body) for one in ("le", "ge"))
    assert not (less and more)
    assert (at_most and at_least) is ((at_most or at_least) and not (less or more))
    assert not less or at_most
    assert not more or at_least


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.floats()
        | st.integers()
        | st.text(max_size=8)
        | st.binary(max_size=2),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from([*DIALECTS, *OPERATORS, "type", "/a"])
                | st.text(max_size=3)
                | st.integers(),
                inner,
                max_size=3,
            )
        ),
        max_leaves=12,
    )
)
def test_reading_refuses_with_one_sentence_or_reads(plain: Any) -> None:
    filters: Any = ()
    said = ""
    try:
        filters = read_filters(plain)
    except FilterError as error:
        said = str(error)
    assert said == "" or (said.isprintable() and len(said) < 800)
    passes(filters, EVENT)


@given(st.binary(max_size=60) | JSON.map(lambda one: json.dumps({"data": one}).encode()))
def test_no_body_is_too_odd(body: bytes) -> None:
    event = Opened.of(body)
    filters = read_filters([A_FILTER, data("/a", gt=1, prefix="a"), data("", exists=True)])
    explain(filters, event)
    passes(filters, event)


def test_the_cost_is_that_of_the_terms_and_the_values() -> None:
    """The worst that fits the limits: a look at each value by each term, and no more than that."""
    looked = 0

    class Counted(dict[str, object]):
        def get(self, key: Any, default: Any = None) -> Any:
            nonlocal looked
            looked += 1
            return super().get(key, default)

    inner: dict[str, Any] = {"any": [{"exact": {"type": "x"}}] * (MOST_TERMS // 2)}
    for _ in range(DEEPEST - 2):
        inner = {"any": [inner]}
    filters = read_filters([inner])
    event = Opened(Counted(type="a" * 100_000))
    assert not passes(filters, event)
    assert looked == MOST_TERMS // 2
    failed = explain(filters, event)
    assert failed is not None
    assert looked <= 3 * MOST_TERMS
    digits = {"n": "9" * 100, "m": 10**300, "e": Decimal("1e999999999999999999")}
    for name in digits:  # it would never end if one of them were written out
        says(data(f"/{name}", eq=1, ge="9" * 100, **{"in": ["1.5"] * 90}), {}, digits)
