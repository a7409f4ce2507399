"""Follows the events of a gateway that runs, over its `GET /v1/stream`, for as long as one likes.

When the connection breaks it is made again, behind the last event: nothing is skipped or repeated.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from email.utils import parsedate_to_datetime

import httpx2

from gateway.cli.look import require_store
from gateway.cli.options import Place
from gateway.cli.remote import check, judged, origin, reason_of, trust, unreached
from gateway.cli.serve import socket_path
from gateway.cli.sse import UNNAMED, Message, Parser
from gateway.config.settings import Settings
from gateway.errors import GatewayError, Unavailable
from gateway.stores.registry import database_path
from gateway.web.server import unix_address

PATH = "/v1/stream"
EVENT_STREAM = "text/event-stream"
NOW = "now"
SILENCE = 45.0  # seconds; the gateway says something every 15
PATIENCE = 15.0  # seconds for a connection
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # seconds between two tries
SLACK = timedelta(seconds=1)  # by which the header Date may lag behind

Take = Callable[[Message], Awaitable[None]]


class Following:
    """One reader of one gateway; `query` is that of the stream.

    `entered` is told of each connection, `lost` why the stream broke, once until the next one.
    """

    def __init__(
        self,
        place: Place,
        query: Mapping[str, str],
        *,
        entered: Callable[[], None],
        lost: Callable[[str], None],
    ) -> None:
        self._place, self._query = place, dict(query)
        self._entered, self._lost = entered, lost
        self._last = ""  # the id of the last event
        self._begun = self._broken = False
        self._pause = FIRST_PAUSE

    async def run(self, take: Take) -> None:
        """Hand each event to `take`, the next one when that is done, until it is cancelled.

        `GatewayError` where the first connection fails, and for whatever would fail again.
        """
        require_store(self._place)
        while True:
            try:
                await self._follow(take)
            except Unavailable as error:
                if not self._begun:
                    raise
                if not self._broken:
                    self._broken = True
                    self._lost(str(error))
            await asyncio.sleep(self._pause)
            self._pause = min(self._pause * 2, LONGEST_PAUSE)

    async def _follow(self, take: Take) -> None:
        """One connection, from its beginning to its end, which is `Unavailable`."""
        parser = Parser()
        try:
            async with self._stream() as response:
                await self._enter(response)
                async for chunk in response.aiter_bytes():
                    for message in parser.feed(chunk):
                        if message.event == UNNAMED:
                            await take(message)
                        self._last = message.id
        except httpx2.ConnectError as error:
            raise Unavailable(self._unreached(error)) from None
        except httpx2.TransportError as error:
            raise Unavailable(f"the stream broke off ({reason_of(error)})") from None
        raise Unavailable("the gateway ended the stream")

    @asynccontextmanager
    async def _stream(self) -> AsyncIterator[httpx2.Response]:
        headers = {"accept": EVENT_STREAM, "accept-encoding": "identity"}
        if self._last:
            headers["last-event-id"] = self._last
        async with self._client() as client:
            asked = client.stream("GET", PATH, params=self._query, headers=headers)
            async with asked as response:
                yield response

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx2.AsyncClient]:
        """Without the environment: its proxies would be shown the key, or have no way to a socket."""
        timeout = httpx2.Timeout(PATIENCE, read=SILENCE)
        if not isinstance(self._place, Settings):
            async with httpx2.AsyncClient(
                base_url=self._place.url,
                headers={"authorization": f"Bearer {self._place.key.decode()}"},
                verify=trust(),
                trust_env=False,
                timeout=timeout,
            ) as client:
                yield client
            return
        with unix_address(socket_path(self._place)) as address:
            transport = httpx2.AsyncHTTPTransport(uds=address, verify=False, trust_env=False)
            async with httpx2.AsyncClient(
                base_url="http://gateway", transport=transport, trust_env=False, timeout=timeout
            ) as client:
                yield client

    async def _enter(self, response: httpx2.Response) -> None:
        """Look whether this is the stream, and from where it would have to be taken up."""
        if self._begun and response.status_code >= 500:
            raise Unavailable(f"the gateway answered {response.status_code}")
        kind = response.headers.get("content-type", "").partition(";")[0]
        if response.status_code != 200 or kind != EVENT_STREAM:
            await response.aread()
            if not isinstance(self._place, Settings):
                check(self._place, response)
            if not response.is_success:
                judged(response)
            raise GatewayError(
                f"{PATH} answered no stream of events: compare the gateway's version with that of"
                " `gateway version`"
            )
        if self._query.get("from", NOW) == NOW and "date" in response.headers:
            # Before the first event there is no id: what comes while it is broken would be skipped.
            since = parsedate_to_datetime(response.headers["date"]) - SLACK
            self._query["from"] = since.isoformat()
        self._begun, self._broken, self._pause = True, False, FIRST_PAUSE
        self._entered()

    def _unreached(self, error: httpx2.ConnectError) -> str:
        if not isinstance(self._place, Settings):
            return unreached(self._place, error)
        return (
            f"no gateway runs on {database_path(self._place.store.url)}: start it with"
            " `gateway serve`, or name another one with --config or --url"
        )


def name_of(place: Place) -> str:
    """How a person is told which gateway this is."""
    if isinstance(place, Settings):
        return f"the gateway on {database_path(place.store.url)}"
    return origin(place)
