"""What `gateway doctor` asks: the gateway that runs, its ports, the clock, and who is delivered to."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import httpx2
import msgspec

from gateway.cli.checks import SKEW
from gateway.cli.control import ask
from gateway.cli.findings import Finding, in_thread, ok, problem, warning
from gateway.cli.sending import address, host_header
from gateway.cli.tables import local
from gateway.config.settings import Settings
from gateway.egress.answer import AttemptFailed
from gateway.egress.probe import Prober, Reached
from gateway.egress.rules import Rules, Target, parse_proxy, parse_target
from gateway.errors import GatewayError, StartupError
from gateway.models import Failure, Millis
from gateway.web.server import bind

PATIENCE = 8.0  # seconds for one connection; the deadline of the whole check comes after it
LOOKS, BETWEEN = 5, 0.1  # looks at the clocks, and seconds between two
JUMP = 0.1  # seconds by which two clocks may differ while nobody sets one
AT_ONCE = 500  # connections
SOON = 14 * 86_400_000  # milliseconds before its end in which a certificate is told
REFUSED = 300_000  # milliseconds: the tolerance of Stripe and of Standard Webhooks

ADVICE: Mapping[Failure, str] = {
    Failure.FORBIDDEN: "allow that address and port in egress.allow if it shall be reached",
    Failure.DNS: "see that {key} names the right host, and that this machine can resolve names",
    Failure.CONNECT: "see that it runs and that {key} has its port; a firewall may need egress.proxy",
    Failure.TIMEOUT: "see that it runs and that {key} is right; a firewall may need egress.proxy",
    Failure.TLS: "renew its certificate, or name the host of the certificate in {key}; a private"
    " authority belongs into the system's, or into the file that SSL_CERT_FILE names",
}
OTHER_ADVICE = "see that {key} is right, and that an HTTP server answers there"


# The gateway that runs, and where it listens.


async def running_findings(settings: Settings) -> Sequence[Finding]:
    """Whether a gateway runs on this database, and whether the ports are free or its own."""
    found: list[Finding] = []
    try:
        answer = await in_thread(lambda: ask(settings, "/readyz", method="GET"))
    except GatewayError as error:
        runs = True
        found.append(problem("gateway", f"it runs and is not ready: {error}", "look at its log"))
    else:
        runs = answer is not None
        said = "it runs and is ready" if runs else "none runs on this database"
        found.append(ok("gateway", said, "" if runs else "`gateway serve` starts it"))
    server, admin = settings.server, settings.admin
    for name, host, port in (
        ("server", server.host, server.port),
        ("admin", admin.host, admin.port),
    ):
        found.append(await _port(settings, name, host, port, runs=runs))
    return found


async def _port(settings: Settings, name: str, host: str, port: int, *, runs: bool) -> Finding:
    check = f"{name}.port"
    if not port:
        return ok(check, "0: another free one is taken at each start")
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    ours = await _healthy(settings, name, host, port)
    if ours is None:
        return _free(check, name, host, port, runs=runs)
    if runs and ours:
        return ok(check, f"{shown} is the gateway's, and answers")
    whose = "a gateway with another database" if ours else "another program"
    advice = f"stop that one, or choose another {name}.port"
    return problem(check, f"{shown} is in use by {whose}", advice)


def _free(check: str, name: str, host: str, port: int, *, runs: bool) -> Finding:
    try:
        bind(host, port, path=name).close()
    except StartupError as error:
        return problem(check, str(error).removeprefix(f"{check}: "))
    if runs:
        advice = (
            "it was started with another configuration: restart it, or give this command --config"
        )
        return warning(check, f"the gateway that runs does not listen on {host}:{port}", advice)
    return ok(check, f"{host}:{port} is free")


async def _healthy(settings: Settings, name: str, host: str, port: int) -> bool | None:
    """Whether a gateway answers there; None when nothing listens."""
    there = msgspec.structs.replace(settings.server, host=host, port=port)
    url = address(there, "x", None).removesuffix("/hooks/x") + "/healthz"
    header = host_header(settings.server, url) if name == "server" else None
    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
            answer = await client.get(url, headers={"host": header} if header else None)
        told = msgspec.json.decode(answer.content, type=dict[str, object])
    except httpx2.ConnectError:
        return None
    except (httpx2.HTTPError, msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return told.get("status") == "alive"


# The clock.


async def clock_findings(
    wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic
) -> Sequence[Finding]:
    """Whether the clock goes on as time does; both clocks are in seconds."""
    apart = []
    for _ in range(LOOKS):
        apart.append(wall() - steady())
        await asyncio.sleep(BETWEEN)
    jump = max(apart) - min(apart)
    if jump > JUMP:
        said = f"the clock jumped by {jump:.1f} s while it was looked at"
        advice = "see that one program alone sets it, slowly: chrony or systemd-timesyncd"
        return [problem("clock", said, advice)]
    return [ok("clock", f"it goes on steadily; it is {local(Millis(int(wall() * 1000)))}")]


# Who is delivered to, and who is asked.


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A URL that the gateway connects to; `asked` may be sent a request, which costs nothing."""

    check: str  # as in `subscription fulfilment`
    key: str  # of the configuration, or of `gateway subscriptions add`
    url: str
    asked: bool = False


class Reach:
    """Tries places, each server once, however many lead to it."""

    def __init__(self, settings: Settings, now: Callable[[], Millis]) -> None:
        proxy = parse_proxy(settings.egress.proxy) if settings.egress.proxy else None
        self._prober = Prober(rules=Rules(settings.egress.allow), proxy=proxy, timeout=PATIENCE)
        self._now = now
        self._tried: dict[str, asyncio.Task[Reached]] = {}
        self._room = asyncio.Semaphore(AT_ONCE)

    async def findings(self, place: Place) -> Sequence[Finding]:
        """One line, and one more where the certificate or the clock is to be told."""
        try:
            target = parse_target(place.url)
        except ValueError as error:
            return [problem(place.check, str(error).removesuffix("."), f"correct {place.key}")]
        try:
            reached = await self._once(target)
        except AttemptFailed as error:
            advice = ADVICE.get(error.failure, OTHER_ADVICE).format(key=place.key)
            said = f"{error.failure}: {error.detail.removesuffix('.')}"
            return [problem(place.check, said, advice)]
        found = [_reached(place, target, reached, self._now())]
        if place.asked:
            found += _clock(place, await self._prober.told_time(target))
        return found

    async def _once(self, target: Target) -> Reached:
        """The one try of this server, which all wait for."""
        if target.origin not in self._tried:
            self._tried[target.origin] = asyncio.create_task(self._try(target))
        return await asyncio.shield(self._tried[target.origin])

    async def _try(self, target: Target) -> Reached:
        async with self._room:
            return await self._prober.connect(target)


def _reached(place: Place, target: Target, reached: Reached, now: Millis) -> Finding:
    how = f"{target.origin} is reached in {reached.took:.0f} ms"
    if reached.tls is None:
        return ok(place.check, f"{how}, without TLS")
    how = f"{how} by {reached.tls}"
    if reached.expires is None:
        return ok(place.check, how)
    said = f"{how}; its certificate ends {local(reached.expires)}"
    if reached.expires < now + SOON:
        return warning(place.check, said, "have it renewed: nothing is delivered after that")
    return ok(place.check, said)


def _clock(place: Place, ahead: Millis | None) -> Iterator[Finding]:
    """`ahead` is how far our clock is before the server's."""
    if ahead is None or abs(ahead) <= SKEW:
        return
    side = "ahead of" if ahead > 0 else "behind"
    said = f"it is {abs(ahead) / 1000:.0f} s {side} the clock of {place.check}"
    advice = "see that NTP keeps it: signatures carry the time, and are refused when it is wrong"
    yield (problem if abs(ahead) > REFUSED else warning)("clock", said, advice)
