"""Sources made, changed and removed by command, which no configuration declares; and any paused."""

import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gateway.cli import known
from gateway.cli.control import Act, Done, act_on, ask
from gateway.cli.look import Told
from gateway.cli.options import Place
from gateway.cli.remote import source_path
from gateway.cli.sources import where
from gateway.cli.subscribing import read_pairs
from gateway.cli.tables import clean
from gateway.config import reader
from gateway.config.secrets import Vault, bytes_of, text_of
from gateway.config.settings import Settings
from gateway.config.source import THEIRS
from gateway.config.values import Secret
from gateway.errors import StartupError
from gateway.runtime import Gateway
from gateway.shown import shown
from gateway.sources import Known, Sources
from gateway.telemetry.logs import configure
from gateway.web.api.sources import Kind

TOLD = ("provider", "shop", "enabled", "paused_at", "kind", "callbacks", "keys")  # to a script
FILLED = {"secrets": tuple[Secret, ...], "token": Secret}  # the keys in which ${NAME} counts
Keys = dict[str, Any]


def add(place: Place, name: str, pairs: Sequence[str], *, config: Path | None) -> Told:
    """Make a source of `KEY=VALUE`; what was done. Raises what the gateway raises."""
    keys = _filled(_pairs(pairs), os.environ)

    async def act(gateway: Gateway) -> Keys:
        return _detail(gateway, await gateway.sources.create(name, dict(keys)))

    done = _act(place, "/v1/sources", act, config, method="POST", body={**keys, "name": name})
    return _told(done, name, f"Source {name} is made. {_comes(done, name)}")


def change(
    place: Place, name: str, pairs: Sequence[str], defaults: Sequence[str], *, config: Path | None
) -> Told:
    """Give keys other values, and those of `defaults` their defaults again; what was done.

    Raises what the gateway raises: `Conflict` for one of the configuration.
    """
    keys = _filled(_pairs(pairs), os.environ)
    if twice := [key for key in defaults if key in keys]:
        raise StartupError(f"--default {twice[0]}: it is given a value too, leave one out")
    if not keys and not defaults:
        raise StartupError("nothing to change: give KEY=VALUE, or --default KEY")
    body: Keys = {**keys, **dict.fromkeys(defaults)}

    async def act(gateway: Gateway) -> Keys:
        return _detail(gateway, await gateway.sources.change(name, body, lambda _: None))

    done = _act(place, source_path(name), act, config, method="PATCH", body=body)
    what = f"Source {name} is changed: {', '.join(body)}."
    return _told(done, name, f"{what} {_comes(done, name)}")


def remove(place: Place, name: str, *, config: Path | None) -> Told:
    """Remove a source; what was done. `NotFound`, `Conflict` for one of the configuration."""
    path = source_path(name)
    ask(place, path, method="GET")  # to remove one that is not there is no error to the API

    async def act(gateway: Gateway) -> Keys:
        await gateway.sources.remove(name)
        return {}

    done = _act(place, path, act, config, method="DELETE")
    return Told(
        f"Source {name} is removed: nothing comes of it any more. What came of it stays.",
        {"source": name, "state": "removed", "live": done.live},
    )


def pause(place: Place, name: str, *, config: Path | None) -> Told:
    """Take nothing of a source until it is resumed; what was done. `NotFound`."""
    done = _stand(place, name, "pause", lambda sources: sources.pause(name), config)
    kind, until = done.answer["kind"], f"until `gateway sources resume {name}`"
    parts = []
    if kind in {Kind.CALLED, Kind.BOTH}:
        parts.append("whoever calls is told to try again later")
    if kind in {Kind.POLLED, Kind.BOTH}:
        parts.append("its API is not asked")
    what = f"{' and '.join(parts)} {until}" if parts else f"nothing comes of it {until}"
    return _told(done, name, f"Source {name} is paused: {what}.")


def resume(place: Place, name: str, *, config: Path | None) -> Told:
    """Listen to a source again; what was done. `NotFound`."""
    done = _stand(place, name, "resume", lambda sources: sources.resume(name), config)
    text = f"Source {name} is resumed. {_comes(done, name)}"
    refused = (done.answer["asking"] or {}).get("refused")
    if refused:
        text += f" But its API is asked no more until its configuration changes: {refused}."
    return _told(done, name, clean(text))


def _stand(
    place: Place,
    name: str,
    verb: str,
    act: Callable[[Sources], Awaitable[Known]],
    config: Path | None,
) -> Done:
    async def direct(gateway: Gateway) -> Keys:
        await act(gateway.sources)
        return {}

    done = _act(place, source_path(name, verb), direct, config, method="POST")
    if not isinstance(place, Settings) or done.live:
        return done
    # Read anew: the gateway of a moment had those of the file at rest.
    return Done(answer=dict(shown(known.one_detail(place, config, name))), live=False)


def _act(
    place: Place, path: str, act: Act, config: Path | None, *, method: str, body: object = None
) -> Done:
    configure("critical", json=False)  # what a gateway would log of it is told anyway
    whole = partial(known.standing, config)
    return act_on(place, path, act, body=body, method=method, whole=whole)


def _pairs(pairs: Sequence[str]) -> dict[str, str]:
    """The keys of `KEY=VALUE`, as text; `StartupError`."""
    if any(pair.find("=") < 1 for pair in pairs):
        # Not shown: it may be what was meant as a secret.
        raise StartupError("expected KEY=VALUE, as in provider=stripe")
    keys = read_pairs(pairs)
    if "name" in keys:
        raise StartupError("name: stands before the keys, and cannot be changed: leave it out")
    return keys


def _filled(keys: Mapping[str, str], environ: Mapping[str, str]) -> Keys:
    """The keys with `${NAME}` and `${file:PATH}` filled in where secrets stand; `ConfigError`.

    The gateway fills in nothing: environment and files are those of whoever gives the command.
    """
    filled: Keys = dict(keys)
    vault = Vault(environ, None)
    for key, kind in FILLED.items():
        if "${" not in keys.get(key, ""):
            continue
        place = reader.Place(key)
        written = reader.read(kind, reader.Given(keys[key]), place)
        if isinstance(written, tuple):
            secrets = vault.fill(written, place, bytes_of, THEIRS)
            filled[key] = [_text(one, place.item(at)) for at, one in enumerate(secrets)]
        else:
            filled[key] = _text(vault.fill_one(written, place, bytes_of, ""), place)
    for warning in vault.warnings:
        sys.stderr.write(f"gateway: warning: {warning}\n")
    return filled


def _text(secret: Secret, place: reader.Place) -> str:
    text = text_of(secret)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise place.error("is no UTF-8: only the configuration file can lead to it") from None
    return text


def _detail(gateway: Gateway, made: Known) -> Keys:
    return dict(shown(known.detail(made, gateway.settings)))


def _told(done: Done, name: str, text: str) -> Told:
    """What was done, also for a script; no secret is in it."""
    answer = done.answer
    told = {key: answer[key] for key in TOLD}
    return Told(text, {"source": name, **told, "live": done.live})


def _comes(done: Done, name: str) -> str:
    """What comes of the source, and from when on."""
    answer, asking = done.answer, done.answer["asking"]
    if not answer["enabled"]:
        how = f"`gateway sources set {name} enabled=true`"
        if answer["declared"]:
            how = "the configuration enables it"
        return f"It is disabled: nothing comes of it before {how}."
    if answer["paused_at"] is not None:
        return f"It is paused: nothing comes of it before `gateway sources resume {name}`."
    called = where(answer["callbacks"])
    parts = [f"callbacks to {called} are received"] if called else []
    parts += [f"its API at {asking['host']} is asked"] if asking is not None else []
    begin = "from now on" if done.live else "when `gateway serve` runs"
    text = f"{' and '.join(parts)} {begin}."
    return text[0].upper() + text[1:]
