"""What `gateway keys` does.

The running gateway does it, or with `--url` another one; when none runs, it is done here, on the
store itself.
"""

from collections.abc import Sequence
from pathlib import Path

from gateway.cli.control import act_on
from gateway.cli.look import Told, draw, read, say
from gateway.cli.options import Place
from gateway.cli.secret_files import keep_once
from gateway.cli.tables import Column, View, filled, local, to_json
from gateway.config.values import A_DURATION, parse_duration
from gateway.errors import NotFound, StartupError
from gateway.keys import KeyRecord, Role, named_key
from gateway.models import Millis
from gateway.runtime import Gateway, wall_clock
from gateway.shown import shown, time_text

NONE_YET = "There is no key yet: `gateway keys create --role ROLE` makes one."


def create(
    place: Place,
    role: Role,
    *,
    name: str | None,
    expires: str | None,
    config: Path | None,
    to: Path | None,
    as_json: bool,
) -> Told:
    """Make a key; what was done, and where the key is: `key_file` for a script.

    `expires` is a time such as `90d`, `to` the file for the key. Raises `BadRequest`, `Conflict`,
    `StartupError`.
    """
    expires_at = None if expires is None else Millis(wall_clock() + _length(expires))

    async def directly(gateway: Gateway) -> dict[str, object]:
        record, key = await gateway.keyring.create(
            role, gateway.clock(), name=name, expires_at=expires_at
        )
        return {**shown(record), "key": key}

    body = {"role": role, "name": name} | (
        {} if expires_at is None else {"expires_at": time_text(expires_at)}
    )
    kept = keep_once(
        lambda: act_on(place, "/v1/keys", directly, body=body),
        lambda done: str(done.answer["key"]),
        "The key",
        to=to,
        name=(config.parent if config is not None else Path()) / role,
        option="--to",
        show=not as_json,
    )
    done = kept.done
    until = "" if expires_at is None else f", until {local(expires_at)}"
    answer = {key: value for key, value in done.answer.items() if key != "key"}
    return Told(
        f"Key {done.answer['id']} has the role {role}{until}.\n{kept.where}",
        {**answer, "key_file": kept.file, "live": done.live},
    )


def _length(expires: str) -> Millis:
    try:
        return Millis(parse_duration(expires))
    except ValueError:
        raise StartupError(f"--expires: expected {A_DURATION}, got {expires!r}") from None


def show(place: Place, *, as_json: bool) -> None:
    """Print all keys, newest first."""
    found = read(place, lambda records: records.keys())
    if as_json:
        say(to_json(found))
    elif not found:
        say(NONE_YET)
    else:
        draw(_view(found, wall_clock()))


def _view(keys: Sequence[KeyRecord], now: Millis) -> View:
    view = View(
        columns=[
            *(Column(title) for title in ("key", "role", "state")),
            *(Column("made", spare=1), Column("last used"), Column("expires")),
            *(Column("revoked", spare=2), Column("name", whole=False)),
        ],
        rows=[
            (
                *(key.id, key.role, key.state(now), local(key.made_at)),
                "never" if key.last_used_at is None else local(key.last_used_at),
                *("" if at is None else local(at) for at in (key.expires_at, key.revoked_at)),
                key.name or "",
            )
            for key in keys
        ],
    )
    return filled(view)


def revoke(place: Place, text: str) -> Told:
    """End a key; what was done. `NotFound`.

    A whole key is taken for its id, for whoever found it where it should not be.
    """
    key = named_key(text)
    if key is None:
        raise NotFound("there is no such key: `gateway keys list` shows their ids")

    async def directly(gateway: Gateway) -> dict[str, object]:
        await gateway.keyring.revoke(key, gateway.clock())
        return {}

    done = act_on(place, f"/v1/keys/{key}", directly, method="DELETE")
    told = f"Key {key} is revoked: it opens nothing any more."
    return Told(told, {"key": key, "state": "revoked", "live": done.live})
