-- What waits to be sent in a batch has `leader` 0, and no other delivery has an entry in its index.
UPDATE deliveries SET leader = 0
    WHERE leader IS NULL AND state < 2 AND subscription IN (
        SELECT id FROM subscriptions
        WHERE instr(CAST(declared AS TEXT), '"mode":"batch"') > 0
    );
DROP INDEX deliveries_unled;
DROP INDEX deliveries_led;
CREATE INDEX deliveries_gathered ON deliveries (subscription, due) WHERE leader = 0 AND state = 0;
CREATE INDEX deliveries_led ON deliveries (subscription, due) WHERE leader > 0 AND state = 0;
