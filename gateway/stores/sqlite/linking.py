"""Facts that wait for their order: listed in pages, and found by the ids that these show.

An id has the number of the fact's callback and that of its row, `ul_7_3`: alone, the number of a
row is given again when the last one waits no longer.
"""

import re
import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.errors import Conflict, NotFound
from gateway.models import Decision, Entry, Known, name_key
from gateway.stores.base import Made
from gateway.stores.linking import Link, Linked, LinkedCallback
from gateway.stores.sqlite.reading import Reading
from gateway.stores.views import Page, UnlinkedRow

SCANNED = 50_000  # rows that one page looks at

_ID = re.compile(r"ul_([0-9]{1,18})_([0-9]{1,18})", re.ASCII)
_PAGE = (
    "SELECT u.id, u.callback, c.source, c.event_type, u.entry, u.since, u.deadline, u.shop"
    " FROM (SELECT * FROM unlinked WHERE id > ? ORDER BY id LIMIT ?) u"
    " JOIN callbacks c ON c.id = u.callback WHERE (? IS NULL OR c.source = ?)"
    " ORDER BY u.id LIMIT ?"
)
_END = "SELECT id FROM unlinked WHERE id > ? ORDER BY id LIMIT 1 OFFSET ?"

_entry = msgspec.msgpack.Decoder(Entry)


async def unlinked_page(
    reading: Reading, *, source: str | None, after: int | None, limit: int
) -> Page[UnlinkedRow]:
    """Facts that wait, oldest first, from behind the row `after`."""
    start = after or 0
    rows = await reading.fetch(_PAGE, (start, SCANNED, source, source, limit))
    shown = [_unlinked(row) for row in rows]
    if len(rows) == limit:
        return Page(rows=shown, following=rows[-1][0])
    end = await reading.fetch(_END, (start, SCANNED - 1))
    return Page(rows=shown, following=end[0][0] if end else None)


def waiting_row(connection: sqlite3.Connection, wanted: Link) -> tuple[int, str, bytes]:
    """The row, the shop and the stored entry of a fact; `NotFound`, and `Conflict` for another shop."""
    found = _ID.fullmatch(wanted.unlinked)
    callback, number = (int(found[1]), int(found[2])) if found else (0, 0)
    row = connection.execute(
        "SELECT id, shop, entry FROM unlinked WHERE id = ? AND callback = ?", (number, callback)
    ).fetchone()
    if row is None:
        raise NotFound(f"no fact {wanted.unlinked} waits for its order (any more)")
    if wanted.shop not in {None, row[1]}:
        raise Conflict(f"{wanted.unlinked} is of shop {row[1]}, not of {wanted.shop}")
    return row[0], row[1], row[2]


def is_known(order: str, known: Known) -> bool:
    """Whether there is such an order, under this id or another name."""
    return order in known.orders or name_key(order) in known.links


def linked_of(decision: Decision, shop: str, order: str, made: Sequence[Made]) -> Linked:
    """What was decided upon facts of waiting callbacks, as it is told."""
    notes = [note for several in decision.notes.values() for note in several]
    return Linked(
        shop=shop,
        order=next((note.order for note in notes if note.order is not None), order),
        facts=len(decision.linked),
        callbacks=[
            LinkedCallback(
                id=f"cb_{number}", verdict=decision.verdicts[number], notes=decision.notes[number]
            )
            for number in sorted(decision.notes)
        ],
        events=made,
    )


def _unlinked(row: Sequence[Any]) -> UnlinkedRow:
    fact = _entry.decode(row[4]).fact
    return UnlinkedRow(
        id=f"ul_{row[1]}_{row[0]}",
        callback=f"cb_{row[1]}",
        source=row[2],
        shop=row[7],
        event_type=row[3],
        track=fact.track,
        state=fact.state,
        links=fact.links,
        since=row[5],
        deadline=row[6],
    )
