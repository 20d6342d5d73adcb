-- Files that could not be read, by arrival period and reason.
CREATE VIEW rejects_by_reason AS
SELECT
    collection,
    arrival,
    period_start,
    coalesce(reason_code, 'unknown') AS reason_code,
    count(*) AS images,
    CAST(sum(bytes) AS BIGINT) AS bytes
FROM image
WHERE status = 'rejected'
GROUP BY collection, arrival, period_start, coalesce(reason_code, 'unknown');
