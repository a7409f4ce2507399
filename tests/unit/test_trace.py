"""The trace of filters says the same as the filters themselves, whatever they are."""

from typing import Any

import pytest

from gateway.filters.reading import read_filters
from gateway.filters.terms import explain, passes
from gateway.filters.trace import Term, pointer_of, trace
from gateway.models import Subscription
from gateway.trial import event_of, tried
from tests.unit.test_filters import BODY, EVENT, YES


def each(terms: list[Term]) -> list[Term]:
    return [one for term in terms for one in (term, *each(term.terms))]


@pytest.mark.parametrize("one", YES, ids=str)
def test_it_agrees_with_what_lets_through(one: dict[str, Any]) -> None:
    for plain in ([one], [{"not": one}], [{"any": [{"not": one}, one]}], [{"all": [one, one]}]):
        filters = read_filters(plain)
        (term,) = trace(filters, EVENT)
        assert term.passed is passes(filters, EVENT)
        failed = explain(filters, EVENT)
        assert failed is None or failed.path in {found.path for found in each([term])}
        for found in each([term]):
            leaf = found.expected is not None
            assert leaf is (found.actual is not None)
            assert leaf is (found.attribute is not None or found.pointer is not None)
            assert leaf is not bool(found.terms)


def test_one_condition_stands_for_its_filter() -> None:
    (term,) = trace(read_filters([{"exact": {"type": "order.paid"}}]), EVENT)
    assert (term.path, term.terms) == ("filters[0].exact.type", [])


def test_pointers_are_written_as_they_came() -> None:
    for pointer in ("", "/a", "/a~1b/~0", "//0"):
        (term,) = trace(read_filters([{"data": {pointer: {"exists": True}}}]), EVENT)
        assert term.pointer == pointer
    assert pointer_of(("a/b", "~")) == "/a~1b/~0"


def test_a_long_value_is_cut() -> None:
    text = "x" * 1000
    event = event_of("a.b", "shop", "default", b'{"type":"a.b","subject":"%b"}' % text.encode())
    wanted = Subscription(id=0, name="", url="", types=("a.b",))
    found = tried(wanted, event, read_filters([{"exact": {"subject": text}}]))
    assert found.matched
    assert len(found.terms[0].actual or "") < 100


def test_all_terms_are_told_though_the_type_says_no_before() -> None:
    wanted = Subscription(id=0, name="", url="", types=("order.shipped",), enabled=False)
    event = event_of("order.paid", "shop", "berlin", BODY)
    found = tried(wanted, event, read_filters([{"exact": {"subject": "B-1001"}}]))
    assert (found.matched, found.reason) == (False, "its types do not include order.paid")
    assert [one.passed for one in found.terms] == [True]
