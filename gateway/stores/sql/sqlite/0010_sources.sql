-- Sources that no configuration declares: all their keys as JSON, sealed, for secrets are among them.
CREATE TABLE made_sources (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    sealed BLOB NOT NULL,
    made_at INTEGER NOT NULL
);

-- What the callbacks of each source were read by, and since when; few, and never removed.
CREATE TABLE mappings (
    id INTEGER PRIMARY KEY,
    source TEXT NOT NULL,
    since INTEGER NOT NULL,
    provider TEXT NOT NULL,
    version TEXT NOT NULL,
    options BLOB NOT NULL
);
CREATE INDEX mappings_source ON mappings (source, id);

-- When a callback in quarantine was last read again; null for those that were read when they came.
ALTER TABLE callbacks ADD COLUMN read_at INTEGER;
