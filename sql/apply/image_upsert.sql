-- EXCEPT takes nulls as equal, so only rows that are new or differ are written.
INSERT INTO image (
    collection, image_id, arrival, period_start, key, prefix, uri, arrived_at, bytes, sha256,
    width, height, format, taken_at, low_information, status, reason_code, reason, verdict
)
SELECT
    CAST(:collection AS TEXT), image_id, arrival, period_start, key, prefix, uri, arrived_at,
    bytes, sha256, width, height, format, taken_at, low_information, status, reason_code, reason,
    verdict
FROM staged
EXCEPT
SELECT
    collection, image_id, arrival, period_start, key, prefix, uri, arrived_at,
    bytes, sha256, width, height, format, taken_at, low_information, status, reason_code, reason,
    verdict
FROM image
WHERE collection = :collection
ON CONFLICT (collection, image_id) DO UPDATE SET
    arrival = excluded.arrival,
    period_start = excluded.period_start,
    key = excluded.key,
    prefix = excluded.prefix,
    uri = excluded.uri,
    arrived_at = excluded.arrived_at,
    bytes = excluded.bytes,
    sha256 = excluded.sha256,
    width = excluded.width,
    height = excluded.height,
    format = excluded.format,
    taken_at = excluded.taken_at,
    low_information = excluded.low_information,
    status = excluded.status,
    reason_code = excluded.reason_code,
    reason = excluded.reason,
    verdict = excluded.verdict;
