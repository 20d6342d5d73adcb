SELECT *
FROM duplicates_by_prefix
WHERE collection = :collection
ORDER BY reclaimable_bytes DESC, prefix
LIMIT :limit;
