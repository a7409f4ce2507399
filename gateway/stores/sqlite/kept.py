"""Callbacks as they were received."""

import msgspec

from gateway.errors import NotFound
from gateway.models import Callback, Verdict
from gateway.stores.base import Stored
from gateway.stores.sqlite.writer import Batch

_headers = msgspec.msgpack.Decoder(list[tuple[bytes, bytes]])


def callback_number(callback: str) -> int:
    """The row of a callback such as `cb_5`; `NotFound` for what is no such id."""
    digits = callback.removeprefix("cb_")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
        raise NotFound(f"there is no callback {callback}: an id looks like cb_5")
    return int(digits)


def stored(batch: Batch, callback: str) -> Stored:
    """A callback by its id; `NotFound`."""
    row = batch.connection.execute(
        "SELECT source, provider, event_id, received_at, headers, body, verdict FROM callbacks"
        " WHERE id = ?",
        (callback_number(callback),),
    ).fetchone()
    if row is None:
        raise NotFound(f"there is no callback {callback}")
    source, provider, event_id, received_at, headers, body, verdict = row
    kept = Callback(
        source=source, headers=_headers.decode(headers), body=body, received_at=received_at
    )
    return Stored(callback=kept, provider=provider, event_id=event_id, verdict=Verdict(verdict))
