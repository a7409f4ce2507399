"""`gateway demo`: the whole path in a few seconds, played for a person and checked on the way."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from rich.console import Console

from gateway.cli.installation import command
from gateway.demo.stage import perform

PIPED_WIDTH = 110  # columns, where there is no terminal to ask
NARROWEST = 80  # columns; a terminal with fewer breaks the lines, so that nothing is cut off


def demo(*, keep: bool) -> int:
    """Play it; the exit code. Raises `StartupError` when the stage cannot be set up."""
    console = Console(width=_width())
    try:
        missing = asyncio.run(_until_stopped(console, keep=keep))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    if not missing:
        return 0
    more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
    sys.stderr.write(f"gateway: the demo went wrong: {missing[0]}{more}\n")
    return 1


async def _until_stopped(console: Console, *, keep: bool) -> Sequence[str]:
    """Whoever ends us, by Ctrl-C, SIGTERM or by closing the terminal, ends all that we started."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await perform(console, keep=keep, environ=os.environ, command=command())


def _width() -> int:
    if not sys.stdout.isatty():
        return PIPED_WIDTH
    return max(Console().width, NARROWEST)
