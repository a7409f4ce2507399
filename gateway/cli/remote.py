"""A gateway elsewhere, as `--url` and `--key` name it: its API, and its errors as one sentence."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import httpx2
import msgspec

from gateway.cli.aim import Remote
from gateway.config.values import NAME
from gateway.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    GatewayError,
    NotFound,
    PreconditionFailed,
    StartupError,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unprocessable,
)
from gateway.keys import KeyRecord
from gateway.shown import shown, taken
from gateway.stores.replaying import Chosen, Preview
from gateway.stores.views import (
    CallbackRow,
    DeliveryRow,
    DeliveryStory,
    EventRow,
    LaneRow,
    RejectedRow,
    Story,
    UnlinkedRow,
)
from gateway.web.api.keys import KeyList
from gateway.web.api.sources import JSON_LINES, SourceDetail
from gateway.web.api.subscriptions import ShownSubscription

PATIENCE = 15.0  # seconds; a busy gateway still commits many times within it
SILENCE = 900.0  # seconds between two lines; a source may be left alone for five minutes in between
PAGE = 200  # rows, the most that the API gives at once
ALL = 1_000_000  # rows, more than there are
PROBLEM = "application/problem+json"

ERRORS: Mapping[int, type[GatewayError]] = {
    400: BadRequest,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    412: PreconditionFailed,
    413: TooLarge,
    422: Unprocessable,
    503: Unavailable,
}
"""What the problems (RFC 9457) of a gateway were made from."""

Answer = Mapping[str, Any]
Line = Mapping[str, Any]  # of a report that is told as it is made
R = TypeVar("R", bound=msgspec.Struct)


def ask_remote(
    remote: Remote, path: str, body: object = None, *, method: str, patience: float = PATIENCE
) -> Answer:
    """What its API answers to a call that acts; `GatewayError`, as the gateway raised it."""
    with client_of(remote) as client:
        return judged(_request(client, remote, method, path, body=body, patience=patience))


def follow_remote(remote: Remote, path: str, tell: Callable[[Line], None]) -> None:
    """Hand each line that its API answers to a POST to `tell`; `GatewayError` before the first one.

    When the connection breaks meanwhile, the last line is `{"error": sentence}`.
    """
    patience = httpx2.Timeout(PATIENCE, read=SILENCE)
    with client_of(remote) as client:
        try:
            with client.stream("POST", f"{remote.url}{path}", timeout=patience) as response:
                _begun(remote, response)
                for line in response.iter_lines():
                    tell(_line(remote, line))
        except httpx2.ConnectError as error:
            raise Unavailable(unreached(remote, error)) from None
        except httpx2.HTTPError as error:
            tell({"error": f"{origin(remote)} gave no more answers ({reason_of(error)})"})


def _begun(remote: Remote, response: httpx2.Response) -> None:
    """Look whether lines follow."""
    kind = response.headers.get("content-type", "").partition(";")[0]
    if response.is_success and kind == JSON_LINES:
        return
    response.read()
    check(remote, response)
    if not response.is_success:
        judged(response)
    raise strange(remote)


def _line(remote: Remote, text: str) -> Line:
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        raise strange(remote) from None


def judged(response: httpx2.Response) -> Answer:
    """The body of a success; a problem (RFC 9457) becomes the error that it was made from."""
    if response.status_code == 204:
        return {}
    answer = _object(response)
    if response.is_success and answer:
        return answer
    detail = str(answer.get("detail") or f"the gateway answered {response.status_code}")
    raise ERRORS.get(response.status_code, GatewayError)(detail)


def reason_of(error: httpx2.HTTPError) -> str:
    """Why there was no answer, in the words of the library."""
    return str(error) or type(error).__name__


def _object(response: httpx2.Response) -> Answer:
    try:
        return msgspec.json.decode(response.content, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}


def client_of(remote: Remote) -> httpx2.Client:
    """A client that sends the key; `StartupError`."""
    # Without the environment: its proxies would be shown the key.
    headers = {"authorization": f"Bearer {remote.key.decode()}"}
    return httpx2.Client(verify=trust(), trust_env=False, headers=headers)


@cache
def trust() -> Any:
    """Whom to believe that they are who they are: made once, as it reads many certificates."""
    try:
        return httpx2.create_ssl_context()
    except OSError as error:
        raise StartupError(
            f"the certificates of authorities cannot be read ({error}): look at SSL_CERT_FILE"
        ) from None


def _request(
    client: httpx2.Client,
    remote: Remote,
    method: str,
    path: str,
    *,
    body: object = None,
    patience: float = PATIENCE,
) -> httpx2.Response:
    """Any answer that is one of a gateway's API; `Unavailable`, `Unauthenticated`, `GatewayError`."""
    try:
        response = client.request(method, f"{remote.url}{path}", json=body, timeout=patience)
    except UnicodeError:
        raise BadRequest("something on the command line is no text") from None
    except httpx2.ConnectError as error:
        raise Unavailable(unreached(remote, error)) from None
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        why = str(error) or type(error).__name__
        unknown = "" if method == "GET" else ": look whether it was done, then try again"
        raise Unavailable(f"{origin(remote)} gave no answer ({why}){unknown}") from None
    check(remote, response)
    return response


def unreached(remote: Remote, error: httpx2.ConnectError) -> str:
    """Why no connection was made, and what to do."""
    why = reason_of(error)
    if "SSL" in why or "certificate" in why:
        return (
            f"{origin(remote)} did not prove who it is ({why}): name the host of its certificate,"
            " and for a private authority set SSL_CERT_FILE"
        )
    return f"no gateway answers at {origin(remote)} ({why}): see that it runs, and look at --url"


def check(remote: Remote, response: httpx2.Response) -> None:
    """Say it when the key is refused, or when this is no listener that has the API's calls."""
    kind = response.headers.get("content-type", "").partition(";")[0]
    if response.status_code == 401 and kind == PROBLEM:
        raise Unauthenticated(
            f"{origin(remote)} does not take this key: it may be wrong, revoked, or over;"
            " `gateway keys list` shows how keys stand"
        )
    if kind == PROBLEM and (_unrouted(response) or "x-request-id" not in response.headers):
        raise NotFound(
            f"{origin(remote)} does not have this call: --url needs the gateway's admin listener,"
            " of this version"
        )
    ours = kind in {PROBLEM, "application/json"} or "x-request-id" in response.headers
    if not ours or 300 <= response.status_code < 400:
        raise GatewayError(
            f"{origin(remote)} is no API of a gateway, it answered {response.status_code}:"
            " look at --url"
        )


def _unrouted(response: httpx2.Response) -> bool:
    """Whether no call was there to answer: calls say what is not found, and refuse no method."""
    if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return True
    nothing = HTTPStatus.NOT_FOUND
    return response.status_code == nothing and _object(response).get("detail") == nothing.phrase


def strange(remote: Remote) -> GatewayError:
    """What to say of an answer that is none of this version's."""
    return GatewayError(
        f"{origin(remote)} answered what this version does not understand:"
        " compare its version with that of `gateway version`"
    )


def origin(remote: Remote) -> str:
    """The URL without its path, which may be somebody's secret."""
    parts = urlsplit(remote.url)
    return f"{parts.scheme}://{parts.netloc}"


class _Page(msgspec.Struct, frozen=True):
    """A part of a list, as `web.api.lists` gives it."""

    data: list[Any]
    cursor: str | None = None
    done: bool = True


class RemoteRecords:
    """What the commands read, from the API; each method raises the errors of `ask_remote`."""

    def __init__(self, remote: Remote, client: httpx2.Client) -> None:
        self._remote, self._client = remote, client

    async def events(
        self, *, order: str | None, event_type: str | None, limit: int
    ) -> Sequence[EventRow]:
        """The newest events, newest first."""
        return self._list("/v1/events", EventRow, limit, order=order, type=event_type)

    async def deliveries(
        self, *, subscription: str | None, state: str | None, limit: int
    ) -> Sequence[DeliveryRow]:
        """The newest deliveries, newest first."""
        return self._list(
            "/v1/deliveries", DeliveryRow, limit, subscription=subscription, state=state
        )

    async def delivery(self, delivery: str) -> DeliveryStory:
        """Everything about one delivery."""
        return self._row(f"/v1/deliveries/{_segment(delivery)}", DeliveryStory)

    async def unlinked(self, *, limit: int) -> Sequence[UnlinkedRow]:
        """Facts that wait, oldest first."""
        return self._list("/v1/unlinked", UnlinkedRow, limit)

    async def quarantined(self, *, limit: int) -> Sequence[CallbackRow]:
        """Callbacks in quarantine, newest first."""
        return self._list("/v1/quarantine", CallbackRow, limit)

    async def callback_body(self, callback: str) -> tuple[CallbackRow, bytes]:
        """A callback as it is shown, and the body that was sent."""
        path = f"/v1/callbacks/{_segment(callback)}"
        row = self._row(path, CallbackRow)
        return row, self._get(f"{path}/body").content

    async def explain(self, name: str) -> Sequence[Story]:
        """Everything about an id."""
        found = self._decoded(f"/v1/explain/{_segment(name)}")
        return self._rows(found, Story)

    async def lanes(self, subscription: str | None, *, limit: int) -> Sequence[LaneRow]:
        """The parked lanes, of one subscription or of all, those first that have been for longest."""
        return self._list("/v1/lanes", LaneRow, limit, subscription=subscription)

    async def preview(self, chosen: Chosen) -> Preview:
        """What a replay would send again."""
        body = {**chosen_body(chosen), "dry_run": True}
        answer = ask_remote(self._remote, "/v1/replays", body, method="POST")
        return self._typed(answer, Preview)

    async def keys(self) -> Sequence[KeyRecord]:
        """All API keys, newest first."""
        return self._typed(self._decoded("/v1/keys"), KeyList).keys

    async def shown_sources(self) -> Sequence[SourceDetail]:
        """All sources, as its configuration has them."""
        return self._list("/v1/sources", SourceDetail, ALL, sized=False)

    async def shown_source(self, name: str) -> SourceDetail:
        """One source, and how it does."""
        return self._row(source_path(name), SourceDetail)

    async def rejected(self, source: str, *, limit: int) -> Sequence[RejectedRow]:
        """The rejected requests that are kept of a source, newest first."""
        return self._list(source_path(source, "rejected"), RejectedRow, limit, sized=False)

    async def shown_subscriptions(self) -> Sequence[ShownSubscription]:
        """All subscriptions that the key may see, newest first."""
        return self._list("/v1/subscriptions", ShownSubscription, ALL, sized=False)

    async def shown_subscription(self, path: str) -> ShownSubscription:
        """One of them, by its path at the API."""
        return self._row(path, ShownSubscription)

    def _list(
        self, path: str, row: type[R], limit: int, *, sized: bool = True, **asked: str | None
    ) -> Sequence[R]:
        """The first rows of a list, page by page; not all are `sized`, as some take no limit."""
        query = {name: value for name, value in asked.items() if value is not None}
        rows: list[R] = []
        while len(rows) < limit:
            if sized:
                query["limit"] = str(min(limit - len(rows), PAGE))
            found = self._decoded(path, query)
            page = self._typed(found, _Page)
            rows += self._rows(page.data, row)
            if page.done or page.cursor is None:
                break
            query["cursor"] = page.cursor
        return rows[:limit]

    def _row(self, path: str, row: type[R]) -> R:
        return self._typed(self._decoded(path), row)

    def _rows(self, found: Any, row: type[R]) -> list[R]:
        if not isinstance(found, list):
            raise strange(self._remote)
        return [self._typed(one, row) for one in found]

    def _typed(self, found: Any, row: type[R]) -> R:
        try:
            return taken(found, row)
        except (msgspec.ValidationError, TypeError, ValueError):
            raise strange(self._remote) from None

    def _decoded(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        try:
            return msgspec.json.decode(self._get(path, query).content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise strange(self._remote) from None

    def _get(self, path: str, query: Mapping[str, str] | None = None) -> httpx2.Response:
        asked = f"{path}?{urlencode(query, errors='surrogateescape')}" if query else path
        response = _request(self._client, self._remote, "GET", asked)
        if not response.is_success:
            judged(response)
        return response


def source_path(name: str, verb: str = "") -> str:
    """Where the API has a source, or what belongs to it; `NotFound` for what cannot be a name."""
    if NAME.fullmatch(name) is None:
        raise NotFound(f"there is no source {name}: `gateway sources` lists them")
    return f"/v1/sources/{quote(name, safe='')}{verb and f'/{verb}'}"


def _segment(text: str) -> str:
    """A part of a path, whatever bytes the command line had."""
    return quote(text, safe="", errors="surrogateescape")


def chosen_body(chosen: Chosen) -> dict[str, object]:
    """Which deliveries to send again, as the API takes it."""
    return {name: part for name, part in shown(chosen).items() if part is not None}
