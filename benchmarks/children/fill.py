"""Fills a database with events that were delivered long ago, as the gateway would have written them."""

import sys
from pathlib import Path

import msgspec

from benchmarks.children.compute import Computer, callbacks
from benchmarks.children.store import Store, prepare

CHUNK = 5_000  # callbacks in one transaction: nobody waits for them


class Params(msgspec.Struct, frozen=True):
    database: str
    events: int
    age: int = 0  # seconds


def fill(params: Params) -> None:
    """Write all of them; the last ones are settled too."""
    store, computer = Store(Path(params.database), durable=False), Computer()
    for first in range(0, params.events, CHUNK):
        made = callbacks(min(CHUNK, params.events - first), first=first, age=params.age)
        store.transact([prepare(computer, one) for one in made], settle=True)
    store.transact([], settle=True)
    store.close()


if __name__ == "__main__":
    fill(msgspec.json.decode(sys.argv[1], type=Params))
    print("{}", flush=True)
