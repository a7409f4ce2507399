-- API keys; `digest` is the SHA-256 of the secret, which is kept nowhere. One that was revoked stays,
-- so that what it did can be told, and its id is never another's.
CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    digest BLOB NOT NULL,
    role TEXT NOT NULL,
    name TEXT,
    made_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    last_used_at INTEGER
) WITHOUT ROWID;
