SELECT
    reason_code,
    CAST(sum(images) AS BIGINT) AS images,
    CAST(sum(bytes) AS BIGINT) AS bytes
FROM rejects_by_reason
WHERE collection = :collection
GROUP BY reason_code
ORDER BY images DESC, reason_code;
