"""Imports point downwards, and each library has its door."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "gateway"

LAYERS = [  # a part may import only from the lines below its own
    "__main__",
    "cli",
    "asgi demo",
    "web",
    "runtime",
    "sources",
    "config",
    "receiver publisher poller dispatcher replayer handshakes subscribing keyring linker janitor testing",
    "judge recorder reference tester",
    "catalogue desk lookout told curl",
    "examples glossary",
    "orders sender operations trial",
    "egress stores providers",
    "telemetry matching retries breaker consent fitting originals remedies",
    "events filters flat news published shown signing sealing keys inbox",
    "models media",
    "errors",
    "__version__",
]
DOORS = {  # the only parts that may import a library
    "aiosqlite": "stores",
    "cloudevents": "events",
    "cryptography": "sealing",
    "httptools": "egress web",
    "httpx2": "cli demo egress",
    "jinja2": "web",
    "markupsafe": "web",
    "rich": "cli demo",
    "sqlite3": "stores inbox",
    "ssl": "egress",
    "starlette": "web asgi demo",
    "typer": "cli",
    "uvicorn": "web demo",
    "uvloop": "cli",
}
SHARED = {
    "answers",
    "base",
    "callers",
    "counting",
    "linking",
    "registry",
    "replaying",
    "timelines",
    "upkeep",
    "views",
    "feed",
    "sourcing",
}  # all that others may see of stores/ and providers/
RANK = {part: rank for rank, line in enumerate(LAYERS) for part in line.split()}


def imports() -> Iterator[tuple[str, str]]:
    """Every import of the package, as (importing module, imported name)."""
    for path in ROOT.rglob("*.py"):
        source = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((source, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from ((source, f"{node.module}.{alias.name}") for alias in node.names)


def allowed(source: str, target: str) -> bool:
    """Whether this arrow may be drawn."""
    part, (top, *rest) = source.split(".", maxsplit=1)[0], target.split(".")
    if top != "gateway":
        return part in DOORS.get(top, part).split()
    if rest[0] == part:
        return True
    if rest[0] in {"stores", "providers"} and rest[1] not in SHARED:
        return False
    return RANK[rest[0]] > RANK[part]


def test_imports_point_downwards() -> None:
    assert [arrow for arrow in imports() if not allowed(*arrow)] == []


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("models", "gateway.events.Writer"),
        ("stores.sqlite.outbox", "gateway.orders.decide.Orders"),
        ("sender", "gateway.config.settings.Settings"),
        ("receiver", "gateway.stores.sqlite.outbox.SqliteOutbox"),
        ("web.app", "gateway.providers.stripe.Stripe"),
        ("receiver", "sqlite3"),
        ("dispatcher", "httptools"),
        ("providers.stripe", "starlette.requests.Request"),
    ],
)
def test_planted_violations_are_seen(source: str, target: str) -> None:
    assert not allowed(source, target)


def test_init_files_are_empty() -> None:
    found = [path for path in ROOT.rglob("__init__.py") if path.parent != ROOT]
    assert found
    assert [path for path in found if path.read_text("utf-8")] == []


def test_files_stay_small() -> None:
    long = [path for path in ROOT.rglob("*.py") if len(path.read_text("utf-8").splitlines()) > 450]
    assert long == []


def test_no_statement_numbers_its_parameters() -> None:
    """Python takes `?1` for a name, warns of it from 3.12 on, and refuses it in 3.14."""
    numbered = re.compile(r"\?[0-9]")
    found = [
        f"{path.name}: {text}"
        for path in ROOT.rglob("*.py")
        if path.parent.name in {"sqlite", "stores"}
        for text in numbered.findall(path.read_text("utf-8"))
    ]
    assert found == []
