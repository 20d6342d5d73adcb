-- Every outcome of every rule; `age` is 1 for the newest of a rule in a collection.
CREATE VIEW quality_over_time AS
SELECT
    quality_result.collection,
    quality_result.stage,
    quality_result.rule,
    quality_result.severity,
    quality_result.run_id,
    quality_result.checked_at,
    run.window_start,
    run.window_end,
    quality_result.success,
    quality_result.observed,
    quality_result.expected,
    row_number() OVER (
        PARTITION BY quality_result.collection, quality_result.stage, quality_result.rule
        ORDER BY quality_result.checked_at DESC, quality_result.run_id DESC
    ) AS age
FROM quality_result
LEFT JOIN run
    ON
        quality_result.collection = run.collection
        AND quality_result.run_id = run.run_id
        AND quality_result.stage = run.stage;
