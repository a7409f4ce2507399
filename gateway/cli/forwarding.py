"""Events to a URL of whoever develops a consumer: as a subscription would deliver them, but once.

They are signed with a secret of the developer's own, which is made once and stays the same. No
rule forbids the address: it was given on the command line, and nothing else is ever connected to.
"""

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from gateway.config.settings import PROFILES
from gateway.config.subscription import FLAT_MODES, guess_profile
from gateway.egress.rules import Rules, parse_target
from gateway.egress.transport import Transport
from gateway.errors import StartupError
from gateway.models import Delivery, Millis, Mode, Outcome, Subscription
from gateway.sender import Sender
from gateway.signing import generate_secret, parse_secret

NAME = "listen"
FILE = Path("gateway", "listen.secret")
STATE = Path(".local", "state")  # XDG Base Directory Specification 0.8


class Key(msgspec.Struct, frozen=True):
    """The development secret, as `whsec_...`, and where it is kept."""

    secret: str
    file: Path


def development_key(environ: Mapping[str, str] = os.environ) -> Key:
    """The one that is kept in the user's state folder; made when there is none. `StartupError`."""
    path = _state(environ) / FILE
    try:
        secret = _kept(path) or _made(path)
    except OSError as error:
        raise StartupError(
            f"the development secret cannot be kept in {path} ({error.strerror or error}):"
            " name a folder for it with XDG_STATE_HOME"
        ) from None
    try:
        parse_secret(secret)
    except ValueError:
        raise StartupError(
            f"{path} holds no secret: remove it, and the next start makes a new one"
        ) from None
    return Key(secret, path)


def endpoint(url: str, *, mode: Mode | None, flat: bool) -> Subscription:
    """What stands for the URL; without a `mode` it has that of the profile that its URL suggests.

    It has no secret yet. Raises `StartupError` for what cannot be sent to.
    """
    try:
        target = parse_target(url)
    except ValueError as error:
        raise StartupError(f"--forward: {str(error).removesuffix('.')}") from None
    profile = PROFILES[guess_profile(target)]
    mode = mode or profile.mode
    if flat and mode not in FLAT_MODES:
        raise StartupError(f"--flat does not go with --mode {mode}: choose json or structured")
    return Subscription(
        id=0,
        name=NAME,
        url=url,
        mode=mode,
        flat=flat,
        timeout=Millis(profile.timeout),
    )


class Forwarder:
    """Sends events to one endpoint, the next one when the one before was answered."""

    def __init__(self, subscription: Subscription, key: Key) -> None:
        self._subscription = msgspec.structs.replace(
            subscription, secrets=(parse_secret(key.secret),)
        )
        port = parse_target(subscription.url).port
        rules = Rules([f"0.0.0.0/0:{port}", f"[::/0]:{port}"])
        self._transport = Transport(rules=rules)
        self._sender = Sender(self._transport)

    async def send(self, event_id: str, event_type: str, body: bytes) -> Outcome:
        """One attempt; there is no second one. `body` is the structured event."""
        delivery = Delivery(
            id=0,
            subscription=self._subscription.id,
            event_id=event_id,
            event_type=event_type,
            body=body,
            attempts=0,
            number=0,
            first_at=None,
            claim=0,
        )
        return await self._sender.send(self._subscription, delivery)

    async def close(self) -> None:
        """Close the connection."""
        await self._transport.close()


def _state(environ: Mapping[str, str]) -> Path:
    given = Path(environ.get("XDG_STATE_HOME", ""))
    if given.is_absolute():  # another one is to be ignored
        return given
    try:
        return Path.home() / STATE
    except RuntimeError:
        raise StartupError(
            "there is no home folder to keep the development secret in:"
            " name one with XDG_STATE_HOME"
        ) from None


def _kept(path: Path) -> str | None:
    try:
        return path.read_text("ascii", "replace").strip()
    except FileNotFoundError:
        return None


def _made(path: Path) -> str:
    """A new one, in a file that is whole as soon as it is there; or another process's, made first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:  # it has the mode 0600
            file.write(f"{generate_secret()}\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(part, path)
    finally:
        Path(part).unlink()
    return _kept(path) or ""
