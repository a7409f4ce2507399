"""One look finds all that a callback may touch: as much as a search through whole tables would."""

import random
from collections.abc import Sequence
from functools import partial

import msgspec
import pytest

from gateway.events import Writer
from gateway.models import Entry, Fact, Known, Millis, Track, Unknown, Waiting, name_key
from gateway.orders.decide import Orders
from gateway.stores.registry import Store
from gateway.stores.sqlite.keys import key, plain_key
from gateway.stores.sqlite.known import MOST, Look
from gateway.stores.sqlite.writer import Batch
from tests.stores.test_behaviour import Run, entry, intake

SHOP = "default"
ORDERS = [f"o{number}" for number in range(8)]
LINKS = [f"stripe:pi_{number}" for number in range(3 * MOST)]
FEW = 80  # links that most facts share, so that what waits is chained
Found = tuple[dict[str, str], dict[str, bytes], set[int]]
"""Links, states of orders, and the rows of what waits."""


def fact_of(dice: random.Random, number: int) -> Fact:
    wide = dice.random() < 0.05
    count = dice.choice([49, 50, 99, 100, 101, 205]) if wide else dice.choice([0, 1, 1, 2, 3])
    return Fact(
        track=dice.choice([Track.CREATED, Track.PAYMENT]),
        state="paid",
        at=Millis(number),
        order=dice.choice(ORDERS) if dice.random() < 0.15 else None,
        own=dice.choice(["cs_1", "cs_2", *ORDERS[:2]]) if dice.random() < 0.2 else None,
        links=tuple(dice.sample(LINKS if wide else LINKS[:FEW], count)),
        unknown=dice.choice([Unknown.WAIT, Unknown.WAIT, Unknown.OWN]),
    )


def entries_of(dice: random.Random, number: int) -> list[Entry]:
    return [
        msgspec.structs.replace(entry(), fact=fact_of(dice, number))
        for _ in range(dice.choice([1, 1, 2, 3]))
    ]


def searched(batch: Batch, entries: Sequence[Entry], plain: bool) -> tuple[Found, Known]:
    """What the tables hold for these entries, row by row and without `Look`; and more than that.

    The second also has what the entries' own names lead to where they name an order.
    """
    execute = batch.connection.execute
    stored: dict[bytes, str] = dict(execute("SELECT key, order_id FROM links").fetchall())
    waits = dict(execute("SELECT id, entry FROM unlinked").fetchall())
    by_key: dict[bytes, set[int]] = {}
    for found, row in execute("SELECT key, unlinked FROM unlinked_keys"):
        by_key.setdefault(found, set()).add(row)
    reader = Look(batch, SHOP)
    waiting: set[int] = set()
    links: dict[str, str] = {}
    seen: list[Entry] = list(entries)
    for one in seen:  # it grows with what waits for the same
        for name in (*one.fact.keys(), *(name_key(own) for own in [one.fact.own] if own)):
            keys = [key(SHOP, name), *([plain_key(SHOP, name)] if plain else [])]
            for found in keys:
                if found in stored:
                    links[name] = stored[found]
                for row in by_key.get(found, set()) - waiting:
                    waiting.add(row)
                    seen.append(reader.entry(waits[row]))
    sought = {name for one in seen for name in one.fact.keys()}  # noqa: SIM118 - not a dict
    needed = {name: order for name, order in links.items() if name in sought}
    states = dict(execute("SELECT order_id, state FROM orders").fetchall())
    named = {one.fact.named for one in seen} | set(needed.values())
    orders = {name: state for name, state in states.items() if name in named}
    more = [Waiting(id=row, entry=reader.entry(waits[row])) for row in sorted(waiting)]
    return (needed, orders, waiting), Known(links=links, orders=states, waiting=more)


@pytest.mark.parametrize("plain", [False, True], ids=["", "keys of before schema 3"])
@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))]
)
def test_a_look_finds_what_a_search_finds(run: Run, seed: int, plain: bool) -> None:
    dice = random.Random(seed)
    orders = Orders(Writer(""))
    most = [0, 0, 0]

    def old_keys(batch: Batch) -> None:
        batch.connection.execute("INSERT OR IGNORE INTO plain_keys VALUES (1)")
        batch.connection.executemany(
            "INSERT INTO links VALUES (?, ?)",
            [(plain_key(SHOP, name), dice.choice(ORDERS)) for name in LINKS[: FEW // 8]],
        )

    def compare(batch: Batch, entries: Sequence[Entry]) -> None:
        look = Look(batch, SHOP)
        look.begin(entries)
        known, (wanted, more) = look.known(), searched(batch, entries, plain)
        found = known.links, known.orders, {one.id for one in known.waiting}
        assert found == wanted
        assert orders.decide(entries, known) == orders.decide(entries, more)
        assert len(known.waiting) == len(found[2])
        assert set(look.rows) == set(known.orders)
        sizes = [len(part) for part in found]
        most[:] = [max(pair) for pair in zip(most, sizes, strict=True)]

    async def story(store: Store) -> None:
        if plain:
            await store._writer.submit(old_keys)
        for number in range(150):
            entries = entries_of(dice, number)
            await store._writer.submit(partial(compare, entries=entries))
            callback = msgspec.structs.replace(intake(number), entries=entries)
            await store.outbox.accept(callback, orders.decide)

    run(story)
    links, states, waiting = most
    assert links > MOST
    assert states > 1
    assert waiting > 1
