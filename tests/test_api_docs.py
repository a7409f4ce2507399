"""`docs/api.md` is true: its tables and formats are the code's."""

import re
import secrets
from pathlib import Path

from gateway.cli import first_key
from gateway.keyring import USE_INTERVAL
from gateway.keys import ID_BYTES, MAY, SECRET_BYTES, Role, make_key, parse_key
from gateway.web.api.keys import NewKey
from gateway.web.api.operation import Door
from gateway.web.api.table import OPERATIONS

MARK = "<!-- calls: from the code, see tests/test_api_docs.py -->\n"
TEXT = (Path(__file__).parents[1] / "docs/api.md").read_text("utf-8")


def calls() -> str:
    """The table of all calls, as `docs/api.md` has it between its marks."""
    rows = ["| call | what it does | roles |", "|---|---|---|"]
    for operation in sorted(OPERATIONS, key=lambda one: (one.tag, one.path, one.method)):
        roles = "all" if operation.roles == set(Role) else ", ".join(sorted(operation.roles))
        public = " ¹" if Door.PUBLIC in operation.doors else ""
        call = f"`{operation.method} {operation.path}`{public}"
        rows.append(f"| {call} | {operation.summary} | {roles} |")
    return "\n".join([*rows, "", "¹ also at the public listener", ""])


def test_all_calls_are_told_of() -> None:
    told = TEXT.partition(MARK)[2].partition("\n- **Lists**")[0]
    assert told.strip() == calls().strip(), f"write this into docs/api.md:\n{calls()}"


def test_the_roles_are_those_of_the_code() -> None:
    section = TEXT.partition("| role | may |\n")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE)
    assert rows == [(str(role), may) for role, may in MAY.items()]


def test_the_pattern_for_scanners_finds_keys() -> None:
    (pattern,) = re.findall(r"```text\n(gwk_.*)\n```", TEXT)
    text = make_key(secrets.token_bytes)
    assert re.findall(pattern, f'KEY="{text}"\n') == [text]
    parsed = parse_key(text)
    assert parsed is not None
    assert f"The id is {len(parsed.id)} characters" in TEXT
    assert len(parsed.id) * 5 == ID_BYTES * 8
    assert f"The secret is {SECRET_BYTES * 8} random bits" in TEXT


def test_the_body_and_the_files_are_those_of_the_code() -> None:
    assert re.findall(r"`POST /v1/keys` with `\{(.*)\}`", TEXT) == [
        ", ".join(f'"{name}"' for name in NewKey.__struct_fields__)
    ]
    assert f"`gateway.db{first_key.SUFFIX}`" in TEXT
    assert USE_INTERVAL == 60_000
    assert "at most once a minute and key" in TEXT
