"""The page on PrintStudio says what the tables of the code say."""

import re
from pathlib import Path

from gateway.orders.tables import RANKS
from gateway.providers.printstudio import ORDER_EVENTS, STATUSES

PAGE = Path(__file__).parents[2] / "docs/providers/printstudio.md"


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    below = PAGE.read_text("utf-8").split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = re.findall(r"^\| (.*) \|$", below, re.MULTILINE)[1:]
    return [[cell.strip() for cell in line.split(" | ")] for line in lines]


def test_the_table_of_statuses_is_the_codes() -> None:
    payments = {"": "–", "said": "paid", "implied": "paid, implied"}
    expected = [
        [
            f"`{status}`",
            row.fulfilment,
            str(RANKS.get(row.fulfilment, "–")),
            payments[row.payment],
            "refunded" if row.refunded else "–",
        ]
        for status, row in STATUSES.items()
    ]
    assert [row[:5] for row in rows("What a status says")] == [
        *expected,
        ["any other", "created", "0", "–", "–"],
    ]


def test_the_table_of_events_is_the_codes() -> None:
    expected = [
        [f"`{event}`", ", ".join(f"{track} {state}" for track, state in facts)]
        for event, facts in ORDER_EVENTS.items()
    ]
    assert rows("What a callback says")[: len(expected)] == expected


def test_the_step_by_step_names_how_many_events_are_registered() -> None:
    assert "more than the six order events" in PAGE.read_text("utf-8")
    assert len(ORDER_EVENTS) == 6
