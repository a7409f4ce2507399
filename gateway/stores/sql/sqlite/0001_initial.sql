-- One row a callback, kept byte for byte. `dedupe` hashes (source, provider event id).
CREATE TABLE callbacks (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    provider TEXT NOT NULL,
    shop TEXT NOT NULL,
    event_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    dedupe BLOB NOT NULL,
    body_hash BLOB NOT NULL,
    received_at INTEGER NOT NULL,
    headers BLOB NOT NULL,
    body BLOB NOT NULL,
    verdict TEXT NOT NULL,
    reason TEXT NOT NULL,
    notes BLOB NOT NULL,
    order_row INTEGER REFERENCES orders (id)
);
CREATE UNIQUE INDEX callbacks_dedupe ON callbacks (dedupe);
CREATE INDEX callbacks_order ON callbacks (order_row) WHERE order_row IS NOT NULL;
CREATE INDEX callbacks_quarantined ON callbacks (id) WHERE verdict = 'quarantined';

-- The tracks of each order, as the order state engine writes them; never deleted.
CREATE TABLE orders (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    shop TEXT NOT NULL,
    order_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    state BLOB NOT NULL
);
CREATE UNIQUE INDEX orders_key ON orders (key);

-- What leads to an order: payment intents, charges, sessions, aliases. `key` hashes (shop, link).
CREATE TABLE links (
    key BLOB PRIMARY KEY,
    order_id TEXT NOT NULL
) WITHOUT ROWID;

-- Facts whose order is not known yet.
CREATE TABLE unlinked (
    id INTEGER PRIMARY KEY,
    callback INTEGER NOT NULL REFERENCES callbacks (id),
    shop TEXT NOT NULL,
    since INTEGER NOT NULL,
    deadline INTEGER,
    entry BLOB NOT NULL
);
CREATE INDEX unlinked_deadline ON unlinked (deadline) WHERE deadline IS NOT NULL;
CREATE TABLE unlinked_keys (
    key BLOB NOT NULL,
    unlinked INTEGER NOT NULL REFERENCES unlinked (id) ON DELETE CASCADE,
    PRIMARY KEY (key, unlinked)
) WITHOUT ROWID;

-- The outbox. `id` is an event's place in it; `routing` packs one verdict a subscription.
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL,
    type TEXT NOT NULL,
    source TEXT NOT NULL,
    shop TEXT NOT NULL,
    order_id TEXT,
    order_row INTEGER REFERENCES orders (id),
    seq INTEGER,
    time INTEGER NOT NULL,
    recorded INTEGER NOT NULL,
    callback INTEGER,
    routing BLOB NOT NULL,
    body BLOB NOT NULL
);
CREATE UNIQUE INDEX events_event_id ON events (event_id);
CREATE INDEX events_order ON events (order_row) WHERE order_row IS NOT NULL;
CREATE INDEX events_callback ON events (callback) WHERE callback IS NOT NULL;

-- `state`: 0 pending, 1 leased, 2 delivered, 3 dead (gateway/retries.py).
CREATE TABLE deliveries (
    id INTEGER PRIMARY KEY,
    event INTEGER NOT NULL REFERENCES events (id),
    subscription INTEGER NOT NULL REFERENCES subscriptions (id),
    state INTEGER NOT NULL,
    due INTEGER NOT NULL,
    claim INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    number INTEGER NOT NULL DEFAULT 0,
    first_at INTEGER,
    finished_at INTEGER,
    reason TEXT
);
CREATE INDEX deliveries_open ON deliveries (subscription, state, due) WHERE state < 2;
CREATE INDEX deliveries_event ON deliveries (event);

CREATE TABLE attempts (
    delivery INTEGER NOT NULL REFERENCES deliveries (id),
    number INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    duration REAL NOT NULL,
    status INTEGER,
    failure TEXT,
    detail TEXT NOT NULL,
    address TEXT,
    head BLOB NOT NULL,
    PRIMARY KEY (delivery, number)
) WITHOUT ROWID;

CREATE TABLE subscriptions (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    declared BLOB NOT NULL,
    enabled INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'active',
    reason TEXT,
    hold_until INTEGER,
    last_success INTEGER
);

-- Which subscriptions the bytes of a routing verdict stand for.
CREATE TABLE revisions (
    revision INTEGER PRIMARY KEY,
    subscriptions BLOB NOT NULL
);

CREATE TABLE heartbeat (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
);
