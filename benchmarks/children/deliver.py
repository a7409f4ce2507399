"""Part `deliver`: a bare keep-alive POST of an event's bytes, the status parsed by httptools.

It answers with the CPU seconds of each round, and with the median milliseconds of a post: with one
connection that is the unloaded latency.
"""

import asyncio
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from typing import cast

import httptools
import msgspec
import uvloop

from benchmarks.pace import Paced


class Params(msgspec.Struct, frozen=True):
    port: int
    body: str
    events: int
    rounds: int
    connections: int = 32  # the slots of the `service` profile
    pause: float = 0.0  # seconds between the posts of a connection


class Client(asyncio.Protocol):
    """One connection: `post` returns the status of the answer."""

    def __init__(self) -> None:
        self._done: asyncio.Future[int] | None = None
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio.Transport.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        assert self._done
        self._done.set_result(self._parser.get_status_code())

    async def post(self, request: bytes) -> int:
        self._done = asyncio.get_running_loop().create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(request)
        return await self._done


def cpu() -> float:
    """User and system seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def request(params: Params, number: int) -> bytes:
    """A POST with as little as a consumer needs; each has an id of its own, for the sink."""
    body = params.body.encode()
    return (
        b"POST / HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nwebhook-id: part_%d\r\n"
        b"content-type: application/cloudevents+json; charset=utf-8\r\ncontent-length: %d\r\n\r\n%b"
        % (params.port, number, len(body), body)
    )


async def measure(params: Params) -> dict[str, object]:
    """One warm-up round, then the rounds that count."""
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(Client, "127.0.0.1", params.port))[1]
        for _ in range(params.connections)
    ]
    rounds = []
    waits: list[float] = []
    for turn in range(params.rounds + 1):
        first = turn * params.events
        numbers = iter(range(first, first + params.events))
        waits.clear()
        paced, before = Paced(), cpu()
        await asyncio.gather(*(_work(client, numbers, params, waits) for client in clients))
        rounds.append(paced.cpu(cpu() - before))
    return {"cpu": rounds[1:], "latency": statistics.median(waits) * 1e3}


async def _work(client: Client, numbers: Iterator[int], params: Params, waits: list[float]) -> None:
    for number in numbers:
        begun = time.monotonic()
        if await client.post(request(params, number)) != 200:
            raise ConnectionError("the sink refused a delivery")
        waits.append(time.monotonic() - begun)
        if params.pause:
            await asyncio.sleep(params.pause)


if __name__ == "__main__":
    result = uvloop.run(measure(msgspec.json.decode(sys.argv[1], type=Params)))
    print(msgspec.json.encode(result).decode(), flush=True)
