"""Trying filters: which term fails is told, on any event, without making a subscription."""

from pathlib import Path
from typing import Any

import pytest

from gateway.keys import Role
from tests.pipeline.world import World, shop_event
from tests.web.test_api_subscriptions import Key, new_key, play, tell

PATH = "/v1/subscriptions/test-filter"
EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "evt_1",
    "source": "https://hooks.example.com/sources/shop",
    "type": "order.paid",
    "subject": "B-1001",
    "data": {"shop": "berlin", "total": {"value": "49.26"}, "lines": [1, 2, 3]},
}
FILTERS = [
    {"exact": {"type": "order.paid", "subject": "C-1"}},
    {"any": [{"prefix": {"subject": "A-"}}, {"not": {"suffix": {"source": "/shop"}}}]},
    {"data": {"/total/value": {"ge": 50}, "/lines": {"exists": True}, "/a~1b": {"ne": "x"}}},
]


async def tried(key: Key, status: int = 200, **body: Any) -> dict[str, Any]:
    response = await key.ask("POST", PATH, body)
    assert response.status_code == status, response.text
    return dict(response.json())


def test_every_term_says_what_it_wants_and_what_it_finds(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        key = await new_key(world)
        answer = await tried(key, filters=FILTERS, event=EVENT)
        assert not answer["matched"]
        assert answer["reason"] == (
            'its filters did not let it through: filters[0].exact.subject is "B-1001", not "C-1"'
        )
        exact, some, data = answer["terms"]
        assert (exact["path"], exact["dialect"], exact["passed"]) == (
            "filters[0].exact",
            "exact",
            False,
        )
        assert exact["terms"] == [
            leaf("type", '"order.paid"', '"order.paid"', passed=True),
            leaf("subject", '"C-1"', '"B-1001"', passed=False),
        ]
        assert (some["dialect"], some["passed"]) == ("any", False)
        prefix, never = some["terms"]
        assert (prefix["dialect"], prefix["passed"]) == ("prefix", False)
        assert (never["dialect"], never["passed"]) == ("not", False)
        assert [one["passed"] for one in never["terms"]] == [True]
        assert [
            (one["pointer"], one["operator"], one["expected"], one["actual"], one["passed"])
            for one in data["terms"]
        ] == [
            ("/total/value", "ge", "50", '"49.26"', False),
            ("/lines", "exists", "present", "a list of 3", True),
            ("/a~1b", "ne", '"x"', "absent", True),
        ]

    play(tmp_path, story)


def leaf(attribute: str, expected: str, actual: str, *, passed: bool) -> dict[str, Any]:
    return {
        "path": f"filters[0].exact.{attribute}",
        "dialect": "exact",
        "passed": passed,
        "attribute": attribute,
        "pointer": None,
        "operator": None,
        "expected": expected,
        "actual": actual,
        "terms": [],
    }


def test_types_sources_and_shops_are_tried_too(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        key = await new_key(world)
        for keys, reason in (
            ({}, None),
            ({"types": "order.*", "sources": ["shop"], "shops": "berlin,paris"}, None),
            ({"types": ["order.shipped"]}, "its types do not include order.paid"),
            ({"sources": ["stripe"]}, "its sources do not include shop"),
            ({"shops": ["default"]}, "its shops do not include berlin"),
        ):
            answer = await tried(key, event=EVENT, **keys)
            assert answer == {
                "matched": reason is None,
                "reason": reason or "matched",
                "terms": [],
            }
        quiet = {"type": "printstudio.job.failed", "source": "/desk"}
        assert (await tried(key, event=quiet))["matched"]
        assert not (await tried(key, event=quiet, types=["*"]))["matched"]
        assert (await tried(key, event=quiet, sources=["published"]))["matched"]
        own = {"type": "gateway.subscription.gone", "source": "/gateway"}
        assert (await tried(key, event=own, sources=["gateway"]))["matched"]

    play(tmp_path, story)


def test_a_kept_event_is_for_those_who_may_read_events(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await tell(world, "B-7")
        reader = await new_key(world, Role.READER)
        (event,) = (await reader.get("/v1/events"))["data"]
        wanted = [{"exact": {"subject": "B-8"}}]
        for role in (Role.READER, Role.OPERATOR, Role.ADMIN):
            answer = await tried(
                await new_key(world, role), filters=wanted, event_id=event["id"], sources=["shop"]
            )
            assert answer["reason"].endswith('filters[0].exact.subject is "B-7", not "B-8"')
            assert answer["terms"][0]["actual"] == '"B-7"'
        assert "evt_0" in (await tried(reader, 404, event_id="evt_0"))["detail"]
        stranger = await new_key(world)
        problems = [
            await tried(stranger, 403, filters=wanted, event_id=one)
            for one in (event["id"], "evt_0")
        ]
        assert problems[0]["detail"] == problems[1]["detail"]  # whether it is there is not told

    play(tmp_path, story)


def test_an_example_stands_for_its_type(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        key = await new_key(world)
        wanted = [{"data": {"/payment/paid/currency": {"eq": "EUR"}}}]
        assert (await tried(key, filters=wanted, type="order.paid"))["matched"]
        assert not (await tried(key, filters=wanted, type="order.created"))["matched"]

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"filters": []}, "give one of event, event_id and type"),
        ({"event": EVENT, "type": "order.paid"}, "give one of event"),
        ({"type": "order.payd"}, 'did you mean "order.paid"?'),
        ({"event": [EVENT]}, "event: expected a CloudEvent"),
        ({"event": {}}, "event.type: is required"),
        ({"event": EVENT, "filters": [{"any": [{"exact": {}}]}]}, "filters[0].any[0].exact: "),
        ({"event": EVENT, "filters": [1]}, "filters[0]: expected a filter"),
        ({"event": EVENT, "filters": "[{"}, "filters: expected a list of filters"),
        ({"event": EVENT, "types": ["Order!"]}, "types[0]: expected"),
        ({"event": EVENT, "shops": [1]}, "shops"),
        ({"event": EVENT, "more": 1}, "more"),
        ({"event_id": "x" * 201}, "event_id"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, body: dict[str, Any], word: str) -> None:
    async def story(world: World) -> None:
        key = await new_key(world, Role.OPERATOR)
        problem = await tried(key, 400, **body)
        assert word in problem["detail"], problem

    play(tmp_path, story)


async def posted(key: Key, text: str) -> tuple[int, dict[str, Any]]:
    """The answer to a body as it is written here."""
    headers = {"authorization": f"Bearer {key.text}", "content-type": "application/json"}
    response = await key.world.client.post(key.root + PATH, content=text, headers=headers)
    return response.status_code, response.json()


def test_numbers_of_an_event_are_exact_and_odd_texts_are_no_bug(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        key = await new_key(world, Role.OPERATOR)
        filters = '"filters":[{"data":{"/n":{"gt":"0.1"}}}]'
        event = '"event":{"type":"order.paid","data":{"n":0.1000000000000000000001}}'
        assert (await posted(key, f"{{{event},{filters}}}"))[1]["matched"]
        for odd in ('"event_id":"\\ud800"', '"type":"\\ud800"', '"event":{"type":"\\ud800"}'):
            status, answer = await posted(key, f"{{{odd},{filters}}}")
            assert status in {200, 400, 404}, answer
        status, answer = await posted(key, '{"event":' + "[" * 5000 + "]" * 5000 + "}")
        assert status == 400, answer
        deep = '{"type":"a.b","data":' + "[" * 900 + "]" * 900 + "}"
        assert (await posted(key, f'{{"event":{deep},{filters}}}'))[1]["terms"][0][
            "actual"
        ] == "absent"

    play(tmp_path, story)


def test_it_is_no_subscription(tmp_path: Path) -> None:
    """Its path is not taken for that of a subscription, and it makes nothing."""

    async def story(world: World) -> None:
        key = await new_key(world, Role.OPERATOR)
        before = await key.listed()
        await tried(key, event=EVENT)
        await key.get("/v1/subscriptions/test-filter", 404)
        assert await key.listed() == before
        await world.shop(shop_event(1))
        await world.settled()

    play(tmp_path, story)
