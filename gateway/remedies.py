"""What to try when an endpoint did not take a test event: one sentence for each typical answer.

What n8n answers is measured: 404 while a workflow is off or n8n starts, 403 for a wrong header, 200
and an empty body in the workflow for any content type that it does not read.
"""

from collections.abc import Mapping

from gateway.models import Failure, Mode, Outcome, Subscription

TEST_PATH = "/webhook-test/"
N8N_MODES = {Mode.JSON, Mode.BINARY}  # those whose content type n8n's Webhook node reads

FAILURES: Mapping[Failure, str] = {
    Failure.REDIRECT: "Redirects are not followed: put the address that it leads to into url.",
    Failure.DNS: "See that url names the right host, and that it is known outside your own network.",
    Failure.CONNECT: "See that it runs and that url has its port; in a container or on another"
    " machine, localhost is not this one.",
    Failure.TLS: "See that its certificate is valid for this very host and comes with the"
    " intermediate ones, and that this port speaks TLS at all.",
    Failure.RESET: "It hung up before it answered: see that the port is right; one that speaks TLS"
    " needs https in url.",
    Failure.PROTOCOL: "See that an HTTP server answers at this port; one that speaks TLS needs https"
    " in url.",
    Failure.FORBIDDEN: "Allow that address and port in egress.allow, if it shall be reached.",
    Failure.INTERRUPTED: "The gateway was stopping: try again.",
}
STATUSES: Mapping[int, str] = {
    404: "Nothing is at this path: look for a mistake in the path of url.",
    405: "It takes no POST at this path: look for a mistake in the path of url.",
    410: "To a delivery, this answer makes the subscription gone: nothing more is sent to it.",
    429: "It is called too often: the keys rate and slots hold deliveries back.",
    502: "A proxy answered in its place: see that the endpoint itself runs.",
    503: "It is starting, too busy, or switched off: see that it runs.",
    504: "A proxy answered in its place: see that the endpoint itself answers in time.",
}
N8N: Mapping[int, str] = {
    403: "For n8n's Header Auth, put that header into the subscription's headers, with exactly the"
    " same name and value; and leave the node's option Ignore Bots off.",
    404: "n8n knows no active workflow with this path: activate it, and see that its Webhook node"
    " takes POST; while n8n starts, it answers so for a moment.",
    500: "The workflow failed: its executions in n8n say where.",
}
N8N_TEST = (
    "n8n takes what comes to a test URL only after a click on Listen for test event, and once; the"
    " production URL has /webhook/ in its path."
)


def advice_of(subscription: Subscription, outcome: Outcome) -> str | None:
    """One sentence that helps; None when all is well, or nobody can know."""
    status, failure, n8n = outcome.status, outcome.failure, _is_n8n(subscription)
    if failure is None:
        return _unread(subscription) if n8n else None
    if failure is Failure.TIMEOUT:
        return _late(subscription, outcome, n8n=n8n)
    if failure is Failure.PROTOCOL and outcome.address is None:
        return None  # the request cannot be made, and the detail says why
    if status is None or failure is Failure.REDIRECT:
        return FAILURES.get(failure)
    if n8n and status == 404 and TEST_PATH in subscription.url:
        return N8N_TEST
    if n8n and status in N8N:
        return N8N[status]
    if status in {401, 403}:
        return _refused(subscription)
    if status == 415:
        return _misunderstood(subscription)
    return STATUSES.get(status) or ("Its own log says what failed." if status >= 500 else None)


def _is_n8n(subscription: Subscription) -> bool:
    path = subscription.url.partition("?")[0]
    return subscription.profile == "n8n" or "/webhook/" in path or TEST_PATH in path


def _unread(subscription: Subscription) -> str | None:
    if subscription.mode in N8N_MODES:
        return None
    return (
        f'Should this be n8n: it does not read mode = "{subscription.mode}", and the workflow gets an'
        ' empty body; mode = "json" is what it reads.'
    )


def _late(subscription: Subscription, outcome: Outcome, *, n8n: bool) -> str:
    if outcome.connected is None:
        return (
            "Nothing answers at this address: see that host and port are right; a firewall that"
            " drops what comes looks the same."
        )
    how = (
        "in n8n, let the Webhook node respond immediately" if n8n else "and do the work afterwards"
    )
    return (
        f"It was reached and did not answer within {subscription.timeout / 1000:g} s: let it answer"
        f" first, {how}; or give it more time by the key timeout."
    )


def _refused(subscription: Subscription) -> str:
    if subscription.headers:
        return (
            "It refuses the request: compare the values of the subscription's headers with what it"
            " asks for, and the secret that it checks signatures with."
        )
    return (
        "It refuses the request: where it asks for a header, such as Authorization, put that into the"
        " subscription's headers; where it checks the signature, compare the secrets."
    )


def _misunderstood(subscription: Subscription) -> str:
    other = Mode.STRUCTURED if subscription.mode is Mode.JSON else Mode.JSON
    return (
        f'It does not understand mode = "{subscription.mode}", and to a delivery this answer pauses'
        f' the subscription: try mode = "{other}".'
    )
