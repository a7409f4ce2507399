"""Subscriptions that no configuration declares: added, shown, rotated and removed by command."""

import json
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from gateway.cli import subscriptions_afar
from gateway.cli.control import LATER, Done, act_on, ask, on_subscription, subscription_path
from gateway.cli.look import Told, draw, read_here, say
from gateway.cli.options import Place
from gateway.cli.secret_files import Kept, keep_once
from gateway.cli.tables import Column, View, ahead, local, to_json
from gateway.config.advice import about_subscription, shops_of
from gateway.config.document import read_document
from gateway.config.network import rules_of
from gateway.config.settings import Settings
from gateway.config.subscription import read_subscription
from gateway.config.values import A_DURATION, parse_duration, show_duration, show_rate
from gateway.egress.rules import parse_target
from gateway.errors import ConfigError, StartupError
from gateway.models import Millis
from gateway.shown import time_text
from gateway.stores.views import HandshakeRow, History, SecretRow, SubscriptionDetail

DURATIONS = {"timeout", "batch_wait"}
TIMES = {"start", "expires_at"}
FETCHED = "Its consumer fetches them with an API key of the role subscriber or operator."
ELSEWHERE = {  # settings that have lines of their own
    *("secrets", "origin", "start", "owner", "expires_at"),
}


def add(
    place: Place,
    name: str,
    pairs: Sequence[str],
    *,
    config: Path | None,
    to: Path | None,
    as_json: bool,
) -> Told:
    """Add a subscription; what was done, and where its secret is: `secret_file` for a script.

    `pairs` are `KEY=VALUE`, `to` is the file for the secret. What looks like a mistake in them is
    said on standard error. Raises what the gateway raises.
    """
    keys = read_pairs(pairs)

    def act() -> Done:
        return act_on(
            place,
            "/v1/subscriptions",
            lambda gateway: gateway.subscribe(name, keys),
            body={**keys, "name": name},
        )

    if keys.get("pull", "").lower() == "true":  # nothing is signed, so no secret is kept
        kept = Kept(done=act(), where=FETCHED)
    else:
        kept = _keeping(name, config, to, act, as_json=as_json)
    if isinstance(place, Settings):
        advise(place, name, keys, config)
    # Where this key subscribed this URL before, it goes on under the name that it had.
    name = str(kept.done.answer.get("name", name))
    after = "" if kept.done.live else LATER
    if kept.where == FETCHED:
        return _told_of(kept, name, f"Subscription {name} collects events from now on{after}.")
    where = parse_target(str(keys.get("url") or kept.done.answer["url"])).origin
    return _told_of(
        kept, name, f"Subscription {name} gets its events at {where} from now on{after}."
    )


def rotate(
    place: Place, name: str, overlap: str, *, config: Path | None, to: Path | None, as_json: bool
) -> Told:
    """Sign with a new secret; what was done, and where that secret is: `secret_file` for a script.

    `overlap` is a time such as `24h`. Raises `NotFound`, `Conflict`, `StartupError`.
    """
    try:
        length = Millis(parse_duration(overlap))
    except ValueError:
        raise StartupError(f"--overlap: expected {A_DURATION}, got {overlap!r}") from None
    kept = _keeping(
        name,
        config,
        to,
        lambda: on_subscription(
            place,
            name,
            "rotate",
            lambda gateway: gateway.rotate(name, length),
            body={"overlap": overlap},
        ),
        as_json=as_json,
    )
    ends = _time(kept.done.answer["until"])
    until = f"until {local(ends)}" if length else "no more"
    text = f"Subscription {name} signs with a new secret from now on, and with what it had {until}."
    return _told_of(kept, name, text, until=time_text(ends))


def remove(place: Place, name: str, *, declared: Callable[[], Collection[str] | None]) -> Told:
    """Remove a subscription; what was done. `NotFound`, `Conflict`.

    `declared` gives the names in the file, None without one: it may not be removed while it is
    there. A gateway elsewhere knows that by itself.
    """
    path = subscription_path(name)
    ask(place, path, method="GET")  # to remove one that is not there is no error to the API
    in_file = declared() if isinstance(place, Settings) else None
    done = act_on(
        place,
        path,
        lambda gateway: gateway.unsubscribe(name, declared=in_file),
        method="DELETE",
    )
    return Told(
        f"Subscription {name} is removed, and what waited for it has ended.",
        {"subscription": name, "state": "removed", "live": done.live},
    )


def show(place: Place, name: str, *, as_json: bool) -> None:
    """Print everything of one subscription but its secrets; `NotFound`."""
    if not isinstance(place, Settings):
        subscriptions_afar.show(place, subscription_path(name), as_json=as_json)
        return
    found = read_here(place, lambda records: records.subscription(name))
    if as_json:
        times = {key: _maybe_time(found.settings[key]) for key in TIMES & found.settings.keys()}
        say(to_json([replace(found, settings={**found.settings, **times})]))
        return
    lines = [line for line in _lines(found) if line[1]]
    draw(View(columns=[Column("subscription"), Column(name, whole=False)], rows=lines))


def _told_of(kept: Kept[Done], name: str, text: str, **more: object) -> Told:
    """What was done to a subscription and where its secret is; the secret itself is in no answer."""
    answer = kept.done.answer
    done = {"subscription": name, "state": answer["state"], "reason": answer["reason"]}
    where = {"secret_file": kept.file, "live": kept.done.live}
    return Told(f"{text}\n{kept.where}", {**done, **more, **where})


def _maybe_time(at: int | None) -> str | None:
    return None if at is None else time_text(Millis(at))


def _time(answered: object) -> Millis:
    """A time as the gateway that runs answers it, or as this process does."""
    if isinstance(answered, str):
        return Millis(round(datetime.fromisoformat(answered).timestamp() * 1000))
    assert isinstance(answered, int)
    return Millis(answered)


def read_pairs(pairs: Sequence[str]) -> dict[str, str]:
    """The keys of `KEY=VALUE`, as text; `StartupError`."""
    keys: dict[str, str] = {}
    for pair in pairs:
        key, mark, value = pair.partition("=")
        if not mark or not key:
            # Not shown: it may be what was meant as a secret.
            raise StartupError("expected KEY=VALUE, as in url=https://example.com/in")
        if key in keys:
            raise StartupError(f"{key}: is given twice")
        keys[key] = value
    return keys


def advise(settings: Settings, name: str, keys: Mapping[str, object], config: Path | None) -> None:
    """Say the warnings that these keys would have in the file; none where it cannot be read."""
    try:
        shops = None if config is None else shops_of(read_document(config), os.environ)
        wanted = read_subscription(name, keys, settings)
        said = list(about_subscription(name, wanted, shops, rules_of(settings.egress)))
    except ConfigError:
        return  # what the running gateway has taken is judged by its own configuration
    for sentence in said:
        sys.stderr.write(f"gateway: warning: {sentence}\n")


def _keeping(
    name: str, config: Path | None, to: Path | None, act: Callable[[], Done], *, as_json: bool
) -> Kept[Done]:
    """Do it, and say where its secret is. Where a file is needed, it is made before."""
    folder = config.parent if config is not None else Path()
    return keep_once(
        act,
        lambda done: str(done.answer["secret"]),
        "Its secret",
        to=to,
        name=folder / name,
        option="--secret-file",
        show=not as_json,
    )


def _lines(found: SubscriptionDetail) -> Iterator[tuple[str, str]]:
    row = found.subscription
    yield "state", row.state
    yield "reason", row.reason or ""
    yield "comes from", _origin(found)
    for key, value in found.settings.items():
        if key not in ELSEWHERE:
            yield key, _shown(key, value)
    yield "from", _from(found.settings)
    expires_at = found.settings.get("expires_at")
    yield "is removed at", "" if expires_at is None else local(expires_at)
    yield from _secrets(found.settings, found.secrets)
    yield from _health(found)
    yield "handshake", _handshake(found.settings, found.handshake)
    yield "history", "" if found.history is None else _history(found.history)
    yield "unfinished deliveries", str(row.unfinished)


def _origin(found: SubscriptionDetail) -> str:
    if found.declared:
        return "the configuration"
    owner = found.settings.get("owner")
    return "gateway subscriptions add" if owner is None else f"the API key {owner}"


def _shown(key: str, value: object) -> str:
    """A setting as the configuration would have it."""
    match value:
        case bool():
            return str(value).lower()
        case int() if key in DURATIONS:
            return show_duration(value)
        case list() if key == "schedule":
            return ", ".join(map(show_duration, value))
        case list() if key == "headers":
            return ", ".join(f"{name}: ***" for name in value)
        case list() if key == "filters":
            return json.dumps(value) if value else ""
        case float() | int() | None if key == "rate":
            return show_rate(None if value is None else float(value))
        case list():
            return ", ".join(map(str, value))
        case _:
            return str(value)


def _from(settings: Mapping[str, Any]) -> str:
    start = settings.get("start")
    if start is None:
        return "now"
    return "beginning" if start == 0 else local(start)


def _secrets(
    settings: Mapping[str, Any], secrets: Sequence[SecretRow]
) -> Iterator[tuple[str, str]]:
    if not secrets and "secrets" in settings:
        yield "secrets", f"{settings.get('secrets', 0)} of the configuration"
    for secret in secrets:
        ends = "" if secret.expires_at is None else f", signs until {local(secret.expires_at)}"
        yield "secret", f"*** made {local(secret.made_at)}{ends}"


def _health(found: SubscriptionDetail) -> Iterator[tuple[str, str]]:
    row = found.subscription
    yield "last success", "never" if row.last_success is None else local(row.last_success)
    yield "failing since", "" if row.failing_since is None else local(row.failing_since)
    yield "waits until", ahead(row.hold_until)
    times = f" (opened {found.trips} times in a row)" if found.trips > 1 else ""
    opened = "" if row.broken_until is None else f"open until {local(row.broken_until)}{times}"
    yield "breaker", opened or "closed"


def _handshake(settings: Mapping[str, Any], known: HandshakeRow | None) -> str:
    if settings.get("origin") is None:
        return ""
    if known is None:
        return "pending"
    rate = "" if known.rate is None else f", {known.rate} deliveries a minute"
    reason = f": {known.reason}" if known.reason else ""
    return f"{known.state}{rate}{reason}"


def _history(history: History) -> str:
    return f"{history.looked} of {history.last} past events were looked at"
