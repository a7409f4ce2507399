"""`gateway replay`: one delivery at once, many as a job that outlives this command.

The running gateway does it, or with `--url` another one; when none runs, it is done here, on the
store itself.
"""

import asyncio
import re
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gateway.cli.control import LATER, act_on, ask, owning
from gateway.cli.look import Told, read, require_store, say, tell
from gateway.cli.options import Place
from gateway.cli.remote import Answer, chosen_body
from gateway.cli.tables import clean, to_json
from gateway.config.settings import Settings
from gateway.config.values import A_DURATION, parse_duration, parse_start
from gateway.errors import NotFound, StartupError, Unavailable
from gateway.models import Millis
from gateway.runtime import Gateway, wall_clock
from gateway.shown import shown, taken
from gateway.stores.registry import make_records
from gateway.stores.replaying import Chosen, Preview, Replay
from gateway.telemetry.logs import configure
from gateway.web.api.acting import checked

LOOK = 0.2  # seconds between two looks at a job that the running gateway does
TENTHS = 10  # how often a job tells where it is when nobody sees a bar
INTERRUPTED = 130  # the exit code of a command that was ended by Ctrl-C

_DELIVERY = re.compile(r"(?:dl_)?([0-9]{1,18})")

Tell = Callable[[Replay], None]
Begin = Callable[[Gateway], Awaitable[Replay]]


def number_of(delivery: str) -> int:
    """The number of a delivery, `dl_7`; `NotFound`."""
    found = _DELIVERY.fullmatch(delivery)
    if found is None:
        raise NotFound(
            f"there is no delivery {delivery}: an id looks like dl_7, `gateway deliveries` lists them"
        )
    return int(found[1])


def moment(option: str, text: str | None) -> Millis | None:
    """`2h` as the time so long ago, RFC 3339 as it is; `StartupError`."""
    if text is None:
        return None
    try:
        return Millis(max(wall_clock() - parse_duration(text), 0))
    except ValueError:
        pass
    try:
        at = parse_start(text)
    except ValueError:
        at = None
    if at is None:
        raise StartupError(
            f"{option}: expected {A_DURATION}, or a time such as 2026-08-01T12:00:00Z"
        )
    return Millis(at)


def replay(place: Place, delivery: str) -> Told:
    """Send a delivery again; what was done. `NotFound`, `Conflict`, `StartupError`."""
    number = number_of(delivery)
    path = f"/v1/deliveries/dl_{number}/replay"
    done = act_on(place, path, lambda gateway: gateway.replay(f"dl_{number}"))
    made, replayed = done.answer["delivery"], done.answer["replays"]
    behind, held = done.answer["behind"], done.answer["held"]
    if done.answer["batch"]:
        told = f"{replayed} waits in a batch with {made}: its next attempt is due now"
    elif behind is not None:
        told = (
            f"The event of {replayed} is sent again as {made}, at the end of its lane:"
            f" it waits behind {behind}"
        )
    elif made == replayed:
        told = f"{made} had not ended: its next attempt is due now"
    else:
        told = f"{replayed} had ended: its event is due again as {made}"
    if not done.live:
        return done.told(f"{told}{LATER}.")
    return done.told(f"{told}." if held is None else clean(f"{told}. But {held}."))


def preview(place: Place, chosen: Chosen, *, as_json: bool) -> None:
    """Print what a job would send again; `NotFound`."""
    chosen = checked(chosen)
    found: Preview = read(place, lambda records: records.preview(chosen))
    if as_json:
        say(to_json(found))
        return
    if not found.total:
        say("Nothing would be sent again.")
        return
    say(f"{_deliveries(found.total)} would be sent again:")
    for name, number in found.subscriptions.items():
        say(clean(f"  {number} to {name}"))
    more = ", ..." if found.total > len(found.first) else ""
    say(f"They are {', '.join(found.first)}{more}")


def run(place: Place, chosen: Chosen, *, as_json: bool) -> int:
    """Start a job and wait for its end; the exit code. `NotFound`, `Unavailable`."""
    chosen = checked(chosen)
    body = chosen_body(chosen)
    return _attend(
        place,
        lambda: _job(ask(place, "/v1/replays", body)),
        lambda gateway: gateway.replayer.start(chosen),
        as_json=as_json,
    )


def attend(place: Place, job: int, *, as_json: bool) -> int:
    """Wait for the end of a job, or show how it ended; the exit code. `NotFound`, `Unavailable`."""
    return _attend(
        place,
        lambda: _job(ask(place, f"/v1/replays/{job}", method="GET")),
        lambda gateway: gateway.store.replays.find(job),
        as_json=as_json,
    )


def _attend(place: Place, live: Callable[[], Replay | None], begin: Begin, *, as_json: bool) -> int:
    require_store(place)
    last: list[Replay] = []
    found = None
    try:
        with _progress(quiet=as_json) as progress:

            def note(replay: Replay) -> None:
                last[:] = [replay]
                progress(replay)

            found = live()
            if found is not None:
                _follow(place, found, note)
            elif isinstance(place, Settings):
                configure("error", json=False)
                asyncio.run(_directly(place, begin, note))
    except KeyboardInterrupt:
        sys.stderr.write(_left(last, live=found is not None))
        return INTERRUPTED
    answer = {**shown(last[0]), "live": found is not None}
    tell(Told(_sums(last[0], live=found is not None), answer), as_json=as_json)
    return 0


def _job(answer: Answer | None) -> Replay | None:
    return None if answer is None else taken(answer, Replay)


def _follow(place: Place, replay: Replay, tell: Tell) -> None:
    """Look at a job of the running gateway until it is done."""
    tell(replay)
    while replay.finished_at is None:
        time.sleep(LOOK)
        try:
            found = _job(ask(place, f"/v1/replays/{replay.id}", method="GET"))
        except Unavailable:
            found = None
        if found is None:
            raise Unavailable(
                f"the gateway gave no more answers: job {replay.id} goes on when it runs again,"
                f" and `gateway replay --job {replay.id}` shows it"
            )
        replay = found
        tell(replay)


async def _directly(settings: Settings, begin: Begin, tell: Tell) -> None:
    """Do a job on the store, as its owner."""
    async with make_records(settings.store.url):
        pass  # a missing or foreign file is refused before a lock is made beside it
    async with owning(settings) as gateway:
        replay = await begin(gateway)
        tell(replay)
        while replay.finished_at is None:
            replay = await gateway.store.replays.step(replay.id, gateway.clock())
            tell(replay)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Tell]:
    """Tells how far a job is: as a bar on a terminal, else as a line every tenth of it."""
    if quiet:
        yield lambda _: None
        return
    if not sys.stdout.isatty():
        yield _Lines().tell
        return
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(), transient=True) as progress:
        task = progress.add_task("", total=None)

        def tell(replay: Replay) -> None:
            progress.update(
                task, description=_name(replay), completed=replay.looked, total=replay.total
            )

        yield tell


class _Lines:
    def __init__(self) -> None:
        self._told = -1

    def tell(self, replay: Replay) -> None:
        """One line for each tenth that is done."""
        tenth = TENTHS * replay.looked // max(replay.total, 1)
        if tenth > self._told and replay.finished_at is None:
            self._told = tenth
            total = _deliveries(replay.total)
            say(f"{_name(replay)}: {replay.looked} of {total} looked at.")


def _deliveries(number: int) -> str:
    return f"{number} deliver{'y' if number == 1 else 'ies'}"


def _name(replay: Replay) -> str:
    return f"Replay job {replay.id}"


def _left(last: list[Replay], *, live: bool) -> str:
    """Where a job is that nobody waits for any more."""
    if not last:
        return "gateway: interrupted\n"
    goes_on = "goes on" if live else "goes on with `gateway serve`"
    return f"gateway: {_name(last[0])} {goes_on}; `gateway replay --job {last[0].id}` shows how it is\n"


def _sums(replay: Replay, *, live: bool) -> str:
    total = _deliveries(replay.looked)
    waiting = f", {replay.waiting} of them at the end of their lanes" if replay.waiting else ""
    skipped = (
        f" {replay.skipped} were left out: in flight, waiting for their turn already, or of a"
        " subscription that is disabled or gone."
        if replay.skipped
        else ""
    )
    later = LATER if replay.sent and not live else ""
    return f"{_name(replay)} is done: of {total} {replay.sent} are sent again{waiting}{later}.{skipped}"
