"""What `gateway subscriptions test` and `test-filter` do, and how they show it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from gateway.cli.control import act_on, ask, subscription_path
from gateway.cli.look import draw, read_here, say
from gateway.cli.options import Place
from gateway.cli.remote import Answer
from gateway.cli.stories import after
from gateway.cli.tables import BODY_HEAD, Column, View, answer, clean, filled, shortened, to_json
from gateway.config.settings import Settings
from gateway.errors import NotFound
from gateway.filters.reading import read_filters
from gateway.filters.trace import Term
from gateway.models import Subscription
from gateway.runtime import Gateway
from gateway.shown import shown, taken
from gateway.stores.views import Records
from gateway.tester import LONGEST, EndpointAnswer, answer_of
from gateway.trial import Trial, event_of, tried

PATIENCE = LONGEST / 1000 + 15  # seconds
WANTED = ("types", "sources", "shops", "filters")


def endpoint(
    place: Place,
    name: str,
    event_type: str | None,
    *,
    as_json: bool,
    whole: Callable[[], Settings],
) -> int:
    """Send a test event and print how it went; 1 when the endpoint did not take it.

    When no gateway runs, `whole` gives the settings with the secrets, and it is sent from here.
    Raises `NotFound`, `Conflict`, `StartupError` for a type that there is no example of.
    """

    async def directly(gateway: Gateway) -> dict[str, object]:
        try:
            return await _test(gateway, name, event_type)
        finally:
            await gateway.transport.close()

    done = act_on(
        place,
        f"{subscription_path(name)}/test",
        directly,
        body={} if event_type is None else {"type": event_type},
        whole=whole,
        patience=PATIENCE,
    )
    told = taken(done.answer, EndpointAnswer)
    if as_json:
        say(to_json(told))
    else:
        draw(_endpoint_view(told))
        if told.curl is not None:
            say(f"\n{told.curl}")
    return 0 if told.failure is None else 1


async def _test(gateway: Gateway, name: str, event_type: str | None) -> dict[str, object]:
    for status in await gateway.store.catalog.refresh():
        if status.subscription.name == name:
            tested = await gateway.tester.test(status, event_type)
            return dict(shown(answer_of(tested)))
    raise NotFound(f"there is no subscription {name}")


def _endpoint_view(told: EndpointAnswer) -> View:
    connected = "open already" if told.connected_ms == 0 else after(told.connected_ms)
    parts = (
        *(("answer", answer(told.status, told.failure)), ("", told.detail)),
        *(("advice", told.advice or ""), ("note", told.note or "")),
        *(("type", told.type), ("webhook-id", told.webhook_id), ("address", told.address or "")),
        *(("connected", connected), ("first byte", after(told.first_byte_ms))),
        *(("done", after(told.duration_ms)), ("body", shortened(told.head, BODY_HEAD))),
        ("set for curl", " ".join(told.variables)),
    )
    return View(
        columns=[Column("test"), Column(told.subscription, whole=False)],
        rows=[part for part in parts if part[1]],
    )


def filters(place: Place, name: str, event: str, *, as_json: bool) -> None:
    """Print whether a subscription, as it is now, wants an event, and each term; `NotFound`."""
    if isinstance(place, Settings):
        trial = read_here(place, lambda records: _tried_here(records, name, event))
    else:
        wanted = ask(place, subscription_path(name), method="GET") or {}
        body = {key: wanted[key] for key in WANTED} | {"event_id": event}
        trial = taken(_asked(place, body), Trial)
    if as_json:
        say(to_json(trial))
        return
    say(clean(f"Subscription {name} {'wants' if trial.matched else 'does not want'} {event}."))
    if not trial.matched:
        say(clean(f"{trial.reason}."))
    if trial.terms:
        say("")
        draw(_terms_view(trial.terms))


def _asked(place: Place, body: Mapping[str, object]) -> Answer:
    return ask(place, "/v1/subscriptions/test-filter", body) or {}


async def _tried_here(records: Records, name: str, event: str) -> Trial:
    settings: Mapping[str, Any] = (await records.subscription(name)).settings
    row, body = await records.event_body(event)
    subscription = msgspec.convert(
        {"id": 0, "name": name, "url": ""} | {key: settings.get(key, ()) for key in WANTED},
        Subscription,
    )
    made = event_of(row.type, row.source, row.shop, body)
    return tried(subscription, made, read_filters(list(subscription.filters)))


def _terms_view(terms: Sequence[Term]) -> View:
    columns = [Column("term"), Column("holds"), Column("comparison")]
    view = View(
        columns=[*columns, Column("expected", whole=False), Column("found", whole=False)],
        rows=[
            (
                *(one.path, "yes" if one.passed else "no", one.operator or ""),
                *(one.expected or "", one.actual or ""),
            )
            for one in _each(terms)
        ],
    )
    return filled(view)


def _each(terms: Sequence[Term]) -> Iterator[Term]:
    for one in terms:
        yield one
        yield from _each(one.terms)
