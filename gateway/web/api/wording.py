"""What the OpenAPI document says in words: parameters, keys of bodies, examples, what to do about a problem.

What a type says of itself (`Meta(description=...)`) comes first; names mean the same at every call.
"""

from collections.abc import Mapping
from typing import Any

from gateway.published import BATCHED

PATH_IDS: Mapping[str, str] = {
    "callbacks": "A callback's id, such as `cb_7`.",
    "deliveries": "A delivery's id, such as `dl_7`.",
    "event-types": "An event type, such as `order.paid`.",
    "events": "An event's id, `evt_` and 40 hex digits.",
    "explain": "An order, or the id of an event, a delivery or a callback, ours or the provider's.",
    "keys": "A key's id: the 8 characters behind `gwk_`.",
    "orders": "An order's id, percent-encoded, or another name of it.",
    "replays": "A replay job's number.",
    "sources": "A source's name.",
    "subscriptions": "A subscription's id, such as `sub_7`, or its name.",
    "unlinked": "A waiting fact's id, such as `ul_7_3`.",
}
"""What the last part of a path names, by the resource."""

PATH_EXAMPLES: Mapping[str, str] = {"event-types": "order.paid"}
"""What is there at every gateway."""

PARAMETERS: Mapping[str, str] = {
    "Last-Event-ID": "Goes on behind this cursor; readers of event streams send it by themselves.",
    "If-Match": "The `ETag` of what you read: changed only if nobody else has meanwhile.",
    "dry_run": "Only say what would happen; nothing is kept.",
    "event": "Only of this event, by its id.",
    "flat": "With `data` flattened, as `flat` of a subscription has it.",
    "limit": "How many at most.",
    "mode": "The content mode of the deliveries.",
    "order": "Only of this order.",
    "shop": "The shop that it is about.",
    "shops": "Only of these shops, separated by commas. Empty: of all.",
    "source": "Only from this source, by its name.",
    "sources": "Only from these sources, separated by commas. Empty: from all.",
    "state": "Only those that stand so.",
    "subscription": "Only of this subscription, by its name.",
    "type": "Only events of this type.",
    "types": "Types or patterns such as `order.*`, separated by commas.",
    "verdict": "Only those that this became of.",
}
"""Of a query or a header, by name."""

FIELDS: Mapping[str, Mapping[str, str]] = {
    "SourceKeys": {
        "name": "1 to 63 of `a-z`, `0-9` and `-`. Cannot be changed.",
        "provider": "What kind of sender it is, such as `stripe`.",
        "secrets": "What its provider signs with; all of them are tried. Never shown again.",
        "shop": "Whose order numbers these are. Default `default`.",
        "enabled": "false: it rests.",
        "tolerance": "How old a signed callback may be, such as `300s`.",
        "include": "`customer`, `original`: personal data that its events shall have too.",
        "rejection_status": "What whoever does not prove to be this source is answered.",
        "silent_after": "How long a time without a callback is told as a fault, such as `6h`.",
        "base_url": "Where the API of a source is that is asked.",
        "token": "The key of that API. Never shown again.",
        "interval": "How often it is asked, such as `60s`.",
        "requests_per_minute": "How many requests in a minute at most.",
    },
    "SubscriptionKeys": {
        "url": "Where to deliver, by POST.",
        "hookUrl": "The same as `url`.",
        "target_url": "The same as `url`.",
        "pull": "true: nothing is sent, the consumer fetches its events.",
        "name": "1 to 63 of `a-z`, `0-9` and `-`. Cannot be changed.",
        "description": "A note for people.",
        "types": 'Which events: `"order.paid"`, `"order.*"`, `"gateway.*"`, or `"*"` for all but'
        " `gateway.*` and `printstudio.*`. Default `order.*`.",
        "sources": "Only events of these sources. Empty: of all.",
        "shops": "Only events of these shops. Empty: of all.",
        "filters": "What else must hold of an event, all of it: `exact`, `prefix`, `suffix`, `all`, `any`,"
        " `not` and `data`.",
        "profile": "What kind of consumer it is, which sets `mode`, `timeout`, `slots` and `rate`."
        " Guessed from the URL.",
        "mode": "How an event is written: CloudEvents JSON, its data with attributes as headers, CloudEvents"
        " JSON as `application/json`, or several in a list.",
        "flat": "`data` of an event flattened to its top, as `data__total__value`.",
        "timeout": "How long one attempt may take in all, such as `15s`.",
        "slots": "How many deliveries may be under way at once, 1 to 1000.",
        "rate": "At most so many deliveries: `20/s`, `100/m`, or `none`.",
        "schedule": "The waits before the second, third ... attempt; at most 30. `[]` tries once.",
        "headers": "Headers of your own. Their values are secrets: none is ever shown.",
        "handshake": "Ask the consumer first whether it wants events, as CloudEvents' webhook"
        " specification has it.",
        "ordering": "`order`: the events of one order go out one after the other.",
        "on_exhausted": "With `ordering`, when a delivery fails for good: `park` holds what is behind it,"
        " `skip` goes on.",
        "final_status": "Answers from 400 to 499 after which nothing is tried again.",
        "batch_size": "With mode `batch`: at most so many events in a request, 1 to 1000.",
        "batch_wait": "With mode `batch`: how long the first event waits for others, such as `1s`.",
        "from": "Where a new subscription begins: `now`, `beginning` (all that is still kept), or a time.",
        "enabled": "false: nothing is delivered to it, and what happens meanwhile is not kept for it.",
    },
    "FilterRequest": {
        "filters": "As in a subscription.",
        "types": "As in a subscription.",
        "sources": "As in a subscription.",
        "shops": "As in a subscription.",
        "event": "A CloudEvent to try them on.",
        "event_id": "The id of a kept event to try them on.",
        "type": "An event type, whose example they are tried on.",
    },
    "TestRequest": {
        "type": "The event type. Without it, the first one that the subscription wants."
    },
    "Acknowledgement": {"cursor": "The `cursor` of the last event that was taken."},
    "Rotation": {
        "overlap": "For how long the secrets of now sign as well; `0s` ends them at once."
    },
    "ReplayRequest": {
        "delivery": "This delivery, such as `dl_7`.",
        "event": "Those of this event, by its id.",
        "order": "Those of this order.",
        "shop": "Those of events of this shop.",
        "subscription": "Those of this subscription, by its name.",
        "type": "Those of this event type, or of a pattern such as `order.*`.",
        "since": "Events that were recorded then or later, as an RFC 3339 time.",
        "until": "Events that were recorded before, as an RFC 3339 time.",
        "state": "Those that stand so.",
        "dry_run": "Only count them; nothing is sent.",
    },
    "LaneRequest": {
        "subscription": "The subscription's name.",
        "order": "The order whose lane it is.",
        "shop": "Whose order it is, where several shops have one of that id.",
    },
    "WatchRequest": {
        "id": "The order's number at the provider.",
        "order": "The shop's own number of it, where the source does not tell that.",
    },
    "LinkRequest": {
        "order": "The order's id, or another name of it.",
        "shop": "The shop, to be sure: it must be the fact's.",
        "new": "true: the order may be one that is not known yet, and begins with this fact.",
    },
    "NewKey": {
        "role": "What it may be used for.",
        "name": "A label for people.",
        "expires_at": "When it ends by itself; never without.",
    },
}
"""Of a body's keys, by the name of its type."""

_ASKED = {
    "specversion": "1.0",
    "id": "42",
    "source": "/desk",
    "type": "desk.asked",
    "data": {"text": "when?"},
}
_LANE = {"subscription": "fulfilment", "order": "1001"}

EXAMPLES: Mapping[str, Any] = {
    "publishEvents": _ASKED,
    "createSource": {"name": "shop-berlin", "provider": "printstudio", "secrets": ["SECRET"]},
    "changeSource": {"secrets": ["SECRET", "NEXT-SECRET"], "silent_after": None},
    "createSubscription": {"url": "https://n8n.example.com/webhook/5f0c", "types": ["order.paid"]},
    "changeSubscription": {"types": ["order.paid", "order.refunded"]},
    "rotateSubscription": {"overlap": "24h"},
    "testSubscription": {"type": "order.paid"},
    "testFilter": {"type": "order.paid", "filters": [{"prefix": {"subject": "10"}}]},
    "acknowledgeEvents": {"cursor": "CURSOR"},
    "startReplay": {"state": "dead", "dry_run": True},
    "releaseLane": _LANE,
    "skipLane": _LANE,
    "watchOrder": {"id": "123", "order": "1001"},
    "linkUnlinked": {"order": "1001"},
    "createKey": {"role": "subscriber", "name": "n8n"},
}
"""A body of each call that takes one, by the call's name."""

REMEDIES: Mapping[str, str] = {
    "bad_request": "Change the request: `detail` names the parameter or key that is wrong.",
    "unauthenticated": "Send a valid key. This one is missing, mistyped, revoked or expired.",
    "forbidden": "Use a key of another role: the call says which may make it.",
    "not_found": "Look the id up in its list. What this key may not see is not there for it, too.",
    "method_not_allowed": "Use a method that the path has; the header `Allow` names them.",
    "too_slow": "Send the whole body within 30 seconds.",
    "conflict": "Look at how it stands now: `detail` says what is in the way.",
    "precondition_failed": "Read it again, and send the new `ETag` as `If-Match`.",
    "too_large": "Send less at once: `detail` has the limit.",
    "unsupported_media_type": "Send the body as one of the media types of the call, without a content"
    " encoding.",
    "unprocessable": "Change the event: `detail` has the path of what cannot be taken.",
    "internal": "A bug of the gateway. Its log has the details under the `request_id`; please report it.",
    "unavailable": "Try the same again after the seconds of the header `Retry-After`.",
}
"""What to do about each code of a problem."""


def example_of(name: str, media: str) -> Any:
    """A body of the call `name` as this media type has it; None where none is known."""
    example = EXAMPLES.get(name)
    return [example] if media == BATCHED and example is not None else example
