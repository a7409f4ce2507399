"""`gateway demo` as a person runs it: what it shows, what it checks, and that it leaves nothing."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx2
import msgspec
import pytest

from gateway.demo.cast import Order, Step, Way, orders
from gateway.demo.ledger import Ledger, Sent, missing
from gateway.demo.marketiger import Asked, MarketigerApi
from gateway.demo.payloads import TRACKING, Shopping, headers
from gateway.demo.receivers import PARTS, Arrival, Receiver
from gateway.models import Receipt, Verdict
from gateway.signing import parse_secret, sign

COMMAND = (sys.executable, "-m", "gateway", "demo")
TIME = 60.0  # seconds; far more than it takes, for a busy machine
WATCH, PAID_POLL, HOLD_POLL = 2, 3, 5  # steps of order 1003


def environment(folder: Path) -> Mapping[str, str]:
    """Temporary files in `folder`; a proxy and keys of ours that must not matter."""
    nowhere = "http://127.0.0.1:9"
    return {
        **os.environ,
        "TMPDIR": str(folder),
        "HTTP_PROXY": nowhere,
        "http_proxy": nowhere,
        "ALL_PROXY": nowhere,
        "GATEWAY_SERVER__PORT": "1",
        "GATEWAY_CONFIG": "/nowhere/gateway.toml",
    }


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What one run printed; it must have ended well and left nothing behind."""
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        COMMAND, env=environment(folder), capture_output=True, text=True, timeout=TIME, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert list(folder.iterdir()) == []
    return done.stdout


@pytest.mark.parametrize(
    "pattern",
    [
        r"→ accounting +order\.paid #2 +attempt 1 failed: 503 +will be retried",
        r"→ accounting +order\.paid #2 +delivered in [\d.]+ ms, retry 2 +signature verified",
        r"→ fulfilment +order\.shipped #5 +delivered in [\d.]+ ms +signature verified",
        r"PrintStudio +order\.paid +merged with order\.paid #2 +Stripe told it first",
        r"PrintStudio +order\.cancelled \(forged\) +refused: 401 Unauthorized",
        r"PrintStudio +order\.printing +superseded: shipped by now",
        r"Stripe +payment_intent\.succeeded +unlinked: no order yet",
        r"Stripe +checkout\.session\.completed +duplicate of cb_\d+: ignored",
        r"shop +watch [0-9a-f]{8}… +is order 1003: asked for now +answered in [\d.]+ ms",
        r"Marketiger +asked: 5 Paid +merged with order\.paid #2 +Stripe told it first",
        r"Marketiger +asked: 15 OnHold +changed +→ order\.on_hold #3 +reason: production",
        r"Marketiger +asked: 5 Paid +changed +→ order\.updated #4 +hold released",
        r"Stripe +refund\.created +verified → order\.refunded #5",
        rf"Marketiger +asked: 10 Shipped +changed +→ order\.shipped #6 +{TRACKING}",
        r"Callbacks +16 sent: 9 made events, 3 merged, 1 refused, 1 superseded, 1 unlinked, 1 dupl",
        r"Polls +\d+ answered: 1 merged, 3 made events",
        r"Events +14, ",
        r"Deliveries +18 arrived",
        r"Retries +2 attempts failed",
        r"p50 [\d.]+ ms",
        r"All came as expected\.",
        r"gateway demo --keep",
    ],
)
def test_demo_shows(shown: str, pattern: str) -> None:
    assert re.search(pattern, shown), shown


def test_demo_is_plain_when_piped(shown: str) -> None:
    assert "\x1b" not in shown


def test_demo_shows_each_order_once_and_in_order(shown: str) -> None:
    assert re.findall(r"^Order (\d+)", shown, re.MULTILINE) == ["1001", "1002", "1003"]


def test_demo_delivers_the_order_of_two_providers_once_and_in_order(shown: str) -> None:
    """Though Stripe and Marketiger both say that it is paid, one of them twice."""
    _, _, order = shown.partition("\nOrder 1003")
    delivered = re.findall(r"→ (\w+) +(order\.\w+ #\d) +delivered", order)
    assert [label for receiver, label in delivered if receiver == "fulfilment"] == [
        "order.created #1",
        "order.paid #2",
        "order.on_hold #3",
        "order.updated #4",
        "order.refunded #5",
        "order.shipped #6",
    ]
    assert [label for receiver, label in delivered if receiver == "accounting"] == [
        "order.paid #2",
        "order.refunded #5",
    ]


@pytest.mark.slow
def test_kept_folder_can_be_looked_at(tmp_path: Path) -> None:
    """Also where the terminal has no arrows."""
    done = subprocess.run(
        (*COMMAND, "--keep"),
        env={**environment(tmp_path), "PYTHONIOENCODING": "ascii:strict"},
        capture_output=True,
        text=True,
        timeout=TIME,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.iterdir()
    assert (folder / "gateway.toml").stat().st_mode & 0o077 == 0
    line = next(one for one in done.stdout.splitlines() if " explain 1001 " in one)
    _, _, arguments = line.partition(" -m gateway ")
    told = subprocess.run(
        (sys.executable, "-m", "gateway", *arguments.split()),
        capture_output=True,
        text=True,
        timeout=TIME,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert "order.shipped" in told.stdout


def serving(folder: Path) -> list[str]:
    """The processes whose command line names the folder; Linux only, elsewhere none is seen."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode()
            found += [line] if str(folder) in line else []
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "line"),
    [
        (signal.SIGINT, "Order 1001"),
        (signal.SIGINT, "A gateway, two receivers"),
        (signal.SIGINT, "asked: 5 Paid"),
        (signal.SIGTERM, "ready on"),
    ],
)
def test_a_signal_ends_all_that_was_started(
    tmp_path: Path, number: signal.Signals, line: str
) -> None:
    with subprocess.Popen(
        COMMAND,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        bufsize=1,
    ) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        while line not in demo.stdout.readline():
            assert demo.poll() is None
        deadline = time.monotonic() + TIME
        while Path("/proc").exists() and not serving(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.01)
        demo.send_signal(number)
        assert demo.wait(TIME) == 130
        assert demo.stderr.read() == ""
    assert serving(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_gateway_that_cannot_start_is_one_sentence(tmp_path: Path) -> None:
    """The child finds a broken `gateway` package in the folder that it is started in."""
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway" / "__init__.py").write_text("")
    (tmp_path / "gateway" / "__main__.py").write_text("raise SystemExit('gateway: no, not today')")
    start = "from gateway.cli.main import main; import sys, os; os.chdir(sys.argv.pop()); main()"
    done = subprocess.run(
        (sys.executable, "-c", start, "demo", str(tmp_path)),
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=TIME,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "gateway: the demo's gateway ended: no, not today\n"


class Played:
    """A ledger as a perfect run of one order leaves it, to be spoilt."""

    def __init__(self, order: str = "1002") -> None:
        self.cast = [one for one in orders(1_700_000_000) if one.id == order]
        self.ledger = Ledger(())
        self.ledger.parts = [msgspec.structs.replace(part, refuses=0) for part in PARTS]
        self._seq = 0
        steps = self.cast[0].steps
        for step in steps:
            number = next(i for i, one in enumerate(steps) if one.body == step.body)
            ids = [f"evt_{number}_{kind}" for kind in step.makes]
            self.ledger.sent.append(sent(self.cast[0], step, number, ids))
            if step.way is Way.POLL:
                self.ledger.asked.append(Asked(at=0.0, answer=step.body))
            for event_id, kind in [] if step.duplicate else zip(ids, step.makes, strict=True):
                self._made(step, event_id, kind)

    def _made(self, step: Step, event_id: str, kind: str) -> None:
        self._seq += 1
        self._arrive("fulfilment", event_id, kind, self._seq, step.news)
        if kind in {"order.paid", "order.refunded"}:
            self._arrive("accounting", event_id, kind, self._seq)

    def _arrive(self, receiver: str, event_id: str, kind: str, seq: int, news: str = "") -> None:
        self.ledger.arrived(
            Arrival(
                receiver=receiver,
                at=1.0,
                attempt=1,
                status=204,
                event_id=event_id,
                type=kind,
                seq=seq,
                order=self.cast[0].id,
                news=news,
            )
        )

    def missing(self) -> list[str]:
        return list(missing(self.ledger, self.cast))

    def change_sent(self, number: int, **changes: object) -> None:
        self.ledger.sent[number] = msgspec.structs.replace(self.ledger.sent[number], **changes)

    def change_arrival(self, number: int, **changes: object) -> None:
        old = self.ledger.arrivals[number]
        self.ledger.arrivals[number] = msgspec.structs.replace(old, **changes)


def sent(order: Order, step: Step, number: int, ids: list[str]) -> Sent:
    refused = step.verdict is None
    receipt = Receipt(
        id=f"cb_{number}",
        events=ids,
        duplicate=step.duplicate,
        verdict=step.verdict or Verdict.EVENT,
    )
    return Sent(
        order=order.id,
        step=step,
        at=0.0,
        took=0.001,
        status=401 if refused else 200,
        receipt=None if refused or step.way is Way.WATCH else receipt,
    )


@pytest.mark.parametrize("order", ["1001", "1002", "1003"])
def test_a_perfect_run_misses_nothing(order: str) -> None:
    assert Played(order).missing() == []


def test_check_sees_a_forged_callback_accepted() -> None:
    played = Played()
    played.change_sent(2, status=200)
    assert played.missing() == ["PrintStudio's order.cancelled of order 1002 was answered 200"]


def test_check_sees_another_verdict() -> None:
    played = Played()
    receipt = Receipt(id="cb_4", events=[], duplicate=False, verdict=Verdict.MERGED)
    played.change_sent(4, receipt=receipt)
    assert played.missing() == ["PrintStudio's order.printing of order 1002 came out as merged"]


def test_check_sees_a_lost_and_a_repeated_delivery() -> None:
    played = Played()
    played.ledger.arrivals.append(played.ledger.arrivals[0])
    lost = played.ledger.arrivals.pop(2)
    assert lost.receiver == "accounting"
    assert played.missing() == [
        "fulfilment got order.created of order 1002 2 times instead of once",
        "accounting got order.paid of order 1002 0 times instead of once",
    ]


def test_check_sees_what_nobody_asked_for() -> None:
    played = Played()
    played._arrive("accounting", "evt_3_order.shipped", "order.shipped", 3)
    assert played.missing() == ["accounting got order.shipped of order 1002 unasked"]


def test_check_sees_a_bad_signature_a_wrong_type_and_a_gap() -> None:
    played = Played()
    played.change_arrival(0, fault="its signature does not hold")
    played.change_arrival(1, type="order.ready")
    played.change_arrival(3, seq=7)
    assert played.missing() == [
        "fulfilment refused a delivery: its signature does not hold",
        "fulfilment got order.ready of order 1002 for order.paid",
        "the events of order 1002 are numbered [1, 2, 7]",
    ]


def test_check_sees_events_in_the_wrong_order() -> None:
    played = Played("1003")
    numbers = {1: 2, 2: 1}
    for i, arrival in enumerate(played.ledger.arrivals):
        played.change_arrival(i, seq=numbers.get(arrival.seq, arrival.seq))
    assert played.missing() == ["the events of order 1003 are numbered [2, 1, 3, 4, 5, 6]"]


def test_check_sees_a_second_payment_event() -> None:
    played = Played("1003")
    receipt = Receipt(id="cb_3", events=["evt_x"], duplicate=False, verdict=Verdict.EVENT)
    played.change_sent(PAID_POLL, receipt=receipt)
    played._arrive("accounting", "evt_x", "order.paid", 3)
    assert played.missing() == [
        "Marketiger's 5 Paid of order 1003 came out as event",
        "Marketiger's 5 Paid of order 1003 made 1 events instead of 0",
        "accounting got order.paid of order 1003 unasked",
    ]


def test_check_sees_an_answer_that_was_never_asked_for_or_not_taken_in() -> None:
    played = Played("1003")
    played.change_sent(PAID_POLL, receipt=None, status=None, detail="it said nothing")
    played.change_sent(HOLD_POLL, receipt=None, detail="the gateway took in 5")
    assert [one for one in played.missing() if "Marketiger's" in one] == [
        "Marketiger's 5 Paid of order 1003 was never asked for: it said nothing",
        "Marketiger's 15 OnHold of order 1003 was asked for, but not taken in: the gateway took in 5",
    ]


def test_check_sees_a_refused_watch_and_a_refused_question() -> None:
    played = Played("1003")
    played.change_sent(WATCH, status=404, detail="no such source")
    played.ledger.asked.append(Asked(at=0.0, answer=b"{}", fault="AUTHENTICATION"))
    name = played.ledger.sent[WATCH].name
    assert played.missing() == [
        f"{name} was answered 404: no such source",
        "Marketiger refused a question: AUTHENTICATION",
    ]


def test_check_sees_another_reason_change_or_parcel() -> None:
    played = Played("1003")
    spoilt = {
        "order.on_hold": "reason: on_hold",
        "order.updated": "status 7",
        "order.shipped": "1Z",
    }
    for i, arrival in enumerate(played.ledger.arrivals):
        played.change_arrival(i, news=spoilt.get(arrival.type, ""))
    assert played.missing() == [
        "fulfilment got order.on_hold of order 1003 with reason: on_hold, not reason: production",
        "fulfilment got order.updated of order 1003 with status 7, not hold released",
        f"fulfilment got order.shipped of order 1003 with 1Z, not {TRACKING}",
    ]


def test_check_sees_missing_retries_and_an_order_cut_short() -> None:
    played = Played()
    played.ledger.parts = PARTS
    played.ledger.sent.pop()
    assert played.missing() == [
        "accounting refused 0 deliveries instead of 2",
        "order 1002 was not played to its end",
    ]


def test_receiver_refuses_what_it_cannot_verify() -> None:
    heard: list[Arrival] = []

    async def deliver() -> list[int]:
        receiver = Receiver(PARTS[0], heard.append, clock=time.perf_counter, wall=time.time)
        async with receiver, httpx2.AsyncClient(trust_env=False) as client:
            statuses = []
            for key in (b"k" * 32, parse_secret(receiver.secret)):
                now = int(time.time())
                signed = {
                    "webhook-id": "evt_1",
                    "webhook-timestamp": str(now),
                    "webhook-signature": sign([key], "evt_1", now, b"{}").decode(),
                }
                answer = await client.post(
                    f"http://127.0.0.1:{receiver.port}/fulfilment",
                    content=b"{}",
                    headers={**signed, "content-type": "application/cloudevents+json"},
                )
                statuses.append(answer.status_code)
            return statuses

    assert asyncio.run(deliver()) == [400, 400]
    assert [str(one.fault).partition(":")[0] for one in heard] == [
        "its signature does not hold",
        "it is no CloudEvent of an order",
    ]


def test_the_print_providers_api_answers_who_has_its_token() -> None:
    buyer, heard = Shopping("1003", cents=1), list[Asked]()
    answer = buyer.marketiger(5, 1_700_000_000)

    async def ask() -> list[tuple[int, bytes]]:
        api = MarketigerApi(heard.append, clock=lambda: 1.5)
        api.tell(answer)
        tries = [
            (api.token, "Order/GetOrder", buyer.guid),
            ("guess", "Order/GetOrder", buyer.guid),
            (api.token, "Order/GetOrder", "another"),
            (api.token, "Order/List", buyer.guid),
        ]
        async with api, httpx2.AsyncClient(trust_env=False) as client:
            answers = [
                await client.get(
                    f"{api.url}/{path}",
                    params={"orderId": number},
                    headers={"authorization": f"Bearer {token}"},
                )
                for token, path, number in tries
            ]
        return [(one.status_code, one.content) for one in answers]

    told = asyncio.run(ask())
    assert told[0] == (200, answer)
    assert [status for status, _ in told[1:]] == [400, 400, 400]
    kinds = ["AUTHENTICATION", "NOT_FOUND", "INCORRECT_PARAMETERS"]
    assert [msgspec.json.decode(body)["error"]["type"] for _, body in told[1:]] == kinds
    assert [one.fault for one in heard] == ["", *kinds]
    assert [one.at for one in heard] == [1.5] * 4


def test_forged_and_true_signatures_differ() -> None:
    body, now = b"{}", 1_700_000_000
    for source in ("stripe", "printstudio"):
        assert headers(source, body, "one", now) != headers(source, body, "other", now)
