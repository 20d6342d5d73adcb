-- One row per run: how far it came, how long it took, how many images a second it went through.
CREATE VIEW run_summary AS
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
    CAST(sum(rules_warned) AS BIGINT) AS rules_warned,
    max(CASE WHEN stage = 'ingest' THEN rows_in END) AS listed,
    max(CASE WHEN stage = 'ingest' THEN rows_in - rows_out END) AS rejected,
    max(CASE WHEN stage = 'ingest' THEN images END) AS images,
    max(CASE WHEN stage = 'ingest' THEN images END) / nullif(sum(seconds), 0) AS images_per_second
FROM run_health
GROUP BY collection, run_id;
