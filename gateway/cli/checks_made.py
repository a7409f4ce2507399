"""What `gateway doctor` knows of sources that were made at run time.

The gateway that runs tells of them. Where none runs they are read from the database, but not from
one with a log that was left: whoever closes it last writes that log back, and a check changes nothing.
"""

from collections.abc import Container, Iterator
from pathlib import Path

from gateway.cli.checks_live import Place
from gateway.cli.control import ask
from gateway.cli.findings import Finding, ok, problem
from gateway.cli.known import detail, made_sources
from gateway.config.settings import Settings
from gateway.errors import GatewayError
from gateway.shown import taken
from gateway.stores.registry import database_path
from gateway.web.api.sources import SourceDetail, SourceList


def made_findings(
    settings: Settings, declared: Container[str], places: list[Place]
) -> Iterator[Finding]:
    """What is wrong with them; whom they ask is put into `places`. `StartupError`.

    Those whose names the file has `declared` rest, and are left out.
    """
    found = _details(settings)
    if found is None:
        said = "those made at run time are not looked at: the last gateway did not stop by itself"
        yield ok("sources", said, "`gateway serve` takes them up again")
        return
    for one in found:
        if one.declared or one.name in declared:
            continue
        if one.problem is not None:
            advice = f"correct it with `gateway sources set {one.name}`, or remove it"
            yield problem(f"source {one.name}", f"it rests: {one.problem}", advice)
        elif one.enabled and one.asking is not None and one.keys is not None:
            url, key = str(one.keys["base_url"]), f"the base_url of {one.name}"
            places.append(Place(check=f"source {one.name}", key=key, url=url, asked=True))


def _details(settings: Settings) -> list[SourceDetail] | None:
    """All sources that can be told of; None where that would change the database."""
    try:
        answer = ask(settings, "/v1/sources", method="GET")
    except GatewayError:
        return []  # it runs and gives no answer: that is told of the gateway
    if answer is not None:
        return taken(answer, SourceList).data
    path = database_path(settings.store.url)
    if Path(f"{path}-wal").exists():
        return None
    return [detail(one, settings) for one in made_sources(settings).values()]
