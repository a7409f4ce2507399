"""Scenarios of the API's calls: a stage with all that they need, and what the document promises."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx2
from jsonschema import Draft202012Validator

from gateway.keys import Role
from gateway.web.api.openapi import document
from gateway.web.api.operation import Door, Operation
from gateway.web.api.table import OPERATIONS
from gateway.web.limits import Limits
from gateway.web.problems import CODES
from tests.pipeline.polling import source
from tests.pipeline.world import (
    SHOP_SECRET,
    Answer,
    Delivered,
    World,
    configuration,
    consuming,
    running,
    shop_event,
)
from tests.simulators.api import serving
from tests.simulators.marketiger import MarketigerApi

NAMED: Mapping[str, Operation] = {operation.name: operation for operation in OPERATIONS}
DOCUMENT = document(OPERATIONS)
STATUSES = {code: status for status, code in CODES.items()}
PROBLEM = "application/problem+json"

OTHER = f"""
[sources.other]
provider = "printstudio"
shop = "other"
secrets = ["{SHOP_SECRET}"]
"""


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request of a call: `id` is what its path's parameter is, `content` a body that is no JSON."""

    name: str
    id: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    role: Role | None = Role.ADMIN

    @property
    def operation(self) -> Operation:
        return NAMED[self.name]

    @property
    def path(self) -> str:
        before, brace, _ = self.operation.path.partition("{")
        rest = self.operation.path.partition("}")[2]
        path = f"{before}{quote(self.id, safe='')}{rest}" if brace else before
        return f"{path}?{urlencode(self.query)}" if self.query else path


class Stage:
    """A gateway with a key of each role; what a scenario makes here is its own."""

    def __init__(self, world: World, keys: Mapping[Role, str], api: MarketigerApi) -> None:
        self.world, self.keys, self.api = world, keys, api
        self._numbers = itertools.count(1)

    def fresh(self) -> str:
        """A word that no other scenario has."""
        return f"n{next(self._numbers)}"

    async def send(self, ask: Ask) -> httpx2.Response:
        """Ask at the public door, where the call is reached there."""
        public = Door.PUBLIC in ask.operation.doors
        headers = dict(ask.headers)
        if ask.role is not None:
            headers["authorization"] = f"Bearer {self.keys[ask.role]}"
        client = self.world.client
        request = client.build_request(
            ask.operation.method,
            (self.world.public if public else self.world.admin) + ask.path,
            headers=headers,
            json=ask.body,
            content=ask.content,
        )
        response = await client.send(request, stream=True)
        if response.headers.get("content-type") == "text/event-stream":  # it has no end
            await response.aclose()
            return httpx2.Response(response.status_code, headers=response.headers, content=b"")
        await response.aread()
        return response

    async def done(self, name: str, **more: Any) -> Any:
        """What a call answers that a scenario needs."""
        response = await self.send(Ask(name=name, **more))
        assert response.is_success, (name, response.status_code, response.text)
        return response.json() if response.content else None

    async def order(self, *, source: str = "shop", order: str | None = None) -> str:
        """A new order, of which a source has told."""
        number = self.fresh()
        name = order or f"ord-{number}"
        response = await self.world.shop(shop_event(number, order=name), source)
        assert response.json()["verdict"] == "event", response.text
        return name

    async def event(self) -> dict[str, Any]:
        """The event of a new order."""
        page = await self.done("listEvents", query={"order": await self.order()})
        return dict(page["data"][0])

    async def delivery(self) -> dict[str, Any]:
        """A delivery of a new order's event that was taken."""
        event = await self.event()
        return await self.delivered(event["id"], "good", "delivered")

    async def delivered(self, event: str, subscription: str, state: str) -> dict[str, Any]:
        """A delivery of this event, once it stands so."""
        query = {"event": event, "subscription": subscription}
        for _ in range(3_000):
            for row in (await self.done("listDeliveries", query=query))["data"]:
                if row["state"] == state:
                    return dict(row)
            await asyncio.sleep(0.01)
        raise AssertionError(f"no delivery of {event} to {subscription} became {state}")

    async def quarantined(self) -> str:
        """A callback that could not be read."""
        response = await self.world.shop({**shop_event(self.fresh()), "data": {}})
        assert response.json()["verdict"] == "quarantined"
        page = await self.done("listQuarantine", query={"limit": "1"})
        return str(page["data"][0]["id"])

    async def rejected(self) -> None:
        """A request in the name of `shop` that was refused, of which a sample is kept."""
        headers = {"x-printstudio-signature": "sha256=00"}
        assert (await self.world.post("shop", b"{}", headers)).status_code == 401
        for _ in range(3_000):
            if (await self.done("listRejected", id="shop"))["data"]:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("no sample was kept")

    async def watched(self) -> str:
        """An order that `mt` is asked for."""
        number = self.api.place()
        await self.done("watchOrder", id="mt", body={"id": number})
        return number

    def url(self, answer: str = "ok") -> str:
        """Of the consumer: its path says how it answers."""
        return f"http://127.0.0.1:{self.world.consumer.port}/{answer}/{self.fresh()}"

    async def subscribed(self, **keys: Any) -> dict[str, Any]:
        """A subscription of the `admin` key for what nobody tells, unless `types` say more."""
        body = {"name": self.fresh(), "types": ["order.cancelled"], **keys}
        if not body.get("pull"):
            body.setdefault("url", self.url())
        return dict(await self.done("createSubscription", body=body))

    async def told_only(self, order: str, **keys: Any) -> dict[str, Any]:
        """A subscription for what happens to this order."""
        about = [{"exact": {"subject": order}}]
        return await self.subscribed(types=["order.*"], filters=about, **keys)

    async def pulled(self) -> tuple[dict[str, Any], str]:
        """A subscription with `pull` that has an event to fetch, and its cursor."""
        order = f"ord-{self.fresh()}"
        made = await self.told_only(order, pull=True)
        await self.order(order=order)
        page = await self.done("fetchEvents", id=made["id"], query={"wait": "5"})
        return made, str(page["data"][0]["cursor"])

    async def ended(self, answer: str, state: str, **keys: Any) -> tuple[dict[str, Any], str, str]:
        """A subscription whose one event was not taken, that event's delivery, and its order."""
        order = f"ord-{self.fresh()}"
        made = await self.told_only(order, url=self.url(answer), schedule=[], **keys)
        await self.order(order=order)
        page = await self.done("listEvents", query={"order": order})
        row = await self.delivered(page["data"][0]["id"], made["name"], state)
        if answer == "gone":  # the delivery is read in the file; the snapshot comes a moment later
            catalog = self.world.gateway.store.catalog
            end = (made["name"], "gone")
            await self.world.until(
                lambda: end in [(one.subscription.name, one.state) for one in catalog.statuses]
            )
        return made, str(row["id"]), order

    async def parked(self) -> dict[str, str]:
        """A parked lane, as the calls about it name it."""
        made, _, order = await self.ended("no", "parked", ordering="order")
        return {"subscription": made["name"], "order": order}


def answer(seen: Delivered) -> Answer:
    """What the consumer says at each of its paths."""
    statuses = {"no": 422, "gone": 410}
    return statuses.get(seen.path.split("/")[1], 200), {}, b"ok"


@asynccontextmanager
async def stage(folder: Path, *, limits: Limits | None = None) -> AsyncIterator[Stage]:
    """One that runs: with two shops, the polled source `mt`, and the subscription `good`."""
    async with serving(MarketigerApi()) as api, consuming() as consumer:
        consumer.answer = answer
        text = configuration(consumer.port, sources=OTHER + source(api))
        async with running(folder, consumer, text, limits=limits) as world:
            keys = {}
            for role in Role:
                _, keys[role] = await world.gateway.keyring.create(role, world.gateway.clock())
            yield Stage(world, keys, api)


Story = Callable[[Stage], Awaitable[Ask]]
"""Brings about what a request needs, and says which it is."""


def responses(operation: Operation) -> dict[int, Any]:
    """What the document says that the call may answer, by status."""
    found = DOCUMENT["paths"][operation.path][operation.method.lower()]["responses"]
    return {int(status): response for status, response in found.items()}


def codes(operation: Operation) -> set[str]:
    """The problems among them."""
    return {CODES[status] for status in responses(operation) if status >= 400}


def check(ask: Ask, response: httpx2.Response, status: int) -> None:
    """Whether it is this status, and all that the document says of it."""
    seen = (ask.name, response.status_code, response.text[:500])
    assert response.status_code == status, seen
    documented = responses(ask.operation).get(status)
    assert documented is not None, f"the document says nothing of it: {seen}"
    for name, header in documented["headers"].items():
        assert name in response.headers or "$ref" not in header, (name, seen)
    content = documented.get("content", {})
    kind = response.headers.get("content-type")
    assert kind in content if content else not response.content, (kind, seen)
    if content and "schema" in content[kind]:
        said = response.json()
        valid(said, content[kind]["schema"])
    if status >= 400:
        assert (said["status"], said["code"]) == (status, CODES[status]), seen
        assert said["request_id"] == response.headers["x-request-id"], seen
        assert said["detail"], seen


def check_sent(ask: Ask) -> None:
    """Whether the body is one that the document describes."""
    told = DOCUMENT["paths"][ask.operation.path][ask.operation.method.lower()]
    if ask.body is not None:
        valid(ask.body, told["requestBody"]["content"]["application/json"]["schema"])


def valid(value: Any, schema: Any) -> None:
    """Whether it fits, and has nothing that the document does not tell of."""
    whole = {**schema, "components": {"schemas": CLOSED}}
    errors = [f"{one.json_path}: {one.message}" for one in _validator(whole).iter_errors(value)]
    assert errors == []


def _validator(schema: Any) -> Draft202012Validator:
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


CLOSED: Mapping[str, Any] = {
    name: {"additionalProperties": False, **schema} if "properties" in schema else schema
    for name, schema in DOCUMENT["components"]["schemas"].items()
}
"""The document's types, which have all their fields."""


def with_header(ask: Ask, name: str, value: str) -> Ask:
    return replace(ask, headers={**ask.headers, name: value})
