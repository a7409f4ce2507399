"""The callbacks of the load: real Stripe events of about 900 bytes, each signed, each its own order.

Its ids are like real ones: those of events and payments begin with their time, those of sessions
are random, and the shop numbers its orders.

Format: Stripe's snapshot events and `Stripe-Signature` (docs.stripe.com/webhooks). A completed
session that is still `unpaid` is one fact, `order.created`, and so one event.
"""

import base64
import hashlib
import hmac

SOURCE = "stripe-bench"
SECRET = "whsec_benchmark_of_the_gateway"
KEY = base64.b64encode(b"the benchmark's subscription key").decode()  # signs the deliveries
PATH = f"/hooks/{SOURCE}"

_EVENT = (
    '{"id":"evt_%(key)s","object":"event","api_version":"2025-06-30.basil","created":%(at)d,'
    '"data":{"object":{"id":"cs_test_%(random)s","object":"checkout.session",'
    '"amount_subtotal":4500,"amount_total":4926,"automatic_tax":{"enabled":false,"status":null},'
    '"client_reference_id":null,"created":%(at)d,'
    '"currency":"eur","customer":"cus_%(key)s","expires_at":%(at)d,"livemode":false,'
    '"metadata":{"order_id":"%(key)s","channel":"web"},"mode":"payment",'
    '"payment_intent":"pi_%(key)s","payment_link":null,"payment_method_types":["sepa_debit"],'
    '"payment_status":"unpaid","status":"complete",'
    '"success_url":"https://shop.example.com/thanks?session={CHECKOUT_SESSION_ID}",'
    '"total_details":{"amount_discount":0,"amount_shipping":426,"amount_tax":0}}},'
    '"livemode":false,"pending_webhooks":1,"request":{"id":null,"idempotency_key":null},'
    '"type":"checkout.session.completed"}'
)

_REQUEST = (
    "POST {path} HTTP/1.1\r\n"
    "Host: 127.0.0.1:{port}\r\n"
    "User-Agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\n"
    "Accept: */*; q=0.5, application/xml\r\n"
    "Content-Type: application/json; charset=utf-8\r\n"
    "Cache-Control: no-cache\r\n"
    "Stripe-Signature: {signature}\r\n"
    "Content-Length: {length}\r\n"
    "\r\n"
)


def body(run: str, number: int, *, at: int) -> bytes:
    """The event `number` of this run, which makes all its ids unique; `at` in Unix seconds."""
    key = f"{run}{number:08d}"
    random = hashlib.sha256(key.encode()).hexdigest()
    return (_EVENT % {"key": key, "random": random[:32], "at": at}).encode()


def signature(content: bytes, *, at: int) -> str:
    """The value of `Stripe-Signature` for these bytes, made at this Unix second."""
    mac = hmac.new(SECRET.encode(), b"%d.%b" % (at, content), "sha256").hexdigest()
    return f"t={at},v1={mac}"


def request(run: str, number: int, *, at: int, port: int) -> bytes:
    """The whole HTTP request of one callback, ready to be written."""
    content = body(run, number, at=at)
    head = _REQUEST.format(
        path=PATH, port=port, signature=signature(content, at=at), length=len(content)
    )
    return head.encode() + content


def headers(head: bytes) -> list[tuple[bytes, bytes]]:
    """The headers of a request's head as a server hands them on, names in lower case."""
    lines = [line.split(b": ", 1) for line in head.split(b"\r\n")[1:]]
    return [(name.lower(), value) for name, value in lines]
