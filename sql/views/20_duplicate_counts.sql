-- Objects and duplicates by arrival period, source prefix and format, from current state: a late
-- backfill corrects the past. Every count of duplicates is a sum of these.
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
    CAST(sum(CASE WHEN relation = 'perceptual' THEN 1 ELSE 0 END) AS BIGINT)
        AS duplicates_perceptual,
    CAST(sum(CASE WHEN relation = 'near' THEN 1 ELSE 0 END) AS BIGINT) AS duplicates_near,
    CAST(sum(bytes) AS BIGINT) AS bytes,
    CAST(sum(reclaimable_bytes) AS BIGINT) AS reclaimable_bytes,
    CAST(sum(CASE WHEN relation = 'exact' THEN reclaimable_bytes ELSE 0 END) AS BIGINT)
        AS reclaimable_exact,
    CAST(sum(CASE WHEN relation = 'perceptual' THEN reclaimable_bytes ELSE 0 END) AS BIGINT)
        AS reclaimable_perceptual,
    CAST(sum(CASE WHEN relation = 'near' THEN reclaimable_bytes ELSE 0 END) AS BIGINT)
        AS reclaimable_near,
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
