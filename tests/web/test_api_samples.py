"""Samples of deliveries where nothing has happened yet; those of real events are beside their hooks."""

import json
from pathlib import Path

from gateway.catalogue import example, in_mode
from gateway.models import Mode
from tests.pipeline.world import World
from tests.web.test_api_subscriptions import new_key, play


def test_samples_are_examples_where_nothing_has_happened(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        key = await new_key(world)
        for flat in (False, True):
            _, body = in_mode(example("order.paid"), Mode.JSON, flat=flat)
            asked = f"/v1/samples?type=order.paid&flat={str(flat).lower()}"
            assert await key.get(asked) == [json.loads(body)]
        assert len(await key.get("/v1/samples?type=order.*&limit=2")) == 2
        assert await key.get("/v1/samples?type=desk.asked") == []
        for wrong in ("type=Order", "mode=binary", "limit=0", "flat=maybe", "more=1"):
            await key.get(f"/v1/samples?{wrong}", 400)

    play(tmp_path, story)
