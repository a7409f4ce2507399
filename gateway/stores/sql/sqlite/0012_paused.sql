-- Sources that an operator has paused, those of the file too, and since when.
CREATE TABLE paused_sources (
    source TEXT PRIMARY KEY,
    since INTEGER NOT NULL
) WITHOUT ROWID;
