-- Files that could not be read, of those that arrived in a run's window, as they are now.
CREATE VIEW rejects_by_run AS
SELECT
    run_summary.collection,
    run_summary.run_id,
    run_summary.started_at,
    run_summary.window_start,
    run_summary.window_end,
    coalesce(image.reason_code, 'unknown') AS reason_code,
    count(*) AS images,
    CAST(sum(image.bytes) AS BIGINT) AS bytes
FROM run_summary
INNER JOIN image
    ON
        run_summary.collection = image.collection
        AND image.status = 'rejected'
        AND (run_summary.window_start IS NULL OR image.arrived_at >= run_summary.window_start)
        AND (run_summary.window_end IS NULL OR image.arrived_at < run_summary.window_end)
GROUP BY
    run_summary.collection, run_summary.run_id, run_summary.started_at,
    run_summary.window_start, run_summary.window_end, coalesce(image.reason_code, 'unknown');
