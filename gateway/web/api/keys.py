"""The calls about API keys: made, shown without their secrets, revoked."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.responses import Response

from gateway.config.values import start_of
from gateway.errors import BadRequest
from gateway.keys import KeyRecord, Role
from gateway.models import Millis
from gateway.web.api.operation import ADMINS, Call, Nothing, Operation


class NewKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key to make: its role, a label for people, and when it ends by itself."""

    role: Role
    name: str | None = None
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None


class MadeKey(KeyRecord, frozen=True, kw_only=True):
    """A key that was made; `key` is its text, which is shown this once."""

    key: str


class KeyList(msgspec.Struct, frozen=True, kw_only=True):
    """All keys, newest first, those that are revoked too."""

    keys: list[KeyRecord]


async def create_key(call: Call[Nothing, NewKey]) -> MadeKey:
    """Make a key; its text is in the answer, this once."""
    wanted = call.body
    record, key = await call.gateway.keyring.create(
        wanted.role,
        call.gateway.clock(),
        name=wanted.name,
        expires_at=_millis(wanted.expires_at),
    )
    return MadeKey(**msgspec.structs.asdict(record), key=key)


async def list_keys(call: Call[Nothing, None]) -> KeyList:
    """All keys, without what opens anything."""
    return KeyList(keys=list(await call.gateway.keyring.all()))


async def revoke_key(call: Call[Nothing, None]) -> Response:
    """End a key, at once; also when it was revoked before."""
    await call.gateway.keyring.revoke(call.path["id"], call.gateway.clock())
    return Response(status_code=204)


def _millis(moment: datetime | None) -> Millis | None:
    if moment is None:
        return None
    try:
        return Millis(start_of(moment))
    except ValueError:
        raise BadRequest("expires_at: expected a time between 1970 and 9999") from None


KEYS: Sequence[Operation] = (
    Operation(
        method="POST",
        path="/v1/keys",
        name="createKey",
        roles=ADMINS,
        act=create_key,
        body=NewKey,
        answer=MadeKey,
        status=201,
        codes=("too_large", "unsupported_media_type"),
    ),
    Operation(
        method="GET",
        path="/v1/keys",
        name="listKeys",
        roles=ADMINS,
        act=list_keys,
        answer=KeyList,
    ),
    Operation(
        method="DELETE",
        path="/v1/keys/{id}",
        name="revokeKey",
        roles=ADMINS,
        act=revoke_key,
        status=204,
        codes=("not_found",),
    ),
)
