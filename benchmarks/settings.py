"""How much is measured: the full run, and the quick one that only shows that everything works."""

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Counts are a round's; times are seconds; `turns` are of what is set against each other."""

    turns: int = 3
    senders: int = 64
    part_events: int = 5_000
    part_rounds: int = 5
    whole_events: int = 5_000
    whole_rounds: int = 6
    warm_up: int = 2_000
    rate: float = 200.0
    latency_events: int = 2_000
    unloaded: int = 400
    fan_out: int = 10
    fan_out_events: int = 4_000
    retained: int = 1_000_000
    retained_rounds: int = 15
    pruned: int = 60_000  # 0: not measured
    backlog_callbacks: int = 20_000
    backlog_subscriptions: int = 10
    rest: float = 5.0
    isolation_subscriptions: int = 20
    isolation_rate: float = 50.0
    isolation_events: int = 1_000


FULL = Settings()
QUICK = Settings(
    part_events=2_000,
    part_rounds=1,
    whole_events=3_000,
    whole_rounds=1,
    warm_up=1_000,
    latency_events=400,
    unloaded=100,
    fan_out_events=600,
    retained=20_000,
    retained_rounds=3,
    pruned=0,
    backlog_callbacks=3_000,
    rest=1.0,
    isolation_events=100,
)
