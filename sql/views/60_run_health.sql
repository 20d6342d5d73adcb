-- How each run went, stage by stage. `state` is `refused` when a gate kept the result back.
CREATE VIEW run_health AS
SELECT
    run.collection,
    run.run_id,
    run.stage,
    CASE run.stage
        WHEN 'ingest' THEN 1
        WHEN 'prefilter' THEN 2
        WHEN 'embed' THEN 3
        WHEN 'index' THEN 4
        WHEN 'match' THEN 5
        WHEN 'group' THEN 6
        WHEN 'report' THEN 7
    END AS stage_number,
    CASE
        WHEN run.state = 'prepared' AND coalesce(checked.failed, 0) > 0 THEN 'refused'
        ELSE run.state
    END AS state,
    run.tries,
    run.window_start,
    run.window_end,
    run.started_at,
    run.published_at,
    run.seconds,
    run.rows_in,
    run.rows_out,
    run.images,
    run.images_per_second,
    run.warnings,
    run.error,
    coalesce(checked.rules, 0) AS rules,
    coalesce(checked.failed, 0) AS rules_failed,
    coalesce(checked.warned, 0) AS rules_warned
FROM run
LEFT JOIN (
    SELECT
        collection,
        run_id,
        stage,
        count(*) AS rules,
        CAST(sum(CASE WHEN NOT success AND severity = 'error' THEN 1 ELSE 0 END) AS BIGINT)
            AS failed,
        CAST(sum(CASE WHEN NOT success AND severity <> 'error' THEN 1 ELSE 0 END) AS BIGINT)
            AS warned
    FROM quality_result
    GROUP BY collection, run_id, stage
) AS checked
    ON
        run.collection = checked.collection
        AND run.run_id = checked.run_id
        AND run.stage = checked.stage;
