"""The doubles for authors of plugins and consumers do what they say."""

import asyncio
import json

import httpx2
import pytest

from gateway.models import Millis
from gateway.testing.doubles import Answer, Clock, Receiver


def test_the_clock_stands_still_until_it_is_set() -> None:
    clock = Clock(Millis(1_000))
    assert (clock(), clock()) == (1_000, 1_000)
    clock.advance(500)
    assert clock() == 1_500
    clock.now = Millis(7)
    assert clock() == 7


async def received() -> None:
    async with Receiver(Answer(status=503, headers={"Retry-After": "3"}, body=b"no")) as receiver:
        async with httpx2.AsyncClient(trust_env=False) as client:
            first = await client.post(
                f"{receiver.url}in?x=1", json={"n": 1}, headers={"Webhook-Id": "evt_1"}
            )
            second = await client.post(receiver.url, content=b"")
        await receiver.wait_for(2)
    assert (first.status_code, first.headers["retry-after"], first.content) == (503, "3", b"no")
    assert second.status_code == 204
    one, two = receiver.received
    assert (one.method, one.path, one.headers["webhook-id"]) == ("POST", "/in?x=1", "evt_1")
    assert json.loads(one.body) == {"n": 1}
    assert (two.path, two.body) == ("/", b"")


async def told_otherwise() -> None:
    async with Receiver(Answer(status=None), Answer(delay=30)) as receiver:
        async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
            with pytest.raises(httpx2.RemoteProtocolError):
                await client.post(receiver.url, content=b"1")
            patience = httpx2.Timeout(30, read=0.2)
            with pytest.raises(httpx2.ReadTimeout):
                await client.post(receiver.url, content=b"2", timeout=patience)
        with pytest.raises(AssertionError, match="2 of 3 requests came"):
            await receiver.wait_for(3, seconds=0.01)
    assert [one.body for one in receiver.received] == [b"1", b"2"]


def test_the_receiver_records_and_answers() -> None:
    asyncio.run(received())


def test_the_receiver_hangs_up_or_waits_as_it_is_told() -> None:
    asyncio.run(told_otherwise())
