"""Warnings about filters: what can never hold or always does is said, and nothing of all else."""

from typing import Any

import pytest

from gateway.catalogue import MEANINGS, example
from gateway.config.advice import about_subscription
from gateway.config.filtering import about_filters
from gateway.config.settings import Settings
from gateway.config.subscription import read_subscription
from gateway.egress.rules import Rules
from gateway.filters.opened import Opened
from gateway.filters.reading import read_filters
from gateway.filters.terms import passes
from gateway.matching import wants_type
from tests.unit.test_filters import YES

ORDERS = ("order.*",)


def said(filters: list[dict[str, Any]], types: tuple[str, ...] = ORDERS) -> dict[str, str]:
    read_filters(filters)
    return dict(about_filters(filters, types))


def data(pointer: str, **comparisons: object) -> dict[str, Any]:
    return {"data": {pointer: comparisons}}


@pytest.mark.parametrize(
    ("one", "path", "sentence"),
    [
        ({"exact": {"typ": "x"}}, "exact.typ", "have no attribute typ (did you mean"),
        ({"any": [{"prefix": {"color": "r"}}]}, "any[0].prefix.color", "no attribute color"),
        ({"exact": {"type": "order.payed"}}, "exact.type", '(did you mean "order.paid"?)'),
        ({"prefix": {"type": "orders."}}, "prefix.type", 'types begins with "orders."'),
        ({"not": {"suffix": {"type": ".eaten"}}}, "not.suffix.type", 'ends with ".eaten"'),
        ({"exact": {"source": "shop"}}, "exact.source", 'ends in "/sources/shop"'),
        ({"prefix": {"type": "order."}}, "prefix", "lets every event"),
        ({"not": {"prefix": {"type": "order."}}}, "not", "lets no event"),
        ({"any": [{"prefix": {"type": "order."}}, data("/shop", eq="a")]}, "any", "lets every"),
        (data("/total/amount", ge=20), 'data."/total/amount".ge', "have no /total/amount"),
        (data("/totals", ge=20), "data./totals.ge", '(did you mean "total"?)'),
        (data("/lines/first/sku", eq="A"), "data", "have no /lines/first/sku"),
        (data("/total/value", ge="fifty"), "data", 'decimal number such as "49.26", never "fifty"'),
        (data("/total/value", eq=True), "data", "never true"),
        (data("/total/minor", eq="lots"), "data", 'is a whole number, never "lots"'),
        (data("/total/minor", prefix="49"), "data", "is a whole number"),
        (data("/total/currency", eq="eur"), "data", 'never "eur"'),
        (data("/total", eq="49"), "data", 'is an object, never "49"'),
        (data("/livemode", eq="true"), "data", 'is true or false, never "true"'),
        (data("/state/payment", eq="payed"), "data", 'is one of paid, failed, never "payed"'),
        (data("/state/payment", **{"in": ["paid", "fail"]}), "data", 'never "fail"'),
        (data("/shop", eq=True), "data", "is text, never true"),
        (data("/total/value", ge=50, lt=20), "data", "cannot hold together with"),
        (data("/total/value", gt=20, le=20), "data", "cannot hold together with"),
        (data("/order", eq="A-1", ne="A-1"), "data", "cannot hold together with"),
        (data("/total/minor", eq=5, lt=5), "data", "cannot hold together with"),
        (
            {"all": [{"exact": {"subject": "A"}}, {"prefix": {"subject": "B"}}]},
            "all[1]",
            "together",
        ),
        (
            {"all": [{"prefix": {"subject": "A"}}, {"exact": {"subject": "B"}}]},
            "all[1]",
            "together",
        ),
        (
            {"all": [{"prefix": {"subject": "A"}}, {"prefix": {"subject": "B"}}]},
            "all[1]",
            "together",
        ),
        ({"all": [{"suffix": {"id": "0"}}, {"suffix": {"id": "1"}}]}, "all[1]", "together"),
    ],
)
def test_what_looks_like_a_mistake_is_said_once(
    one: dict[str, Any], path: str, sentence: str
) -> None:
    ((where, told),) = said([one]).items()
    assert where.startswith(f"filters[0].{path}".replace("./totals", '."/totals"')), where
    assert sentence in told


@pytest.mark.parametrize(
    "filters",
    [
        [],
        [{"exact": {"type": "order.paid"}}],
        [{"not": {"exact": {"type": "order.updated"}}}],
        [{"suffix": {"source": "/sources/shop"}}, {"prefix": {"source": "https://"}}],
        [{"exact": {"source": "/gateway"}}],
        [{"exact": {"orderseq": "1"}}, {"prefix": {"partitionkey": "berlin/"}}],
        [{"not": {"exact": {"gatewaytest": "true"}}}],
        [{"any": [{"exact": {"subject": "A"}}, {"exact": {"subject": "B"}}]}],
        [
            {"prefix": {"subject": "A"}},
            {"prefix": {"subject": "A-1"}},
            {"suffix": {"subject": "1"}},
        ],
        [data("/total/value", ge=20, lt=50), data("/total/value", ge="20", ne="")],
        [data("/total/value", eq=20, prefix="20.")],
        [data("/total/value", eq="20.00", ge=20)],
        [data("/total/value", **{"in": [20, "49.26"]})],
        [data("/order", ge=1000), data("/order", lt="2000"), data("/order", eq=1001)],
        [data("/lines/0/quantity", ge=2), data("/lines/0/sku", prefix="PLA-")],
        [data("/lines/0/status", eq="any word of a provider")],
        [data("/ids/stripe/0", prefix="pi_"), data("/customer/country", eq="DE")],
        [data("/original/anything/at/all", eq=True)],
        [data("/shipment", exists=False), data("/total", exists=True)],
        [data("/livemode", eq=True), data("/state/payment", ne="payed")],
        [data("/state/fulfilment", prefix="post_")],
        [data("/change/full", eq=True), data("/change/what", eq="anything")],
    ],
    ids=str,
)
def test_what_may_well_be_meant_is_not_told(filters: list[dict[str, Any]]) -> None:
    assert said(filters) == {}


@pytest.mark.parametrize(
    "types", [("*",), ("desk.*",), ("order.*", "desk.asked"), ("printstudio.*",)]
)
def test_nothing_is_told_where_events_of_others_may_come(types: tuple[str, ...]) -> None:
    wrong = [{"exact": {"typ": "x", "type": "order.payed"}}, data("/total/amount", ge="x")]
    assert said(wrong, types) == {}
    assert said(wrong) != {}


def test_the_types_of_the_subscription_count() -> None:
    assert said([data("/reason", prefix="4 ")], ("gateway.*",)) == {}
    assert said([data("/reason", prefix="4 ")]) != {}
    assert said([data("/subscription", eq="a"), data("/source", eq="a")], ("gateway.*",)) == {}
    assert said([{"exact": {"type": "order.paid"}}], ("order.paid",)) != {}
    assert said([{"exact": {"type": "order.paid"}}], ("order.shipped",)) != {}
    assert said([{"exact": {"type": "order.paid"}}], ("order.unheard",)) == {}  # is told of types


@pytest.mark.parametrize("kind", MEANINGS)
def test_no_example_passes_what_is_said_to_let_nothing_through(kind: str) -> None:
    """And each passes what is said to let everything through; what is odd beside this is not asked."""
    event = Opened.of(example(kind).body)
    for types in (("order.*",), ("gateway.*",), (kind,)):
        if not wants_type(types, kind):
            continue
        for one in YES:
            told = said([one], types)
            holds = passes(read_filters([one]), event)
            assert not (holds and any("no event" in text for text in told.values())), (one, told)
            assert holds or not any("every event" in text for text in told.values()), (one, told)


@pytest.mark.parametrize("kind", MEANINGS)
def test_what_an_example_has_is_never_called_a_mistake(kind: str) -> None:
    """A filter for exactly what an event says, attribute by attribute and value by value."""
    event = Opened.of(example(kind).body)
    types = (f"{kind.partition('.')[0]}.*",)
    for name in event.attributes:
        text = event.attribute(name)
        if text and name not in {"type", "specversion"}:
            assert said([{"exact": {name: text}}], types) == {}
    for pointer, value in leaves(event.data, ""):
        assert said([data(pointer, eq=value)], types) == {}, (pointer, value)
        assert said([data(pointer, **{"in": [value]})], types) == {}, (pointer, value)


def leaves(found: Any, pointer: str) -> list[tuple[str, Any]]:
    """All scalars of the data, by their pointers."""
    if isinstance(found, dict):
        return [one for key, part in found.items() for one in leaves(part, f"{pointer}/{key}")]
    if isinstance(found, list):
        return [one for at, part in enumerate(found) for one in leaves(part, f"{pointer}/{at}")]
    return [] if found is None else [(pointer, found)]


def test_it_is_a_warning_of_the_configuration_and_of_the_command() -> None:
    keys = {"url": "https://e.example/", "filters": [{"exact": {"type": "order.payed"}}]}
    wanted = read_subscription("crm", keys, Settings())
    (sentence,) = about_subscription("crm", wanted, None, Rules(()))
    assert sentence == (
        'subscriptions.crm.filters[0].exact.type: none of the subscription\'s types is "order.payed"'
        ' (did you mean "order.paid"?)'
    )
