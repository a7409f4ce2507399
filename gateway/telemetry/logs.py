"""Log lines for people and for collectors, on standard error."""

import logging
import sys
from collections.abc import Callable
from typing import TextIO

import msgspec

from gateway.telemetry.redaction import without_keys

_encoder = msgspec.json.Encoder()


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time` (Unix seconds), `level`, `logger`, `message`, `error`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line: dict[str, object] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return without_keys(_encoder.encode(line).decode())


class PlainFormatter(logging.Formatter):
    """A line for people."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        return without_keys(super().format(record))


def configure(level: str, *, json: bool, stream: TextIO = sys.stderr) -> None:
    """Send the gateway's log lines of `level` and above to `stream`."""
    handler = logging.StreamHandler(stream)
    if json:
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(PlainFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for library in ("uvicorn", "httpx2"):  # their lines name what ours say better
        logging.getLogger(library).setLevel(logging.WARNING)


class Throttle:
    """Lets one line a second through for each key, and counts what it held back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last: dict[str, tuple[float, int]] = {}

    def admit(self, key: str) -> int | None:
        """How many lines were held back since the last one; None when this one is held back too."""
        now = self._clock()
        last, held = self._last.get(key, (float("-inf"), 0))
        if now - last < 1:
            self._last[key] = (last, held + 1)
            return None
        self._last[key] = (now, 0)
        return held
