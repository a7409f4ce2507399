"""`docs/standards.md` is complete, names tests that exist, and its example works."""

import re
import sqlite3
import time
from pathlib import Path

import pytest

from gateway.inbox import TABLE
from gateway.signing import generate_secret, parse_secret, sign

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/standards.md").read_text("utf-8")
ROWS = re.findall(r"^\| ((?:SW|CE|WH)-\d+) \| (.+) \| (.+) \| (.*?) ?\|$", TEXT, re.MULTILINE)
RULES = [
    f"{kind}-{n}" for kind, last in (("SW", 21), ("CE", 9), ("WH", 12)) for n in range(1, last + 1)
]
WITHOUT_TEST = {"SW-6", "SW-7", "SW-12", "SW-20"}  # what is not done


def test_every_rule_has_its_row() -> None:
    assert [rule for rule, *_ in ROWS] == RULES
    assert len(re.findall(r"^\| (?:SW|CE|WH)-", TEXT, re.MULTILINE)) == len(RULES)


def test_every_test_that_is_named_exists() -> None:
    files = (path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    known = {
        name for text in files for name in re.findall(r"^def (test_\w+)\(", text, re.MULTILINE)
    }
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert len(named) > len(RULES)
    assert named - known == set()


@pytest.mark.parametrize(("rule", "held", "tests"), [(row[0], row[2], row[3]) for row in ROWS])
def test_what_is_held_is_tested_and_what_is_not_has_a_reason(
    rule: str, held: str, tests: str
) -> None:
    if rule in WITHOUT_TEST:
        assert re.match(r"not (yet|held|enforced)[:,] .{30,}", held)
        assert tests == ""
        return
    assert re.fullmatch(r"`test_\w+`(, `test_\w+`)*", tests)


def test_the_rules_that_must_have_a_test_of_their_own_have_one() -> None:
    """A test that is named after its rule, in the row of this rule."""
    must = {f"SW-{n}" for n in (*range(1, 6), *range(8, 11), *range(13, 19))}
    must |= {rule for rule in RULES if not rule.startswith("SW")} - {"WH-7"}
    found = {
        rule for rule, _, _, tests in ROWS if f"test_{rule.lower().replace('-', '_')}_" in tests
    }
    assert must - found == set()


def test_the_example_for_consumers_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    secret = generate_secret()
    done: list[bytes] = []
    names = {"process": done.append}
    monkeypatch.chdir(tmp_path)
    exec(code.replace("whsec_...", secret), names)
    receive: object = names["receive"]
    assert callable(receive)
    now = int(time.time())
    signature = sign([parse_secret(secret)], "evt_1", now, b"{}").decode()
    fields = {"webhook-id": "evt_1", "webhook-timestamp": str(now)}
    good = fields | {"webhook-signature": signature}
    assert [receive(b"{}", good), receive(b"{}", good), receive(b"[]", good)] == [200, 200, 401]
    assert done == [b"{}"]


def test_the_sql_for_consumers_works() -> None:
    (script,) = re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL)
    assert TABLE in script
    connection = sqlite3.connect(":memory:")
    connection.executescript(script)
    connection.executescript(script)
    assert connection.execute("SELECT count(*) FROM webhook_inbox").fetchone() == (1,)
    connection.close()
