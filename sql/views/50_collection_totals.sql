-- One row per collection, also when it has no image yet: what it holds and what could be saved.
CREATE VIEW collection_totals AS
SELECT
    collection.name AS collection,
    collection.source,
    collection.period,
    collection.model_id,
    collection.run_id,
    collection.applied_at,
    coalesce(held.images, 0) AS images,
    coalesce(held.active, 0) AS active,
    coalesce(held.collapsed, 0) AS collapsed,
    coalesce(held.rejected, 0) AS rejected,
    coalesce(held.unique_images, 0) AS unique_images,
    coalesce(held.keepers, 0) AS groups,
    coalesce(held.duplicates, 0) AS duplicates,
    coalesce(held.duplicates_exact, 0) AS duplicates_exact,
    coalesce(held.duplicates_same, 0) AS duplicates_same,
    coalesce(held.duplicates_crop, 0) AS duplicates_crop,
    coalesce(held.variants, 0) AS variants,
    coalesce(held.variants_inside, 0) AS variants_inside,
    coalesce(held.variants_edited, 0) AS variants_edited,
    CAST(held.duplicates AS DOUBLE PRECISION) / nullif(held.active + held.collapsed, 0)
        AS duplicate_rate,
    coalesce(held.bytes, 0) AS bytes,
    coalesce(held.reclaimable_bytes, 0) AS reclaimable_bytes,
    coalesce(held.reclaimable_exact, 0) AS reclaimable_exact,
    coalesce(held.reclaimable_same, 0) AS reclaimable_same,
    coalesce(held.reclaimable_crop, 0) AS reclaimable_crop,
    coalesce(held.reclaimable_inside, 0) AS reclaimable_inside,
    coalesce(held.reclaimable_edited, 0) AS reclaimable_edited,
    collection.price_per_gb_month,
    coalesce(held.bytes, 0) / 1000000000.0 * collection.price_per_gb_month AS cost_per_month,
    coalesce(held.reclaimable_bytes, 0) / 1000000000.0 * collection.price_per_gb_month
        AS savable_per_month,
    collection.currency,
    coalesce(held.decoded, 0) AS decoded
FROM collection
LEFT JOIN (
    SELECT
        collection,
        CAST(sum(images) AS BIGINT) AS images,
        CAST(sum(decoded) AS BIGINT) AS decoded,
        CAST(sum(active) AS BIGINT) AS active,
        CAST(sum(collapsed) AS BIGINT) AS collapsed,
        CAST(sum(rejected) AS BIGINT) AS rejected,
        CAST(sum(unique_images) AS BIGINT) AS unique_images,
        CAST(sum(keepers) AS BIGINT) AS keepers,
        CAST(sum(duplicates) AS BIGINT) AS duplicates,
        CAST(sum(duplicates_exact) AS BIGINT) AS duplicates_exact,
        CAST(sum(duplicates_same) AS BIGINT) AS duplicates_same,
        CAST(sum(duplicates_crop) AS BIGINT) AS duplicates_crop,
        CAST(sum(variants) AS BIGINT) AS variants,
        CAST(sum(variants_inside) AS BIGINT) AS variants_inside,
        CAST(sum(variants_edited) AS BIGINT) AS variants_edited,
        CAST(sum(bytes) AS BIGINT) AS bytes,
        CAST(sum(reclaimable_bytes) AS BIGINT) AS reclaimable_bytes,
        CAST(sum(reclaimable_exact) AS BIGINT) AS reclaimable_exact,
        CAST(sum(reclaimable_same) AS BIGINT) AS reclaimable_same,
        CAST(sum(reclaimable_crop) AS BIGINT) AS reclaimable_crop,
        CAST(sum(reclaimable_inside) AS BIGINT) AS reclaimable_inside,
        CAST(sum(reclaimable_edited) AS BIGINT) AS reclaimable_edited
    FROM duplicate_counts
    GROUP BY collection
) AS held ON collection.name = held.collection;
