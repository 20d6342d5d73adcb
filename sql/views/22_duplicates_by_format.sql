-- Duplicates by format, as sniffed from the content; rejected files may be 'unknown'.
CREATE VIEW duplicates_by_format AS
SELECT
    collection,
    format,
    CAST(sum(images) AS BIGINT) AS images,
    CAST(sum(decoded) AS BIGINT) AS decoded,
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
    CAST(sum(duplicates) AS DOUBLE PRECISION) / nullif(sum(decoded), 0) AS duplicate_rate,
    CAST(sum(bytes) AS BIGINT) AS bytes,
    CAST(sum(reclaimable_bytes) AS BIGINT) AS reclaimable_bytes,
    CAST(sum(reclaimable_exact) AS BIGINT) AS reclaimable_exact,
    CAST(sum(reclaimable_same) AS BIGINT) AS reclaimable_same,
    CAST(sum(reclaimable_crop) AS BIGINT) AS reclaimable_crop,
    CAST(sum(reclaimable_inside) AS BIGINT) AS reclaimable_inside,
    CAST(sum(reclaimable_edited) AS BIGINT) AS reclaimable_edited
FROM duplicate_counts
GROUP BY collection, format;
