"""What is read in the order of its commits goes through an index, however much there is."""

import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest

from gateway.errors import Unavailable
from gateway.models import Subscription
from gateway.news import News
from gateway.stores.migrate import migrate
from gateway.stores.registry import Store
from gateway.stores.sqlite import pulled


@pytest.mark.parametrize(
    ("sql", "last"),
    [(pulled._FETCHED, "id>?"), (pulled._LEFT, "lane=?"), (pulled._ACKNOWLEDGE, "id<?")],
)
def test_deliveries_are_found_by_their_lane(sql: str, last: str) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, "test")
        rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", (1,) * sql.count("?")).fetchall()
    used = "; ".join(row[3] for row in rows)
    found = used.partition("deliveries_lane (subscription=? AND lane=?")[2]
    assert last in f"lane=?{found.partition(')')[0]}", used
    assert "TEMP B-TREE" not in used, used


def test_a_subscription_that_left_the_file_has_nothing_to_fetch(run: Callable[..., None]) -> None:
    async def story(store: Store) -> None:
        number = store.catalog.statuses[0].subscription.id
        await store._writer.submit(
            lambda batch: batch.connection.execute(
                "INSERT INTO deliveries (event, subscription, state, due) VALUES (1, ?, 0, 0)",
                (number,),
            ).close()
        )
        await store.catalog.sync([Subscription(id=0, name="b", url="http://b.example/")])
        assert await store.feed.left(number) == 0
        assert await store.feed.fetched(number, 0, 10) == []

    run(story)


def test_nothing_is_told_while_nobody_listens(run: Callable[..., None]) -> None:
    async def story(store: Store) -> None:
        news: News = store.news
        before = news.count
        await store._writer.submit(lambda batch: setattr(batch, "published", True))
        assert news.count == before
        with news.listen() as listener:
            listener.clear()
            heard = news.count
            await store._writer.submit(lambda batch: batch.pulled.add(1))
            await store._writer.submit(lambda _: None)
            assert news.count == heard + 1
            await listener.wait(0.2)
            assert not listener._heard.is_set()  # it waits for events
            await store._writer.submit(lambda batch: setattr(batch, "published", True))
            await listener.wait(5)
            assert listener._heard.is_set()

    run(story)


def test_after_its_end_nothing_is_read(run: Callable[..., None]) -> None:
    async def story(store: Store) -> None:
        await store.feed.close()
        with pytest.raises(Unavailable):
            await store.feed.heads(0)

    run(story)
