"""What each call refuses for a reason of its own: one request for each problem that its row names."""

import json
from collections.abc import Callable

from gateway.keys import Role
from tests.web.stories import Ask, Stage, Story
from tests.web.stories_good import CLOUDEVENT, SOURCE, asked, made_source, waiting

WRONG: dict[tuple[str, str], list[Story]] = {}
"""The scenarios, by call and code."""


def wrong(name: str, code: str) -> Callable[[Story], Story]:
    """A request that the call answers with this problem, for a reason of its own."""

    def keep(story: Story) -> Story:
        WRONG.setdefault((name, code), []).append(story)
        return story

    return keep


def one(ask: Ask) -> Story:
    """A request that needs nothing to be there."""

    async def story(_: Stage) -> Ask:
        return ask

    return story


NOWHERE = {"subscription": "nobody", "order": "1"}
ABSENT = (
    Ask(name="getEventType", id="order.eaten"),
    Ask(name="getEvent", id="evt_0"),
    Ask(name="listDeliveries", query={"subscription": "nobody"}),
    Ask(name="listDeliveries", query={"event": "evt_0"}),
    Ask(name="getDelivery", id="dl_999999"),
    Ask(name="listAttempts", id="dl_999999"),
    Ask(name="replayDelivery", id="dl_999999"),
    Ask(name="getCallback", id="cb_999999"),
    Ask(name="downloadCallback", id="cb_999999"),
    Ask(name="retryCallback", id="cb_999999"),
    Ask(name="explain", id="nothing"),
    Ask(name="getOrder", id="nothing"),
    Ask(name="getSource", id="nothing"),
    Ask(name="changeSource", id="nothing", body={"enabled": False}),
    Ask(name="pauseSource", id="nothing"),
    Ask(name="resumeSource", id="nothing"),
    Ask(name="listRejected", id="nothing"),
    Ask(name="watchOrder", id="shop", body={"id": "1"}),
    Ask(name="pollSource", id="shop"),
    Ask(name="reconcileSource", id="shop"),
    Ask(name="linkUnlinked", id="ul_999_1", body={"order": "1"}),
    Ask(name="testFilter", body={"event_id": "evt_0"}),
    Ask(name="testSubscription", id="nobody", body={}),
    Ask(name="getSubscription", id="sub_999"),
    Ask(name="changeSubscription", id="sub_999", body={"slots": 2}),
    Ask(name="rotateSubscription", id="nobody", body={}),
    Ask(name="pauseSubscription", id="nobody"),
    Ask(name="resumeSubscription", id="nobody"),
    Ask(name="getSubscriptionStats", id="nobody"),
    Ask(name="listLanes", query={"subscription": "nobody"}),
    Ask(name="fetchEvents", id="nobody"),
    Ask(name="acknowledgeEvents", id="nobody", body={"cursor": "x"}),
    Ask(name="startReplay", body={"subscription": "nobody"}),
    Ask(name="getReplay", id="999"),
    Ask(name="releaseLane", body=NOWHERE),
    Ask(name="skipLane", body=NOWHERE),
    Ask(name="revokeKey", id="aaaaaaaa"),
)
for absent in ABSENT:
    wrong(absent.name, "not_found")(one(absent))

DECLARED = (
    Ask(name="createSource", body={"name": "shop", **SOURCE}),
    Ask(name="changeSource", id="shop", body={"enabled": False}),
    Ask(name="removeSource", id="shop"),
    Ask(name="createSubscription", body={"name": "good", "url": "https://a.example.com/in"}),
    Ask(name="changeSubscription", id="good", body={"slots": 2}),
    Ask(name="removeSubscription", id="good"),
    Ask(name="rotateSubscription", id="good", body={"overlap": "0s"}),
    Ask(name="fetchEvents", id="good"),
    Ask(name="acknowledgeEvents", id="good", body={"cursor": "x"}),
)
"""`shop` and `good` are the configuration's; `good` has a URL."""
for declared in DECLARED:
    wrong(declared.name, "conflict")(one(declared))


@wrong("getSubscription", "not_found")
async def anothers_subscription(stage: Stage) -> Ask:
    made = await stage.subscribed()
    return Ask(name="getSubscription", id=made["id"], role=Role.SUBSCRIBER)


@wrong("pauseSubscription", "conflict")
async def pause_what_is_gone(stage: Stage) -> Ask:
    made, _, _ = await stage.ended("gone", "dead")
    return Ask(name="pauseSubscription", id=made["id"])


@wrong("testSubscription", "conflict")
async def try_what_is_gone(stage: Stage) -> Ask:
    made, _, _ = await stage.ended("gone", "dead")
    return Ask(name="testSubscription", id=made["id"], body={})


@wrong("replayDelivery", "conflict")
async def send_again_to_one_that_was_removed(stage: Stage) -> Ask:
    made, delivery, _ = await stage.ended("no", "dead")
    await stage.done("removeSubscription", id=made["id"])
    return Ask(name="replayDelivery", id=delivery)


@wrong("retryCallback", "conflict")
async def read_again_what_was_read(stage: Stage) -> Ask:
    return Ask(name="retryCallback", id=(await stage.event())["callback"])


@wrong("getOrder", "conflict")
async def an_order_of_two_shops(stage: Stage) -> Ask:
    order = await stage.order()
    await stage.order(source="other", order=order)
    return Ask(name="getOrder", id=order)


@wrong("linkUnlinked", "conflict")
async def link_to_an_order_that_nobody_knows(stage: Stage) -> Ask:
    return Ask(name="linkUnlinked", id=await waiting(stage), body={"order": "1O01"})


@wrong("releaseLane", "conflict")
async def release_what_is_not_parked(stage: Stage) -> Ask:
    body = {"subscription": "good", "order": await stage.order()}
    return Ask(name="releaseLane", body=body)


@wrong("skipLane", "conflict")
async def skip_what_is_not_parked(stage: Stage) -> Ask:
    body = {"subscription": "good", "order": await stage.order()}
    return Ask(name="skipLane", body=body)


@wrong("changeSubscription", "precondition_failed")
async def change_what_somebody_else_has_changed(stage: Stage) -> Ask:
    made = await stage.subscribed()
    before = (await stage.send(Ask(name="getSubscription", id=made["id"]))).headers["etag"]
    await stage.done("changeSubscription", id=made["id"], body={"slots": 2})
    headers = {"if-match": before}
    return Ask(name="changeSubscription", id=made["id"], body={"slots": 3}, headers=headers)


@wrong("createSource", "conflict")
async def make_a_source_twice(stage: Stage) -> Ask:
    return Ask(name="createSource", body={"name": await made_source(stage), **SOURCE})


@wrong("changeSource", "precondition_failed")
async def change_a_source_that_somebody_else_has_changed(stage: Stage) -> Ask:
    name = await made_source(stage)
    before = (await stage.send(Ask(name="getSource", id=name))).headers["etag"]
    await stage.done("changeSource", id=name, body={"shop": "berlin"})
    headers = {"if-match": before}
    return Ask(name="changeSource", id=name, body={"shop": "hamburg"}, headers=headers)


@wrong("publishEvents", "unprocessable")
async def publish_in_the_gateways_name(stage: Stage) -> Ask:
    content = json.dumps({**asked(stage), "type": "gateway.asked"}).encode()
    return Ask(name="publishEvents", content=content, headers={"content-type": CLOUDEVENT})


@wrong("createSubscription", "forbidden")
async def hear_of_others(stage: Stage) -> Ask:
    body = {"url": stage.url(), "types": ["gateway.*"]}
    return Ask(name="createSubscription", body=body, role=Role.SUBSCRIBER)


@wrong("testFilter", "forbidden")
async def try_on_an_event_that_is_not_to_be_read(stage: Stage) -> Ask:
    body = {"event_id": (await stage.event())["id"]}
    return Ask(name="testFilter", body=body, role=Role.SUBSCRIBER)
