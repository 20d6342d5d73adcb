-- The newest runs of a collection, one row each. The last stage by number says how far it came.
SELECT
    collection,
    run_id,
    min(started_at) AS started_at,
    max(published_at) AS published_at,
    min(window_start) AS window_start,
    max(window_end) AS window_end,
    sum(seconds) AS seconds,
    CAST(sum(CASE WHEN state = 'published' THEN 1 ELSE 0 END) AS BIGINT) AS stages_published,
    CAST(sum(CASE WHEN state IN ('failed', 'refused') THEN 1 ELSE 0 END) AS BIGINT)
        AS stages_failed,
    CAST(sum(rules_failed) AS BIGINT) AS rules_failed,
    CAST(sum(rules_warned) AS BIGINT) AS rules_warned
FROM run_health
WHERE collection = :collection
GROUP BY collection, run_id
ORDER BY started_at DESC, run_id DESC
LIMIT :limit;
