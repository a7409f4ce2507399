"""The real gateway under test: `gateway serve` with one Stripe source, in a folder of its own."""

import contextlib
import http.client
import socket
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import traffic
from benchmarks.processes import BenchmarkError, Process, free_port

DATABASE = "gateway.db"
TABLES = ("callbacks", "orders", "links", "events", "deliveries", "attempts")

_CONFIG = """
[server]
port = {port}

[admin]
port = {admin}

[store]
url = "sqlite:///{database}"

[egress]
allow = ["127.0.0.0/8:*"]

[sources.{source}]
provider = "stripe"
secrets = ["{secret}"]
"""

_SUBSCRIPTION = """
[subscriptions.s{number}]
url = "{url}"
types = ["order.*"]
secrets = ["whsec_{key}"]
ordering = "{ordering}"
"""


_CONTROL = (
    "POST /v1/subscriptions/{name}/{verb} HTTP/1.1\r\nHost: gateway\r\n"
    "Content-Length: 0\r\nConnection: close\r\n\r\n"
)


class Gateway:
    """One folder with a configuration and a database; it can be started again in it."""

    def __init__(self, folder: Path, *, targets: Sequence[str], ordering: str = "none") -> None:
        self.port = free_port()
        self.database = folder / DATABASE
        self._admin = free_port()
        self._folder = folder
        text = _CONFIG.format(
            port=self.port,
            admin=self._admin,
            database=self.database,
            source=traffic.SOURCE,
            secret=traffic.SECRET,
        )
        subscriptions = [
            _SUBSCRIPTION.format(number=number, url=url, key=traffic.KEY, ordering=ordering)
            for number, url in enumerate(targets)
        ]
        self._names = [f"s{number}" for number in range(len(targets))]
        self._config = folder / "gateway.toml"
        self._config.write_text(text + "".join(subscriptions))

    @contextlib.contextmanager
    def serve(self, *, within: float = 60.0) -> Iterator[tuple[Process, float]]:
        """The serving process and the seconds from its start until `/readyz` said 200."""
        arguments = ["gateway", "serve", "--config", str(self._config)]
        log = self._folder / "gateway.log"
        begun = time.monotonic()
        with Process(arguments, log=log, folder=self._folder) as process:
            while not self._ready():
                if not process.running:
                    raise process.error("ended before it was ready")
                if time.monotonic() - begun > within:
                    raise process.error(f"not ready within {within:.0f} s")
                time.sleep(0.01)
            yield process, time.monotonic() - begun

    def each(self, verb: str) -> None:
        """`pause` or `resume` all subscriptions. Raises `BenchmarkError` when one is refused."""
        for name in self._names:
            with socket.socket(socket.AF_UNIX) as control:
                control.settimeout(20)
                control.connect(f"{self.database}.sock")
                control.sendall(_CONTROL.format(name=name, verb=verb).encode())
                answer = control.makefile("rb").read()
            if b" 200 " not in answer.partition(b"\r\n")[0]:
                raise BenchmarkError(f"cannot {verb} {name}: {answer[:200]!r}")

    def pending(self) -> int:
        """Deliveries that have not ended."""
        with self._reading() as connection:
            count: int = connection.execute(_PENDING).fetchone()[0]
            return count

    def describe(self) -> str:
        """What lies in the store, for the message of a run that got stuck."""
        with self._reading() as connection:
            states = connection.execute(_STATES, (time.time_ns() // 1_000_000,)).fetchall()
        found = ", ".join(
            f"{count} in state {state}, {due} of them due" for state, count, due in states
        )
        return f"deliveries: {found or 'none'}"

    def rows(self) -> dict[str, int]:
        """Rows by table, of those that an event writes into."""
        with self._reading() as connection:
            return count_rows(connection)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """The file of the running gateway, as any reader sees it."""
        with contextlib.closing(
            sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        ) as connection:
            connection.execute("PRAGMA query_only = ON")
            yield connection

    def _ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._admin, timeout=2)
        with contextlib.closing(connection), contextlib.suppress(OSError):
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        return False


_PENDING = "SELECT count(*) FROM deliveries WHERE state < 2"  # pending, or leased
_STATES = "SELECT state, count(*), sum(due <= ?) FROM deliveries GROUP BY state"


def count_rows(connection: sqlite3.Connection) -> dict[str, int]:
    """The rows of each table that an event writes into."""
    return {
        table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES
    }
