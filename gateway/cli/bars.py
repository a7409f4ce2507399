"""Progress of long work, for a person at a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

Advance = Callable[[int, int | None], None]  # how much is done, and of how much if that is known


@contextmanager
def bar(title: str, *, as_json: bool) -> Iterator[Advance]:
    """A bar on a terminal only, and not where lines are printed through it."""
    if not sys.stderr.isatty() or (as_json and sys.stdout.isatty()):
        yield lambda _done, _total: None
        return
    columns = TextColumn(title), BarColumn(), MofNCompleteColumn()
    console = Console(stderr=True)
    # Standard output goes where it was sent, not through the bar.
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
