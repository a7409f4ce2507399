-- `begins` is how many bytes of answers of the same principal were kept before this one, so that the
-- newest ones that are together no more than so many bytes are found without adding up all sizes.
ALTER TABLE answers ADD COLUMN begins INTEGER NOT NULL DEFAULT 0;
UPDATE answers SET begins = sums.upto - length(answers.sealed)
    FROM (SELECT id, sum(length(sealed)) OVER (PARTITION BY principal ORDER BY number) AS upto
        FROM answers) AS sums
    WHERE sums.id = answers.id;
