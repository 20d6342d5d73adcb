SELECT image_id, key, arrival, bytes, reason
FROM image
WHERE
    collection = :collection
    AND status = 'rejected'
    AND coalesce(reason_code, 'unknown') = :reason_code
ORDER BY arrival DESC, key
LIMIT :limit;
