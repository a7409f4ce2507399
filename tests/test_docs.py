"""The docs are true: commands exist, configurations load, links lead somewhere, tables agree."""

import re
import sqlite3
from pathlib import Path

import msgspec
import pytest
from typer.core import TyperGroup
from typer.main import get_command

from gateway import errors, events
from gateway.cli.main import app
from gateway.config.load import load
from gateway.config.settings import SubscriptionSettings
from gateway.errors import GatewayError
from gateway.orders.tables import FULFILMENT_TYPES, OCCURRENCES, RANKS, OrderType
from gateway.retries import CODES, TRANSITIONS
from gateway.stores.migrate import migrate
from gateway.web import problems
from tests.test_layout import LAYERS

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
COMMANDS = get_command(app).commands  # type: ignore[attr-defined]
ENVIRON = {
    "PRINTSTUDIO_SECRET": "a-secret",
    "STRIPE_WEBHOOK_SECRET": "whsec_stripe",
    "TOKEN": "a-token",
    "FULFILMENT_SECRET": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    "FULFILMENT_NEXT": "whsec_eHl6MzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    "FULFILMENT_TOKEN": "a-token-of-the-consumer",
    "WAREHOUSE_SECRET": "whsec_YWJjMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    "WATCHDOG_SECRET": "whsec_ZGVmMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
}


def pages() -> "pytest.MarkDecorator":
    return pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@pages()
def test_links_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text("utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pages()
def test_commands_exist(page: Path) -> None:
    named = re.findall(r"(?:bin/|`|\$ )gateway ([a-z]+)", page.read_text("utf-8"))
    assert [name for name in named if name not in COMMANDS] == []


def test_readme_names_every_command() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    hidden = {"version"}
    assert [name for name in COMMANDS if f"gateway {name}" not in text and name not in hidden] == []


@pages()
def test_configurations_load(page: Path, tmp_path: Path) -> None:
    (tmp_path / "fulfilment.secret").write_text(ENVIRON["FULFILMENT_SECRET"])
    for block in re.findall(r"```toml\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        (tmp_path / "gateway.toml").write_text(block)
        assert load(tmp_path / "gateway.toml", ENVIRON).sources


def options_of(words: list[str]) -> set[str]:
    """The options of a command, or of a group's own command: `quarantine retry ID`."""
    command = COMMANDS[words[0]]
    if isinstance(command, TyperGroup) and len(words) > 1 and words[1] in command.commands:
        command = command.commands[words[1]]
    return {option for parameter in command.params for option in parameter.opts}


@pages()
def test_options_of_commands_exist(page: Path) -> None:
    """All of them: those of a command in backticks, or of a line to be copied."""
    text = page.read_text("utf-8")
    spans = re.findall(r"`(?:[^`\n]*bin/)?gateway ([a-z][^`\n]*)`", text)
    lines = re.findall(r"^(?: *|.*bin/|.*\$ )gateway ([a-z].*)$", text, re.MULTILINE)
    for words in (*spans, *lines):
        assert set(re.findall(r"(?<= )--[a-z-]+", words)) <= options_of(words.split()), words


@pages()
def test_commands_of_groups_exist(page: Path) -> None:
    groups = {name: one for name, one in COMMANDS.items() if isinstance(one, TyperGroup)}
    named = re.findall(
        rf"`(?:[^`\n]*bin/)?gateway ({'|'.join(groups)}) ([a-z][a-z-]*)", page.read_text("utf-8")
    )
    assert [words for words in named if words[1] not in groups[words[0]].commands] == []


def test_order_tables_agree_with_the_code() -> None:
    text = (ROOT / "docs/orders.md").read_text("utf-8")
    occurrences = dict(re.findall(r"^\| `(order\.\w+)` \| (.*) \|$", text, re.MULTILINE))
    assert occurrences == {str(kind): occurrence for kind, occurrence in OCCURRENCES.items()}
    assert set(OCCURRENCES) == set(OrderType)
    rows = re.findall(r"^\| (\w+) \| ([0-9–]) \| (none|`order\.\w+`).* \|$", text, re.MULTILINE)
    expected = {
        state: (str(RANKS.get(state, "–")), f"`{kind}`" if kind else "none")
        for state, kind in FULFILMENT_TYPES.items()
    }
    assert {state: (rank, kind) for state, rank, kind in rows} == expected


def test_the_schedule_in_the_readme_is_the_default() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    (told,) = re.findall(r"tried again after (.*), with jitter", text)
    units = {"s": 1_000, "min": 60_000, "h": 3_600_000}
    delays = [int(n) * units[unit] for n, unit in re.findall(r"(\d+) (s|min|h)", told)]
    fields = {field.name: field.default for field in msgspec.structs.fields(SubscriptionSettings)}
    assert tuple(delays) == fields["schedule"]


def test_every_error_has_its_answer() -> None:
    """Design section 4: the mapping to HTTP is complete."""

    def tree(root: type[GatewayError]) -> set[type[GatewayError]]:
        return {root}.union(*(tree(child) for child in root.__subclasses__()))

    assert events.UnfitEvent in GatewayError.__subclasses__()
    found = tree(GatewayError) - {GatewayError}
    private = {
        error for error in found if error.__module__ not in {errors.__name__, events.__name__}
    }
    answered = {error.__name__ for error in problems.STATUSES}
    assert {error.__name__ for error in found - private} == answered | set(problems.UNANSWERED)
    # What one part keeps to itself must be of a kind that never gets as far as an answer.
    strays = [one for one in private if one.__bases__[0].__name__ not in problems.UNANSWERED]
    assert strays == []
    assert all(400 <= status < 500 or status == 503 for status in problems.STATUSES.values())


def test_ci_runs_the_readmes_lines() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    lines = re.findall(r"^python3 -m venv .*$", readme, re.MULTILINE)
    assert [line.rsplit("/", 1)[1] for line in lines] == ["gateway demo", "pytest"]
    assert r"&& \.venv\/bin\/pytest" in (ROOT / ".ci/run").read_text("utf-8")


def test_decisions_are_listed() -> None:
    index = (ROOT / "docs/decisions/README.md").read_text("utf-8")
    found = sorted(path.name for path in (ROOT / "docs/decisions").glob("0*.md"))
    assert re.findall(r"\((0\d{3}-[a-z-]+\.md)\)", index) == found


ARCHITECTURE = (ROOT / "docs/architecture.md").read_text("utf-8")
INNER_TABLES = {"migrations", "heartbeat", "plain_keys"}  # of the store's own housekeeping


def test_the_states_of_a_delivery_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (-?\d) \| .+ \| (.*?) ?\|$", ARCHITECTURE, re.MULTILINE)
    codes = {state: int(code) for state, code, _ in rows}
    assert codes == {str(state): code for state, code in CODES.items()}
    following = {state: set(re.findall(r"`(\w+)`", after)) for state, _, after in rows}
    assert following == {str(state): set(map(str, after)) for state, after in TRANSITIONS.items()}


def test_every_part_is_in_the_table_of_parts() -> None:
    section = ARCHITECTURE.partition("## The parts")[2].partition("\n## ")[0]
    cells = "".join(re.findall(r"^\|([^|]*)\|", section, re.MULTILINE))
    named = set(re.findall(r"`(\w+?)(?:\.py|/)`", cells))
    assert named == set(" ".join(LAYERS).split()) - {"__main__", "__version__"}


def test_every_table_of_the_database_is_named() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, "memory")
    found = {name for (name,) in connection.execute("SELECT name FROM pragma_table_list")}
    connection.close()
    section = ARCHITECTURE.partition("| table | one row a |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\|([^|]*)\|", section, re.MULTILINE))))
    assert named == {name for name in found if not name.startswith("sqlite_")} - INNER_TABLES
