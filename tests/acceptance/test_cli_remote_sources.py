"""Sources of a gateway elsewhere: what `--url` shows of them, and what it has them asked."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.aim import Remote
from gateway.cli.remote import Line, follow_remote
from gateway.config.values import Secret
from gateway.errors import GatewayError
from gateway.keys import Role, make_key
from tests.acceptance.shell import run
from tests.acceptance.test_cli_remote import TIME, Afar
from tests.pipeline.polling import source
from tests.pipeline.world import World, configuration, consuming, running
from tests.simulators.api import serving
from tests.simulators.marketiger import MarketigerApi

pytestmark = pytest.mark.slow

OFF = """
[sources.off]
provider = "marketiger"
enabled = false
token = "t"
base_url = "https://off.example/v2"
shop = "berlin"
"""
ADMIN_LISTENER = "does not have this call: --url needs the gateway's admin listener"
NOT_UNDERSTOOD = "answered what this version does not understand"
BRIEF = ("poll", "mt", "--once")
COMPARED = {"number": "1", "kind": "same", "done": 1, "total": 2}


class Sourced(Afar):
    """A gateway that asks `api` as the source `mt`, which knows one order, `number`."""

    def __init__(self, world: World, keys: dict[Role, str], api: MarketigerApi) -> None:
        super().__init__(world, keys)
        self.api, self.number = api, api.place()

    async def lines(self, *arguments: str, code: int = 0) -> list[dict[str, Any]]:
        """What a command that tells line by line tells a script."""
        said = await self.run(*arguments, "--json", role=Role.OPERATOR)
        assert (said.code, said.error) == (code, ""), (said.text, said.error)
        return [json.loads(line) for line in said.text.splitlines()]


@asynccontextmanager
async def sourced(folder: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[Sourced]:
    """One request in the name of `shop` was refused."""
    patch.chdir(folder)
    patch.setenv("GATEWAY_STORE__URL", f"sqlite:///{folder}/gateway.db")
    api = MarketigerApi()
    async with serving(api), consuming() as consumer:
        text = configuration(consumer.port, sources=source(api) + OFF)
        async with running(folder, consumer, text) as world:
            forged = {"x-printstudio-signature": "sha256=00", "x-tool": "curl"}
            assert (await world.post("shop", b'{"id":"\x1b[31m"}', forged)).status_code == 401
            made = world.gateway.keyring.create
            keys = {role: (await made(role, world.gateway.clock()))[1] for role in Role}
            yield Sourced(world, keys, api)


def play(
    folder: Path, patch: pytest.MonkeyPatch, story: Callable[[Sourced], Awaitable[None]]
) -> None:
    async def whole() -> None:
        async with sourced(folder, patch) as afar:
            await story(afar)

    asyncio.run(whole())


def test_sources_are_shown_as_where_they_are_declared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(afar: Sourced) -> None:
        poller = afar.world.gateway.poller.source("mt")
        afar.api.tokens.clear()  # from now on it refuses the token
        await afar.json("watch", "mt", afar.number)
        await afar.lines(*BRIEF, code=1)
        await afar.world.until(lambda: not poller.lock.locked())
        await afar.world.until((tmp_path / "gateway.db.rejected").exists)
        for _ in range(100):
            if await afar.json("rejected", "shop"):
                break
        for command in (("sources",), ("rejected", "shop"), ("rejected", "stripe")):
            for form in ((), ("--json",)):
                here, there = await afar.here(*command, *form), await afar.run(*command, *form)
                assert (there.code, there.error, there.text) == (0, "", here.text), command
        shop, stripe, asked, off = await afar.json("sources", role=Role.READER)
        assert (shop["callbacks"], shop["host"], shop["state"]) == (True, None, "callbacks")
        assert stripe["provider"] == "stripe"
        assert (asked["name"], asked["state"], asked["watched"]) == ("mt", "refused", 1)
        assert "Authentication failed" in asked["reason"]
        assert (off["state"], off["host"], off["shop"]) == ("disabled", "off.example", "berlin")
        assert (await afar.run("sources", "pause", "mt")).code == 0
        resumed = (await afar.run("sources", "resume", "mt")).text
        assert "But its API is asked no more until its configuration changes: " in resumed
        (refused,) = await afar.json("rejected", "shop")
        assert ["x-tool", "curl"] in refused["headers"]
        assert TIME.fullmatch(refused["received_at"])

    play(tmp_path, monkeypatch, story)


def test_orders_are_asked_for_afar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(afar: Sourced) -> None:
        (tmp_path / "broken.toml").write_text("this is no TOML")
        monkeypatch.setenv("GATEWAY_CONFIG", "broken.toml")  # nothing here is read
        assert len(await afar.json("sources")) == 4
        assert await afar.json("rejected", "stripe") == []
        watched = await afar.json("watch", "mt", afar.number, "--order", "1001", role=Role.OPERATOR)
        assert (watched["id"], watched["order"], watched["new"]) == (afar.number, "1001", True)
        assert (watched["refused"], watched["live"]) == (None, True)
        again = await afar.run("watch", "mt", afar.number, "--order", "1001")
        assert "was watched already: it is asked for at once, as order 1001." in again.text

        *found, end = await afar.lines(*BRIEF)
        assert [line["found"]["number"] for line in found] == [afar.number]
        assert TIME.fullmatch(end["end"]["next_at"])
        afar.api.move(afar.number, 5)
        said = await afar.run(*BRIEF)
        assert (said.code, said.error) == (0, "")
        assert "Of 1 order 1 changed and made" in said.text
        assert "It is asked again at " in said.text

        listed, compared = await afar.lines("reconcile", "mt", "--since", "7d")
        assert (listed, compared["compared"]["kind"]) == ({"listed": False}, "older")
        afar.api.move(afar.number, 10)
        said = await afar.run("reconcile", "mt")
        assert (said.code, "--emit would make 1 event." in said.text) == (1, True), said.text
        said = await afar.run("reconcile", "mt", "--emit")
        assert (said.code, "1 event made." in said.text) == (0, True), said.text
        assert "nothing is sent before" not in said.text

    play(tmp_path, monkeypatch, story)


def test_what_goes_wrong_with_sources_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(afar: Sourced) -> None:
        number = afar.number
        for command, role, words in (
            (("watch", "mt", number), Role.READER, "a key of the role reader may not do this"),
            (("rejected", "shop"), Role.READER, "a key of the role reader may not do this"),
            (("sources",), Role.SUBSCRIBER, "a key of the role subscriber may not do this"),
            (BRIEF, Role.READER, "a key of the role reader may not do this"),
            (("watch", "nobody", number), Role.OPERATOR, "no polled source 'nobody'"),
            (("watch", "mt", ""), Role.OPERATOR, "id must have 1 to 255 printable characters"),
            (("watch", "mt", "\udcff"), Role.OPERATOR, "something on the command line is no text"),
            (("poll", "shop", "--once"), Role.OPERATOR, "no polled source 'shop'"),
            (("reconcile", "nobody"), Role.OPERATOR, "no polled source 'nobody'"),
            (("rejected", "nobody"), Role.OPERATOR, "there is no source nobody: known are shop"),
            (("rejected", ".."), Role.OPERATOR, "there is no source ..:"),
            (("reconcile", "../keys?"), Role.OPERATOR, "there is no source ../keys?:"),
        ):
            said = await afar.run(*command, role=role)
            assert words in said.sentence(1), (command, said.error)
        said = await afar.run("reconcile", "mt", "--since", "soon")
        assert "--since: expected" in said.sentence(2)
        key = ("--key", afar.keys[Role.ADMIN])
        for command in (("sources",), ("rejected", "shop"), ("watch", "mt", "1"), BRIEF):
            said = await afar.plain(*command, "--url", afar.world.public, *key)
            assert ADMIN_LISTENER in said.sentence(1), (command, said.error)
            said = await afar.plain(*command, "--url", "http://127.0.0.1:1", *key)
            assert "no gateway answers at" in said.sentence(1)

    play(tmp_path, monkeypatch, story)


# What a gateway answers line by line, from one that says what the test wants.


@asynccontextmanager
async def saying(
    *pieces: bytes,
    kind: bytes = b"application/jsonl",
    wait: threading.Event | None = None,
    whole: bool = True,
) -> AsyncIterator[str]:
    """The URL of a server that answers these lines, the last one after `wait`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(head % kind)
        for place, piece in enumerate(pieces, start=1):
            if wait is not None and place == len(pieces):
                await asyncio.to_thread(wait.wait, 10)
            writer.write(b"%x\r\n%b\n\r\n" % (len(piece) + 1, piece))
            await writer.drain()
        writer.write(b"0\r\n\r\n" if whole else b"")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def followed(
    *pieces: bytes, told: Callable[[Line], None], wait: threading.Event | None = None
) -> None:
    async def whole() -> None:
        async with saying(*pieces, wait=wait, whole=wait is not None) as url:
            remote = Remote(url=url, key=Secret(b"gwk_1"))
            await asyncio.to_thread(follow_remote, remote, "/v1/sources/mt/poll", told)

    asyncio.run(whole())


def test_a_line_is_told_before_the_next_one_comes() -> None:
    first, lines = threading.Event(), list[Line]()
    before: list[bool] = []

    def tell(line: Line) -> None:
        before.append(first.is_set())
        lines.append(line)
        first.set()

    followed(b'{"listed":true}', b'{"error":"x"}', told=tell, wait=first)
    assert lines == [{"listed": True}, {"error": "x"}]
    assert before == [False, True]


def test_a_connection_that_breaks_is_told_as_the_last_line() -> None:
    lines: list[Line] = []
    followed(b'{"listed":true}', told=lines.append)
    assert lines[0] == {"listed": True}
    assert list(lines[1]) == ["error"]
    assert "gave no more answers (" in lines[1]["error"]


def test_what_is_no_line_is_refused() -> None:
    with pytest.raises(GatewayError, match=NOT_UNDERSTOOD):
        followed(b"<html>", told=lambda _: None)


@pytest.mark.parametrize(
    ("pieces", "kind", "words"),
    [
        ((b'{"found":{}}',), b"application/jsonl", NOT_UNDERSTOOD),
        ((b'{"news":1}',), b"application/jsonl", NOT_UNDERSTOOD),
        ((b'{"end":{"next_at":1}}',), b"application/jsonl", NOT_UNDERSTOOD),
        ((b"[]",), b"application/jsonl", NOT_UNDERSTOOD),
        ((b'{"end":1}',), b"application/json", NOT_UNDERSTOOD),
        ((b"<html>",), b"text/html", "is no API of a gateway, it answered 200"),
    ],
)
def test_a_gateway_that_says_something_else_is_no_crash(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    pieces: Sequence[bytes],
    kind: bytes,
    words: str,
) -> None:
    async def whole() -> None:
        async with saying(*pieces, kind=kind) as url:
            said = await asyncio.to_thread(run, *BRIEF, "--url", url, "--key-file", "key")
            assert words in said.sentence(1)

    monkeypatch.chdir(tmp_path)
    (tmp_path / "key").write_text(make_key(lambda size: b"\1" * size))
    asyncio.run(whole())


def test_a_round_that_was_cut_off_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def whole() -> None:
        compared = json.dumps({"compared": COMPARED}).encode()
        async with saying(b'{"listed":true}', compared, whole=False) as url:
            at = ("--url", url, "--key-file", "key")
            said = await asyncio.to_thread(run, "reconcile", "mt", *at)
            assert (said.code, said.error) == (1, "")
            assert said.text.startswith("1 order compared: 1 the same.\nIt ended early: http://127")

    monkeypatch.chdir(tmp_path)
    (tmp_path / "key").write_text(make_key(lambda size: b"\1" * size))
    asyncio.run(whole())
