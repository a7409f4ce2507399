"""What `gateway doctor` finds: a line each, with how bad it is and what to do."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from enum import StrEnum
from typing import TypeVar

import msgspec

from gateway.cli.tables import Column, View

T = TypeVar("T")


class State(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line: what was looked at, what was found, and what to do about it, if anything."""

    check: str
    state: State
    found: str
    advice: str = ""


def ok(check: str, found: str, advice: str = "") -> Finding:
    """All is well."""
    return Finding(check=check, state=State.OK, found=found, advice=advice)


def warning(check: str, found: str, advice: str = "") -> Finding:
    """It works, and may not for long."""
    return Finding(check=check, state=State.WARNING, found=found, advice=advice)


def problem(check: str, found: str, advice: str = "") -> Finding:
    """Something does not work."""
    return Finding(check=check, state=State.PROBLEM, found=found, advice=advice)


def findings_view(findings: Sequence[Finding]) -> View:
    """The lines as a table."""
    return View(
        columns=[
            *(Column("state"), Column("check")),
            *(Column("found", whole=False), Column("what to do", whole=False)),
        ],
        rows=[(one.state, one.check, one.found, one.advice) for one in findings],
    )


async def in_thread(work: Callable[[], T]) -> T:
    """The result of `work`, from a thread that the end of the process does not wait for.

    A disk that hangs must not keep the command from ending.
    """
    future: Future[T] = Future()

    def run() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(future)


def sized(size: float) -> str:
    """Bytes for a person."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
