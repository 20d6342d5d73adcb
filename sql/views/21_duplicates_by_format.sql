-- Duplicates by format, as sniffed from the content; rejected files may be 'unknown'.
CREATE VIEW duplicates_by_format AS
SELECT
    collection,
    format,
    count(*) AS images,
    CAST(sum(CASE WHEN status <> 'rejected' THEN 1 ELSE 0 END) AS BIGINT) AS decoded,
    CAST(sum(CASE WHEN status = 'rejected' THEN 1 ELSE 0 END) AS BIGINT) AS rejected,
    CAST(sum(CASE WHEN verdict = 'unique' THEN 1 ELSE 0 END) AS BIGINT) AS unique_images,
    CAST(sum(CASE WHEN verdict = 'keeper' THEN 1 ELSE 0 END) AS BIGINT) AS keepers,
    CAST(sum(CASE WHEN verdict = 'duplicate' THEN 1 ELSE 0 END) AS BIGINT) AS duplicates,
    CAST(sum(CASE WHEN relation = 'exact' THEN 1 ELSE 0 END) AS BIGINT) AS duplicates_exact,
    CAST(sum(CASE WHEN relation = 'perceptual' THEN 1 ELSE 0 END) AS BIGINT)
        AS duplicates_perceptual,
    CAST(sum(CASE WHEN relation = 'near' THEN 1 ELSE 0 END) AS BIGINT) AS duplicates_near,
    CAST(sum(CASE WHEN verdict = 'duplicate' THEN 1 ELSE 0 END) AS DOUBLE PRECISION)
    / nullif(sum(CASE WHEN status <> 'rejected' THEN 1 ELSE 0 END), 0) AS duplicate_rate,
    CAST(sum(bytes) AS BIGINT) AS bytes,
    CAST(sum(reclaimable_bytes) AS BIGINT) AS reclaimable_bytes,
    CAST(sum(CASE WHEN relation = 'exact' THEN reclaimable_bytes ELSE 0 END) AS BIGINT)
        AS reclaimable_exact,
    CAST(sum(CASE WHEN relation = 'perceptual' THEN reclaimable_bytes ELSE 0 END) AS BIGINT)
        AS reclaimable_perceptual,
    CAST(sum(CASE WHEN relation = 'near' THEN reclaimable_bytes ELSE 0 END) AS BIGINT)
        AS reclaimable_near
FROM image_state
GROUP BY collection, format;
