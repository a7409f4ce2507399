"""The terms of filters: whether each holds of an event, and why not.

No term looks at more than one value, and none is a regular expression, so nothing can blow up. The
reasons repeat values of the event, shortened.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from gateway.filters.opened import Opened, Value, order, same, show

LONGEST_TEXT: Final = 1024  # characters of a text to compare with
LISTED: Final = 5  # items of `in` that a reason repeats
A_TEXT: Final = f"text of 1 to {LONGEST_TEXT} characters"
A_NUMBER: Final = "a number (a whole one of 64 bits; write a longer one as text)"


class Failed(msgspec.Struct, frozen=True):
    """The first term that did not hold; `reason` is one sentence that begins with, or names, it."""

    path: str
    reason: str


class Operator(msgspec.Struct, frozen=True):
    """One comparison: what it takes, whether it holds, what it says when not, and of nothing."""

    takes: str
    holds: Callable[[Value, tuple[Value, ...]], bool]
    words: str
    of_nothing: bool = False


SCALAR: Final = f"text of at most {LONGEST_TEXT} characters, {A_NUMBER}, or true or false"
ORDERED: Final = f"{A_NUMBER}, or {A_TEXT}"
OPERATORS: Final[Mapping[str, Operator]] = {
    "eq": Operator(SCALAR, lambda found, to: same(found, to[0]), "not {}"),
    "ne": Operator(SCALAR, lambda found, to: not same(found, to[0]), "not something else", True),
    "lt": Operator(ORDERED, lambda found, to: order(found, to[0]) == -1, "not less than {}"),
    "le": Operator(ORDERED, lambda found, to: order(found, to[0]) in {-1, 0}, "not at most {}"),
    "gt": Operator(ORDERED, lambda found, to: order(found, to[0]) == 1, "not more than {}"),
    "ge": Operator(ORDERED, lambda found, to: order(found, to[0]) in {1, 0}, "not at least {}"),
    "in": Operator(
        f"a list of at least one value, each {SCALAR}",
        lambda found, to: any(same(found, one) for one in to),
        "not one of {}",
    ),
    "prefix": Operator(
        A_TEXT,
        lambda found, to: isinstance(found.raw, str) and found.raw.startswith(to[0].raw),
        "not beginning with {}",
    ),
    "suffix": Operator(
        A_TEXT,
        lambda found, to: isinstance(found.raw, str) and found.raw.endswith(to[0].raw),
        "not ending with {}",
    ),
    "exists": Operator("true or false", lambda _, to: to[0].raw is True, "not {}"),
}


class Pair(msgspec.Struct, frozen=True):
    """One pair of `exact`, `prefix` or `suffix`."""

    path: str
    dialect: str
    name: str
    value: str

    def holds(self, event: Opened) -> bool:
        """Whether the attribute is there, and is so."""
        found = event.attribute(self.name)
        if found is None:
            return False
        if self.dialect == "exact":
            return found == self.value
        return (
            found.startswith(self.value) if self.dialect == "prefix" else found.endswith(self.value)
        )

    def failed(self, event: Opened) -> Failed:
        """Why not."""
        words = OPERATORS["eq" if self.dialect == "exact" else self.dialect].words
        is_not = words.format(show(self.value))
        return Failed(self.path, f"{self.path} is {show(event.attribute(self.name))}, {is_not}")


class Comparison(msgspec.Struct, frozen=True):
    """One comparison of a value of the data; `steps` are the parts of its pointer."""

    path: str
    steps: tuple[str, ...]
    operator: str
    to: tuple[Value, ...]

    def holds(self, event: Opened) -> bool:
        """Whether the value is so; where there is none, only `ne` and `exists = false` hold."""
        found, operator = event.at(self.steps), OPERATORS[self.operator]
        if found.raw is None:
            return operator.of_nothing or (self.operator == "exists" and self.to[0].raw is False)
        return operator.holds(found, self.to)

    @property
    def wanted(self) -> str:
        """What it is compared with, as reasons repeat it."""
        if self.operator == "exists":
            return "present" if self.to[0].raw else "absent"
        more = ["..."] * (len(self.to) > LISTED)
        return ", ".join([*(show(one.raw) for one in self.to[:LISTED]), *more])

    def failed(self, event: Opened) -> Failed:
        """Why not."""
        is_not = OPERATORS[self.operator].words.format(self.wanted)
        return Failed(self.path, f"{self.path} is {show(event.at(self.steps).raw)}, {is_not}")


class Every(msgspec.Struct, frozen=True):
    """All of its parts must hold: `all`, and the pairs of every other dialect."""

    path: str
    parts: "tuple[Filter, ...]"

    def holds(self, event: Opened) -> bool:
        """Whether all parts do."""
        return all(part.holds(event) for part in self.parts)

    def failed(self, event: Opened) -> Failed:
        """Why the first part that does not hold does not."""
        return next(part for part in self.parts if not part.holds(event)).failed(event)


class Some(msgspec.Struct, frozen=True):
    """One of its parts must hold: `any`."""

    path: str
    parts: "tuple[Filter, ...]"

    def holds(self, event: Opened) -> bool:
        """Whether a part does."""
        return any(part.holds(event) for part in self.parts)

    def failed(self, event: Opened) -> Failed:
        """That none does, and why the first one does not."""
        first = self.parts[0].failed(event).reason
        return Failed(self.path, f"none of {self.path} holds: {first}")


class Never(msgspec.Struct, frozen=True):
    """Its part must not hold: `not`."""

    path: str
    part: "Filter"

    def holds(self, event: Opened) -> bool:
        """Whether the part does not."""
        return not self.part.holds(event)

    def failed(self, _: Opened) -> Failed:
        """That the part does."""
        return Failed(self.path, f"{self.part.path} holds, and must not")


Filter = Pair | Comparison | Every | Some | Never


def passes(filters: Sequence[Filter], event: Opened) -> bool:
    """Whether every filter holds; without any, everything passes. Never raises."""
    return all(one.holds(event) for one in filters)


def explain(filters: Sequence[Filter], event: Opened) -> Failed | None:
    """The first term that does not hold, None when all do. Never raises."""
    for one in filters:
        if not one.holds(event):
            return one.failed(event)
    return None


def check(
    filters: Sequence[Filter], event_attributes: Mapping[str, object], data: object
) -> Failed | None:
    """As `explain`, of attributes (`source` as it is sent) and data as decoded from JSON."""
    return explain(filters, Opened(event_attributes, data))
