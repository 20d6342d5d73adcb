-- The newest runs of a collection, one row each.
SELECT *
FROM run_summary
WHERE collection = :collection
ORDER BY started_at DESC, run_id DESC
LIMIT :limit;
