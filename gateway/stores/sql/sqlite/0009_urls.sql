-- The URL of one that no configuration declares, sealed: its path and its query may be what opens it.
-- `made` and `declared` have it up to its host, and `target` is a keyed hash of the owner and the
-- URL. `consent` has, beside the handshake's secret, what its answer holds for, which names the URL.
ALTER TABLE subscriptions ADD COLUMN url BLOB;

-- The schema from which on nothing that is secret lies here in plain; 4 before there was this column.
ALTER TABLE master ADD COLUMN schema INTEGER NOT NULL DEFAULT 4;
