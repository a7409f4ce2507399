-- What is secret here is sealed with a master key (gateway/sealing.py), which is not in this file.
-- `sealed` tells whether a key is the one: without a row, all lies here in plain, as before.
CREATE TABLE master (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    sealed BLOB NOT NULL
);

-- The headers of one that no configuration declares, of which `made` has but the names, and what
-- makes the callback's URL of its handshake impossible to guess; both sealed.
ALTER TABLE subscriptions ADD COLUMN headers BLOB;
ALTER TABLE subscriptions ADD COLUMN consent BLOB;
