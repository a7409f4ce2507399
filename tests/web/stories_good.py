"""A sensible request of each call, and what has to be there for it."""

import json
from collections.abc import Callable
from typing import Any

from tests.web.stories import NAMED, Ask, Stage, Story
from tests.web.test_api_unlinked import refund

CLOUDEVENT = "application/cloudevents+json"

GOOD: dict[tuple[str, int], list[Story]] = {}
"""The scenarios, by call and status."""


def good(name: str, status: int | None = None) -> Callable[[Story], Story]:
    """A request that the call answers with its success, or with this one of several."""

    def keep(story: Story) -> Story:
        GOOD.setdefault((name, status or NAMED[name].status), []).append(story)
        return story

    return keep


def asked(stage: Stage) -> dict[str, Any]:
    """A CloudEvent of an internal service."""
    return {
        "specversion": "1.0",
        "id": stage.fresh(),
        "source": "/desk",
        "type": "desk.asked",
        "data": {"text": "when?"},
    }


async def waiting(stage: Stage) -> str:
    """A fact without its order."""
    number = int(stage.fresh()[1:])
    response = await stage.world.stripe(refund(number, f"pi_{number}"))
    assert response.json()["verdict"] == "unlinked", response.text
    page = await stage.done("listUnlinked", query={"limit": "200"})
    return str(page["data"][-1]["id"])


@good("me")
async def me(_: Stage) -> Ask:
    return Ask(name="me")


@good("listEventTypes")
async def event_types(_: Stage) -> Ask:
    return Ask(name="listEventTypes")


@good("getEventType")
async def event_type(_: Stage) -> Ask:
    return Ask(name="getEventType", id="order.paid")


@good("listEvents")
async def events(stage: Stage) -> Ask:
    order = await stage.order()
    query = {"order": order, "type": "order.created", "shop": "default", "source": "shop"}
    return Ask(name="listEvents", query={**query, "since": "2026-01-15T14:30:00Z", "limit": "5"})


@good("getEvent")
async def event(stage: Stage) -> Ask:
    return Ask(name="getEvent", id=(await stage.event())["id"])


@good("listDeliveries")
async def deliveries(stage: Stage) -> Ask:
    event = (await stage.delivery())["event_id"]
    query = {"event": event, "subscription": "good", "state": "delivered"}
    return Ask(name="listDeliveries", query=query)


@good("getDelivery")
async def delivery(stage: Stage) -> Ask:
    return Ask(name="getDelivery", id=(await stage.delivery())["id"])


@good("listAttempts")
async def attempts(stage: Stage) -> Ask:
    return Ask(name="listAttempts", id=(await stage.delivery())["id"])


@good("replayDelivery")
async def redeliver(stage: Stage) -> Ask:
    return Ask(name="replayDelivery", id=(await stage.delivery())["id"])


@good("listCallbacks")
async def callbacks(stage: Stage) -> Ask:
    await stage.order()
    return Ask(name="listCallbacks", query={"source": "shop", "verdict": "event"})


@good("getCallback")
async def callback(stage: Stage) -> Ask:
    return Ask(name="getCallback", id=(await stage.event())["callback"])


@good("downloadCallback")
async def body(stage: Stage) -> Ask:
    return Ask(name="downloadCallback", id=(await stage.event())["callback"])


@good("listQuarantine")
async def quarantine(stage: Stage) -> Ask:
    await stage.quarantined()
    return Ask(name="listQuarantine", query={"source": "shop"})


@good("retryCallback")
async def reread(stage: Stage) -> Ask:
    return Ask(name="retryCallback", id=await stage.quarantined())


@good("retryCallback")
async def reread_dry(stage: Stage) -> Ask:
    return Ask(name="retryCallback", id=await stage.quarantined(), query={"dry_run": "true"})


@good("explain")
async def explain(stage: Stage) -> Ask:
    return Ask(name="explain", id=await stage.order())


@good("listOrders")
async def orders(stage: Stage) -> Ask:
    await stage.order()
    return Ask(name="listOrders", query={"shop": "default", "limit": "5"})


@good("getOrder")
async def order(stage: Stage) -> Ask:
    return Ask(name="getOrder", id=await stage.order())


@good("listSources")
async def sources(stage: Stage) -> Ask:
    await stage.watched()
    return Ask(name="listSources")


@good("getSource")
async def source(stage: Stage) -> Ask:
    await stage.watched()
    return Ask(name="getSource", id="mt")


@good("listRejected")
async def rejected(stage: Stage) -> Ask:
    await stage.rejected()
    return Ask(name="listRejected", id="shop")


@good("watchOrder")
async def watch(stage: Stage) -> Ask:
    return Ask(name="watchOrder", id="mt", body={"id": stage.api.place()})


@good("pollSource")
async def poll(stage: Stage) -> Ask:
    await stage.watched()
    return Ask(name="pollSource", id="mt")


@good("reconcileSource")
async def reconcile(stage: Stage) -> Ask:
    await stage.watched()
    return Ask(name="reconcileSource", id="mt", query={"since": "7d", "emit": "false"})


@good("listUnlinked")
async def unlinked(stage: Stage) -> Ask:
    await waiting(stage)
    return Ask(name="listUnlinked", query={"source": "stripe"})


@good("linkUnlinked")
async def link(stage: Stage) -> Ask:
    body = {"order": await stage.order(), "shop": "default"}
    return Ask(name="linkUnlinked", id=await waiting(stage), body=body)


@good("listSamples")
async def samples(stage: Stage) -> Ask:
    await stage.order()
    return Ask(name="listSamples", query={"type": "order.created", "limit": "2", "flat": "true"})


@good("testFilter")
async def trial_of_a_kept_one(stage: Stage) -> Ask:
    event = (await stage.event())["id"]
    return Ask(name="testFilter", body={"types": ["order.*"], "event_id": event})


@good("testFilter")
async def trial(_: Stage) -> Ask:
    filters = [{"all": [{"prefix": {"subject": "10"}}, {"data": {"/total/value": {"ge": 50}}}]}]
    return Ask(name="testFilter", body={"filters": filters, "type": "order.paid"})


@good("testSubscription")
async def trying(stage: Stage) -> Ask:
    made = await stage.subscribed()
    return Ask(name="testSubscription", id=made["id"], body={"type": "order.paid"})


@good("createSubscription", 201)
async def subscribe(stage: Stage) -> Ask:
    body = {"url": stage.url(), "types": ["order.cancelled"], "description": "a note"}
    return Ask(name="createSubscription", body=body)


@good("createSubscription", 200)
async def subscribe_again(stage: Stage) -> Ask:
    made = await stage.subscribed()
    return Ask(name="createSubscription", body={"url": made["url"], "types": "order.cancelled"})


@good("listSubscriptions")
async def subscriptions(stage: Stage) -> Ask:
    made = await stage.subscribed()
    return Ask(name="listSubscriptions", query={"url": made["url"]})


@good("getSubscription")
async def subscription(stage: Stage) -> Ask:
    return Ask(name="getSubscription", id=(await stage.subscribed())["id"])


@good("changeSubscription")
async def change(stage: Stage) -> Ask:
    made = await stage.subscribed()
    response = await stage.send(Ask(name="getSubscription", id=made["id"]))
    headers = {"if-match": response.headers["etag"]}
    return Ask(name="changeSubscription", id=made["id"], body={"slots": 2}, headers=headers)


@good("removeSubscription")
async def remove(stage: Stage) -> Ask:
    return Ask(name="removeSubscription", id=(await stage.subscribed())["id"])


@good("rotateSubscription")
async def rotate(stage: Stage) -> Ask:
    made = await stage.subscribed()
    return Ask(name="rotateSubscription", id=made["id"], body={"overlap": "1h"})


@good("pauseSubscription")
async def pause(stage: Stage) -> Ask:
    return Ask(name="pauseSubscription", id=(await stage.subscribed())["id"])


@good("resumeSubscription")
async def resume(stage: Stage) -> Ask:
    made = await stage.subscribed()
    await stage.done("pauseSubscription", id=made["id"])
    return Ask(name="resumeSubscription", id=made["id"])


@good("getSubscriptionStats")
async def stats(stage: Stage) -> Ask:
    made, _, _ = await stage.ended("no", "dead")
    return Ask(name="getSubscriptionStats", id=made["id"], query={"since": "1h"})


@good("fetchEvents")
async def fetch(stage: Stage) -> Ask:
    made, _ = await stage.pulled()
    return Ask(name="fetchEvents", id=made["id"], query={"limit": "10", "wait": "1"})


@good("acknowledgeEvents")
async def acknowledge(stage: Stage) -> Ask:
    made, cursor = await stage.pulled()
    return Ask(name="acknowledgeEvents", id=made["id"], body={"cursor": cursor})


@good("streamEvents")
async def stream(stage: Stage) -> Ask:
    await stage.order()
    return Ask(name="streamEvents", query={"types": "order.*", "from": "beginning"})


@good("startReplay")
async def replay(stage: Stage) -> Ask:
    return Ask(name="startReplay", body={"event": (await stage.event())["id"]})


@good("startReplay")
async def count_replays(stage: Stage) -> Ask:
    await stage.delivery()
    return Ask(name="startReplay", body={"state": "delivered", "dry_run": True})


@good("listReplays")
async def replays(stage: Stage) -> Ask:
    await stage.done("startReplay", body={"event": (await stage.event())["id"]})
    return Ask(name="listReplays", query={"limit": "5"})


@good("getReplay")
async def replay_job(stage: Stage) -> Ask:
    job = await stage.done("startReplay", body={"event": (await stage.event())["id"]})
    return Ask(name="getReplay", id=str(job["id"]))


@good("listLanes")
async def lanes(stage: Stage) -> Ask:
    lane = await stage.parked()
    return Ask(name="listLanes", query={"subscription": lane["subscription"]})


@good("releaseLane")
async def release(stage: Stage) -> Ask:
    return Ask(name="releaseLane", body=await stage.parked())


@good("skipLane")
async def skip(stage: Stage) -> Ask:
    return Ask(name="skipLane", body={**await stage.parked(), "shop": "default"})


@good("publishEvents")
async def publish(stage: Stage) -> Ask:
    content = json.dumps(asked(stage)).encode()
    return Ask(name="publishEvents", content=content, headers={"content-type": CLOUDEVENT})


@good("publishEvents")
async def publish_a_batch(stage: Stage) -> Ask:
    content = json.dumps([asked(stage), asked(stage)]).encode()
    headers = {"content-type": "application/cloudevents-batch+json"}
    return Ask(name="publishEvents", content=content, headers=headers)


@good("publishEvents")
async def publish_in_headers(stage: Stage) -> Ask:
    event = asked(stage)
    content = json.dumps(event.pop("data")).encode()
    headers = {f"ce-{name}": value for name, value in event.items()}
    headers["content-type"] = "application/json"
    return Ask(name="publishEvents", content=content, headers=headers, query={"shop": "north"})


SOURCE = {"provider": "printstudio", "secrets": ["a-secret"]}


async def made_source(stage: Stage) -> str:
    """A source that no configuration declares."""
    name = stage.fresh()
    await stage.done("createSource", body={"name": name, **SOURCE})
    return name


@good("createSource")
async def new_source(stage: Stage) -> Ask:
    return Ask(name="createSource", body={"name": stage.fresh(), **SOURCE, "shop": "berlin"})


@good("createSource")
async def new_source_that_is_asked(stage: Stage) -> Ask:
    asked = {"base_url": stage.api.url, "token": "tiger-token", "interval": "10m"}
    body = {"name": stage.fresh(), "provider": "marketiger", "requests_per_minute": 60}
    return Ask(name="createSource", body={**body, **asked})


@good("changeSource")
async def change_source(stage: Stage) -> Ask:
    name = await made_source(stage)
    response = await stage.send(Ask(name="getSource", id=name))
    headers = {"if-match": response.headers["etag"]}
    body = {"secrets": ["a-secret", "another"], "tolerance": None, "silent_after": "6h"}
    return Ask(name="changeSource", id=name, body=body, headers=headers)


@good("removeSource")
async def remove_source(stage: Stage) -> Ask:
    return Ask(name="removeSource", id=await made_source(stage))


@good("pauseSource")
async def pause_source(stage: Stage) -> Ask:
    return Ask(name="pauseSource", id=await made_source(stage))


@good("resumeSource")
async def resume_source(stage: Stage) -> Ask:
    name = await made_source(stage)
    await stage.done("pauseSource", id=name)
    return Ask(name="resumeSource", id=name)


@good("createKey")
async def new_key(_: Stage) -> Ask:
    body = {"role": "reader", "name": "the ERP", "expires_at": "2999-01-01T00:00:00Z"}
    return Ask(name="createKey", body=body)


@good("listKeys")
async def keys(_: Stage) -> Ask:
    return Ask(name="listKeys")


@good("revokeKey")
async def revoke(stage: Stage) -> Ask:
    made = await stage.done("createKey", body={"role": "reader"})
    return Ask(name="revokeKey", id=made["id"])
