"""`gateway doctor`: all checks at the same time, each with its deadline, and what they found."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from gateway.cli import checks
from gateway.cli.checks_live import Place, Reach, clock_findings, running_findings
from gateway.cli.checks_made import made_findings
from gateway.cli.findings import (
    Finding,
    State,
    findings_view,
    in_thread,
    ok,
    problem,
    warning,
)
from gateway.cli.look import draw, say
from gateway.cli.tables import counted, to_json
from gateway.config.document import read_document
from gateway.config.load import load, load_fixed, load_store
from gateway.config.settings import Settings
from gateway.errors import ConfigError, StartupError
from gateway.runtime import wall_clock
from gateway.stores.registry import complaints, database_path, examined
from gateway.stores.upkeep import Examined

DEADLINE = 10.0  # seconds for each check
DEEP = 3_600.0  # seconds for reading a whole database, which was asked for

Check = Callable[[], Awaitable[Sequence[Finding]]]


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration as far as it can be read; `whole` when all of it can."""

    settings: Settings
    whole: bool
    document: Mapping[str, object]
    config: Path | None
    findings: Sequence[Finding]


def run(config: Path | None, *, offline: bool, deep: bool, as_json: bool) -> int:
    """Do all checks and print what they found; the exit code, 1 when there are problems."""
    setup = read_setup(config, os.environ)
    with _progress(as_json=as_json) as advance:
        found = asyncio.run(_all(setup, offline=offline, deep=deep, advance=advance))
    findings = [*setup.findings, *found]
    if as_json:
        say(to_json(findings))
    else:
        draw(findings_view(findings))
        say(_sum(findings, offline=offline))
    return int(any(one.state is State.PROBLEM for one in findings))


def read_setup(config: Path | None, environ: Mapping[str, str]) -> Setup:
    """Read the configuration; where that fails, as much of it as is good."""
    document: Mapping[str, object] = {}
    try:
        document = {} if config is None else read_document(config)
        settings = load(config, environ)
    except ConfigError as error:
        found = [problem("configuration", str(error), "`gateway check` reads it alone")]
        return Setup(
            settings=_partly(config, environ),
            whole=False,
            document=document,
            config=config,
            findings=found,
        )
    said = f"{config} is good" if config is not None else "no file: everything has its default"
    count = f"{counted(len(settings.sources), 'source')}, " + counted(
        len(settings.subscriptions), "subscription"
    )
    warned = [warning("configuration", one) for one in settings.warnings]
    return Setup(
        settings=settings,
        whole=True,
        document=document,
        config=config,
        findings=[ok("configuration", f"{said}; {count}"), *warned],
    )


def _partly(config: Path | None, environ: Mapping[str, str]) -> Settings:
    """What can be read of a configuration that is not good."""
    for reads in (load_fixed, load_store):
        try:
            return reads(config, environ)
        except ConfigError:
            continue
    return Settings()


async def _all(
    setup: Setup, *, offline: bool, deep: bool, advance: Callable[[int, int], None]
) -> Sequence[Finding]:
    """The findings of all checks, in their order.

    The database comes first, and fast: it knows subscriptions and sources that no file declares.
    """
    known: list[Examined] = []
    made: list[Place] = []
    first = await _bounded("database", DEADLINE, lambda: _database(setup, known))
    if known and known[0].version == known[0].newest:
        sources = await _bounded("sources", DEADLINE, _listed(lambda: _made(setup, made)))
        first = [*first, *sources]
    own: list[tuple[str, float, Check]] = [
        ("disk", DEADLINE, _listed(lambda: _disk(setup))),
        ("sqlite", DEADLINE, _listed(checks.sqlite_findings)),
        ("open files", DEADLINE, _listed(checks.descriptor_findings)),
        ("secrets", DEADLINE, _listed(lambda: _secrets(setup))),
        ("proxy", DEADLINE, _listed(lambda: _proxy(setup))),
        ("gateway", DEADLINE, lambda: running_findings(setup.settings)),
        ("clock", DEADLINE, clock_findings),
    ]
    if known:
        whole = _listed(lambda: _integrity(setup, deep=deep))
        own.insert(0, ("integrity", DEEP if deep else DEADLINE, whole))
    if not offline:
        reach = Reach(setup.settings, wall_clock)
        own += [
            (place.check, DEADLINE, partial(reach.findings, place))
            for place in (*places(setup, known[0] if known else None), *made)
        ]
    done = 0

    async def counting(name: str, seconds: float, check: Check) -> Sequence[Finding]:
        nonlocal done
        found = await _bounded(name, seconds, check)
        done += 1
        advance(done, len(own))
        return found

    all_found = await asyncio.gather(*(counting(*one) for one in own))
    return [*first, *(one for found in all_found for one in found)]


async def _bounded(name: str, seconds: float, check: Check) -> Sequence[Finding]:
    """What a check found within its time; what the system refuses is a finding too."""
    try:
        async with asyncio.timeout(seconds):
            return await check()
    except TimeoutError:
        return [problem(name, f"it gave no answer within {seconds:g} s")]
    except StartupError as error:
        return [problem(name, str(error).removesuffix("."))]
    except OSError as error:
        return [problem(name, f"it cannot be looked at: {error}")]


def _listed(look: Callable[[], Iterable[Finding]]) -> Check:
    """A check that may wait for the disk, so that it does not keep the others."""
    return lambda: in_thread(lambda: list(look()))


async def _database(setup: Setup, known: list[Examined]) -> Sequence[Finding]:
    """The file, and what it says of itself, which is put into `known`."""
    path = database_path(setup.settings.store.url)
    found = await in_thread(lambda: list(checks.file_findings(path)))
    if not await in_thread(lambda: path.is_file() and os.access(path, os.R_OK)):
        return found
    try:
        known.append(await in_thread(lambda: examined(setup.settings.store.url)))
    except StartupError as error:
        return [*found, problem("database", str(error).removesuffix("."))]
    there = {*_declared(setup), *known[0].made_sources}
    # The pause of one that was taken out of the file is kept for its return: nobody can end it now.
    paused = {name: at for name, at in known[0].paused_sources.items() if name in there}
    said = msgspec.structs.replace(known[0], paused_sources=paused)
    return [*found, *checks.database_findings(said, path, wall_clock())]


def _integrity(setup: Setup, *, deep: bool) -> Iterable[Finding]:
    url = setup.settings.store.url
    yield checks.integrity_finding(database_path(url), deep=deep, read=lambda: complaints(url))


def _disk(setup: Setup) -> Iterable[Finding]:
    path = database_path(setup.settings.store.url).absolute()
    if not path.parent.is_dir():
        return []  # that is told of the database
    return checks.disk_findings(path.parent, path.stat().st_size if path.exists() else 0)


def _made(setup: Setup, places: list[Place]) -> Iterable[Finding]:
    return made_findings(setup.settings, _declared(setup), places)


def _declared(setup: Setup) -> Collection[str]:
    """The names of the file's sources, as far as it can be read."""
    declared = setup.document.get("sources")
    return declared.keys() if isinstance(declared, Mapping) else ()


def _secrets(setup: Setup) -> Iterable[Finding]:
    folder = setup.config.parent if setup.config is not None else Path()
    return checks.secret_file_findings(setup.document, folder, setup.config)


def _proxy(setup: Setup) -> Iterable[Finding]:
    return checks.proxy_findings(setup.settings.egress.proxy, os.environ)


def places(setup: Setup, known: Examined | None) -> Iterator[Place]:
    """Whom the gateway connects to: enabled subscriptions, and the APIs that are asked.

    Where the configuration cannot be read, those of the last start are in the database.
    """
    urls = {name: one.url for name, one in setup.settings.subscriptions.items() if one.enabled}
    if known is not None and not setup.whole:
        urls |= known.subscriptions
    for name, url in urls.items():
        if url:  # else its consumer fetches what it gets
            yield Place(check=f"subscription {name}", key=f"subscriptions.{name}.url", url=url)
    for name, url in (known.undeclared if known is not None else {}).items():
        if url and name not in urls:
            yield Place(check=f"subscription {name}", key=f"the url of {name}", url=url)
    for name, source in setup.settings.sources.items():
        if source.enabled and source.poll is not None:
            key = f"sources.{name}.base_url"
            url = source.poll.base_url
            yield Place(check=f"source {name}", key=key, url=url, asked=True)


def _sum(findings: Sequence[Finding], *, offline: bool) -> str:
    problems = sum(one.state is State.PROBLEM for one in findings)
    warnings = sum(one.state is State.WARNING for one in findings)
    left = " Subscriptions and providers were left out." if offline else ""
    if not problems and not warnings:
        return f"\nAll is well.{left}"
    return f"\n{counted(problems, 'problem')}, {counted(warnings, 'warning')}.{left}"


@contextmanager
def _progress(*, as_json: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar while it lasts, for a person at a terminal."""
    console = Console()
    if as_json or not (sys.stdout.isatty() and console.is_terminal):
        yield lambda _done, _total: None
        return
    columns = (SpinnerColumn(), TextColumn("checking"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
