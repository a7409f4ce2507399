"""Reads server-sent events: bytes in chunks of any size become messages.

Format: HTML Living Standard, 9.2.5 and 9.2.6. `retry` is left out: who reads has a pause of its own.
"""

import re
from collections.abc import Sequence

import msgspec

BOM = b"\xef\xbb\xbf"
UNNAMED = "message"  # the type of an event that names none

_END = re.compile(rb"\r\n|\r|\n")


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One event: `id` is the last one that was sent, perhaps with an event before; `data` is UTF-8."""

    id: str
    data: bytes
    event: str = UNNAMED


class Parser:
    """One stream, from its first byte on; what has no blank line behind it yet is no event."""

    def __init__(self) -> None:
        self._begun = False
        self._after_return = False
        self._line: list[bytes] = []  # the pieces of a line that has not ended
        self._data: list[bytes] = []
        self._event = self._id = ""

    def feed(self, chunk: bytes) -> Sequence[Message]:
        """The events that end in this chunk."""
        if not chunk:
            return ()
        if self._after_return:
            chunk = chunk.removeprefix(b"\n")
        self._after_return = chunk.endswith(b"\r")
        first, *others = _END.split(chunk)
        self._line.append(first)
        found = []
        for part in others:
            message = self._take(b"".join(self._line))
            self._line = [part]
            if message is not None:
                found.append(message)
        return found

    def _take(self, line: bytes) -> Message | None:
        """A whole line, of which a blank one ends an event."""
        if not self._begun:
            self._begun, line = True, line.removeprefix(BOM)
        if not line:
            return self._dispatched()
        name, _, value = line.partition(b":")  # a comment has an empty name
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")
        return None

    def _dispatched(self) -> Message | None:
        data, event = self._data, self._event
        self._data, self._event = [], ""
        if not data:
            return None
        return Message(id=self._id, data=b"\n".join(data), event=event or UNNAMED)
