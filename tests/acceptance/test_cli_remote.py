"""Every command that looks or acts, with `--url` and `--key`: as it is where the gateway runs."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateway.cli import remote
from gateway.cli.aim import KEY, URL
from gateway.keys import Role, make_key
from gateway.retries import CODES, DeliveryState
from tests.acceptance.shell import run
from tests.acceptance.test_look import Said
from tests.pipeline.test_transport_connect import Authority
from tests.pipeline.world import (
    SECRET,
    Consumer,
    Delivered,
    World,
    configuration,
    consuming,
    running,
    shop_event,
)
from tests.providers.callbacks import intent, stripe_event

pytestmark = pytest.mark.slow

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
DELIVERED, PARKED = CODES[DeliveryState.DELIVERED], CODES[DeliveryState.PARKED]
ENDED = f"SELECT 1 FROM deliveries WHERE state IN ({DELIVERED}, {PARKED})"
TYPO = "gwk_aaaaaaaa_0000000000000000000000000000000000000000000_000000"
ORDERED = """
[subscriptions.ordered]
url = "http://127.0.0.1:{port}/ordered"
secrets = ["{secret}"]
final_status = [422]
ordering = "order"
types = ["order.*"]
"""

LOOKS: Sequence[tuple[str, ...]] = (
    ("events",),
    ("events", "--order", "ord-1"),
    ("events", "--type", "order.created", "--limit", "2"),
    ("deliveries",),
    ("deliveries", "--subscription", "good", "--state", "delivered"),
    ("deliveries", "show", "dl_1"),
    ("deliveries", "--state", "parked"),
    ("explain", "ord-1"),
    ("explain", "cb_1"),
    ("unlinked",),
    ("quarantine",),
    ("lanes",),
    ("keys", "list"),
    ("replay", "--order", "ord-1", "--dry-run"),
)
"""What is told alike here and elsewhere."""

ACTS: Sequence[tuple[str, ...]] = (
    ("quarantine", "show", "cb_5"),
    ("quarantine", "retry", "cb_5", "--dry-run"),
    ("quarantine", "retry"),
    ("lanes", "release", "ordered", "ord-1"),
    ("lanes", "skip", "ordered", "--all"),
    ("replay", "--delivery", "dl_1"),
    ("replay", "--order", "ord-2"),
    ("replay", "--job", "1"),
    ("keys", "create", "--role", "reader", "--expires", "90d"),
    ("subscriptions",),
    ("subscriptions", "add", "crm", "url=https://crm.example/in?token=1", "types=order.paid"),
    ("subscriptions", "show", "crm"),
    ("subscriptions", "pause", "crm"),
    ("subscriptions", "resume", "crm"),
    ("subscriptions", "rotate", "crm", "--overlap", "1h"),
    ("subscriptions", "remove", "crm"),
    ("unlinked", "link", "ul_6_1", "ord-1"),
)
"""One after the other, of a gateway elsewhere."""


REVOKE = ("keys", "revoke")


class Afar:
    """A gateway with a history, and the operator who is somewhere else."""

    def __init__(self, world: World, keys: dict[Role, str]) -> None:
        self.world, self.keys = world, keys

    async def run(self, *arguments: str, role: Role = Role.ADMIN) -> Said:
        """A command with `--url` and `--key`."""
        return await self.plain(
            *arguments, "--url", f"{self.world.admin}/", "--key", self.keys[role]
        )

    async def here(self, *arguments: str) -> Said:
        """The same command beside the database."""
        return await self.plain(*arguments, "--config", str(self.world.folder / "gateway.toml"))

    async def plain(self, *arguments: str) -> Said:
        """A command as it is given; no key is ever printed."""
        said = await asyncio.to_thread(run, *arguments)
        for key in self.keys.values():
            assert key not in said.text + said.error
        return said

    async def json(self, *arguments: str, role: Role = Role.ADMIN) -> Any:
        """What it tells a script."""
        said = await self.run(*arguments, "--json", role=role)
        assert (said.code, said.error) == (0, ""), (arguments, said.text, said.error)
        return json.loads(said.text)


def refuses(seen: Delivered) -> tuple[int, dict[str, str], bytes]:
    """A consumer one of whose subscriptions takes nothing."""
    return (422 if seen.path == "/ordered" else 200), {}, b"ok"


@asynccontextmanager
async def away(folder: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[Afar]:
    """Orders 1 to 4 of which each parks a lane; `cb_5` in quarantine, one fact unlinked."""
    patch.setenv("GATEWAY_STORE__URL", f"sqlite:///{folder}/gateway.db")
    patch.chdir(folder)
    async with consuming() as consumer:
        consumer.answer = refuses
        text = configuration(consumer.port, ORDERED.format(port=consumer.port, secret=SECRET))
        async with running(folder, consumer, text) as world:
            for number in range(1, 5):
                await world.shop(shop_event(number, order=f"ord-{number}"))
            await world.shop(b'{"id":"evt-bad","event":"order.paid","data":{}}')
            paid = stripe_event("payment_intent.succeeded", intent(metadata={}))
            await world.stripe(json.dumps(paid).encode())
            await world.until(lambda: len(world.rows(ENDED)) == 8)
            patch.delenv("GATEWAY_STORE__URL")
            keys = {}
            for role in Role:
                _, keys[role] = await world.gateway.keyring.create(role, world.gateway.clock())
            yield Afar(world, keys)


def play(folder: Path, patch: pytest.MonkeyPatch, story: Callable[[Afar], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with away(folder, patch) as afar:
            await story(afar)

    asyncio.run(whole())


def in_pipes(afar: Afar, *arguments: str) -> Said:
    """A command as a process of its own, which has bytes to print."""
    done = subprocess.run(
        (sys.executable, "-m", "gateway", *arguments),
        env={**os.environ, URL: afar.world.admin, KEY: afar.keys[Role.OPERATOR]},
        capture_output=True,
        timeout=60,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr.decode())


def times_in(value: Any) -> list[str]:
    """All texts that are times, at whatever depth."""
    if isinstance(value, dict):
        return [time for part in value.values() for time in times_in(part)]
    if isinstance(value, list):
        return [time for part in value for time in times_in(part)]
    return [value] if isinstance(value, str) and TIME.fullmatch(value) else []


def test_what_is_told_afar_is_what_is_told_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PAGE", 2)  # so that there are several

    async def story(afar: Afar) -> None:
        store = f"sqlite:///{tmp_path}/gateway.db"
        (tmp_path / "gateway.toml").write_text(f'store.url = "{store}"\n')
        for command in LOOKS:
            for form in ((), ("--json",)):
                here = await afar.here(*command, *form)
                there = await afar.run(*command, *form)
                assert (there.code, there.error) == (0, ""), (command, there.error)
                assert there.text == here.text or command[0] == "keys", command
                assert len(there.text) > 3, command
            assert times_in(json.loads(there.text)) or command[0] == "replay"

    play(tmp_path, monkeypatch, story)


def test_all_that_is_done_is_done_afar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(afar: Afar) -> None:
        told = {command: await afar.json(*command) for command in ACTS}
        shown, tried, read, released, skipped, again, many, job, made = [*told.values()][:9]
        assert (shown["id"], shown["verdict"]) == ("cb_5", "quarantined")
        assert json.loads(shown["body"])["id"] == "evt-bad"
        assert (tried["dry_run"], read["dry_run"], read["live"]) == (True, False, True)
        assert [one["callback"] for one in read["callbacks"]] == ["cb_5"]
        assert [lane["order"] for lane in released["released"]] == ["ord-1"]
        assert {"ord-2", "ord-3", "ord-4"} <= {lane["order"] for lane in skipped["skipped"]}
        assert (again["replays"], again["live"]) == ("dl_1", True)
        assert many["sent"] == many["looked"] > 0
        assert {**job, "live": True} == many
        assert TIME.fullmatch(many["finished_at"])
        assert (made["role"], made["key_file"]) == ("reader", "reader.secret")
        assert (tmp_path / "reader.secret").stat().st_mode & 0o777 == 0o600

        rows, added, detail, paused, resumed, rotated, removed, linked = [*told.values()][9:]
        assert (linked["order"], linked["facts"], linked["live"]) == ("ord-1", 1, True)
        assert [row["name"] for row in rows] == ["good", "ordered"]
        assert (added["subscription"], added["state"]) == ("crm", "active")
        assert added["secret_file"] == "crm.secret"
        assert (detail[0]["url"], detail[0]["types"]) == (
            "https://crm.example/in?token=1",
            ["order.paid"],
        )
        assert [one["state"] for one in (paused, resumed, removed)] == [
            "paused",
            "active",
            "removed",
        ]
        assert rotated["secret_file"] == "crm.2.secret"
        assert TIME.fullmatch(rotated["until"])
        secrets = [(tmp_path / one).read_text().strip() for one in ("crm.secret", "crm.2.secret")]
        assert len(set(secrets)) == 2
        assert not any(one in json.dumps([*told.values()]) for one in secrets)

        key = made["id"]
        assert (await afar.json(*REVOKE, key))["state"] == "revoked"
        (revoked,) = [one for one in await afar.json("keys", "list") if one["id"] == key]
        assert revoked["revoked_at"] is not None

    play(tmp_path, monkeypatch, story)


def test_what_was_done_afar_is_said_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(afar: Afar) -> None:
        shown = await asyncio.to_thread(in_pipes, afar, *ACTS[0])
        told = {command: await afar.run(*command) for command in ACTS[1:]}
        told[ACTS[0]] = shown
        assert [said.code for said in told.values()] == [0] * len(ACTS)
        text = "\n".join(said.text for said in told.values())
        for words in (
            "callback       cb_5",
            "Of 1 callback 0 would make 0 events",
            "order ord-1 at subscription ordered, is due now",
            "of subscription ordered skipped.",
            "Replay job 1 is done",
            "has the role reader, until",
            "Subscription crm gets its events at https://crm.example:443 from now on.",
            "Subscription crm is paused",
            "Subscription crm is active: what waits for it is due.",
            "and with what it had until",
            "Subscription crm is removed",
        ):
            assert words in text
        assert re.search(r"^state +active\nid +sub_\d+\n", text, re.MULTILINE)
        assert "nothing is sent before" not in text

    play(tmp_path, monkeypatch, story)


def test_what_goes_wrong_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(afar: Afar) -> None:
        world, admin, reader = afar.world, afar.keys[Role.ADMIN], afar.keys[Role.READER]
        keyfile = tmp_path / "key"
        keyfile.write_text(f"{admin}\n")
        at = ("--url", world.admin)
        secure = world.admin.replace("http:", "https:")
        consumer = f"http://127.0.0.1:{world.consumer.port}"
        for options, code, words in (
            (("--url", "http://127.0.0.1:1", "--key", admin), 1, "no gateway answers at"),
            ((*at, "--key", unknown(admin)), 1, "does not take this key"),
            (("--url", world.public, "--key", admin), 1, "needs the gateway's admin listener"),
            (("--url", f"{world.admin}/v1", "--key", admin), 1, "needs the gateway's admin"),
            (("--url", secure, "--key", admin), 1, "did not prove who it is"),
            (("--url", "http://gateway.example", "--key", admin), 2, "could read the key"),
            (("--url", "ftp://gateway.example", "--key", admin), 2, "--url: The URL must begin"),
            (("--url", f"{world.admin}/?a=1", "--key", admin), 2, "leave the query out"),
            (at, 2, "--url needs a key"),
            ((*at, "--key", TYPO), 2, "--key is no API key"),
            ((*at, "--key-file", "absent"), 2, "absent cannot be read"),
            ((*at, "--key-file", "gateway.toml"), 2, "gateway.toml is no API key"),
            ((*at, "--key", admin, "--key-file", "key"), 2, "leave one out"),
            (("--key", admin), 2, "say which one with --url"),
        ):
            said = await afar.plain("events", *options)
            assert words in said.sentence(code), (options, said.error)
            assert not [
                option for option in options if option.startswith("gwk_") and option in said.error
            ]
        for command, words in (
            (("subscriptions", "pause", "good"), "a key of the role reader may not do this"),
            (("deliveries", "show", "dl_99"), "there is no delivery dl_99"),
            (("subscriptions", "show", "nobody"), "there is no subscription nobody"),
            (("explain", "nothing"), "nothing is known"),
            (("explain", "\udcff/x y"), "does not have this call"),
            (("lanes", "release", "good", "\udcff"), "is no text"),
        ):
            said = await afar.plain(*command, *at, "--key", reader)
            assert words in said.sentence(1), said.error
        said = await afar.plain("deliveries", "show", "dl_1", "--curl", *at, "--key", admin)
        assert "--curl needs the secrets" in said.sentence(2)
        # This server reads a POST only.
        said = await afar.plain("replay", "--delivery", "dl_1", "--url", consumer, "--key", admin)
        assert "is no API of a gateway, it answered 200" in said.sentence(1)
        said = await afar.plain("serve", *at)
        assert (said.code, "No such option" in said.error) == (2, True)

    play(tmp_path, monkeypatch, story)


def unknown(key: str) -> str:
    """A key that is well-formed, and of nobody."""
    other = make_key(lambda size: b"\1" * size)
    assert other != key
    return other


def test_nothing_here_is_read_and_the_key_need_not_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(afar: Afar) -> None:
        world, key = afar.world, afar.keys[Role.READER]
        (tmp_path / "key").write_text(f"{key}\n")
        (tmp_path / "broken.toml").write_text("this is no TOML")
        monkeypatch.setenv("GATEWAY_CONFIG", "broken.toml")
        at = ("--url", world.admin, "--key-file", "key")
        assert (await afar.plain("events", *at)).code == 0
        # What a group is given holds for its commands.
        said = await afar.plain("deliveries", *at, "show", "dl_1")
        assert said.text.startswith("delivery      dl_1\n"), said.error
        monkeypatch.setenv(URL, world.admin)
        monkeypatch.setenv(KEY, key)
        assert (await afar.plain("deliveries", "show", "dl_1")).text == said.text
        # An address that is given goes before that of the environment, and so does a file.
        gone = ("--url", "http://127.0.0.1:1")
        assert (await afar.plain("events", *gone)).code == 1
        assert (await afar.plain("deliveries", *gone, "show", "dl_1")).code == 1
        broken = await afar.plain("events", "--config", "broken.toml")
        assert "broken.toml" in broken.sentence(2)

    play(tmp_path, monkeypatch, story)


def test_a_subscriber_looks_after_its_own_at_the_public_listener(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(afar: Afar) -> None:
        key = afar.keys[Role.SUBSCRIBER]
        at = ("--url", afar.world.public, "--key", key)
        assert (await afar.plain("subscriptions", *at)).text == (
            "There are no subscriptions that this key may see.\n"
        )
        url = "url=https://crm.example/in"
        made = await afar.plain("subscriptions", "add", "crm", url, *at)
        assert (made.code, made.error) == (0, "")
        # The same URL once more is the same subscription, under the name that it has.
        again = await afar.plain("subscriptions", "add", "other", url, "--json", *at)
        assert json.loads(again.text)["subscription"] == "crm"
        rows = json.loads((await afar.plain("subscriptions", "--json", *at)).text)
        assert [row["name"] for row in rows] == ["crm"]
        said = await afar.plain("subscriptions", "pause", "good", *at)
        assert "there is no subscription good" in said.sentence(1)

    play(tmp_path, monkeypatch, story)


@asynccontextmanager
async def behind_tls(authority: Authority, url: str) -> AsyncIterator[str]:
    """The URL of a proxy that speaks TLS, and passes all on to another URL."""

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(url)
        other = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(pipe(reader, other[1]), pipe(other[0], writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=authority.server)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def test_over_tls_a_private_authority_is_believed_when_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(afar: Afar) -> None:
        authority = Authority(tmp_path)
        (tmp_path / "authority.pem").write_text(authority.pem)
        here = (await afar.run("events")).text
        async with behind_tls(authority, afar.world.admin) as url:
            said = await asyncio.to_thread(in_pipes, afar, "events", "--url", url)
            assert "did not prove who it is" in said.sentence(1)
            monkeypatch.setenv("SSL_CERT_FILE", "authority.pem")
            said = await asyncio.to_thread(in_pipes, afar, "events", "--url", url)
            assert (said.text, said.error) == (here, "")

    play(tmp_path, monkeypatch, story)


def test_a_redirect_is_not_followed_with_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(afar: Afar) -> None:
        other = Consumer()
        await other.start()
        afar.world.consumer.answer = lambda _: (
            307,
            {"Location": f"http://127.0.0.1:{other.port}/", "Content-Type": "application/json"},
            b"{}",
        )
        url = f"http://127.0.0.1:{afar.world.consumer.port}"
        options = ("--url", url, "--key", afar.keys[Role.ADMIN])
        # Its body has to be one that this server reads: a POST.
        said = await afar.plain("replay", "--delivery", "dl_1", *options)
        assert "is no API of a gateway, it answered 307" in said.sentence(1)
        assert other.seen == []
        await other.stop()

    play(tmp_path, monkeypatch, story)
