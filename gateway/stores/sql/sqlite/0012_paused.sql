-- Sources that an operator has paused, those of the file too, and since when.
CREATE TABLE paused_sources (
    source TEXT PRIMARY KEY,
    since INTEGER NOT NULL
) WITHOUT ROWID;

-- How many attempts of a subscription have failed in a row, up to the fourth, from which on it is failing.
ALTER TABLE subscriptions ADD COLUMN streak INTEGER NOT NULL DEFAULT 0;
