-- Rules whose newest outcome is a failure: what a person should look at.
CREATE VIEW quality_open AS
SELECT
    collection, stage, rule, severity, run_id, checked_at, window_start, window_end, observed,
    expected
FROM quality_over_time
WHERE age = 1 AND NOT success;
