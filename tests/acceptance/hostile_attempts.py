"""The sending side of a hostile run: a process that delivers to given peers and watches itself.

`python -m tests.acceptance.hostile_attempts PLAN`, where PLAN is the JSON of a `Plan`; it prints
the JSON of a `Result`. The sender and the transport are the gateway's own, on its event loop. No
breaker and no schedule rests them: they meet in a minute what a gateway meets in a day.
"""

import asyncio
import sys
import time
from pathlib import Path

import msgspec
import uvloop

from gateway.egress.rules import Rules
from gateway.egress.transport import Transport
from gateway.models import Delivery, Failure, Millis, Subscription
from gateway.sender import Sender
from tests.acceptance.machine import withheld

PAUSE = 1.0  # seconds between two attempts of a slot: some peers end theirs in no time
EVENT = b'{"specversion":"1.0","id":"evt_1","data":"' + b"x" * 800 + b'"}'


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`peers` are pairs of manner and URL; times in seconds, the warm-up is part of them."""

    peers: list[tuple[str, str]]
    slots: int = 2
    timeout: float = 2.0
    warm_up: float = 10.0
    seconds: float = 30.0


class Result(msgspec.Struct, kw_only=True):
    """What came of the attempts, by manner; memory in MiB, overrun in seconds over the timeout.

    `busy` is the share of the run for which the process was ready and got no processor.
    """

    attempts: int = 0
    overrun: float = float("-inf")
    overrun_of: str = ""
    at_start: float = 0.0
    at_end: float = 0.0
    busy: float = 0.0
    ends: dict[str, dict[str, int]] = {}

    def note(self, manner: str, failure: Failure | None, overrun: float) -> None:
        """Count one attempt."""
        self.attempts += 1
        end, ends = failure or "delivered", self.ends.setdefault(manner, {})
        ends[end] = ends.get(end, 0) + 1
        if overrun > self.overrun:
            self.overrun, self.overrun_of = overrun, manner


def resident() -> float:
    """Resident memory of this process in MiB (proc(5), status: VmRSS)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


async def run(plan: Plan) -> Result:
    """Deliver to every peer with all slots until the time is up."""
    transport, result = Transport(rules=Rules(["127.0.0.0/8:*"])), Result()
    sender, end = Sender(transport), time.monotonic() + plan.seconds
    slots = [
        asyncio.create_task(_deliver(sender, result, plan, number, end))
        for number in range(len(plan.peers))
        for _ in range(plan.slots)
    ]
    await asyncio.sleep(plan.warm_up)
    result.at_start = resident()
    await asyncio.gather(*slots)
    result.at_end = resident()
    result.busy = withheld() / plan.seconds
    await transport.close()
    return result


async def _deliver(sender: Sender, result: Result, plan: Plan, number: int, end: float) -> None:
    manner, url = plan.peers[number]
    subscription = Subscription(
        id=number,
        name=f"peer-{number}",
        url=url,
        secrets=(bytes(32),),
        timeout=Millis(int(plan.timeout * 1000)),
    )
    delivery = Delivery(
        id=number,
        subscription=number,
        event_id="evt_1",
        event_type="order.created",
        body=EVENT,
        attempts=0,
        number=0,
        first_at=None,
        claim=1,
    )
    while (started := time.monotonic()) < end:
        before = withheld()
        outcome = await sender.send(subscription, delivery)
        took = time.monotonic() - started - (withheld() - before)
        result.note(manner, outcome.failure, took - plan.timeout)
        await asyncio.sleep(PAUSE)


def main() -> None:
    """Run the plan of the command line."""
    plan = msgspec.json.decode(sys.argv[1], type=Plan)
    result = uvloop.run(run(plan))
    print(msgspec.json.encode(result).decode())


if __name__ == "__main__":
    main()
