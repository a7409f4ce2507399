"""One call of the API, as data: who may make it where, what goes in, what comes out.

The routes, the authorization, the checks of what comes in and the OpenAPI document are all made
from these rows (`doors.py`, `openapi.py`); a route that has none does not exist.
"""

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Any, Generic, TypeVar

import msgspec
from starlette.requests import Request

from gateway.keyring import Principal
from gateway.keys import Role
from gateway.runtime import Gateway
from gateway.web.api.cursors import Cursors

Q = TypeVar("Q")
B = TypeVar("B")


class Door(StrEnum):
    """The listeners; the owner's control socket has all that any of them has."""

    PUBLIC = "public"
    ADMIN = "admin"


ADMINS = frozenset({Role.ADMIN})
OPERATORS = frozenset({Role.ADMIN, Role.OPERATOR})
READERS = OPERATORS | {Role.READER}
PUBLISHERS = OPERATORS | {Role.PUBLISHER}
SUBSCRIBERS = OPERATORS | {Role.SUBSCRIBER}
EVERYONE = frozenset(Role)


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No query parameters, or no body."""


class Call(msgspec.Struct, Generic[Q, B], frozen=True, kw_only=True):
    """One request that was let in; `path` has the values of the path's parameters.

    `request` is for who reads its headers, or a body that is no JSON of ours.
    """

    gateway: Gateway
    cursors: Cursors
    principal: Principal
    path: Mapping[str, str]
    query: Q
    body: B
    request: Request


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table. `act` answers with a row, a list of rows, or a `Response` of its own.

    `name` is the operation's id in the OpenAPI document, `status` that of a success, `codes` are
    the problems that it can answer beside those of every call; `also` are further statuses of a
    success. With `takes`, media types, `act` reads the body itself. `loose`: it gets the object that
    the body is, and reads its keys itself; `body` only describes it. `headers` are those of the
    request that it looks at, beside the usual ones; `tells` are those of a success. `media` is what it
    answers where there is no `answer`. `keyed`: its query may have the key, as `token`. `deep`: the
    parameter at the end of its path may have slashes in it. What is not `stored` asks nothing of the
    store, and so is never unavailable. `safe` is a POST that changes nothing: it is done each time,
    and its `Idempotency-Key` is not looked at.
    """

    method: str
    path: str
    name: str
    roles: frozenset[Role]
    act: Callable[[Call[Any, Any]], Awaitable[object]]
    query: type[msgspec.Struct] = Nothing
    body: type[msgspec.Struct] | None = None
    answer: Any = None
    status: int = 200
    codes: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    also: tuple[int, ...] = ()
    loose: bool = False
    headers: tuple[str, ...] = ()
    tells: tuple[str, ...] = ()
    media: str = "application/octet-stream"
    keyed: bool = False
    stored: bool = True
    deep: bool = False
    safe: bool = False

    @property
    def tag(self) -> str:
        """What it is about: the resource that its path names."""
        return self.path.split("/")[2]

    @property
    def once(self) -> bool:
        """Whether an `Idempotency-Key` makes it act once."""
        return self.method == "POST" and not self.safe

    @property
    def route(self) -> str:
        """Its path, as the router takes it."""
        return f"{self.path.removesuffix('}')}:path}}" if self.deep else self.path

    @property
    def doors(self) -> frozenset[Door]:
        """Where it is reached (design 8): at the public door are the calls of two roles."""
        outside = {Role.PUBLISHER, Role.SUBSCRIBER}
        return frozenset(Door) if self.roles & outside else frozenset({Door.ADMIN})

    @property
    def summary(self) -> str:
        """What it does, as `act` says it."""
        return (self.act.__doc__ or "").partition("\n")[0]
