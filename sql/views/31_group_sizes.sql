-- How many groups there are of each size and relation.
CREATE VIEW group_sizes AS
SELECT
    collection,
    size,
    relation,
    count(*) AS groups,
    CAST(sum(size) AS BIGINT) AS images,
    CAST(sum(reclaimable_bytes) AS BIGINT) AS reclaimable_bytes
FROM group_profile
GROUP BY collection, size, relation;
