-- States below 2 are unfinished: -3 in a batch, -2 parked, -1 behind others of its lane, 0 pending,
-- 1 leased (gateway/retries.py). `lane` is the order's row where the subscription is ordered, else
-- null; `leader` the delivery whose attempts stand for a batch; `manual` when it was due before a
-- person asked for an attempt.
ALTER TABLE deliveries ADD COLUMN lane INTEGER;
ALTER TABLE deliveries ADD COLUMN leader INTEGER;
ALTER TABLE deliveries ADD COLUMN manual INTEGER;
CREATE INDEX deliveries_lane ON deliveries (subscription, lane, id)
    WHERE lane IS NOT NULL AND state < 2;
CREATE INDEX deliveries_leader ON deliveries (leader) WHERE leader IS NOT NULL;
-- Batches that wait, and what waits for a batch: neither is looked for among all of the other.
CREATE INDEX deliveries_led ON deliveries (subscription, due)
    WHERE leader IS NOT NULL AND state = 0;
CREATE INDEX deliveries_unled ON deliveries (subscription, due) WHERE leader IS NULL AND state = 0;

-- `queued_at` is when it could first be sent; the other two are milliseconds since `started_at`.
ALTER TABLE attempts ADD COLUMN queued_at INTEGER;
ALTER TABLE attempts ADD COLUMN connected REAL;
ALTER TABLE attempts ADD COLUMN first_byte REAL;

-- `made` holds the settings of one that no configuration declares. While `history` is set, it is the
-- last event that was looked at for a subscription which asked for past events.
ALTER TABLE subscriptions ADD COLUMN made BLOB;
ALTER TABLE subscriptions ADD COLUMN history INTEGER;
ALTER TABLE subscriptions ADD COLUMN failing_since INTEGER;
ALTER TABLE subscriptions ADD COLUMN broken_until INTEGER;
ALTER TABLE subscriptions ADD COLUMN trips INTEGER NOT NULL DEFAULT 0;
ALTER TABLE subscriptions ADD COLUMN handshake BLOB;

-- The secrets of subscriptions that no configuration declares; without `expires_at` it stays.
CREATE TABLE secrets (
    id INTEGER PRIMARY KEY,
    subscription INTEGER NOT NULL REFERENCES subscriptions (id),
    secret BLOB NOT NULL,
    made_at INTEGER NOT NULL,
    expires_at INTEGER
);
CREATE INDEX secrets_subscription ON secrets (subscription);

-- Replay jobs: all deliveries up to `upto` are looked at, those up to `cursor` have been.
CREATE TABLE replays (
    id INTEGER PRIMARY KEY,
    chosen BLOB NOT NULL,
    made_at INTEGER NOT NULL,
    upto INTEGER NOT NULL,
    cursor INTEGER NOT NULL,
    looked INTEGER NOT NULL,
    total INTEGER NOT NULL,
    sent INTEGER NOT NULL,
    waiting INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    finished_at INTEGER
);
CREATE INDEX replays_unfinished ON replays (id) WHERE finished_at IS NULL;

CREATE TABLE source_states (
    source TEXT PRIMARY KEY,
    last_at INTEGER,
    silent_since INTEGER
) WITHOUT ROWID;

-- Retention asks whether a callback is still needed.
CREATE INDEX unlinked_callback ON unlinked (callback);
INSERT INTO source_states (source, last_at)
    SELECT source, max(received_at) FROM callbacks GROUP BY source;

-- Whose orders there are, so that one can be found by its number alone.
CREATE TABLE shops (
    shop TEXT PRIMARY KEY
) WITHOUT ROWID;
INSERT INTO shops SELECT DISTINCT shop FROM orders;

-- Keys begin with the first bytes of what they stand for: new ones then lie together in an index.
-- The names behind `links` and `unlinked_keys` are not known: those of before stay as they were.
UPDATE callbacks SET dedupe = place_key(source, event_id);
UPDATE orders SET key = place_key(shop, order_id);
UPDATE watched SET key = place_key(source, number);
CREATE TABLE plain_keys (
    id INTEGER PRIMARY KEY CHECK (id = 1)
);
INSERT INTO plain_keys SELECT 1 WHERE EXISTS (SELECT 1 FROM links)
    OR EXISTS (SELECT 1 FROM unlinked_keys);

-- Our own ids are random. In blocks of 16,384 events those of now lie together, so that a new one is
-- written where memory is; who looks for an event looks into each block.
DROP INDEX events_event_id;
CREATE UNIQUE INDEX events_event_id ON events (id >> 14, substr(event_id, -20));
