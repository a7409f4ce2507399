"""Filters that are allowed and still look like a mistake: those that never hold, or always do.

Nothing is said of what nobody can know: events that others publish, or that a provider passes on,
may have any attribute and any data. So all this is for subscriptions to types of the gateway's own.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

from gateway.catalogue import MEANINGS, TEST
from gateway.config.reader import suggestion
from gateway.config.shapes import Missing, can_hold, phrase_of, shapes_at
from gateway.filters.opened import Value, show
from gateway.filters.reading import read_filters
from gateway.filters.terms import OPERATORS, Comparison, Every, Filter, Never, Pair, Some
from gateway.filters.trace import pointer_of
from gateway.matching import wants_type

OURS = ("order.", "gateway.")
ATTRIBUTES = (
    *("specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"),
    *("partitionkey", "orderseq", "recordedtime", "traceparent", TEST),
)
HOLDS_OF_NOTHING = {"ne", "exists"}  # comparisons that are no mistake, whatever they compare with
ABOUT_TEXT = {"prefix", "suffix"}  # what a number that was written as text looks like, nobody knows
TYPE_WORDS = {"exact": "is", "prefix": "begins with", "suffix": "ends with"}


class Known(Enum):
    """What can be known of a filter without an event."""

    NEVER = -1
    PERHAPS = 0
    ALWAYS = 1


def about_filters(
    filters: Sequence[Mapping[str, Any]], types: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """What looks like a mistake in them: the path, as in `filters[0].exact.type`, and a sentence.

    `types` are those of the subscription.
    """
    if not all(pattern.startswith(OURS) for pattern in types):
        return
    wanted = [kind for kind in MEANINGS if wants_type(types, kind)]
    if wanted and filters:
        yield from _Looking(wanted).all(read_filters(list(filters)))


class _Looking:
    """Looks at the filters of a subscription to these types; what it finds is in `said`, by path."""

    def __init__(self, types: Sequence[str]) -> None:
        self._types = types
        self.said: dict[str, str] = {}

    def all(self, filters: Sequence[Filter]) -> Iterator[tuple[str, str]]:
        for one in filters:
            before = len(self.said)
            known = self._known(one)
            if len(self.said) == before and known is not Known.PERHAPS:
                every = "every event" if known is Known.ALWAYS else "no event"
                self.said[one.path] = f"lets {every} of the subscription's types through"
        self._contradictions(list(_together(filters)))
        yield from self.said.items()

    def _known(self, one: Filter) -> Known:
        match one:
            case Pair() | Comparison():
                return self._leaf(one)
            case Never():
                return Known(-self._known(one.part).value)
            case Some():
                return Known(max([self._known(part).value for part in one.parts]))
            case Every():
                return Known(min([self._known(part).value for part in one.parts]))

    def _leaf(self, one: Pair | Comparison) -> Known:
        if isinstance(one, Comparison):
            sentence = self._compared(one)
        elif one.name == "type":
            held = [_holds(one, kind) for kind in self._types]
            if any(held):
                return Known.ALWAYS if all(held) else Known.PERHAPS
            near = suggestion(one.value, self._types)
            is_so = f"{TYPE_WORDS[one.dialect]} {show(one.value)}"
            sentence = f"none of the subscription's types {is_so}{near}"
        else:
            sentence = _attribute(one)
        if sentence:
            self.said[one.path] = sentence
            return Known.NEVER
        return Known.PERHAPS

    def _compared(self, one: Comparison) -> str:
        pointer = pointer_of(one.steps)
        try:
            shapes = shapes_at(self._types, one.steps)
        except Missing as error:
            near = suggestion(error.name, error.known)
            self.said[one.path] = f"the data of these events have no {pointer}{near}"
            return ""  # to compare nothing may be meant, though it was said
        if one.operator in HOLDS_OF_NOTHING:
            return ""
        operator = "eq" if one.operator == "in" else one.operator
        for wanted in one.to:
            if not any(can_hold(shape, operator, wanted) for shape in shapes):
                self.said[one.path] = f"{pointer} is {phrase_of(shapes)}, never {show(wanted.raw)}"
        return ""

    def _contradictions(self, together: Sequence[Pair | Comparison]) -> None:
        """Of conditions that must hold together, those of which no value meets both."""
        for index, one in enumerate(together):
            for other in together[:index]:
                if one.path not in self.said and other.path not in self.said and _apart(one, other):
                    self.said[one.path] = f"cannot hold together with {other.path}"


def _together(filters: Iterable[Filter]) -> Iterator[Pair | Comparison]:
    for one in filters:
        if isinstance(one, Every):
            yield from _together(one.parts)
        elif isinstance(one, Pair | Comparison):
            yield one


def _attribute(one: Pair) -> str:
    if one.name not in ATTRIBUTES:
        return f"these events have no attribute {one.name}{suggestion(one.name, ATTRIBUTES)}"
    if one.name == "source" and one.dialect == "exact" and "/" not in one.value:
        return (
            f'source is a URL that ends in "/sources/{one.value}": the dialect suffix compares that'
        )
    return ""


def _holds(one: Pair, text: str) -> bool:
    match one.dialect:
        case "exact":
            return text == one.value
        case "prefix":
            return text.startswith(one.value)
        case _:
            return text.endswith(one.value)


def _apart(one: Pair | Comparison, other: Pair | Comparison) -> bool:
    """Whether no value can meet both."""
    if isinstance(one, Pair) and isinstance(other, Pair):
        return one.name == other.name and (_pairs_apart(one, other) or _pairs_apart(other, one))
    if isinstance(one, Comparison) and isinstance(other, Comparison):
        return one.steps == other.steps and (
            _compared_apart(one, other) or _compared_apart(other, one)
        )
    return False


def _pairs_apart(one: Pair, other: Pair) -> bool:
    if one.dialect == "exact":
        return not _holds(other, one.value)
    if one.dialect != other.dialect:
        return False
    short, long = sorted((one.value, other.value), key=len)
    return not (long.startswith(short) if one.dialect == "prefix" else long.endswith(short))


def _compared_apart(one: Comparison, other: Comparison) -> bool:
    if one.operator == "eq":
        forms = _forms(one.to[0])
        if len(forms) > 1 and other.operator in ABOUT_TEXT:
            return False
        return not any(OPERATORS[other.operator].holds(form, other.to) for form in forms)
    if one.operator in {"gt", "ge"} and other.operator in {"lt", "le"}:
        low, high = one.to[0].number, other.to[0].number
        if low is None or high is None:
            return False
        strict = one.operator == "gt" or other.operator == "lt"
        return low > high or (strict and low == high)
    return False


def _forms(wanted: Value) -> list[Value]:
    """What `eq` lets through: the value itself, and where its text says a number, that too."""
    number = wanted.number
    return [wanted] if number is None else [wanted, Value(number, number)]
