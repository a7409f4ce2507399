-- Answers of the API that are given again for the same `Idempotency-Key`. `principal` is the id of an
-- API key, '' for the owner of the control socket; `key` is a digest of what it sent, and `number`
-- counts its answers. `sealed` has the answer, and the digest of the request that it belongs to.
CREATE TABLE answers (
    id INTEGER PRIMARY KEY,
    principal TEXT NOT NULL,
    key BLOB NOT NULL,
    number INTEGER NOT NULL,
    kept_at INTEGER NOT NULL,
    sealed BLOB NOT NULL
);
CREATE UNIQUE INDEX answers_key ON answers (principal, key);
CREATE INDEX answers_number ON answers (principal, number);
