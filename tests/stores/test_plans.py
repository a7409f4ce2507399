"""The statements of the hot path go through their index however long the backlog is."""

import re
import sqlite3
from pathlib import Path

import pytest

from gateway.stores.migrate import migrate
from gateway.stores.sqlite import batches, lanes, queue
from gateway.stores.sqlite.keys import EVENT_ROW

MODULES = (batches, lanes, queue)
STATEMENT = re.compile(r"(?:SELECT|UPDATE)[^\"]*\bstate = [01][^\"]*", re.DOTALL)


def sources() -> list[str]:
    """Every statement of these modules that looks for pending or leased deliveries."""
    found = []
    for module in MODULES:
        assert module.__file__ is not None
        text = Path(module.__file__).read_text("utf-8")
        text = re.sub(r'"\s*\n\s*f?"', "", text).replace("{COLUMNS}", lanes.COLUMNS)
        found += STATEMENT.findall(text)
    return [sql for sql in found if " WHERE " in sql and "state = " in sql.split(" WHERE ", 1)[1]]


def plan(sql: str) -> str:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        migrate(connection, "test")
        sql = sql + ")" * (sql.count("(") - sql.count(")"))
        rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", (1,) * sql.count("?")).fetchall()
        return "; ".join(row[3] for row in rows)
    finally:
        connection.close()


def test_the_statements_are_found() -> None:
    assert len(sources()) >= 8


@pytest.mark.parametrize("sql", sources())
def test_pending_deliveries_are_searched_by_their_state(sql: str) -> None:
    used = plan(sql)
    if "INTEGER PRIMARY KEY (rowid=?)" in used and "deliveries_open" not in used:
        return  # one delivery by its number
    assert "TEMP B-TREE" not in used, used
    if re.search("leader [=>] 0", sql):
        wanted = "deliveries_gathered" if "leader = 0" in sql else "deliveries_led"
        assert f"{wanted} (subscription=?" in used, used
    elif "subscription = ?" in sql:
        assert "(subscription=? AND state=?" in used or "deliveries_lane" in used, used
    else:
        assert "deliveries_open" in used, used


def test_an_event_is_found_by_its_id() -> None:
    used = plan(EVENT_ROW)
    assert "events_event_id (<expr>=? AND <expr>=?)" in used
