"""`docs/cli.md` is true: its commands are the code's, all of them are run by some test."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from gateway.cli.aim import KEY, URL
from gateway.cli.main import app
from tests.acceptance.test_cli_json import HERE
from tests.acceptance.test_cli_remote import ACTS, LOOKS, REVOKE

MARK = "<!-- commands: from the code, see tests/test_cli_docs.py -->\n"
ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/cli.md").read_text("utf-8")
ELSEWHERE = {  # what needs more than a database is run by tests of its own, with these words
    "serve": '"serve"',
    "demo": '"demo"',
    "doctor": '"doctor"',
    "send": '"send"',
    "poll": '"poll"',
    "reconcile": '"reconcile"',
    "printstudio register": '"printstudio", "register"',
    "listen": '"listen"',
    "orders": '("orders",)',
    "orders show": '("orders", "show"',
    "publish": '("publish", ',
    "types": '("types", ',
    "sources show": '"show", "pay"',
    "sources add": '"add", "pay"',
    "sources set": '"set", "pay"',
    "sources remove": '"remove", "pay"',
    "sources pause": '"pause", "shop"',
    "sources resume": '"resume", "shop"',
    "subscriptions test": '(tried, "test"',
    "subscriptions test-filter": '"test-filter"',
    "subscriptions set": '"set", "crm"',
    "subscriptions stats": '"stats", "sums"',
    "subscriptions fetch": '"fetch", "erp"',
}
NO_JSON = {"serve", "demo"}  # a process with a log, and a play
HERE_ALONE = {  # need the configuration, or what lies beside the database
    *("serve", "demo", "check", "doctor", "send", "secret", "version"),
    *("printstudio register", "secrets rotate-master", "types"),
}


def commands() -> Iterator[tuple[str, TyperCommand | TyperGroup]]:
    """Every command that can be given, as `lanes release`."""
    root = get_command(app)
    assert isinstance(root, TyperGroup)
    for name, command in sorted(root.commands.items()):
        assert isinstance(command, TyperCommand | TyperGroup)
        if not isinstance(command, TyperGroup):
            yield name, command
            continue
        if command.invoke_without_command:
            yield name, command
        for inner, one in sorted(command.commands.items()):
            assert isinstance(one, TyperCommand)
            yield f"{name} {inner}", one


COMMANDS = dict(commands())


def options(name: str) -> set[str]:
    return {option for parameter in COMMANDS[name].params for option in parameter.opts}


def table() -> str:
    """The table of all commands, as `docs/cli.md` has it."""
    rows = ["| command | what it does | `--url` |", "|---|---|---|"]
    for name, command in COMMANDS.items():
        told = (command.help or "").partition("\n")[0]
        far = "yes" if "--key" in options(name) else ""
        rows.append(f"| `gateway {name}` | {told} | {far} |")
    return "\n".join(rows)


def test_all_commands_are_told_of() -> None:
    told = TEXT.partition(MARK)[2].partition("\n\n")[0]
    assert told.strip() == table(), f"write this into docs/cli.md:\n{table()}"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_tells_a_script_and_most_are_for_a_gateway_elsewhere(name: str) -> None:
    assert ("--json" in options(name)) is (name not in NO_JSON)
    assert ({"--url", "--key", "--key-file"} <= options(name)) is (name not in HERE_ALONE)


def is_run(name: str, arguments: tuple[str, ...]) -> bool:
    words = tuple(name.split())
    group = len(words) == 1 and len(arguments) > 1 and f"{name} {arguments[1]}" in COMMANDS
    return arguments[: len(words)] == words and not group


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_run_by_a_test(name: str) -> None:
    if name in ELSEWHERE:
        files = (ROOT / "tests").glob("*/*.py")
        assert any(ELSEWHERE[name] in file.read_text("utf-8") for file in files)
    else:  # a command that is new here needs a row in one of these, or above
        assert any(is_run(name, one) for one in (*LOOKS, *ACTS, *HERE, REVOKE))


def test_the_variables_are_those_of_the_code() -> None:
    assert set(re.findall(r"GATEWAY_[A-Z]+", TEXT)) == {URL, KEY, "GATEWAY_CONFIG"}
