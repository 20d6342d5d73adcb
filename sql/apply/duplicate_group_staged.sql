-- What the groups should be. The keeper's own row names it.
CREATE TEMPORARY TABLE staged_group AS
SELECT
    group_id,
    max(CASE WHEN verdict = 'keeper' THEN image_id END) AS keeper_id,
    count(*) AS size,
    CAST(sum(bytes) AS BIGINT) AS bytes,
    CAST(sum(CASE WHEN verdict = 'duplicate' THEN bytes ELSE 0 END) AS BIGINT)
        AS duplicate_bytes,
    CAST(sum(CASE WHEN verdict = 'variant' THEN bytes ELSE 0 END) AS BIGINT) AS variant_bytes,
    CAST(sum(CASE WHEN verdict = 'duplicate' THEN 1 ELSE 0 END) AS BIGINT) AS duplicates,
    CAST(sum(CASE WHEN verdict = 'variant' THEN 1 ELSE 0 END) AS BIGINT) AS variants,
    CAST(sum(CASE WHEN relation = 'exact' THEN 1 ELSE 0 END) AS BIGINT) AS exact,
    CAST(sum(CASE WHEN relation = 'same' THEN 1 ELSE 0 END) AS BIGINT) AS same,
    CAST(sum(CASE WHEN relation = 'crop' THEN 1 ELSE 0 END) AS BIGINT) AS crop,
    CAST(sum(CASE WHEN relation = 'inside' THEN 1 ELSE 0 END) AS BIGINT) AS inside,
    CAST(sum(CASE WHEN relation = 'edited' THEN 1 ELSE 0 END) AS BIGINT) AS edited,
    min(arrival) AS first_arrival,
    max(arrival) AS last_arrival
FROM staged
WHERE verdict IN ('keeper', 'duplicate', 'variant')
GROUP BY group_id;

CREATE UNIQUE INDEX staged_group_id ON staged_group (group_id);
