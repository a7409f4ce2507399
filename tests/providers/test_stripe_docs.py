"""The page on Stripe says what the tables of the code say."""

import re
from pathlib import Path

from gateway.models import Track
from gateway.providers.stripe import EVENTS, PAID, REFUND_STATES

PAGE = Path(__file__).parents[2] / "docs/providers/stripe.md"
TEXT = PAGE.read_text("utf-8")


def rows(header: str) -> list[list[str]]:
    """The cells of the table with this header."""
    table = TEXT.split(f"\n{header}\n", 1)[1].split("\n\n", 1)[0]
    lines = re.findall(r"^\| (.*) \|$", table, re.MULTILINE)
    return [[cell.strip() for cell in line.split(" | ")] for line in lines]


def test_the_table_of_events_is_the_codes() -> None:
    assert rows("| event | object | track | state |") == [
        [f"`{event}`", str(row.kind), str(row.track), row.state or "by its status"]
        for event, row in EVENTS.items()
    ]


def test_the_table_of_refunds_is_the_codes() -> None:
    assert rows("| status | state |") == [
        [f"`{status}`", state] for status, state in REFUND_STATES.items()
    ]


def test_the_step_by_step_selects_every_event() -> None:
    steps = TEXT.split("3. Select these events:", 1)[1].split("\n4. ", 1)[0]
    assert set(re.findall(r"`([a-z_]+\.[a-z_.]+)`", steps)) == set(EVENTS)


def test_what_counts_as_paid_is_named() -> None:
    (told,) = re.findall(r"when its `payment_status` is `(\w+)` or `(\w+)`", TEXT)
    assert set(told) == PAID


def test_what_cancels_only_on_demand_is_named() -> None:
    on_demand = {event for event, row in EVENTS.items() if row.track is Track.FULFILMENT}
    (told,) = re.findall(r"^- `([\w.]+)` and `([\w.]+)` are ignored unless", TEXT, re.MULTILINE)
    assert set(told) == on_demand
