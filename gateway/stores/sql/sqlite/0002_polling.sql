-- One row a polled source: where its poller is. `fingerprint` hashes what was configured when a
-- refusal was met: a change lifts it; `account` hashes whose orders they are, first asked for `since`. `cursor` is where the listing goes on, `adopted` the last
-- callback whose order was taken into `watched`; until `paused_until` the API wants to be left alone.
CREATE TABLE polls (
    source TEXT PRIMARY KEY,
    fingerprint BLOB NOT NULL,
    account BLOB NOT NULL,
    since INTEGER NOT NULL,
    cursor TEXT,
    listed INTEGER NOT NULL,
    adopted INTEGER NOT NULL,
    refused TEXT,
    failures INTEGER NOT NULL,
    problem TEXT,
    next_at INTEGER NOT NULL,
    paused_until INTEGER NOT NULL,
    asked_at INTEGER,
    answered_at INTEGER
);

-- The orders that a source is asked for. `key` hashes (source, the provider's number); without
-- `next_at` it is asked no more, and `problem` says why. `seen` hashes the facts of the last reply,
-- `entry` those of the last entry of a list.
CREATE TABLE watched (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL,
    source TEXT NOT NULL,
    number TEXT NOT NULL,
    order_id TEXT,
    wanted INTEGER NOT NULL,
    baseline INTEGER NOT NULL,
    seen BLOB,
    entry BLOB,
    said_at INTEGER,
    changed_at INTEGER NOT NULL,
    next_at INTEGER,
    failures INTEGER NOT NULL DEFAULT 0,
    problem TEXT
);
CREATE UNIQUE INDEX watched_key ON watched (key);
CREATE INDEX watched_due ON watched (source, next_at) WHERE next_at IS NOT NULL;
