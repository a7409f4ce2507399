"""`docs/delivery.md` is true: its tables and numbers are the code's, its snippets run."""

import json
import re
import sqlite3
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.main import get_command

from gateway import breaker, desk, handshakes, janitor, lookout, retries
from gateway.cli.main import app
from gateway.config.settings import RetentionSettings, SubscriptionSettings
from gateway.config.values import parse_duration
from gateway.dispatcher import IN_FLIGHT, TURN
from gateway.filters.opened import Opened
from gateway.filters.reading import (
    DEEPEST,
    DIALECTS,
    LONGEST_POINTER,
    MOST_TERMS,
    read_filters,
)
from gateway.filters.terms import LONGEST_TEXT, OPERATORS, explain, passes
from gateway.flat import MOST_BYTES as FLAT_BYTES
from gateway.flat import flatten
from gateway.models import Delivery, Failure, Millis, Mode, Outcome, Subscription
from gateway.operations import TYPES
from gateway.poller import source
from gateway.retries import Step, decide
from gateway.sender import CONTENT_TYPES
from gateway.signing import generate_secret, parse_secret, sign
from gateway.stores.base import Consent
from gateway.stores.sqlite.batches import MOST_BYTES
from gateway.stores.sqlite.making import MOST_SECRETS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/delivery.md").read_text("utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
NOW = Millis(1_768_487_400_000)
SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
WORDS = {
    Step.DELIVERED: "delivered",
    Step.RETRY: "tried again",
    Step.DEAD: "dead letter",
    Step.GONE: "gone",
    Step.PAUSE: "paused",
}


def table(head: str) -> dict[str, list[str]]:
    """The other cells of each row of the table that begins so, by its first cell."""
    (lines,) = re.findall(
        rf"^\| {re.escape(head)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", TEXT, re.MULTILINE
    )
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines.splitlines()]
    assert len({row[0] for row in rows}) == len(rows)
    return {row[0]: row[1:] for row in rows}


def section(title: str) -> str:
    return TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def failed(*failures: Failure, **outcome: Any) -> list[dict[str, Any]]:
    return [{"failure": failure, **outcome} for failure in failures]


def answered(*statuses: int, **outcome: Any) -> list[dict[str, Any]]:
    return [{"status": status, **outcome} for status in statuses]


UP = {"last_success": NOW}  # something else got through
LAST = {"attempts": 9}
OWN = {409, 410, 415, 422, 429}  # 4xx with a row of their own, in what follows
ANSWERS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "2xx": (answered(*range(200, 300)), {}),
    "3xx": (answered(*range(300, 400), failure=Failure.REDIRECT), {}),
    "410": (answered(410), {}),
    "415": (answered(415), {}),
    "429, 503 with `Retry-After`": (answered(429, 503, retry_after=MINUTE), {}),
    "429, 503 with a `Retry-After` beyond the whole schedule": (
        answered(429, 503, retry_after=30 * DAY),
        {},
    ),
    "429 without `Retry-After`": (answered(429), {}),
    "a 4xx in `final_status`": (answered(409, 422), {}),
    "other 4xx": (answered(*(set(range(400, 500)) - OWN), retry_after=30 * DAY), {}),
    "other 5xx": (
        answered(*(set(range(500, 600)) - {503}), retry_after=30 * DAY) + answered(503),
        {},
    ),
    "timeout, DNS, connect, TLS, reset, no valid HTTP": (failed(*breaker.DOWN), {}),
    "forbidden address": (failed(Failure.FORBIDDEN), {}),
    "cut off by a stop of the gateway": (failed(Failure.INTERRUPTED), LAST),
    "a bug of the gateway": (failed(Failure.INTERNAL), {}),
    "any failure at the end of the schedule": (
        answered(404, 500) + failed(*breaker.DOWN, Failure.FORBIDDEN),
        LAST | UP,
    ),
    "the same, when nothing of the subscription has succeeded since the first attempt": (
        answered(404, 500) + failed(*breaker.DOWN, Failure.FORBIDDEN),
        LAST,
    ),
    "a failure of an attempt that you asked for": (
        answered(404, 500) + failed(*breaker.DOWN),
        LAST | UP | {"manual": Millis(NOW + 60_000)},
    ),
}


def judged(
    outcome: dict[str, Any],
    *,
    attempts: int = 0,
    last_success: Millis | None = None,
    manual: Millis | None = None,
) -> retries.Decision:
    return decide(
        Subscription(
            id=1, name="a", url="", schedule=(Millis(60_000),) * 9, final_status=(409, 422)
        ),
        Delivery(
            id=1,
            subscription=1,
            event_id="evt_1",
            event_type="order.paid",
            body=b"",
            attempts=attempts,
            number=0,
            first_at=NOW,
            claim=1,
            manual=manual,
        ),
        Outcome(started_at=NOW, duration=1.0, **outcome),
        now=NOW,
        last_success=last_success,
        random=lambda: 0.5,
    )


def test_the_answers_are_these() -> None:
    assert list(table("answer")) == list(ANSWERS)
    met = {key for outcomes, _ in ANSWERS.values() for one in outcomes for key in one.values()}
    assert set(Failure) - met == {Failure.STATUS}  # a status says more


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_leads_to_what_is_told(answer: str) -> None:
    then, counts, speaks, _ = table("answer")[answer]
    outcomes, circumstances = ANSWERS[answer]
    for outcome in outcomes:
        decision = judged(outcome, **circumstances)
        assert WORDS[decision.step] == then, outcome
        if counts in {"yes", "no"}:
            assert decision.counted == (counts == "yes"), outcome
        if speaks:
            down = breaker.is_down(Outcome(started_at=NOW, duration=1.0, **outcome))
            assert down == (speaks == "yes"), outcome


def test_the_schedule_is_the_default() -> None:
    (told,) = re.findall(r"The schedule is `([^`]+)`", TEXT)
    fields = {field.name: field.default for field in msgspec.structs.fields(SubscriptionSettings)}
    assert tuple(parse_duration(one) for one in told.split(", ")) == fields["schedule"]
    assert f"each with {100 * retries.JITTER:.0f} % of jitter" in TEXT
    assert (retries.MOST_BUGS, "at the third bug" in TEXT) == (3, True)
    assert (retries.DAY, "for up to a day" in TEXT) == (DAY, True)


def test_the_operational_events_are_these() -> None:
    rows = {kind.strip("`"): row for kind, row in table("type").items()}
    told = {kind: tuple(re.findall(r"`(\w+)`", row[2])) for kind, row in rows.items()}
    assert told == {kind: data.__struct_fields__ for kind, data in TYPES.items()}


def test_the_tables_of_words_are_complete() -> None:
    errors = re.findall(r"`(\w+)`", " ".join(table("error")))
    assert sorted(errors) == sorted(Failure)
    assert list(table("state")) == [f"`{state}`" for state in Consent]
    modes = table("`mode`")
    assert list(modes) == [f"`{mode}`" for mode in Mode]
    types = {mode: f"`{kind.decode()}`" for mode, kind in CONTENT_TYPES.items()}
    assert {mode: modes[f"`{mode}`"][0] for mode in CONTENT_TYPES} == types


def test_what_is_flat_is_told_as_it_is() -> None:
    rows = {
        before.strip("`"): after[0].strip("`") for before, after in table("in the event").items()
    }
    assert {before: flatten(before.encode()).decode() for before in rows} == rows
    (told,) = re.findall(r"More than (\d+) MiB are not sent", TEXT)
    assert int(told) << 20 == FLAT_BYTES


def test_the_options_of_replay_are_these() -> None:
    command = get_command(app).commands["replay"]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in parameter.opts}
    told = re.findall(r"--[a-z-]+", " ".join(table("option")))
    everywhere = {"--config", "-c", "--help", "--json", "--url", "--key", "--key-file"}
    assert everywhere - {"--help"} <= known  # `docs/cli.md` tells of these
    assert sorted(told) == sorted(known - everywhere)


NUMBERS = {
    "Fairness": [
        f"at least 50 % of at least {breaker.FEWEST} attempts within {breaker.WINDOW} s",
        f"for {breaker.FIRST // SECOND} s, doubling each time up to {breaker.LONGEST // SECOND} s",
        f"with {100 * breaker.JITTER:.0f} % of jitter",
        f"have {IN_FLIGHT} attempts in flight",
        f"in turns, {TURN} at a time while callbacks come",
    ],
    "Pausing, and long failure": [f"At the {desk.FAILING}th failed attempt in a row"],
    "What the gateway says about itself": [
        f"| {desk.FAILING} attempts failed in a row |",
        f"{lookout.REFUSALS} requests in a row were refused within {lookout.WINDOW // MINUTE} min",
        f"failed {source.FAILING} times in a row |",
    ],
    "The handshake": [
        f"after {handshakes.SOON // SECOND} s, doubling to {handshakes.LATE // HOUR} h",
        f"be read | after {handshakes.LATE // HOUR} h |",
    ],
    "What goes when": [
        f"`retention.attempts`, {RetentionSettings().attempts // DAY} days",
        f"`retention.events`, {RetentionSettings().events // DAY} days",
        f"`retention.callbacks`, {RetentionSettings().callbacks // DAY} days",
        f"at least {janitor.HASHES // DAY} days",
    ],
    "Filters": [
        f"nested {DEEPEST} deep and have {MOST_TERMS} terms",
        f"a text {LONGEST_TEXT} characters, a pointer {LONGEST_POINTER}",
    ],
    "Content modes": [f"at most {MOST_BYTES >> 20} MiB"],
}


@pytest.mark.parametrize(
    ("title", "sentence"), [(title, one) for title, found in NUMBERS.items() for one in found]
)
def test_numbers_are_those_of_the_code(title: str, sentence: str) -> None:
    assert sentence in section(title)


def test_numbers_that_are_words() -> None:
    assert (lookout.QUIET, "at most once an hour" in TEXT) == (HOUR, True)
    assert (MOST_SECRETS, "at most five sign together" in TEXT) == (5, True)


DELIVERED = b"""{"id":"evt_1","source":"https://hooks.example.com/sources/shop",
"type":"order.paid","subject":"B-1001","orderseq":2,"data":{"shop":"berlin","shipment":null,
"total":{"value":"49.26","minor":4926,"currency":"EUR"},"lines":[{"sku":"PLA-1"}]}}"""


@pytest.mark.parametrize("head", ["dialect", "comparison"])
def test_the_filters_are_these_and_hold_of_an_order(head: str) -> None:
    told = table(head)
    words = re.findall(r"`(\w+)`", " ".join(told))
    assert words == list(DIALECTS if head == "dialect" else OPERATORS)
    for cell, (example, _) in told.items():
        plain = tomllib.loads(f"filter = {example.strip('`')}")["filter"]
        assert any(f'"{word}": ' in json.dumps(plain) for word in re.findall(r"`(\w+)`", cell))
        assert explain(read_filters([plain]), Opened.of(DELIVERED)) is None, example
        assert not passes(read_filters([{"not": plain}]), Opened.of(DELIVERED))


def names_of(snippet: str, **given: object) -> dict[str, Any]:
    names: dict[str, Any] = dict(given)
    exec(compile(snippet, "docs/delivery.md", "exec"), names)
    return names


def test_the_snippets_for_consumers_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    receiving, dropping, booking, unpacking = SNIPPETS
    secret, done = generate_secret(), list[Any]()
    stamp = str(int(time.time()))
    signature = sign([parse_secret(secret)], "evt_1", int(stamp), b"{}").decode()
    headers = {"webhook-id": "evt_1", "webhook-timestamp": stamp, "webhook-signature": signature}

    receive = names_of(receiving.replace("whsec_...", secret))["receive"]
    assert [receive(b"{}", headers), receive(b"[]", headers)] == [204, 401]

    once = names_of(dropping.replace("whsec_...", secret), process=done.append)["receive_once"]
    assert [once(b"{}", headers), once(b"{}", headers), once(b"[]", headers)] == [204, 204, 401]
    assert done == [b"{}"]

    names = names_of(booking)
    names["book"]("evt_1", b"{}")
    names["book"]("evt_1", b"{}")
    assert names["database"].execute("SELECT * FROM shipped").fetchall() == [("{}",)]
    names["database"].close()

    unpack: Callable[[bytes], None] = names_of(unpacking, process=done.append)["unpack"]
    unpack(b'[{"id":"evt_1"},{"id":"evt_2"}]')
    unpack(b'[{"id":"evt_2"},{"id":"evt_3"}]')
    assert done[1:] == [{"id": "evt_1"}, {"id": "evt_2"}, {"id": "evt_3"}]


def test_the_id_of_a_replay_is_forgotten_as_told(tmp_path: Path) -> None:
    (statement,) = re.findall(r"`(DELETE FROM [^`]+)`", TEXT)
    inbox = names_of(SNIPPETS[1].replace("inbox.db", str(tmp_path / "inbox.db")))["inbox"]
    with inbox.once("evt_...") as new:
        assert new
    file = sqlite3.connect(tmp_path / "inbox.db", isolation_level=None)
    file.execute(statement)
    file.close()
    with inbox.once("evt_...") as new:
        assert new
