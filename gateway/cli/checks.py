"""What `gateway doctor` looks at on this machine: database, disk, SQLite, files, proxies."""

import os
import resource
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from gateway.cli.findings import Finding, ok, problem, sized, warning
from gateway.cli.serve import OPEN_FILES
from gateway.cli.tables import counted, local
from gateway.config.secrets import PLACEHOLDER
from gateway.dispatcher import IN_FLIGHT
from gateway.models import Millis
from gateway.stores.base import BY_HAND
from gateway.stores.registry import sqlite_version
from gateway.stores.upkeep import Examined, Standing

SMALL = 64 << 20  # bytes that are read whole without being asked for
SPACE = 1 << 30  # bytes; below it disks fill sooner than people look
LAST_SPACE = 64 << 20  # bytes; below it the log alone may fill the disk
INODES = 1_000
LONG_LOG = 256 << 20  # bytes; the writer checkpoints long before
SKEW = 30_000  # milliseconds between two clocks that are still called the same
OTHER_FILES = 256  # descriptors that are no deliveries
OLDEST = (3, 37, 0)
MENDED = (3, 51, 3)  # https://sqlite.org/wal.html, "the WAL-reset bug"
PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def file_findings(path: Path) -> Iterator[Finding]:
    """The database's file as the system sees it; `OSError`."""
    shown, folder = path.absolute(), path.absolute().parent
    if not folder.is_dir():
        yield problem(
            "database", f"the folder {folder} is not there", "make it, or change store.url"
        )
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        advice = "give the gateway's user the right to write there, or change store.url"
        yield problem("database", f"{folder} is not writable", advice)
    if not path.exists():
        yield ok("database", f"{shown} is not there yet", "`gateway serve` makes it")
        return
    if not path.is_file():
        yield problem("database", f"{shown} is no file", "name another one in store.url")
        return
    if not os.access(path, os.R_OK | os.W_OK):
        advice = "run this as the user of the gateway, or give that one the file"
        yield problem("database", f"{shown} is not ours to read and write", advice)
    yield from _open_files(path)


def _open_files(path: Path) -> Iterator[Finding]:
    """Everything of the database's is its owner's alone: log, samples, copies, keys."""
    beside = [path, *path.parent.glob(f"{path.name}[-.]*")]
    opened = [one for one in sorted(beside) if _is_open(one)]
    for one in opened:
        advice = f"chmod 600 {one}"
        yield warning("database", f"others than its owner may read or write {one}", advice)


def _is_open(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and bool(mode & 0o077)


def integrity_finding(path: Path, *, deep: bool, read: Callable[[], Sequence[str]]) -> Finding:
    """Whether the database is whole, if it is small or `deep`; `read` reads all of it."""
    size = path.stat().st_size
    if size > SMALL and not deep:
        return ok("integrity", f"not looked at, for {sized(size)}", "--deep reads all of it")
    complaints = read()
    if complaints:
        advice = "stop the gateway, keep a copy of the file, and restore the last backup"
        return problem("integrity", f"{path} is damaged: {'; '.join(complaints)}", advice)
    return ok("integrity", "quick_check is good")


def database_findings(found: Examined, path: Path, now: Millis) -> Iterator[Finding]:
    """What the database says of itself."""
    pages = f"{counted(found.pages, 'page')}, {found.free_pages} of them free"
    yield ok("database", f"{path.absolute()}: {pages}")
    if found.version < found.newest:
        advice = "the next `gateway serve` brings it up to date; make a backup before"
        yield warning("schema", f"version {found.version}, and {found.newest} is known", advice)
    else:
        yield ok("schema", f"version {found.version}, the newest that is known")
    if found.wal > LONG_LOG:
        advice = (
            "look for a program that reads the file for long; a restart of the gateway trims it"
        )
        yield warning("log", f"the write-ahead log has {sized(found.wal)}", advice)
    else:
        yield ok("log", f"the write-ahead log has {sized(found.wal)}")
    if found.last_received is not None and found.last_received > now + SKEW:
        said = f"the last callback is of {local(found.last_received)}, which is yet to come"
        yield warning("clock", said, "the clock was set back: see that NTP keeps it")
    for name, since in found.paused_sources.items():
        how = f"`gateway sources resume {name}` when it shall be heard again"
        yield warning(f"source {name}", f"it is paused since {local(since)}", how)
    for standing in found.standings:
        yield from _standing_findings(standing)


def _standing_findings(one: Standing) -> Iterator[Finding]:
    """What keeps deliveries of a subscription, and does not end by itself."""
    check, resume = (
        f"subscription {one.subscription}",
        f"gateway subscriptions resume {one.subscription}",
    )
    if one.state == "gone":
        yield problem(check, f"it is gone: {one.reason}", f"remove it, or `{resume}`")
    elif one.state == "paused":
        by_hand = one.reason.startswith(BY_HAND)
        said = one.reason if by_hand else f"it is paused: {one.reason}"
        how = f"what is for it is kept until `{resume}`"
        yield warning(check, said, how) if by_hand else problem(check, said, how)
    elif one.failing_since is not None:
        said = f"it has been failing since {local(one.failing_since)}"
        how = f"`gateway deliveries --subscription {one.subscription}` has the answers"
        yield warning(check, said, how)
    if one.parked:
        said = f"{counted(one.parked, 'order')} parked"
        how = "`gateway lanes` says why: release or skip them"
        yield warning(check, said, how)


def disk_findings(folder: Path, database: int) -> Iterator[Finding]:
    """The space that is left where the database lies, whose size is `database` bytes; `OSError`."""
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    said = f"{sized(free)} are free in {folder}, the database has {sized(database)}"
    advice = "make room, or shorten [retention]; a full disk is answered with 503"
    if free < LAST_SPACE:
        yield problem("disk", said, advice)
    elif free < max(SPACE, 2 * database):
        yield warning("disk", said, advice)
    else:
        yield ok("disk", said)
    if not found.f_files:
        return  # a file system that makes them as they are needed
    if found.f_favail < INODES:
        said = f"{found.f_favail} inodes are left in {folder}"
        yield warning("disk", said, "remove small files: without inodes no file can be made")
    else:
        yield ok("disk", f"{found.f_favail} inodes are free")


def sqlite_findings(version: tuple[int, int, int] | None = None) -> Iterator[Finding]:
    """SQLite itself."""
    version = version or sqlite_version()
    name = ".".join(map(str, version))
    mended = ".".join(map(str, MENDED))
    if version < OLDEST:
        advice = "take a Python with 3.37 or later: the gateway does not start with this one"
        yield problem("sqlite", f"SQLite {name} is too old", advice)
    elif version < MENDED:
        said = f"SQLite {name} has the WAL-reset bug that {mended} mends; one writer never meets it"
        yield ok("sqlite", said, "let no other program write to the file")
    else:
        yield ok("sqlite", f"SQLite {name}, without the WAL-reset bug that {mended} mended")


def descriptor_findings(hard: int | None = None) -> Iterator[Finding]:
    """The files that a gateway started from here may open; `hard` is the system's limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1] if hard is None else hard
    limit = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    needed = IN_FLIGHT + OTHER_FILES
    said = f"{limit} files may be open, for {IN_FLIGHT} deliveries in flight and who calls"
    if limit < needed:
        advice = f"raise it to {4 * needed} or more: ulimit -Hn, LimitNOFILE of systemd, --ulimit"
        yield warning("open files", said, advice)
    else:
        yield ok("open files", said)


def secret_file_findings(
    document: Mapping[str, object], folder: Path, config: Path | None
) -> Iterator[Finding]:
    """Files that `${file:PATH}` names. One that is not there is an error of the configuration."""
    names = sorted({found["file"] for text in _texts(document) for found in _files(text)})
    opened = [folder / name for name in names if _is_open(folder / name)]
    for one in opened:
        yield warning("secrets", f"others than its owner may read {one}", f"chmod 600 {one}")
    if names and not opened:
        yield ok("secrets", f"{counted(len(names), 'file')} of secrets, for the owner alone")
    elif not names and config is not None:
        yield ok("secrets", "no file of secrets is named")


def _files(text: str) -> "Iterator[Mapping[str, str]]":
    return (found.groupdict() for found in PLACEHOLDER.finditer(text) if found["file"])


def _texts(value: object) -> Iterator[str]:
    """All texts of a document, at whatever depth."""
    match value:
        case str():
            yield value
        case Mapping():
            for inner in value.values():
                yield from _texts(inner)
        case list():
            for inner in value:
                yield from _texts(inner)


def proxy_findings(proxy: str, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Proxies of the environment, which nothing here reads."""
    named = [name for name in environ if name.lower() in PROXIES and environ[name]]
    if proxy:
        yield ok("proxy", "everything goes out through egress.proxy")
    elif named:
        said = f"{', '.join(sorted(named))} of the environment is ignored"
        yield warning("proxy", said, "set egress.proxy where deliveries shall use it")
    else:
        yield ok("proxy", "none: everything goes out directly")
