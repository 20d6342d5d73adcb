-- Objects, duplicates and variants by arrival period, source prefix and format, from current state: a
-- late backfill corrects the past. Every count is a sum of these.
CREATE VIEW duplicate_counts AS
SELECT
    image_state.collection,
    image_state.arrival,
    image_state.period_start,
    image_state.prefix,
    image_state.format,
    count(*) AS images,
    CAST(sum(CASE WHEN status <> 'rejected' THEN 1 ELSE 0 END) AS BIGINT) AS decoded,
    CAST(sum(CASE WHEN status = 'active' THEN 1 ELSE 0 END) AS BIGINT) AS active,
    CAST(sum(CASE WHEN status = 'collapsed' THEN 1 ELSE 0 END) AS BIGINT) AS collapsed,
    CAST(sum(CASE WHEN status = 'rejected' THEN 1 ELSE 0 END) AS BIGINT) AS rejected,
    CAST(sum(CASE WHEN verdict = 'unique' THEN 1 ELSE 0 END) AS BIGINT) AS unique_images,
    CAST(sum(CASE WHEN verdict = 'keeper' THEN 1 ELSE 0 END) AS BIGINT) AS keepers,
    CAST(sum(CASE WHEN verdict = 'duplicate' THEN 1 ELSE 0 END) AS BIGINT) AS duplicates,
    CAST(sum(CASE WHEN relation = 'exact' THEN 1 ELSE 0 END) AS BIGINT) AS duplicates_exact,
    CAST(sum(CASE WHEN relation = 'same' THEN 1 ELSE 0 END) AS BIGINT) AS duplicates_same,
    CAST(sum(CASE WHEN relation = 'crop' THEN 1 ELSE 0 END) AS BIGINT) AS duplicates_crop,
    CAST(sum(CASE WHEN verdict = 'variant' THEN 1 ELSE 0 END) AS BIGINT) AS variants,
    CAST(sum(CASE WHEN relation = 'inside' THEN 1 ELSE 0 END) AS BIGINT) AS variants_inside,
    CAST(sum(CASE WHEN relation = 'edited' THEN 1 ELSE 0 END) AS BIGINT) AS variants_edited,
    CAST(sum(bytes) AS BIGINT) AS bytes,
    CAST(sum(reclaimable_bytes) AS BIGINT) AS reclaimable_bytes,
    CAST(sum(CASE WHEN relation = 'exact' THEN reclaimable_bytes ELSE 0 END) AS BIGINT)
        AS reclaimable_exact,
    CAST(sum(CASE WHEN relation = 'same' THEN reclaimable_bytes ELSE 0 END) AS BIGINT)
        AS reclaimable_same,
    CAST(sum(CASE WHEN relation = 'crop' THEN reclaimable_bytes ELSE 0 END) AS BIGINT)
        AS reclaimable_crop,
    CAST(sum(CASE WHEN relation = 'inside' THEN reclaimable_bytes ELSE 0 END) AS BIGINT)
        AS reclaimable_inside,
    CAST(sum(CASE WHEN relation = 'edited' THEN reclaimable_bytes ELSE 0 END) AS BIGINT)
        AS reclaimable_edited,
    collection.price_per_gb_month,
    CAST(sum(bytes) AS DOUBLE PRECISION) / 1000000000 * collection.price_per_gb_month
        AS cost_per_month,
    CAST(sum(reclaimable_bytes) AS DOUBLE PRECISION) / 1000000000 * collection.price_per_gb_month
        AS savable_per_month,
    collection.currency
FROM image_state
INNER JOIN collection ON image_state.collection = collection.name
GROUP BY
    image_state.collection, image_state.arrival, image_state.period_start, image_state.prefix,
    image_state.format, collection.price_per_gb_month, collection.currency;
