"""Tables: nothing of others' text is read as markup or control, and nothing whole is cut."""

import json
import re
import time
import unicodedata
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cli.stories import heading, newest, story_views
from gateway.cli.tables import (
    GAP,
    HEAD,
    NARROWEST,
    Column,
    View,
    clean,
    deliveries_view,
    drawn,
    events_view,
    local,
    quarantine_view,
    shortened,
    subscriptions_view,
    to_json,
    unlinked_view,
)
from gateway.models import Millis, Note, Verdict
from gateway.shown import time_text
from gateway.stores.views import (
    AttemptRow,
    CallbackRow,
    DeliveryRow,
    EventRow,
    MappingRow,
    Routing,
    Story,
    SubscriptionRow,
    UnlinkedRow,
)

AT = Millis(1_785_578_405_999)  # 2026-08-01T10:00:05.999Z
ID = "evt_399887f6a389c5fd12169f487c5c926060e0b582"
SGR = re.compile(r"\x1b\[[0-9;]*m")  # ECMA-48 8.3.117: colours, the only sequence of our own


def callback(**fields: Any) -> CallbackRow:
    row = CallbackRow(
        id="cb_1",
        source="shop",
        provider="printstudio",
        event_id="evt-1",
        event_type="order.created",
        received_at=AT,
        verdict="event",
        reason="",
        notes=(
            Note(track="created", state="created", verdict=Verdict.EVENT, events=(ID,)),
            Note(track="fulfilment", state="created", verdict=Verdict.MERGED, reason="known"),
        ),
        size=98,
    )
    return msgspec.structs.replace(row, **fields)


def event(**fields: Any) -> EventRow:
    row = EventRow(
        id=ID,
        type="order.created",
        source="shop",
        shop="default",
        order="A-1",
        seq=1,
        time=AT,
        recorded=Millis(AT + 1_000),
        callback="cb_1",
        routing=(
            Routing(subscription="sink", matched=True, reason="matched"),
            Routing(subscription="other", matched=False, reason="its types do not include it"),
        ),
    )
    return msgspec.structs.replace(row, **fields)


def delivery(**fields: Any) -> DeliveryRow:
    row = DeliveryRow(
        id="dl_1",
        event_id=ID,
        type="order.created",
        order="A-1",
        subscription="sink",
        state="pending",
        due=Millis(AT + 60_000),
        attempts=1,
        finished_at=None,
        reason="answered 500",
        last_status=500,
        last_failure="status",
    )
    return msgspec.structs.replace(row, **fields)


def attempt(**fields: Any) -> AttemptRow:
    row = AttemptRow(
        number=1,
        queued_at=Millis(AT + 1_000),
        started_at=Millis(AT + 2_000),
        connected=1.5,
        first_byte=3.71,
        duration=4.26,
        status=500,
        failure="status",
        detail="answered 500",
        address="127.0.0.1:5678",
        head="no",
    )
    return msgspec.structs.replace(row, **fields)


def story(**fields: Any) -> Story:
    told = Story(
        found_as="order A-1",
        shop="default",
        order="A-1",
        callbacks=[callback()],
        mappings={},
        events=[event()],
        deliveries=[delivery()],
        attempts={"dl_1": [attempt()]},
    )
    return msgspec.structs.replace(told, **fields)


def cells(title: str, told: Story) -> list[dict[str, str]]:
    """The rows of one table of a story, by column."""
    view = next(view for view in story_views(told) if view.title == title)
    titles = [column.title for column in view.columns]
    return [dict(zip(titles, row, strict=True)) for row in view.rows]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("Zoë \u4e2d [bold]x[/bold] :smile: a\\b", "Zoë \u4e2d [bold]x[/bold] :smile: a\\b"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b2J\x7f\x00", r"\x9b2J\x7f\x00"),
        ("two\r\nlines\there", r"two\r\nlines\there"),
        ("evil\u202egpj.exe", r"evil\u202egpj.exe"),
        ("a\u2028b\xa0c\ufeff", r"a\u2028b\xa0c\ufeff"),
        ("\ud800\U000e0041", r"\ud800\U000e0041"),
    ],
)
def test_unprintable_text_is_spelled_out(raw: str, shown: str) -> None:
    assert clean(raw) == shown


@given(st.text(st.characters(codec=None)))
def test_clean_text_has_no_character_that_acts(raw: str) -> None:
    assert all(one == " " or unicodedata.category(one)[0] not in "CZ" for one in clean(raw))


def test_time_is_local_with_seconds_and_offset() -> None:
    assert local(AT, timezone(timedelta(hours=2))) == "2026-08-01T12:00:05+02:00"
    assert local(Millis(253_402_214_400_000)).startswith("9999-12-3")


def test_shortened_text_says_so() -> None:
    assert shortened("x" * HEAD) == "x" * HEAD
    assert shortened("x" * HEAD + "y") == "x" * (HEAD - 1) + "…"


def view(*rows: Sequence[str]) -> View:
    columns = (Column("id"), Column("reason", whole=False))
    return View(title="Things", columns=columns, rows=rows)


def test_without_terminal_nothing_is_folded_or_coloured() -> None:
    words = "word " * 200
    text = drawn(view((ID * 20, words), ("dead", "")), width=None)
    assert text.splitlines()[0] == "Things"
    assert f"{ID * 20}  {words.rstrip()}" in text
    assert text.splitlines()[3] == "dead"
    assert "\x1b" not in text


def test_on_terminal_words_are_folded_and_ids_whole() -> None:
    text = SGR.sub("", drawn(view((ID, "word " * 20)), width=80))
    assert ID in text
    assert len(text.splitlines()) > 3
    assert max(map(len, text.splitlines())) <= 80


def test_on_terminal_a_long_word_is_folded_too() -> None:
    text = SGR.sub("", drawn(view((ID, "https://example.com/" + "x" * 90)), width=80))
    assert "".join(line[len(ID) :].strip() for line in text.splitlines()[2:]).endswith("x" * 90)
    assert max(map(len, text.splitlines())) <= 80


def test_on_terminal_states_have_colours() -> None:
    assert "\x1b[31mdead" in drawn(view(("dead", "")), width=80)


def test_too_narrow_terminal_gets_blocks_with_whole_ids() -> None:
    text = drawn(view((ID, "word"), ("dl_2", "")), width=len(ID) + 2 * GAP + 3)
    assert text.splitlines() == ["Things", f"id        {ID}", "  reason  word", "id        dl_2"]


@settings(max_examples=50)
@given(
    st.lists(st.text(max_size=120), min_size=1, max_size=5),
    st.none() | st.integers(len(ID) + NARROWEST + 2 * GAP, 200),
)
def test_no_width_loses_a_character(reasons: list[str], width: int | None) -> None:
    text = SGR.sub("", drawn(view(*((ID, reason) for reason in reasons)), width=width))
    told = "".join(ID + clean(reason) for reason in reasons)
    assert Counter("".join(text.split())) == Counter(f"Thingsidreason{told}".replace(" ", ""))


@pytest.mark.parametrize("width", [None, 40, 300])
def test_hostile_cells_stay_text(width: int | None) -> None:
    hostile = "[red]\x1b[2J\x9b31m[/red]\n:skull:[link=x]"
    text = SGR.sub("", drawn(view((hostile, hostile), (hostile, "")), width=width))
    assert text.count(r"[red]\x1b[2J\x9b31m[/red]\n:skull:[link=x]") >= 2
    assert "\x1b" not in text
    assert "\x9b" not in text


def test_events_say_whom_they_are_for() -> None:
    text = drawn(events_view([event(), event(routing=(), seq=None, order=None)]), width=None)
    first, second = text.splitlines()[1:]
    assert first.endswith("cb_1      sink")
    assert second.endswith("cb_1      nobody")


def test_deliveries_show_due_or_ended() -> None:
    ended = delivery(state="dead", finished_at=AT, last_status=None, last_failure="timeout")
    rows = deliveries_view([delivery(), ended]).rows
    assert rows[0][-3:] == (local(Millis(AT + 60_000)), "", "answered 500")
    assert rows[1][-5:] == ("1", "timeout", "", local(AT), "answered 500")


PARKED = "the schedule is used up; its lane is parked"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"state": "behind", "reason": None, "behind": "dl_7"}, "waits behind dl_7 of the same"),
        ({"state": "batched", "reason": None, "leader": "dl_7"}, "in the batch of dl_7"),
        ({"state": "parked", "reason": PARKED}, f"{PARKED}; `gateway lanes release sink A-1`"),
        ({"state": "parked", "order": "A 1"}, "`gateway lanes skip sink 'A 1'` gives it up"),
        ({"attempts": 0, "reason": "replay of dl_7"}, "replay of dl_7"),
        ({"state": "dead", "finished_at": AT, "reason": "gone"}, "gone"),
    ],
)
def test_lists_and_stories_say_why_a_delivery_does_not_go_on(
    fields: dict[str, Any], words: str
) -> None:
    row = delivery(**fields)
    assert words in deliveries_view([row]).rows[0][-1]
    (told,) = cells("Deliveries", story(deliveries=[row]))
    assert words in told["reason"]
    assert "due" not in told or row.state in {"batched", "pending"}


def test_the_first_of_a_batch_is_in_no_other_ones_batch() -> None:
    assert deliveries_view([delivery(leader="dl_1")]).rows[0][-1] == "answered 500"


def test_unlinked_facts_show_their_links_and_deadline() -> None:
    row = UnlinkedRow(
        id="ul_1_3",
        callback="cb_1",
        source="stripe",
        shop="default",
        event_type="payment_intent.succeeded",
        track="payment",
        state="paid",
        links=("stripe:pi_1", "stripe:ch_1"),
        since=AT,
        deadline=None,
    )
    other = msgspec.structs.replace(row, deadline=AT)
    rows = unlinked_view([row, other]).rows
    assert rows[0][0] == "ul_1_3"
    assert rows[0][-2:] == ("it is linked", "stripe:pi_1 stripe:ch_1")
    assert rows[1][-2] == local(AT)


def test_quarantine_shows_the_reason() -> None:
    row = quarantine_view([callback(reason="$.data: missing")]).rows[0]
    assert row == ("cb_1", local(AT), "shop", "evt-1", "98", "$.data: missing")


def test_story_has_every_fact_with_its_verdict() -> None:
    facts = cells("Facts", story())
    assert [(f["track"], f["verdict"], f["events"], f["reason"]) for f in facts] == [
        ("created", "event", "order.created #1", ""),
        ("fulfilment", "merged", "", "known"),
    ]


@pytest.mark.parametrize(("ahead", "shown"), [(60_000, True), (-1, False)])
def test_a_wait_that_is_over_is_not_shown(ahead: int, shown: bool) -> None:
    row = SubscriptionRow(
        name="sub",
        state="active",
        reason=None,
        host="example.com",
        hold_until=Millis(int(time.time() * 1000) + ahead),
        last_success=None,
        unfinished=0,
        failing_since=None,
        broken_until=None,
        handshake=None,
    )
    titles = [column.title for column in subscriptions_view([row]).columns]
    assert ("waits until" in titles) is shown


def test_story_says_why_a_subscription_did_not_match() -> None:
    again = delivery(id="dl_2")
    matched, other = cells("Subscriptions", story(deliveries=[delivery(), again]))
    assert (matched["verdict"], matched["delivery"]) == ("matched", "dl_1 dl_2")
    assert (other["verdict"], other["delivery"]) == ("not matched", "")
    assert other["reason"] == "its types do not include it"


def test_story_has_every_attempt() -> None:
    good = attempt(number=2, status=200, failure=None, detail="OK", head="x" * 500)
    first, second = cells("Attempts", story(attempts={"dl_1": [attempt(), good]}))
    assert (first["no."], first["answer"], first["error"]) == ("1", "500", "status")
    assert (first["what it met"], first["body of the answer"]) == ("answered 500", "no")
    assert (second["answer"], second["error"], second["what it met"]) == ("200", "", "")
    assert len(second["body of the answer"]) == HEAD


def test_story_has_the_times_of_an_attempt_as_far_as_it_came() -> None:
    again = attempt(number=2, connected=0.0)
    lost = attempt(number=3, connected=None, first_byte=None, queued_at=None, status=None)
    rows = cells("Attempts", story(attempts={"dl_1": [attempt(), again, lost]}))
    times = [[row[title] for title in ("connected", "first byte", "done")] for row in rows]
    assert times[0] == ["1.5 ms", "3.7 ms", "4.3 ms"]
    assert times[1] == ["open", "3.7 ms", "4.3 ms"]
    assert times[2] == ["", "", "4.3 ms"]
    assert rows[0]["queued"] == local(Millis(AT + 1_000))
    assert rows[0]["started"] == local(Millis(AT + 2_000))
    assert (rows[2]["queued"], rows[2]["answer"]) == ("", "")


def test_story_names_events_by_type_and_number() -> None:
    """The id, which is long, stands once; an event of no order has no other name."""
    views = {view.title: view for view in story_views(story())}
    told = {title: drawn(view, width=None) for title, view in views.items()}
    assert [title for title, text in told.items() if ID in text] == ["Events"]
    assert all("order.created #1" in told[t] for t in ("Facts", "Subscriptions", "Deliveries"))
    nameless = story(events=[event(seq=None, order=None)])
    assert cells("Deliveries", nameless)[0]["event"] == ID


def test_story_leaves_out_columns_without_text() -> None:
    titles = [column.title for column in story_views(story())[0].columns]
    assert "reason" not in titles
    assert cells("Callbacks", story(callbacks=[callback(reason="known")]))[0]["reason"] == "known"


def test_story_says_of_a_delivery_when_it_is_due_or_why_it_ended() -> None:
    (waiting,) = cells("Deliveries", story())
    assert (waiting["due"], "ended" in waiting) == (local(Millis(AT + 60_000)), False)
    dead = delivery(state="dead", finished_at=AT, reason="gone")
    (ended,) = cells("Deliveries", story(deliveries=[dead]))
    assert (ended["ended"], ended["reason"], "due" in ended) == (local(AT), "gone", False)


def test_a_dumb_terminal_gets_the_same_lines_without_colours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    coloured = drawn(view(("dead", "word " * 20)), width=60)
    monkeypatch.setenv("TERM", "dumb")
    plain = drawn(view(("dead", "word " * 20)), width=60)
    assert plain != coloured
    assert [line.rstrip() for line in SGR.sub("", coloured).splitlines()] == plain.splitlines()


def test_story_leaves_out_tables_without_rows() -> None:
    told = story(events=[], deliveries=[], attempts={}, callbacks=[callback(notes=())])
    assert [view.title for view in story_views(told)] == ["Callbacks"]


def mapping(**fields: Any) -> MappingRow:
    row = MappingRow(
        provider="stripe",
        version="webhook-gateway 1.0",
        options={"link_wait": "10m", "order_id": ["a", "b"], "livemode": None, "cancel_from": []},
        since=AT,
    )
    return msgspec.structs.replace(row, **fields)


def test_story_says_what_its_callbacks_were_read_by() -> None:
    """A row a mapping of a source, in the order of the callbacks; what has no value is left out."""
    later = mapping(options={"trust": False}, since=Millis(AT + 5_000))
    ids = ["cb_1", "cb_2", "cb_3", "cb_4"]
    sources = ["pay", "shop", "pay", "pay"]
    told = story(
        callbacks=[callback(id=one, source=of) for one, of in zip(ids, sources, strict=True)],
        mappings={
            "cb_1": mapping(),
            "cb_2": mapping(provider="printstudio", options={}),
            "cb_3": mapping(),
            "cb_4": later,
        },
    )
    assert cells("Read by", told) == [
        {
            "callbacks": "cb_1, cb_3",
            "source": "pay",
            "provider": "stripe",
            "package": "webhook-gateway 1.0",
            "since": local(AT),
            "with": 'link_wait: "10m", order_id: ["a", "b"]',
        },
        {
            "callbacks": "cb_2",
            "source": "shop",
            "provider": "printstudio",
            "package": "webhook-gateway 1.0",
            "since": local(AT),
            "with": "",
        },
        {
            "callbacks": "cb_4",
            "source": "pay",
            "provider": "stripe",
            "package": "webhook-gateway 1.0",
            "since": local(Millis(AT + 5_000)),
            "with": "trust: false",
        },
    ]
    assert all(view.title != "Read by" for view in story_views(story()))


def test_of_many_callbacks_that_were_read_alike_some_are_named() -> None:
    rows = [callback(id=f"cb_{number}") for number in range(1, 21)]
    told = story(callbacks=rows, mappings={row.id: mapping() for row in rows})
    assert cells("Read by", told)[0]["callbacks"] == "cb_1, cb_2, cb_3 … cb_20 (20 in all)"
    told = story(callbacks=rows[:5], mappings={row.id: mapping() for row in rows})
    assert cells("Read by", told)[0]["callbacks"] == "cb_1, cb_2, cb_3, cb_4, cb_5"


def test_what_callbacks_were_read_by_fits_a_narrow_terminal() -> None:
    """Provider and package stay, the options are folded, and no callback is cut."""
    options = {"order_id": ["orderNumber", "shop_order_reference"], "unlinked": "wait"}
    rows = [callback(id=f"cb_{number}") for number in range(1, 4)]
    told = story(callbacks=rows, mappings={row.id: mapping(options=options) for row in rows})
    view = next(view for view in story_views(told) if view.title == "Read by")
    title, head, *lines = SGR.sub("", drawn(view, width=80)).split("\n")
    assert (title, head.split()) == ("Read by", ["callbacks", "provider", "package", "with"])
    assert lines[0].startswith("cb_1, cb_2, cb_3  stripe    webhook-gateway 1.0  order_id:")
    assert all(len(line) <= 80 for line in lines)
    assert "shop_order_reference" in "".join(lines)


def test_the_heading_names_the_order_also_where_its_number_is_part_of_the_id() -> None:
    assert heading(story()) == "order A-1 of shop default"
    found = story(found_as="delivery dl_12", order="1")
    assert heading(found) == "delivery dl_12 of shop default, about order 1"
    named = story(found_as="pi_1, which belongs to order 1", order="1")
    assert heading(named) == "pi_1, which belongs to order 1 of shop default"


def test_newest_is_the_last_thing_that_happened() -> None:
    assert newest(story(), AT) == (
        f"Newest: {local(Millis(AT + 2_000))} attempt 1 of dl_1 to sink: 500;"
        f" unfinished deliveries: 1, dl_1 is due {local(Millis(AT + 60_000))}"
    )
    assert newest(story(), Millis(AT + 60_000)).endswith(
        f", dl_1 is due since {local(Millis(AT + 60_000))}:"
        " `gateway deliveries show dl_1` says what keeps it"
    )
    leased = story(deliveries=[delivery(state="leased")])
    assert newest(leased, Millis(AT + 60_000)).endswith(f"due {local(Millis(AT + 60_000))}")
    later = callback(id="cb_2", received_at=Millis(AT + 9_000), event_type="", verdict="merged")
    told = story(callbacks=[callback(), later], deliveries=[delivery(state="dead", finished_at=AT)])
    assert newest(told, AT).endswith("callback cb_2 from shop: unreadable, merged")
    assert newest(story(deliveries=[]), AT).endswith(f"event {ID}: order.created")
    parked = story(deliveries=[delivery(state="parked")])
    assert newest(parked, AT).endswith("; unfinished deliveries: 1, dl_1 is parked")
    nothing = story(callbacks=[], events=[], deliveries=[])
    assert newest(nothing, AT) == "Nothing is kept of it any more."


def test_json_has_the_same_data_in_plain_ascii() -> None:
    hostile = "\x1b[31m\x7f\x9b\u202e\ud800é"
    text = to_json([story(attempts={"dl_1": [attempt(head=hostile)]})])
    assert all(" " <= one <= "~" or one == "\n" for one in text)
    told = json.loads(text)[0]
    assert told["attempts"]["dl_1"][0]["head"] == hostile
    assert told["callbacks"][0]["received_at"] == time_text(AT)
    assert told["events"][0]["routing"][1]["reason"] == "its types do not include it"
    assert json.loads(to_json([])) == []


def test_a_narrow_terminal_gets_fewer_columns_before_it_gets_blocks() -> None:
    view = View(
        columns=[Column("id"), Column("less", spare=1), Column("more", spare=2)],
        rows=[("evt_1234567890", "a" * 20, "b" * 20)],
    )
    assert SGR.sub("", drawn(view, width=60)).split("\n")[0].split() == ["id", "less", "more"]
    assert SGR.sub("", drawn(view, width=45)).split("\n")[0].split() == ["id", "more"]
    assert SGR.sub("", drawn(view, width=20)).split("\n")[0].split() == ["id"]
    blocks = drawn(view, width=10)
    assert "a" * 20 in blocks
    assert "b" * 20 in blocks
    assert drawn(view, width=None).split("\n")[0].split() == ["id", "less", "more"]
