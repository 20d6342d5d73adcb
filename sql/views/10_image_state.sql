-- One row per object at the source: what it is, and what was decided about it.
CREATE VIEW image_state AS
SELECT
    image.collection,
    image.arrival,
    image.period_start,
    image.image_id,
    image.key,
    image.prefix,
    image.uri,
    image.arrived_at,
    image.bytes,
    image.width,
    image.height,
    coalesce(image.format, 'unknown') AS format,
    image.status,
    image.reason_code,
    image.verdict,
    group_member.group_id,
    group_member.relation,
    CASE
        WHEN image.verdict = 'duplicate' THEN image.bytes
        WHEN image.verdict = 'variant' AND collection.variants_reclaimable THEN image.bytes
        ELSE 0
    END AS reclaimable_bytes
FROM image
INNER JOIN collection ON image.collection = collection.name
LEFT JOIN group_member
    ON
        image.collection = group_member.collection
        AND image.image_id = group_member.image_id;
