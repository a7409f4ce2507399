-- Which API key made a subscription, and `place_key` of that and its URL: whoever subscribes a URL
-- again finds its own, and a key has not too many. Both are null for all other subscriptions.
ALTER TABLE subscriptions ADD COLUMN owner TEXT;
ALTER TABLE subscriptions ADD COLUMN target BLOB;
UPDATE subscriptions SET owner = json_extract(CAST(declared AS TEXT), '$.owner')
    WHERE length(made) > 0;
UPDATE subscriptions
    SET target = place_key(owner, json_extract(CAST(declared AS TEXT), '$.url'))
    WHERE owner IS NOT NULL AND json_extract(CAST(declared AS TEXT), '$.url') <> '';
CREATE INDEX subscriptions_owner ON subscriptions (owner, target) WHERE owner IS NOT NULL;
