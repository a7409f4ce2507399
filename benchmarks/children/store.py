"""Part `store`: the rows that one event writes, by plain `sqlite3`, many callbacks a transaction.

The rows are made beforehand from the gateway's own decisions, and the file is made by its own
migrations (WAL, synchronous FULL). A transaction also settles the deliveries of the one before it,
as group commit does. Nothing is looked up: this is the least that these rows can cost.
`__main__.py` holds the number of rows in each table against the gateway's own file.
"""

import itertools
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from benchmarks.children.compute import SHOP, Computer, callbacks
from benchmarks.children.deliver import cpu
from benchmarks.gateway_process import count_rows
from benchmarks.pace import Paced
from gateway.matching import Match, pack
from gateway.models import Callback
from gateway.stores.migrate import migrate
from gateway.stores.sqlite.checkpoints import LONG
from gateway.stores.sqlite.keys import digest, key
from gateway.stores.sqlite.opening import connect

_CALLBACK = (
    "INSERT INTO callbacks (source, provider, shop, event_id, event_type, dedupe, body_hash,"
    " received_at, headers, body, verdict, reason, notes, order_row)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_ORDER = (
    "INSERT INTO orders (key, shop, order_id, seq, updated_at, state) VALUES (?, ?, ?, ?, ?, ?)"
)
_LINK = "INSERT OR REPLACE INTO links VALUES (?, ?)"
_EVENT = (
    "INSERT INTO events (event_id, type, source, shop, order_id, seq, time, recorded,"
    " routing, body, callback, order_row) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_DELIVERY = "INSERT INTO deliveries (event, subscription, state, due, claim) VALUES (?, 1, 1, ?, ?)"
_ATTEMPT = (
    "INSERT INTO attempts VALUES (?, 1, ?, ?, 200, NULL, '', '127.0.0.1:8080', ?, ?, 0.0, 1.0)"
)
_SETTLED = (
    "UPDATE deliveries SET state = 2, claim = NULL, attempts = attempts + 1,"
    " number = max(number, 1), first_at = coalesce(first_at, ?), finished_at = ?, reason = NULL"
    " WHERE id = ? AND state < 2"
)

Row = tuple[object, ...]


class Params(msgspec.Struct, frozen=True):
    database: str
    events: int
    rounds: int
    batch: int = 64
    settle: bool = True
    pause: float = 0.0  # seconds between transactions


class Rows(msgspec.Struct, frozen=True):
    """All that one callback writes before its delivery."""

    callback: Row
    orders: list[Row]
    links: list[Row]
    event: Row
    at: int


def prepare(computer: Computer, callback: Callback) -> Rows:
    """The rows of one callback with one event and one delivery, as the gateway makes them."""
    reading, decision = computer.decide(callback)
    ((_, event),) = decision.events
    assert event.order is not None
    at = callback.received_at
    return Rows(
        callback=(
            callback.source,
            "stripe",
            SHOP,
            reading.event_id,
            reading.event_type,
            key(callback.source, reading.event_id),
            digest(callback.body),
            at,
            msgspec.msgpack.encode(callback.headers),
            callback.body,
            "event",
            "",
            msgspec.json.encode(decision.notes[0]),
        ),
        orders=[
            (key(SHOP, order), SHOP, order, seq, at, state)
            for order, (seq, state) in decision.orders.items()
        ],
        links=[(key(SHOP, name), order) for name, order in decision.links.items()],
        event=(
            event.id,
            event.type,
            event.source,
            event.shop,
            event.order,
            event.seq,
            event.time,
            event.recorded,
            pack(1, [Match.MATCHED]),
            event.body,
        ),
        at=at,
    )


class Store:
    """One connection, with the gateway's schema and pragmas."""

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        self._connection = connect(path)
        self._connection.execute(f"PRAGMA wal_autocheckpoint = {LONG}")
        migrate(self._connection, str(path))
        if not durable:
            self._connection.execute("PRAGMA synchronous = OFF")
        self._born: list[tuple[int, int]] = []

    def transact(self, batch: list[Rows], *, settle: bool) -> None:
        """One durable transaction."""
        self._connection.execute("BEGIN IMMEDIATE")
        born, self._born = self._born, []
        if settle:
            self._settle(born)
        for rows in batch:
            self._accept(rows)
        self._connection.execute("COMMIT")

    def _accept(self, rows: Rows) -> None:
        execute = self._connection.execute
        (order,) = (execute(_ORDER, order).lastrowid for order in rows.orders)
        number = execute(_CALLBACK, (*rows.callback, order)).lastrowid
        self._connection.executemany(_LINK, rows.links)
        event = execute(_EVENT, (*rows.event, number, order)).lastrowid
        delivery = execute(_DELIVERY, (event, rows.at, 1)).lastrowid
        assert delivery is not None
        self._born.append((delivery, rows.at))

    def _settle(self, born: list[tuple[int, int]]) -> None:
        self._connection.executemany(_ATTEMPT, [(row, at, 1.25, b"ok", at) for row, at in born])
        self._connection.executemany(_SETTLED, [(at, at + 1, row) for row, at in born])

    def close(self) -> None:
        """Close the file, with all in it."""
        self._connection.close()

    def rows(self) -> dict[str, int]:
        """Rows by table."""
        return count_rows(self._connection)


def measure(params: Params) -> dict[str, object]:
    """CPU seconds by round, the median milliseconds of a transaction, and the rows that were made."""
    store, computer = Store(Path(params.database)), Computer()
    rounds, waits = [], []
    for turn in range(params.rounds + 1):
        prepared = callbacks(params.events, first=turn * params.events)
        batches = list(_batches([prepare(computer, one) for one in prepared], params.batch))
        paced, before = Paced(), cpu()
        for batch in batches:
            begun = time.monotonic()
            store.transact(batch, settle=params.settle)
            waits.append(time.monotonic() - begun)
            if params.pause:
                time.sleep(params.pause)
        if params.settle:
            store.transact([], settle=True)
        rounds.append(paced.cpu(cpu() - before))
    return {
        "cpu": rounds[1:],
        "latency": statistics.median(waits) * 1e3,
        "rows": store.rows(),
    }


def _batches(rows: list[Rows], size: int) -> Iterator[list[Rows]]:
    found = iter(rows)
    while batch := list(itertools.islice(found, size)):
        yield batch


if __name__ == "__main__":
    result = measure(msgspec.json.decode(sys.argv[1], type=Params))
    print(msgspec.json.encode(result).decode(), flush=True)
