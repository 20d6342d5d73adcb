-- How many near duplicates would remain at a higher threshold: those whose score to the image they
-- matched reaches it. It counts stored evidence: nothing is compared or clustered again.
CREATE VIEW threshold_sensitivity AS
SELECT
    image.collection,
    image.arrival,
    image.period_start,
    level.threshold,
    count(*) AS duplicates_near,
    CAST(sum(CASE WHEN group_member.score >= level.threshold THEN 1 ELSE 0 END) AS BIGINT)
        AS remaining,
    CAST(sum(image.bytes) AS BIGINT) AS reclaimable_near,
    CAST(
        sum(CASE WHEN group_member.score >= level.threshold THEN image.bytes ELSE 0 END) AS BIGINT
    ) AS remaining_bytes
FROM group_member
INNER JOIN image
    ON
        group_member.collection = image.collection
        AND group_member.image_id = image.image_id
CROSS JOIN (
    SELECT CAST(0.80 AS DOUBLE PRECISION) AS threshold
    UNION ALL
    SELECT CAST(0.85 AS DOUBLE PRECISION)
    UNION ALL
    SELECT CAST(0.90 AS DOUBLE PRECISION)
    UNION ALL
    SELECT CAST(0.95 AS DOUBLE PRECISION)
) AS level
WHERE group_member.relation = 'near'
GROUP BY image.collection, image.arrival, image.period_start, level.threshold;
