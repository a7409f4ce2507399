"""What each term of filters says of one event: for who tries them, and asks why not.

Values of the event are repeated as the reasons repeat them: as text on one line, shortened.
"""

from collections.abc import Sequence

import msgspec

from gateway.filters.opened import Opened, show
from gateway.filters.reading import DIALECTS
from gateway.filters.terms import Comparison, Every, Filter, Never, Pair, Some


class Term(msgspec.Struct, frozen=True, kw_only=True):
    """A filter, or one condition of it, and whether it holds; `path` is where it stands.

    A condition looks at an `attribute`, or at what of the data a JSON `pointer` leads to, with an
    `operator`. `expected` and `actual` are JSON, shortened: `"order.paid"` or `20`; or words:
    `absent`, `a list of 3`. A filter of several parts has them in `terms`, and nothing of these.
    """

    path: str
    dialect: str
    passed: bool
    attribute: str | None = None
    pointer: str | None = None
    operator: str | None = None
    expected: str | None = None
    actual: str | None = None
    terms: "list[Term]" = []


def trace(filters: Sequence[Filter], event: Opened) -> list[Term]:
    """What each of them says; none is left out because another one has failed. Never raises."""
    return [_term(one, event) for one in filters]


def _term(one: Filter, event: Opened) -> Term:
    match one:
        case Pair():
            return Term(
                path=one.path,
                dialect=one.dialect,
                passed=one.holds(event),
                attribute=one.name,
                expected=show(one.value),
                actual=show(event.attribute(one.name)),
            )
        case Comparison():
            return Term(
                path=one.path,
                dialect="data",
                passed=one.holds(event),
                pointer=pointer_of(one.steps),
                operator=one.operator,
                expected=one.wanted,
                actual=show(event.at(one.steps).raw),
            )
        case Never():
            return _whole(one, "not", (one.part,), event)
        case Some():
            return _whole(one, "any", one.parts, event)
        case Every():
            dialect = one.path.rpartition(".")[2]
            assert dialect in DIALECTS
            if dialect != "all" and len(one.parts) == 1:
                return _term(one.parts[0], event)
            return _whole(one, dialect, one.parts, event)


def _whole(one: Filter, dialect: str, parts: Sequence[Filter], event: Opened) -> Term:
    return Term(path=one.path, dialect=dialect, passed=one.holds(event), terms=trace(parts, event))


def pointer_of(steps: Sequence[str]) -> str:
    """The JSON pointer (RFC 6901) of these steps."""
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)
