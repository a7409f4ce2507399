"""Rows of design 6.2: payments and refunds; the form is that of `order_rows.py`."""

from tests.unit.order_rows import CREATED, IMPLIED, E, Row, updated
from tests.unit.order_shop import charge, created, failed, paid, refund

PAYMENT: dict[str, Row] = {
    "named": (
        [paid(1, "pi_1", "49.26"), paid(2, "pi_1", "49.26")],
        [IMPLIED, E("paid", ("pi_1",))],
        {"payment": "paid"},
    ),
    "without a name": ([paid(1), paid(2)], [IMPLIED, E("paid")], {"payment": "paid"}),
    "implied": (
        [created(1), paid(2, implied=True), paid(3)],
        [CREATED, E("paid", flags="implied")],
        {"payment": "paid"},
    ),
    "implied when a payment is known": (
        [created(1), paid(2, "pi_1"), paid(3, implied=True)],
        [CREATED, E("paid", ("pi_1",))],
        {"payment": "paid"},
    ),
    "implied, then named without an amount": (
        [created(1), paid(2, implied=True), paid(3, "pi_1")],
        [CREATED, E("paid", flags="implied")],
        {"payment": "paid"},
    ),
    "a name learnt later adds the amount": (
        [created(1), paid(2), paid(3, "pi_1", "49.26"), paid(4, "pi_1", "49.26")],
        [CREATED, E("paid"), updated(3, "amount", "49.26")],
        {"payment": "paid"},
    ),
    "an amount that was known is not told again": (
        [created(1), paid(2, None, "49.26"), paid(3, "pi_1", "49.26")],
        [CREATED, E("paid")],
        {"payment": "paid"},
    ),
    "a name known before": (
        [created(1), paid(2, "pi_1", "49.26"), paid(3)],
        [CREATED, E("paid", ("pi_1",))],
        {"payment": "paid"},
    ),
    "the same payment, its amount later": (
        [created(1), paid(2, "pi_1"), paid(3, "pi_1", "49.26")],
        [CREATED, E("paid", ("pi_1",)), updated(3, "amount", "49.26")],
        {"payment": "paid"},
    ),
    "a second payment": (
        [created(1), paid(2, "pi_1", "49.26"), paid(3, "pi_2", "49.26")],
        [CREATED, E("paid", ("pi_1",)), E("paid", ("pi_2",), "additional")],
        {"payment": "paid"},
    ),
    "one without a name is one of two": (
        [created(1), paid(2), paid(3, "pi_1", "1.00"), paid(4, "pi_2", "2.00"), paid(5)],
        [
            CREATED,
            E("paid"),
            updated(3, "amount", "1.00"),
            E("paid", ("pi_2",), "additional"),
        ],
        {"payment": "paid"},
    ),
    "declined": (
        [created(1), failed(2, "pi_1"), failed(3, "pi_1")],
        [CREATED, E("payment_failed", ("pi_1",))],
        {"payment": "failed"},
    ),
    "declined, then paid": (
        [created(1), failed(2, "pi_1"), paid(3, "pi_1", "49.26")],
        [CREATED, E("payment_failed", ("pi_1",)), E("paid", ("pi_1",))],
        {"payment": "paid"},
    ),
    "paid, then declined": (
        [created(1), paid(3, "pi_1", "49.26"), failed(2, "pi_1")],
        [CREATED, E("paid", ("pi_1",))],
        {"payment": "paid"},
    ),
    "paid, then another declined": (
        [created(1), paid(2, "pi_1"), failed(3, "pi_2"), failed(4)],
        [CREATED, E("paid", ("pi_1",))],
        {"payment": "paid"},
    ),
    "declined without a name, and with one": (
        [created(1), failed(2), failed(3, "pi_1"), failed(4, "pi_2"), failed(5)],
        [CREATED, E("payment_failed"), E("payment_failed", ("pi_2",))],
        {"payment": "failed"},
    ),
    "declined without a name, then paid with one": (
        [created(1), failed(2), paid(3, "pi_1", "1.00"), paid(4)],
        [CREATED, E("payment_failed"), E("paid", ("pi_1",))],
        {"payment": "paid"},
    ),
    "declined and paid without a name": (
        [created(1), failed(2), paid(3), failed(4)],
        [CREATED, E("payment_failed"), E("paid")],
        {"payment": "paid"},
    ),
    "paid without a name while a declined one is known": (
        [created(1), failed(2, "pi_1"), paid(3), paid(4, "pi_1", "1.00")],
        [
            CREATED,
            E("payment_failed", ("pi_1",)),
            E("paid"),
            updated(4, "amount", "1.00"),
        ],
        {"payment": "paid"},
    ),
}

REFUND: dict[str, Row] = {
    "named": (
        [paid(1, "pi_1", "10.00"), refund(2, "re_1", "4.00"), refund(3, "re_1", "4.00")],
        [IMPLIED, E("paid", ("pi_1",)), E("refunded", ("re_1",))],
        {"payment": "paid", "refund": "partial"},
    ),
    "two, and all": (
        [paid(1, "pi_1", "10.00"), refund(2, "re_1", "4.00"), refund(3, "re_2", "6.00")],
        [IMPLIED, E("paid", ("pi_1",)), E("refunded", ("re_1",)), E("refunded", ("re_2",))],
        {"payment": "paid", "refund": "full"},
    ),
    "what was paid is not known": (
        [created(1), refund(2, "re_1", "4.00")],
        [CREATED, E("refunded", ("re_1",))],
        {"refund": "unknown"},
    ),
    "pending, then succeeded": (
        [created(1), refund(2, "re_1", "4.00", "pending"), refund(3, "re_1", "4.00")],
        [CREATED, E("refunded", ("re_1",))],
        {"refund": "unknown"},
    ),
    "pending told late": (
        [created(1), refund(3, "re_1", "4.00"), refund(2, "re_1", "4.00", "pending")],
        [CREATED, E("refunded", ("re_1",))],
        {"refund": "unknown"},
    ),
    "only pending": ([created(1), refund(2, "re_1", "4.00", "pending")], [CREATED], {}),
    "failed after success": (
        [
            created(1),
            refund(2, "re_1", "4.00"),
            refund(3, "re_1", "4.00", "failed"),
            refund(4, "re_1", "4.00", "failed"),
        ],
        [CREATED, E("refunded", ("re_1",)), updated(3, "refund", "re_1", "failed")],
        {},
    ),
    "failed after a success of unknown amount": (
        [created(1), refund(2, "re_1"), refund(3, "re_1", None, "failed")],
        [CREATED, E("refunded", ("re_1",)), updated(3, "refund", "re_1", "failed")],
        {},
    ),
    "failed without success": (
        [
            created(1),
            refund(2, "re_1", "4.00", "pending"),
            refund(3, "re_1", "4.00", "failed"),
            refund(4, "re_1", "4.00"),
        ],
        [CREATED],
        {},
    ),
    "the charge, then its refund": (
        [paid(1, "pi_1", "10.00"), charge(2, "4.00"), refund(3, "re_1", "4.00")],
        [IMPLIED, E("paid", ("pi_1",)), E("refunded", ("ch_1", "4.00"))],
        {"payment": "paid", "refund": "partial"},
    ),
    "the refund, then its charge": (
        [paid(1, "pi_1", "10.00"), refund(2, "re_1", "4.00"), charge(3, "4.00")],
        [IMPLIED, E("paid", ("pi_1",)), E("refunded", ("re_1",))],
        {"payment": "paid", "refund": "partial"},
    ),
    "the charge between two refunds": (
        [
            paid(1, "pi_1", "10.00"),
            refund(2, "re_1", "4.00"),
            charge(3, "10.00"),
            refund(4, "re_2", "6.00"),
        ],
        [
            IMPLIED,
            E("paid", ("pi_1",)),
            E("refunded", ("re_1",)),
            E("refunded", ("ch_1", "10.00")),
        ],
        {"payment": "paid", "refund": "full"},
    ),
    "a refund too big for what the charge said is another": (
        [
            paid(1, "pi_1", "10.00"),
            charge(2, "4.00"),
            refund(3, "re_2", "6.00"),
            refund(2, "re_1", "4.00"),
            charge(3, "10.00"),
        ],
        [
            IMPLIED,
            E("paid", ("pi_1",)),
            E("refunded", ("ch_1", "4.00")),
            E("refunded", ("re_2",)),
        ],
        {"payment": "paid", "refund": "full"},
    ),
    "an older sum of the charge": (
        [created(1), charge(3, "10.00"), charge(2, "4.00")],
        [CREATED, E("refunded", ("ch_1", "10.00"))],
        {"refund": "unknown"},
    ),
    "two sums of one second": (
        [created(1), charge(2, "10.00"), charge(2, "4.00")],
        [CREATED, E("refunded", ("ch_1", "10.00"))],
        {"refund": "unknown"},
    ),
    "two charges": (
        [paid(1, "pi_1", "10.00"), charge(2, "4.00"), charge(3, "6.00", "ch_2")],
        [
            IMPLIED,
            E("paid", ("pi_1",)),
            E("refunded", ("ch_1", "4.00")),
            E("refunded", ("ch_2", "6.00")),
        ],
        {"payment": "paid", "refund": "full"},
    ),
    "failed after its charge told it": (
        [created(1), charge(2, "4.00"), refund(3, "re_1", "4.00", "failed")],
        [CREATED, E("refunded", ("ch_1", "4.00")), updated(3, "refund", "re_1", "failed")],
        {},
    ),
    "failed, and never in what the charge said": (
        [created(1), charge(2, "4.00"), refund(3, "re_2", "6.00", "failed")],
        [CREATED, E("refunded", ("ch_1", "4.00"))],
        {"refund": "unknown"},
    ),
    "failed before the charge spoke": (
        [created(1), refund(2, "re_1", "4.00", "failed"), charge(3, "4.00")],
        [CREATED, E("refunded", ("ch_1", "4.00"))],
        {"refund": "unknown"},
    ),
    "refunded again after a failure": (
        [
            created(1),
            charge(2, "4.00"),
            refund(3, "re_1", "4.00", "failed"),
            charge(4, "4.00"),
            refund(4, "re_2", "4.00"),
        ],
        [
            CREATED,
            E("refunded", ("ch_1", "4.00")),
            updated(3, "refund", "re_1", "failed"),
            updated(4, "refund", "ch_1", "4.00"),
        ],
        {"refund": "unknown"},
    ),
    "the charge's sum falls": (
        [created(1), charge(2, "10.00"), charge(3, "4.00")],
        [CREATED, E("refunded", ("ch_1", "10.00")), updated(3, "refund", "ch_1", "4.00")],
        {"refund": "unknown"},
    ),
    "without name and amount": (
        [created(1), refund(2, None), refund(3, None)],
        [CREATED, E("refunded", ("ch_1", ""))],
        {"refund": "unknown"},
    ),
    "without name and amount, then named": (
        [paid(1, "pi_1", "4.00"), refund(2, None), refund(3, "re_1", "4.00")],
        [
            IMPLIED,
            E("paid", ("pi_1",)),
            E("refunded", ("ch_1", "")),
            updated(3, "refund", "re_1", "amount"),
        ],
        {"payment": "paid", "refund": "full"},
    ),
    "without name and amount, then the charge": (
        [paid(1, "pi_1", "10.00"), refund(2, None), charge(3, "4.00"), charge(4, "10.00")],
        [
            IMPLIED,
            E("paid", ("pi_1",)),
            E("refunded", ("ch_1", "")),
            updated(3, "refund", "ch_1", "4.00"),
            E("refunded", ("ch_1", "10.00")),
        ],
        {"payment": "paid", "refund": "full"},
    ),
    "named, then without name and amount": (
        [created(1), refund(2, "re_1", "4.00"), refund(3, None)],
        [CREATED, E("refunded", ("re_1",))],
        {"refund": "unknown"},
    ),
    "named, its amount later": (
        [created(1), refund(2, "re_1"), refund(3, "re_1", "4.00")],
        [CREATED, E("refunded", ("re_1",)), updated(3, "refund", "re_1", "amount")],
        {"refund": "unknown"},
    ),
}
